"""Copies of images in folders named like classes."""

import pytest

from sib_jax.data import sorted_copies


@pytest.mark.parametrize(
    ("classes", "folders"),
    [
        (["Greek/alpha", "Greek_alpha"], ["Greek_alpha", "Greek_alpha (2)"]),
        (["../outside", ".."], [".._outside", "_.."]),
        (["/etc", "a\\b", ""], ["_etc", "a_b", "_"]),
        (["Cat", "cat"], ["Cat", "cat (2)"]),
    ],
)
def test_every_class_has_one_folder_below_the_place(classes, folders, tmp_path):
    for i, name in enumerate(classes):
        (tmp_path / f"{i}.png").write_text(name)
    images = [str(tmp_path / f"{i}.png") for i in range(len(classes))]
    place = tmp_path / "below" / "sorted"
    sorted_copies.write(str(place), images, classes)
    assert sorted(path.name for path in place.iterdir()) == sorted(folders)
    assert len(list(tmp_path.iterdir())) == len(classes) + 1
    for i, folder in enumerate(folders):
        assert (place / folder / f"{i}.png").read_text() == classes[i]
