"""Tables of results in documentation pages: written between two marks, so that no number is typed by hand."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from imc_sim._errors import InputError, nearest
from imc_sim._files import write_file
from imc_sim.plotting import comparison_data, save_table
from imc_sim.report._comparison import markdown, plain_text, read_comparison

if TYPE_CHECKING:
    from pandas import DataFrame

    from imc_sim.study import Results

#: a block: `<!-- table NAME -->`, what is replaced, `<!-- end of table -->`
_BLOCK = re.compile(r"^<!-- table ([\w.-]+) -->(\r?\n)(.*?)^<!-- end of table -->(?=\r?$)", re.MULTILINE | re.DOTALL)
_MARK = "<!-- table NAME --> and, on a later line, <!-- end of table -->"


#: a block of any other table: `<!-- made NAME -->`, what is replaced, `<!-- end -->`
_MADE = re.compile(r"^<!-- made ([\w.-]+) -->(\r?\n)(.*?)^<!-- end -->(?=\r?$)", re.MULTILINE | re.DOTALL)


def tables_of(text: str) -> list[str]:
    """Return the names of the tables that a page has places for."""
    return [match[1] for match in _BLOCK.finditer(text)]


def filled(text: str, folder: Path) -> str:
    """Return the page with every table whose NAME.csv is in `folder`; other places stay unchanged."""

    def block(match: re.Match[str]) -> str:
        source = folder / f"{match[1]}.csv"
        if not source.is_file():
            return match[0]
        text = f"<!-- table {match[1]} -->\n\n{markdown(read_comparison(source))}\n<!-- end of table -->"
        return text.replace("\n", match[2])

    return _BLOCK.sub(block, text)


def fill_pages(pages: Sequence[Path], results: Sequence[Results]) -> list[Path]:
    """Write the comparison tables of `results` into the pages that have a place for them; returns the files written.

    A study's table is kept as tables/<name>.csv next to the page, so that a page can be filled again without results.
    """
    texts = {page: _text(page) for page in pages}
    places = {name for text in texts.values() for name in tables_of(text)}
    for each in results:
        name = str(each.study["name"])
        if name not in places:
            step = f"{nearest(name, places)}Write {_MARK}"
            raise InputError(str(each.folder), f"no place for table {name!r}", ", ".join(sorted(places)), step)
    written = []
    for page, text in texts.items():
        own = [each for each in results if each.study["name"] in tables_of(text)]
        kept = page.parent / "tables"
        written += [save_table(comparison_data(each), kept / str(each.study["name"])) for each in own]
        write_file(page, filled(text, kept))
        written.append(page)
    return written


def fill_made(page: Path, name: str, table: DataFrame) -> None:
    """Write a table between `<!-- made NAME -->` and `<!-- end -->` of a page; numbers with two decimals."""
    if not page.is_file():
        raise InputError(str(page), "no such file", "a page of Markdown", "Check the path.")
    text = page.read_bytes().decode()
    known = [match[1] for match in _MADE.finditer(text)]
    if name not in known:
        step = f"{nearest(name, known)}Write <!-- made {name} --> and, on a later line, <!-- end -->."
        raise InputError(str(page), f"no place for {name!r}", ", ".join(known) or "one at least", step)
    block = f"<!-- made {name} -->\n\n{plain_table(table)}\n\n<!-- end -->"
    write_file(page, _MADE.sub(lambda m: block.replace("\n", m[2]) if m[1] == name else m[0], text))


def plain_table(table: DataFrame) -> str:
    """Return a table as Markdown: text to the left, numbers to the right, empty cells for missing values."""
    from pandas.api.types import is_numeric_dtype

    heads = [str(name) for name in table.columns]
    rows = [["" if x != x else f"{x:.2f}" if isinstance(x, float) else str(x) for x in row] for row in table.to_numpy()]
    lines = [heads, ["---:" if is_numeric_dtype(table[name]) else "---" for name in table.columns], *rows]
    return "\n".join("| " + " | ".join(map(plain_text, line)) + " |" for line in lines)


def _text(page: Path) -> str:
    if not page.is_file():
        raise InputError(str(page), "no such file", "a page of Markdown", "Check the path.")
    text = page.read_bytes().decode()
    if not tables_of(text):
        raise InputError(str(page), "no place for a table", "one at least", f"Write {_MARK}.")
    return text
