"""The table of a reproduced system as text: in the report, in Markdown, and between the marks of pages of prose."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

import pytest
from pandas import DataFrame
from pandas.testing import assert_frame_equal

from imc_sim import InputError
from imc_sim.cli import main
from imc_sim.config import content_names, find_content, read_yaml
from imc_sim.plotting import comparison_data, save_table
from imc_sim.plotting._comparison import COLUMNS, published_of
from imc_sim.report import (
    against_published,
    caption,
    fill_pages,
    filled,
    markdown,
    read_comparison,
    tables_of,
    write_report,
)
from imc_sim.study import Results, run
from imc_sim.testing import stand_in_evaluator

NAN = float("nan")
ROW: dict[str, Any] = {
    "setting": "S1", "published": 97.64, "digital": 98.9, "digital_low": 97.66544, "digital_high": 99.4,
    "digital_over": "9 episodes", "classes": 60, "classes_low": 96.0, "classes_high": 99.6,
    "same_task": 97.0, "same_task_low": 96.5, "same_task_high": 97.4,
    "on_chip": 90.0, "on_chip_low": NAN, "on_chip_high": NAN,
    "chips": 1, "chip": "c",
    "chip_task": "episodes 5, keys binary", "model": "m", "trained": "6 episodes", "note": "a | b",
}  # fmt: skip
STUDY: dict[str, Any] = {
    "name": "table", "model": "batmann_5w1s_xnor", "chip": "rram_hfo2_1t1r", "chips": {"min": 3},
    "task": {"dataset": "glyphs", "split": "test"}, "chip_task": {"episodes": 5},
    "cases": [{"name": "<S1>", "published": 0.99, "note": "n"}, {"name": "S2", "set": {"task.keys": "binary"}}],
}  # fmt: skip
END = "<!-- end of table -->\n"
PAGE = f"# Page\n\n<!-- table table -->\nold\n{END}\n<!-- table later -->\nnot yet\n{END}"


def table(*changes: dict[str, Any]) -> DataFrame:
    return DataFrame([ROW | change for change in changes], columns=COLUMNS)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return run(STUDY, tmp_path_factory.mktemp("table") / "study", evaluator=stand_in_evaluator)


def test_markdown_holds_the_numbers_of_the_table() -> None:
    text = markdown(table({}, {"setting": "S2", "published": NAN, "chip_task": "episodes 5", "note": ""}))
    heads, _, first, second, _, sentence = text.splitlines()
    columns = [part.strip() for part in heads.strip("|").split("|")]
    cells = [part.strip() for part in first.replace("\\|", "/").strip("|").split("|")]
    assert dict(zip(columns, cells, strict=True)) == {
        "setting": "S1",
        "published": "97.64",
        "ours, digital": "98.90",
        "95 % interval": "97.67 to 99.40",
        "95 % interval, new classes": "96.00 to 99.60",
        "ours, digital, reduced task": "97.00 (96.50 to 97.40)",
        "ours on c": "90.00",
        "95 % interval over chips": "-",
        "chips": "1",
        "trained": "6 episodes",
        "reduced task": "keys binary",
        "note": "a / b",
    }
    assert second.startswith("| S2 | - | 98.90 ")
    assert "over 9 episodes (on the reduced task, over those of that task), on chips of the mean" in sentence
    assert sentence.endswith("Reduced task: episodes 5.")


def test_empty_columns_are_left_out() -> None:
    empty = dict.fromkeys(("published", "same_task", "same_task_low", "same_task_high"), NAN)
    plain = empty | {"classes": 0, "chip_task": "", "note": ""}
    heads = markdown(table(plain)).splitlines()[0]
    assert (
        heads == "| setting | ours, digital | 95 % interval | ours on c | 95 % interval over chips | chips | trained |"
    )
    assert "Reduced task" not in caption(table(plain))
    assert "| chip |" in markdown(table(plain, plain | {"chip": "d"}))


def test_a_table_read_from_its_file_is_unchanged(tmp_path: Path) -> None:
    data = table({}, {"setting": "None", "digital": NAN, "trained": "", "digital_over": "", "note": "", "chip": "NA"})
    again = read_comparison(save_table(data, tmp_path / "t"))
    assert_frame_equal(again, data)
    assert markdown(again) == markdown(data)


@pytest.mark.parametrize(
    ("digital", "sentence"),
    [
        ([97.0, 96.65], "2 of 2 settings reach the published accuracy or come within 1 point of it."),
        ([97.0, 95.0], "1 of 2 settings reach the published accuracy or come within 1 point; short of it: b (-2.6)."),
        ([NAN, 97.0], "1 of 1 settings"),
    ],
)
def test_one_sentence_names_the_publication(digital: list[float], sentence: str) -> None:
    rows = [{"setting": name, "digital": value} for name, value in zip("ab", digital, strict=True)]
    assert sentence in against_published(table(*rows))
    assert against_published(table({"published": NAN})) == ""


def test_the_report_shows_the_table_and_writes_its_file(results: Results) -> None:
    page = write_report(results).read_text()
    section = page[page.index("<h2>Published and ours</h2>") : page.index("<h2>Table</h2>")]
    assert 'class="sort"' in section
    assert "&lt;S1&gt;" in section
    assert 'data-v="99.0"' in section
    data = comparison_data(results)
    assert (results.folder / "comparison.md").read_text() == markdown(data)
    assert_frame_equal(read_comparison(results.folder / "comparison.csv"), data, check_dtype=False)
    assert against_published(data) in html.unescape(page)


def test_tables_are_written_between_their_marks_only(
    results: Results, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    assert main(["report", str(results.folder), "--page", str(page), "--quiet"]) == 0
    assert capsys.readouterr().out.split() == [str(tmp_path / "tables" / "table.csv"), str(page)]
    data = markdown(read_comparison(tmp_path / "tables" / "table.csv"))
    assert page.read_text() == PAGE.replace("old\n", f"\n{data}\n")
    assert main(["report", "--page", str(page), "--quiet"]) == 0, "from the stored table"
    assert page.read_text() == PAGE.replace("old\n", f"\n{data}\n")


def test_pages_without_marks_are_refused(results: Results, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE.replace("table table", "table tabel"))
    assert main(["report", str(results.folder), "--page", str(page), "--quiet"]) == 2
    assert "Did you mean 'tabel'" in capsys.readouterr().err
    page.write_text("# No place\n")
    assert main(["report", "--page", str(page), "--quiet"]) == 2
    assert "no place for a table" in capsys.readouterr().err
    with pytest.raises(InputError, match="no such file"):
        fill_pages([tmp_path / "none.md"], [])


def test_tables_of_the_documentation_are_those_of_the_files(repository: Path) -> None:
    """No number of a table was typed: each is that of its CSV, and every CSV is shown or linked by a page."""
    pages = {page: page.read_text(encoding="utf-8") for page in sorted((repository / "docs").glob("*.md"))}
    assert any(map(tables_of, pages.values()))
    for page, text in pages.items():
        assert filled(text, page.parent / "tables") == text, page.name
    places = {name for text in pages.values() for name in tables_of(text)}
    kept = {path.stem for path in (repository / "docs" / "tables").glob("*.csv")}
    linked = {name for text in pages.values() for name in re.findall(r"\]\(tables/([\w-]+)\.csv\)", text)}
    assert kept <= places | linked


def test_make_reproduces_what_ships_and_fills_all_marks(repository: Path) -> None:
    text = (repository / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")
    sentence = {
        key: next(line for line in text.splitlines() if line.startswith(f"{key} :=")).split()[2:]
        for key in ("TABLED", "REPRODUCED", "PAGES")
    }
    assert "$(TABLED)" in sentence["REPRODUCED"], "every table of a page is made again"
    shipped = set(content_names("study")) - {"quickstart"}
    assert {*sentence["TABLED"], *sentence["REPRODUCED"]} - {"$(TABLED)"} == shipped
    places = [name for page in sentence["PAGES"] for name in tables_of((repository / page).read_text(encoding="utf-8"))]
    assert sorted(places) == sorted(sentence["TABLED"])
    studies = [read_yaml(find_content("study", name)) for name in places]
    assert all(not study.get("axes") or any(map(published_of, study["cases"])) for study in studies)
