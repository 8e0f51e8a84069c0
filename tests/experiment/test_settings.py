"""A file of weights says which backbone it holds, so that its name is all that a user gives."""

from pathlib import Path

import pytest

from sib_jax.backbones import pretrained
from sib_jax.config import default, steps
from sib_jax.errors import UserError
from sib_jax.experiment import settings

OFFICIAL = Path(__file__).parents[1] / "parity" / "netFeatBest64.653.pth"


@pytest.mark.parametrize(
    ("file", "wanted"),
    [
        ("conv4_64", ("conv4_64", False)),
        ("mini_imagenet-conv4_128", ("conv4_128", False)),
        (OFFICIAL, ("conv4_64", True)),
        ("", ("conv4_128", False)),
        ("not/there.npz", ("conv4_128", False)),
    ],
)
def test_a_file_says_which_backbone_it_holds(tmp_path, file, wanted):
    config = default("mini_imagenet")
    config.backbone_file = str(file)
    settings.take_backbone(config, tmp_path, given=())
    assert (config.backbone, config.final_relu) == wanted


def test_what_the_user_named_stays(tmp_path):
    config = default("mini_imagenet")
    config.backbone_file, config.backbone = str(OFFICIAL), "wrn_16_2"
    settings.take_backbone(config, tmp_path, given={"backbone", "data_dir"})
    assert (config.backbone, config.final_relu) == ("wrn_16_2", True)


def test_where_the_file_is_gone_the_run_has_a_copy(tmp_path):
    config = default("mini_imagenet")
    config.backbone_file = "gone.pth"
    held = Path(settings.pretrained.located("mini_imagenet-conv4_64")).read_bytes()
    (tmp_path / "backbone.npz").write_bytes(held)
    settings.take_backbone(config, tmp_path, given=())
    assert config.backbone == "conv4_64"


def test_a_file_that_holds_none(tmp_path):
    (tmp_path / "mine.npz").write_bytes(b"x")
    config = default("mini_imagenet")
    config.backbone_file = str(tmp_path / "mine.npz")
    with pytest.raises(UserError, match=r"mine\.npz"):
        settings.take_backbone(config, tmp_path, given=())


def test_a_backbone_of_mirrored_features_says_so(tmp_path):
    shipped = pretrained.open_file("cifar_fs-conv4_64")
    pretrained.save(tmp_path / "mirrored.npz", shipped._replace(mirror=True))
    for given, wanted in (((), True), (("mirror_features",), False)):
        config = default("cifar_fs")
        config.backbone_file = str(tmp_path / "mirrored.npz")
        settings.take_backbone(config, tmp_path / "run", given)
        assert config.mirror_features is wanted


def test_heads_that_differ_in_nothing_are_found():
    """The command's --config.method gives all heads of an experiment of several T one method."""
    config = default("glyphs")
    config.heads = (*steps(0, 3), ("other", {"method": "soft_kmeans"}))
    assert settings.equal_heads(settings.read(config).heads) == []
    config.method = "prototypical"
    assert settings.equal_heads(settings.read(config).heads) == [["T0", "T3"]]
    config.heads = (("a", {}), ("b", {"seed": 1}), ("c", {"shots": 5}))
    assert settings.equal_heads(settings.read(config).heads) == []
