"""A folder knows which experiment it holds, also where an older version wrote its config."""

import json
from pathlib import Path

import pytest

from sib_jax.config import ConfigError, default
from sib_jax.experiment import job, run_files, settings


def test_how_a_given_backbone_would_be_trained_may_differ(tmp_path):
    config = default("mini_imagenet")
    config.backbone_file = "conv4_128"
    run_files.write_config(config, tmp_path)
    config.pretrain.epochs, config.pretrain.lr = 3, 0.5
    run_files.check_same(config, tmp_path)
    config.optimizer.lr = 0.5
    with pytest.raises(ConfigError, match=r"head sib of a run with config.optimizer.lr = 0.001"):
        run_files.check_same(config, tmp_path)


@pytest.mark.parametrize("given", [("", ""), ("conv4_128", ""), ("", "conv4_128")])
def test_how_it_is_trained_may_not(tmp_path, given):
    config = default("mini_imagenet")
    config.backbone_file = given[0]
    run_files.write_config(config, tmp_path)
    config.backbone_file, config.pretrain.epochs = given[1], 3
    with pytest.raises(ConfigError, match=r"a run with config.pretrain.epochs = 36, not 3; choose"):
        run_files.check_same(config, tmp_path)


def test_a_config_from_before_images_could_grow_has_none_grow():
    stored = json.loads(default("mini_imagenet").to_json())
    del stored["pretrain"]["growth"], stored["pretrain"]["average"]
    found = run_files.completed(stored)
    assert (found["pretrain"]["growth"], found["pretrain"]["average"]) == ([], 0.0)
    assert found["backbone"] == "conv4_128"
    with pytest.raises(LookupError, match="it names no data set"):
        run_files.completed({})


def test_another_seed_leaves_the_classes_as_they_are_but_where_one_did_for_both():
    config = default("folder")
    config.seed = 3
    assert settings.read(config).data == settings.read(default("folder")).data
    stored = json.loads(config.to_json())
    del stored["split_seed"]  # of a run before there was one
    assert run_files.completed(stored)["split_seed"] == 3
    assert run_files.completed(stored | {"dataset": "mini_imagenet"})["split_seed"] == 0


def test_a_head_of_a_run_before_is_not_taken_for_another_of_its_name(tmp_path):
    """Its parameters are still in the folder, although the last run had other heads."""
    config = default()
    for name in ("x", "y"):
        config.heads = ((name, {"inner.steps": 2}),)
        run_files.check_same(config, tmp_path)
        run_files.write_config(config, tmp_path)
    config.heads = (("x", {"inner.steps": 2}), ("z", {"inner.steps": 4}))
    run_files.check_same(config, tmp_path)
    config.heads = (("x", {"inner.steps": 3}),)
    with pytest.raises(ConfigError, match=r"head x of a run with config.inner.steps = 2, not 3"):
        run_files.check_same(config, tmp_path)


@pytest.mark.parametrize("listed", [True, False])
def test_a_head_that_was_not_run_may_change(tmp_path, listed):
    """`--heads=x`, then a config with another y; a run of long ago kept no list."""
    config = default()
    config.heads = (("x", {"inner.steps": 2}), ("y", {"inner.steps": 2}))
    run_files.write_config(config, tmp_path, only=["x"])
    if not listed:
        (tmp_path / run_files.HEADS).unlink()
    config.heads = (("x", {"inner.steps": 2}), ("y", {"inner.steps": 3}))
    if listed:
        run_files.check_same(config, tmp_path)
    else:
        with pytest.raises(ConfigError, match=r"head y of a run with config.inner.steps = 2"):
            run_files.check_same(config, tmp_path)


@pytest.mark.parametrize(
    ("given", "ending"),
    [
        ({}, ""),
        ({"seed": 0, "dataset": "glyphs", "data_dir": "a/b", "tensorboard": True}, ""),
        ({"eval.test_tasks": 9, "heads": (("a", {}),)}, ""),
        ({"ways": 3, "inner.steps": 5}, "-inner.steps=5-ways=3"),
        ({"optimizer.drop_epochs": (8, 12)}, "-optimizer.drop_epochs=8,12"),
        ({"backbone_file": "/a b/ä.npz"}, "-backbone_file=a,b,ä.npz"),
    ],
)
def test_what_is_set_names_the_folder_of_a_run_that_names_none(given, ending):
    found = run_files.default_place("5w1s", default(), given)
    assert found == Path(f"runs/5w1s-glyphs-seed0{ending}")


@pytest.mark.parametrize(
    ("argument", "of"),
    [("", "glyphs"), ("glyphs", "glyphs"), ("glyphs,5 a/b", "glyphs,5,a,b"), ("7", "7-glyphs")],
)
def test_runs_of_another_argument_have_another_folder(argument, of):
    found = run_files.default_place("sweep", default(), {}, argument)
    assert found == Path(f"runs/sweep-{of}-seed0")


def test_a_long_list_of_fields_is_told_apart_by_a_number():
    many = {f"field{i}": "x" * 20 for i in range(20)}
    one, other = (run_files.default_place("a", default(), many | {"last": i}) for i in (1, 2))
    assert one != other
    assert len(str(one)) < 60


def test_a_run_that_came_and_went_while_the_data_were_loaded_is_noticed(tmp_path, monkeypatch):
    config = default()
    config.heads = (("k", {"method": "soft_kmeans"}),)

    def load_slowly(*arguments, **options):
        other = default()
        other.heads, other.pretrain.epochs = config.heads, 3
        run_files.write_config(other, tmp_path / "run")
        return load(*arguments, **options)

    load = job.load
    monkeypatch.setattr(job, "load", load_slowly)
    with pytest.raises(ConfigError, match=r"holds a run with config.pretrain.epochs = 3, not"):
        job.run(config, tmp_path / "run")


def test_a_method_whose_name_begins_as_a_field_does_has_its_folders():
    config = default()
    places = {
        run_files.default_place("mine", config, {field: 3})
        for field in ("seeded_kmeans.scale", "headsup.scale", "optimizer.epochs", "eval.batch")
    }
    assert len(places) == 4
