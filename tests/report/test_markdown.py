from sib_jax.report import markdown


def _row(split="test", **changes):
    row = {
        "head": "standard_5w1s",
        "method": "SIB point",
        "dataset": "mini_imagenet",
        "split": split,
        "setting": "standard",
        "backbone": "conv4_64",
        "ways": 5,
        "shots": 1,
        "steps": 3,
        "novel": {"mean": 61.239, "ci95": 0.5},
        "base": None,
        "both": None,
    }
    return row | changes


def test_ours_stands_beside_what_the_paper_has_for_the_same_task():
    text = markdown.by_split([_row("val"), _row("test"), _row("test", steps=7)])
    assert text.index("Validation") < text.index("Test")
    # Tables 1 and 2 of the paper, T = 3, 5-way 1-shot.
    assert "| 5-way 1-shot | 61.24 ± 0.50 | 65.14 ± 0.54 |" in text
    assert "| 5-way 1-shot | 61.24 ± 0.50 | 62.59 ± 1.02 |" in text
    assert "| SIB point | 7 | standard | 5-way 1-shot | 61.24 ± 0.50 |  |" in text


def test_a_wide_residual_network_is_not_compared_with_conv4():
    text = markdown.by_split([_row(backbone="wrn_28_10")])
    assert "67.92 ± 0.55" in text
    assert "62.59" not in text
    for other in ("wrn_16_4", "my_net"):
        assert "paper" not in markdown.by_split([_row(backbone=other)])
        assert "paper" not in markdown.by_split([_row(backbone=other, method="matching cosine")])
    of_images = markdown.by_split([_row(backbone=None, method="maml", steps=None)])
    assert "| 48.70 ± 1.84 |" in of_images  # a network of its own


def test_all_three_accuracies_of_learning_without_forgetting():
    both = {"mean": 50.0, "ci95": 0.25}
    text = markdown.by_split([_row(setting="lwof", base=both, both=both)])
    assert "| Novel | Base | Both | paper: Novel | paper: Base | paper: Both |" in text
    assert "| 61.24 ± 0.50 | 50.00 ± 0.25 | 50.00 ± 0.25 | 62.02 ± 0.93 | 69.45 | 53.52 |" in text


def test_other_data_sets_have_no_row_of_the_paper():
    assert "paper" not in markdown.by_split([_row(dataset="glyphs")])


def test_each_system_stands_beside_its_own_row_of_the_paper():
    of = lambda method: markdown.by_split([_row(method=method, steps=None)])  # noqa: E731
    assert "49.42 ± 0.78" in of("prototypical")
    assert "43.60" in of("matching")
    assert "paper" not in of("nearest_centroid")
    assert "paper" not in of("weight_generator average")  # the paper has it without forgetting
    assert "49.08" in markdown.by_split(
        [
            _row(
                method="weight_generator attention",
                steps=None,
                setting="lwof",
                both=_row()["novel"],
            )
        ]
    )
