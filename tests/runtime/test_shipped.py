"""Experiments and weights by name, and the command without a name."""

from pathlib import Path

import pytest

from sib_jax import __main__ as command
from sib_jax.backbones import pretrained
from sib_jax.errors import UserError
from sib_jax.runtime import shipped

ROOT = Path(__file__).resolve().parents[2]


def test_experiments_and_weights_are_found_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert shipped.experiments()["5w1s"].is_file()
    found = pretrained.located("mini_imagenet-conv4_64")
    assert Path(found).is_file()
    assert pretrained.located("mini_imagenet-conv4_64.npz") == found
    assert pretrained.located("conv4_64", "mini_imagenet") == found
    assert pretrained.located("conv4_64", "cifar_fs").endswith("cifar_fs-conv4_64.npz")
    assert pretrained.located("conv4_64") == "conv4_64"  # of two data sets
    assert pretrained.located("conv4_128").endswith("mini_imagenet-conv4_128.npz")
    assert pretrained.located("64") == "64"
    assert pretrained.located("mine.npz") == "mine.npz"


@pytest.mark.parametrize("given", ["5w1s", "5w1s.py", "experiments/5w1s.py"])
@pytest.mark.parametrize("argument", ["", ":glyphs"])
def test_an_experiment_s_name_becomes_its_file(tmp_path, monkeypatch, given, argument):
    monkeypatch.chdir(tmp_path)
    wanted = f"{shipped.experiments()['5w1s']}{argument}"
    for words in ([f"--config={given}{argument}"], ["--config", f"{given}{argument}"]):
        found = shipped.with_config_file(["main", *words, "--config.ways=3", "--mode=all"])
        assert " ".join(found[1:-2]).replace(" ", "=") == f"--config={wanted}"
        assert found[-2:] == ["--config.ways=3", "--mode=all"]


def test_a_file_of_the_user_s_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "5w1s.py").write_text("")
    assert shipped.with_config_file(["--config=5w1s.py:x"]) == ["--config=5w1s.py:x"]
    with pytest.raises(UserError, match="--config=nope is neither a file nor an experiment; there"):
        shipped.with_config_file(["--config=nope:x"])


@pytest.mark.parametrize("words", [[], ["--help"], ["help"]])
def test_without_a_command_it_says_what_there_is(capsys, words):
    command.main(words)
    told = capsys.readouterr().out
    assert "sib_jax train --config=5w1s" in told
    assert "sib_jax predict" in told
    assert "official_5w1s" in told


def test_an_unknown_command_is_one_line():
    with pytest.raises(SystemExit, match="unknown command 'eval'; the commands are train, predict"):
        command.main(["eval"])


def test_a_wheel_ships_what_lies_beside_the_package(monkeypatch):
    """`setup.py` names the folders that `shipped` looks for."""
    setuptools = pytest.importorskip("setuptools")
    given: dict = {}
    monkeypatch.setattr(setuptools, "setup", lambda **words: given.update(words))
    monkeypatch.chdir(ROOT)
    exec((ROOT / "setup.py").read_text(), {})
    assert {f"sib_jax.{n}" for n in ("_experiments", "_weights", "methods")} <= {*given["packages"]}
    for folder in given["package_dir"].values():
        assert (ROOT / folder).is_dir()
