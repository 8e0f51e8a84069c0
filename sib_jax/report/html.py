"""Makes a page as one HTML file: no network, pictures inside, light and dark."""

import base64
import html
from collections.abc import Mapping, Sequence

from sib_jax.report.section import Section, Table
from sib_jax.report.style import PER_PIXEL

_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
:root {{ --paper: #ffffff; --ink: #24292f; --soft: #57606a; --line: #d0d7de; --band: #f6f8fa; }}
@media (prefers-color-scheme: dark) {{
  :root {{ --paper: #0d1117; --ink: #e6edf3; --soft: #9198a1; --line: #30363d; --band: #161b22; }}
}}
body {{ background: var(--paper); color: var(--ink);
  margin: 0 auto; padding: 1.5rem; max-width: 58rem;
  font: 16px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }}
h1 {{ font-size: 1.5rem; margin: 0 0 .2rem; }}
h2 {{ font-size: 1.15rem; margin: 2.4rem 0 .6rem; padding-top: .8rem;
  border-top: 1px solid var(--line); }}
p {{ margin: .5rem 0; max-width: 48rem; }}
.about {{ color: var(--soft); }}
.scroll {{ overflow-x: auto; margin: .9rem 0; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; }}
th, td {{ padding: .25rem .8rem .25rem 0; text-align: left; white-space: nowrap;
  border-bottom: 1px solid var(--line); }}
th {{ color: var(--soft); font-weight: 600; }}
figure {{ margin: 1rem 0; }}
figcaption {{ margin: 1.2rem 0 .5rem; max-width: 48rem; }}
img {{ max-width: 100%; height: auto; display: block; }}
details {{ margin-top: 2rem; color: var(--soft); }}
pre {{ overflow-x: auto; background: var(--band); padding: .8rem; font-size: .8rem; }}
</style>
</head>
<body>
<h1>{title}</h1>
<p class="about">{about}</p>
{body}
</body>
</html>
"""


def page(
    title: str,
    about: str,
    sections: Sequence[Section],
    pictures: Mapping[str, Mapping[str, bytes]],
    details: Mapping[str, str],
) -> str:
    """A page as HTML.

    Args:
      title: plain text.
      about: plain text, in one line.
      sections: its parts, in order.
      pictures: PNGs by name of the picture and of the mode; one that is missing is left out.
      details: plain text to unfold, by title.
    """
    body = [_section(section, pictures) for section in sections]
    body += [
        f"<details><summary>{_text(name)}</summary><pre>{_text(text)}</pre></details>"
        for name, text in details.items()
    ]
    return _PAGE.format(title=_text(title), about=_text(about), body="\n".join(body))


def _section(section: Section, pictures: Mapping[str, Mapping[str, bytes]]) -> str:
    parts = [f"<h2>{_text(section.title)}</h2>"]
    parts += [f"<p>{_text(paragraph)}</p>" for paragraph in section.text]
    parts += [_table(table) for table in section.tables]
    for picture in section.pictures:
        if picture.name in pictures:
            of = pictures[picture.name]
            caption = picture.caption and f"<figcaption>{_text(picture.caption)}</figcaption>"
            parts.append(
                f"<figure>{caption}"
                '<picture><source media="(prefers-color-scheme: dark)" '
                f'srcset="{_data(of["dark"])}"><img src="{_data(of["light"])}" '
                f'width="{_width(of["light"])}" alt="{_text(picture.alt)}"></picture></figure>'
            )
    return f"<section>\n{chr(10).join(parts)}\n</section>"


def _table(table: Table) -> str:
    header = "".join(f"<th>{_text(cell)}</th>" for cell in table.header)
    rows = [f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in row)}</tr>" for row in table.rows]
    return (
        f'<div class="scroll"><table><thead><tr>{header}</tr></thead>\n<tbody>'
        f"{chr(10).join(rows)}</tbody></table></div>"
    )


def _text(text: str) -> str:
    return html.escape(str(text), quote=True)


def _data(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _width(png: bytes) -> int:
    """Width in pixels of the page."""
    return round(int.from_bytes(png[16:20], "big") / PER_PIXEL)
