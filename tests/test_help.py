"""--help: every field of a config, with its meaning and default."""

import re

import pytest

from sib_jax import config, main


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_names_every_flag_and_every_field(word, capsys):
    with pytest.raises(SystemExit) as ended:
        main.parse(["main", word])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    for flag in ("config", "workdir", "data_dir", "mode", "distributed"):
        assert re.search(rf"^  --{flag} ", shown, re.MULTILINE), flag
    words = " ".join(shown.split())
    defaults = config.flat(config.default())
    for name, field in config.fields().items():
        default = "''" if defaults[name] == "" else defaults[name]
        assert re.search(
            rf" {re.escape(f'{name} {field.help}')}.*?\. Default {re.escape(str(default))}", words
        ), name


def test_every_field_has_a_meaning():
    assert not [name for name, field in config.fields().items() if not field.help]
