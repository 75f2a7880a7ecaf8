"""Pages keep their line endings, whatever tables are written into them."""

from __future__ import annotations

from pathlib import Path

import pytest
from pandas import DataFrame

from imc_sim.report._pages import fill_made, filled
from imc_sim.study import Results


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_written_tables_keep_line_endings(tmp_path: Path, ending: str) -> None:
    page = tmp_path / "page.md"
    lines = ["# Ü", "", "<!-- made t -->", "old", "<!-- end -->", "last"]
    page.write_bytes(ending.join(lines).encode())
    fill_made(page, "t", DataFrame({"a|b": ["x"], "n": [1.5]}))
    table = ["", r"| a\|b | n |", "| --- | ---: |", "| x | 1.50 |", ""]
    assert page.read_bytes().decode() == ending.join([*lines[:3], *table, *lines[4:]])


def test_a_page_with_both_endings_keeps_them(tmp_path: Path, results: Results) -> None:
    from imc_sim.plotting import comparison_data, save_table

    save_table(comparison_data(results), tmp_path / "small")
    text = (
        "one\r\ntwo\n<!-- table small -->\r\n<!-- end of table -->\r\n<!-- table none -->\nx\r\n<!-- end of table -->\n"
    )
    done = filled(text, tmp_path)
    assert done.startswith("one\r\ntwo\n<!-- table small -->\r\n\r\n| ")
    assert done.endswith("<!-- end of table -->\r\n<!-- table none -->\nx\r\n<!-- end of table -->\n")
    inside = done[done.index("<!-- table small") : done.index("<!-- table none")]
    assert inside.count("\n") == inside.count("\r\n") > 4
