import json

import numpy as np
import pytest

from sib_jax.data import folder
from sib_jax.data.errors import DataError
from sib_jax.data.reading import episode_files
from sib_jax.data.reading.episode_files import EpisodeRows

NAMES = tuple(f"n{c}/{c}{i}.jpg" for c in range(4) for i in range(5))  # row 5 c + i


def _file(path, episodes):
    path.write_text(json.dumps(episodes))
    return path


# Two 2-way 1-shot tasks with 2 queries a class, as the official code's file has them.
EPISODES = [
    {
        "Support": [["n3/31.jpg"], ["n0/04.jpg"]],
        "Query": [["n3/30.jpg", "n3/34.jpg"], ["n0/00.jpg", "n0/01.jpg"]],
    },
    {
        "Support": [["n1/12.jpg"], ["n2/20.jpg"]],
        "Query": [["n1/11.jpg", "n1/10.jpg"], ["n2/22.jpg", "n2/23.jpg"]],
    },
]


def test_a_file_gives_the_rows_of_its_images(tmp_path):
    rows = episode_files.read(_file(tmp_path / "e.json", EPISODES), NAMES)
    np.testing.assert_array_equal(rows.support, [[16, 4], [7, 10]])
    np.testing.assert_array_equal(rows.support_labels, [0, 1])
    np.testing.assert_array_equal(rows.query, [[15, 19, 0, 1], [6, 5, 12, 13]])
    np.testing.assert_array_equal(rows.query_labels, [0, 0, 1, 1])
    assert {array.dtype for array in rows} == {np.dtype(np.int32)}


def test_longer_paths_are_taken_by_their_ends(tmp_path):
    longer = json.loads(json.dumps(EPISODES).replace('"n', '"data/Mini-ImageNet/val/n'))
    rows = episode_files.read(_file(tmp_path / "e.json", longer), NAMES)
    np.testing.assert_array_equal(rows.support, [[16, 4], [7, 10]])


def test_what_is_written_is_the_official_form(tmp_path):
    rows = EpisodeRows(
        np.array([[16, 4], [7, 10]]),
        np.array([0, 1]),
        np.array([[15, 19, 0, 1], [6, 5, 12, 13]]),
        np.array([0, 0, 1, 1]),
    )
    episode_files.write(tmp_path / "e.json", rows, NAMES)
    assert json.loads((tmp_path / "e.json").read_text()) == EPISODES
    with pytest.raises(ValueError, match="Query: each class must have as many images"):
        episode_files.write(
            tmp_path / "e.json", rows._replace(query_labels=np.array([0, 1, 0, 1])), NAMES
        )


def test_the_images_of_a_data_set_are_found_again(toy, tmp_path, own_cache):
    from toy_copies import SIZE, as_directory

    data = folder.load(
        as_directory(tmp_path / "d", toy.pngs("{split}/{c}/{file}")), image_size=SIZE
    )
    picked = ["n00000003/n0000000300002.png", "n00000006/n0000000600001.png"]
    episode = {"Support": [[name] for name in picked], "Query": [[name] for name in picked]}
    rows = episode_files.read(_file(tmp_path / "e.json", [episode]), data.test.file_names)
    for row, name in zip(rows.support[0], picked, strict=True):
        class_name, file = name.split("/")
        np.testing.assert_array_equal(data.test.images[row], toy.images["test"][class_name][file])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("n1/12.jpg", "n1/19.jpg", r"episode 1, Support names n1/19\.jpg, which is no image"),
        ("n1/11.jpg", "n0/00.jpg", "episode 1, Query has images of n0, n1 in one class"),
        ('["n1/12.jpg"], ', "", "episode 1: Support has not the shape of the first episode"),
        (', "n3/34.jpg"', "", "episode 0: Query is no list of equally long lists"),
        ('"Query"', '"query"', "episode 0: Query is no list"),
        ('"n1/12.jpg"', "7", "episode 1: Support is no list"),
    ],
)
def test_a_file_that_does_not_fit_is_named(old, new, message, tmp_path):
    text = json.dumps(EPISODES)
    assert old in text
    (tmp_path / "e.json").write_text(text.replace(old, new, 1))
    with pytest.raises(DataError, match=rf"e\.json, {message}"):
        episode_files.read(tmp_path / "e.json", NAMES)


def test_what_is_no_episode_file(tmp_path):
    with pytest.raises(DataError, match=r"no\.json cannot be read"):
        episode_files.read(tmp_path / "no.json", NAMES)
    (tmp_path / "e.json").write_text("{")
    with pytest.raises(DataError, match=r"e\.json is no JSON file"):
        episode_files.read(tmp_path / "e.json", NAMES)
    with pytest.raises(DataError, match=r"e\.json is no list of episodes"):
        episode_files.read(_file(tmp_path / "e.json", {}), NAMES)
    with pytest.raises(DataError, match="holds images without names"):
        episode_files.read(_file(tmp_path / "e.json", EPISODES), ())
