"""Write tables of results into documentation pages, between two marks, so that no number is typed by hand."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from imc_sim._errors import InputError, nearest
from imc_sim._files import read_file, write_file
from imc_sim.plotting import comparison_data, save_table
from imc_sim.report._comparison import markdown, read_comparison, table_line

if TYPE_CHECKING:
    from pandas import DataFrame

    from imc_sim.study import Results

#: a block: `<!-- table NAME -->`, the replaced text, `<!-- end of table -->`
_BLOCK = re.compile(r"^<!-- table ([\w.-]+) -->(\r?\n)(.*?)^<!-- end of table -->(?=\r?$)", re.MULTILINE | re.DOTALL)
_MARK = "<!-- table NAME --> and, on a later line, <!-- end of table -->"


#: a block of any other table: `<!-- made NAME -->`, the replaced text, `<!-- end -->`
_MADE = re.compile(r"^<!-- made ([\w.-]+) -->(\r?\n)(.*?)^<!-- end -->(?=\r?$)", re.MULTILINE | re.DOTALL)


def tables_of(text: str) -> list[str]:
    """Return the names of the tables that a page has marks for.

    Args:
        text: text of the page.
    """
    return [match[1] for match in _BLOCK.finditer(text)]


def filled(text: str, folder: Path) -> str:
    """Return the page with every table whose NAME.csv is in `folder`; other tables stay unchanged.

    Args:
        text: text of the page.
        folder: folder of the tables.
    """

    def block(match: re.Match[str]) -> str:
        source = folder / f"{match[1]}.csv"
        if not source.is_file():
            return match[0]
        text = f"<!-- table {match[1]} -->\n\n{markdown(read_comparison(source))}\n<!-- end of table -->"
        return text.replace("\n", match[2])

    return _BLOCK.sub(block, text)


def fill_pages(pages: Sequence[Path], results: Sequence[Results]) -> list[Path]:
    """Write the comparison tables of studies into the pages that have marks for them.

    The table of a study is kept as tables/NAME.csv next to the page, so that a page can be filled again without
    results.

    Args:
        pages: Markdown files.
        results: results of the studies.

    Returns:
        The paths of the files written.

    Raises:
        InputError: a page is missing or has no marks, or no page has marks for a study.
    """
    texts = {page: _read(page) for page in pages}
    for page, text in texts.items():
        if not tables_of(text):
            raise InputError(str(page), "no place for a table", "one at least", f"Write {_MARK}.")
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
    """Write a table between `<!-- made NAME -->` and `<!-- end -->` of a page, numbers with two decimals.

    Args:
        page: Markdown file.
        name: name in the marks.
        table: the table to write.

    Raises:
        InputError: the page is missing or has no such marks.
    """
    text = _read(page)
    known = [match[1] for match in _MADE.finditer(text)]
    if name not in known:
        step = f"{nearest(name, known)}Write <!-- made {name} --> and, on a later line, <!-- end -->."
        raise InputError(str(page), f"no place for {name!r}", ", ".join(known) or "one at least", step)
    block = f"<!-- made {name} -->\n\n{plain_table(table)}\n\n<!-- end -->"
    write_file(page, _MADE.sub(lambda m: block.replace("\n", m[2]) if m[1] == name else m[0], text))


def plain_table(table: DataFrame) -> str:
    """Return a table as Markdown: text left-aligned, numbers right-aligned, missing values empty."""
    from pandas.api.types import is_numeric_dtype

    heads = [str(name) for name in table.columns]
    rows = [["" if x != x else f"{x:.2f}" if isinstance(x, float) else str(x) for x in row] for row in table.to_numpy()]
    lines = [heads, ["---:" if is_numeric_dtype(table[name]) else "---" for name in table.columns], *rows]
    return "\n".join(map(table_line, lines))


def _read(page: Path) -> str:
    """Read a page without changing the ends of its lines."""
    if not page.is_file():
        raise InputError(str(page), "no such file", "a page of Markdown", "Check the path.")
    return read_file(page).decode()
