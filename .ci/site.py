"""Hooks of the documentation site, for links that lead out of docs/ and for formulas."""

import html
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError

_ROOT = Path(__file__).resolve().parents[1]
_OUTSIDE = re.compile(r"\]\(\.\./([^)#\s]+)(#[^)\s]*)?\)")
_FORMULA = re.compile(
    r'<(?P<tag>div|span) class="arithmatex">\s*\\[\[(](?P<tex>.*?)\\[\])]\s*</(?P=tag)>', re.DOTALL
)


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """Links to files outside docs/, which work in a clone, become links to the repository."""

    def link(match: re.Match[str]) -> str:
        path, anchor = match[1], match[2] or ""
        if not (_ROOT / path).exists():
            raise PluginError(f"{page.file.src_path} links to ../{path}, which does not exist")
        kind = "tree" if (_ROOT / path).is_dir() else "blob"
        return f"]({config.repo_url.rstrip('/')}/{kind}/main/{path}{anchor})"

    return _OUTSIDE.sub(link, markdown)


def on_page_content(content: str, **_: Any) -> str:
    """LaTeX becomes MathML, which browsers show without a script."""

    def formula(match: re.Match[str]) -> str:
        display = "block" if match["tag"] == "div" else "inline"
        return convert(html.unescape(match["tex"]).strip(), display=display)

    return _FORMULA.sub(formula, content)
