"""The text of --help: what can be done, the flags, and every field of a config."""

import textwrap
from collections.abc import Mapping

from absl import flags

from sib_jax import config
from sib_jax.field import Field

_WIDTH = 100
_NAME = 30


def text(doc: str, module: str) -> str:
    """Everything that the command line knows.

    Args:
      doc: what the command does, with examples.
      module: whose flags are shown.
    """
    shown = flags.FLAGS.get_key_flags_for_module(module)
    rows = [(f"--{flag.name}", flag.help) for flag in shown]
    rows.append(("--config.FIELD=VALUE", "Another value for a field of the experiment's config:"))
    return "\n".join([doc.strip(), "", *_table(rows), "", *_fields()]) + "\n"


def _fields() -> list[str]:
    shared = (
        "What all heads of an experiment share (defaults are those of glyphs; experiments and "
        "other data sets change some):"
    )
    return [
        *textwrap.wrap(shared, _WIDTH),
        *_table(_rows(config.EXPERIMENT, ranges=True)),
        "",
        "What each head may set for itself:",
        *_table(_rows(config.HEAD, ranges=True)),
        "",
        "Settings of methods other than sib:",
        *_table(_rows(config.of_methods(), ranges=False)),
    ]


def _rows(fields: Mapping[str, Field], *, ranges: bool) -> list[tuple[str, str]]:
    default = config.flat(config.default())
    rows = []
    for name, field in fields.items():
        told = field.kind.wanted in field.help or not ranges
        wanted = "" if told else f"; {field.kind.wanted}"
        value = "''" if default[name] == "" else default[name]
        rows.append((name, f"{field.help}{wanted}. Default {value}"))
    return rows


def _table(rows: list[tuple[str, str]]) -> list[str]:
    lines = []
    for name, meaning in rows:
        of_row = textwrap.wrap(meaning, _WIDTH - _NAME, break_on_hyphens=False)
        if len(name) + 4 > _NAME:
            lines.append(f"  {name}")
        else:
            lines.append(f"  {name:{_NAME - 2}}{of_row.pop(0)}")
        lines += [" " * _NAME + line for line in of_row]
    return lines
