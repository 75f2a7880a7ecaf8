"""Build HTML: all text goes through `escaped`, and only files of the package are inlined."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Iterable, Sequence

from imc_sim._errors import printable
from imc_sim.config import package_file

#: a cell: the text shown, or (the text shown, the sort key)
Cell = str | tuple[str, float | str]


def escaped(text: object) -> str:
    """Escape text for content and attributes."""
    return html.escape(printable(text))


def document(title: str, body: Iterable[str]) -> str:
    """Return a page that loads nothing and may run only its own script."""
    css, script = (package_file(f"report/{name}").read_text(encoding="utf-8") for name in ("style.css", "sort.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'; base-uri 'none'"
    )
    head = [
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escaped(title)}</title>",
        f"<style>{css}</style>",
    ]
    content = "\n".join(body)
    return (
        f'<!doctype html>\n<html lang="en"><head>{"".join(head)}</head>\n<body>\n{content}\n<script>{script}</script>\n\
</body></html>\n'
    )


def table(heads: Sequence[str], rows: Iterable[Sequence[Cell]], label: str) -> str:
    """Return a table that is sorted by a click on a head, ascending, then descending."""
    head = "".join(f'<th scope="col"><button type="button">{escaped(h)}</button></th>' for h in heads)
    body = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in rows)
    return f'<div class="wide"><table class="sort" aria-label="{escaped(label)}"><thead><tr>{head}</tr></thead>\
<tbody>{body}</tbody></table></div>'


def _cell(cell: Cell) -> str:
    if isinstance(cell, str):
        return f'<td class="text">{escaped(cell)}</td>'
    shown, key = cell
    return f'<td data-v="{escaped("" if key != key else key)}">{escaped(shown)}</td>'


def svg(drawn: str, name: str, label: str) -> str:
    """Return SVG as a part of the page; `name` becomes a prefix of its ids, which are then unique on the page."""
    drawn = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", drawn[drawn.index("<svg") :], flags=re.DOTALL)
    drawn = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", drawn)
    return drawn.replace("<svg ", f'<svg role="img" aria-label="{escaped(label)}" ', 1)


def pairs(items: Iterable[tuple[str, str]]) -> str:
    """Return a definition list without the terms that have no text."""
    return "<dl>" + "".join(f"<dt>{escaped(k)}</dt><dd>{escaped(v)}</dd>" for k, v in items if v) + "</dl>"


def details(summary: str, content: str) -> str:
    """Return an element that is opened by a click."""
    return f"<details><summary>{escaped(summary)}</summary>{content}</details>"
