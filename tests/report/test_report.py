"""The report needs no other file, escapes what it quotes, and states what the table and the study say."""

from __future__ import annotations

import dataclasses
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from imc_sim.array import Chip, load_chip
from imc_sim.cli import main
from imc_sim.config import read_yaml
from imc_sim.plotting import figures_of
from imc_sim.plotting._metric import Metric
from imc_sim.report import conclusion, page, write_report
from imc_sim.report._report import _row
from imc_sim.report._settings import differences, study_settings, variants
from imc_sim.report._task import task_line
from imc_sim.study import Results, load_study
from imc_sim.study._points import points_of
from imc_sim.study._work import evaluator_digest
from imc_sim.testing import stand_in_evaluator


class Parsed(HTMLParser):
    """Everything a page would fetch, its tags, and its texts by tag."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.tags: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        wanted = ("src", "href", "xlink:href", "data", "srcset", "action")
        self.fetched += [v for k, v in attrs if k in wanted and v is not None and not v.startswith("#")]
        assert not [k for k, _ in attrs if k.startswith("on")]

    def handle_data(self, data: str) -> None:
        if self.tags:
            self.texts.setdefault(self.tags[-1], []).append(data)


@pytest.fixture(scope="module")
def text(results: Results) -> str:
    return page(results)


def test_the_page_needs_no_other_file_and_escapes_what_it_quotes(results: Results, text: str) -> None:
    parsed = Parsed(text)
    assert parsed.fetched == []
    assert parsed.tags.count("script") == 1
    assert not {"img", "image", "iframe", "link", "object", "embed", "form"} & set(parsed.tags)
    assert not re.search(r"url\((?!#)|@import", text)
    assert parsed.tags.count("svg") == 3
    assert "default-src &#x27;none&#x27;" in text or "default-src 'none'" in text
    path = write_report(results)
    assert path.read_text(encoding="utf-8") == text
    assert [p.name for p in path.parent.iterdir() if p.suffix == ".part"] == []


def test_a_report_writes_every_figure_with_its_data(results: Results, tmp_path: Path) -> None:
    folder = shutil.copytree(results.folder, tmp_path / "copy")
    for path in [*folder.glob("*.csv"), *folder.glob("*.svg"), *folder.glob("*.png")]:
        path.unlink()
    write_report(Results.load(folder), figures=True)
    kinds = figures_of(results)
    assert len(kinds) == 3
    for kind, each in kinds.items():
        assert (folder / f"{kind}.png").read_bytes().startswith(b"\x89PNG")
        assert "<svg" in (folder / f"{kind}.svg").read_text()
        assert len((folder / f"{kind}.csv").read_text().splitlines()) == 1 + len(each.data(results))


def test_the_page_holds_question_table_versions_and_time(results: Results, text: str) -> None:
    assert "Does it survive? --&gt;&lt;script&gt;" in text
    for record in results.table.to_dict("records"):
        assert f"{100 * record['p05']:.2f} to {100 * record['p95']:.2f}" in text
        low, high = (100 * (record["mean"] + sign * record["half_width"]) for sign in (-1, 1))
        assert f"{100 * record['mean']:.2f} ({max(0, low):.2f} to {min(100, high):.2f})" in text
    assert "the lowest and the highest of fewer than 19 hold less (60 % for 4)" in text
    assert "lowest to highest of chips" in text
    assert "5-95 % of chips (%)" not in text
    assert results.study["digest"] in text
    assert results.digest in text
    assert re.search(r"torch \d+\.\d+", text)
    assert re.search(r"\d+ s in all, last trial \d{4}-", text)
    assert str(results.folder) not in text


FULL = {"dataset": "glyphs", "split": "test", "way": 5, "shot": 1, "episodes": 50}


@pytest.mark.parametrize(
    ("study", "line"),
    [
        ({}, "5-way 1-shot accuracy on glyphs (test), 50 episodes a chip."),
        ({"axes": [{"path": "task.way"}]}, "1-shot accuracy on glyphs (test), 50 episodes a chip."),
        ({"cases": [{"set": {"task.dataset": "x"}}]}, "5-way 1-shot accuracy, 50 episodes a chip."),
        ({"axes": [{"path": "seed", "also": ["task.episodes"]}]}, "5-way 1-shot accuracy on glyphs (test)."),
        ({"derived": {"task.shot": {}}, "chip_task": {"episodes": 9}}, "5-way accuracy on glyphs (test), 9 episodes a"),
        ({"axes": [{"path": "task"}]}, "Accuracy."),
        ({"task": FULL | {"attack": {"kind": "fgsm", "epsilon": 0.1}}}, "queries attacked (fgsm, epsilon 0.1), 50"),
    ],
)
def test_the_caption_states_what_holds_for_the_task_at_every_point(study: dict[str, Any], line: str) -> None:
    assert line in task_line({"task": FULL, "axes": [], "cases": [{"set": {}}]} | study)


def test_the_answer_is_at_the_top_of_the_page(results: Results, text: str) -> None:
    (answer_html,) = re.findall(r'<p class="answer">(.*?)</p>', text)
    sentence = conclusion(results)
    assert answer_html == sentence.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace(
        '"', "&quot;"
    ).replace("'", "&#x27;")
    assert text.index("</header>") < text.index(answer_html) < text.index("<figure>")


def test_the_report_of_a_run_that_has_not_ended_begins_with_what_is_left(results: Results, tmp_path: Path) -> None:
    folder = shutil.copytree(results.folder, tmp_path / "copy")
    lines = (folder / "trials.jsonl").read_text().splitlines(keepends=True)
    (folder / "trials.jsonl").write_text("".join(lines[:-3]))
    found = Results.load(folder)
    assert (results.left, found.left) == (0, 3)
    assert conclusion(found).startswith("Not finished: 3 trials left. ")


def test_embedded_data_need_not_be_provided(results: Results) -> None:
    assert "The data are part of the installation: glyphs." in page(results)
    other = results.study | {"task": results.study["task"] | {"dataset": "mnist"}}
    assert "Provide the data: mnist" in page(dataclasses.replace(results, study=other))


def test_warnings_about_the_digital_network_are_between_the_answer_and_published_figures(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("answer", "baseline_warnings", "against_published"):
        monkeypatch.setattr(f"imc_sim.report._report.{name}", lambda *_, name=name, **__: name)
    monkeypatch.setattr("imc_sim.report._report.compares", lambda _: True)
    monkeypatch.setattr("imc_sim.report._report.comparison_data", lambda _: None)
    assert conclusion(results) == "answer baseline_warnings against_published"


def test_listed_settings_are_exactly_those_that_differ() -> None:
    chip = load_chip("rram_hfo2_1t1r").replace("converter.bits", 5).replace("tile.rows", 64)
    found = {s.path: (s.value, s.default) for s in differences(chip, "chip")}
    assert found["chip.converter.bits"] == ("5", "8")
    assert found["chip.tile.rows"] == ("64", "128")
    assert found["chip.device.g_lrs_S"] == ("0.000225", "")
    assert found["chip.device.programming.law_hrs"] == ("log_normal", "none")
    assert len(found) == 7, found
    assert not [path for path in found if path.endswith((".name", ".source", ".validity"))]


def test_another_kind_is_named_and_compared_with_its_own_defaults() -> None:
    plain = load_chip("rram_hfo2_1t1r")
    found = {s.path: s.value for s in differences(plain.replace("encoding", {"kind": "sliced"}), "chip")}
    assert found["chip.encoding.kind"] == "sliced"
    assert not [path for path in found if path.startswith("chip.encoding.") and not path.endswith("kind")]
    assert "chip.encoding.kind" not in {s.path for s in differences(plain, "chip")}
    assert isinstance(plain, Chip)


def test_settings_of_task_and_chips_are_listed(results: Results) -> None:
    found = {s.path: (s.value, s.default) for s in study_settings(results.study)}
    assert found["task.dataset"] == ("glyphs", "omniglot")
    assert found["chips.min"] == ("4", "30")
    assert not [path for path in found if path.startswith("engine")]
    older = {key: value for key, value in results.study.items() if key not in ("engine", "conductances")}
    assert {s.path: (s.value, s.default) for s in study_settings(older)} == found
    rows = dict(variants(results.study))
    assert rows["case b"] == "task.way = 4"
    assert rows["axis chip.tile.rows"] == "3, 10"


def test_a_study_of_another_version_keeps_its_report(results: Results) -> None:
    old = results.study | {"chip": results.study["chip"] | {"gone": 1}}
    found = {s.path: s.value for s in study_settings(old)}
    assert found["chip.gone"] == "1"
    assert found["chip.encoding.kind"] == "differential"


def test_settings_on_the_page_can_be_run(results: Results, text: str, tmp_path) -> None:
    (resolved,) = re.findall(r"<pre>(.*?)</pre>", text, re.DOTALL)
    import html

    (tmp_path / "study.yaml").write_text(html.unescape(resolved))
    again = points_of(load_study(tmp_path / "study.yaml"), evaluator_digest(stand_in_evaluator))
    assert [p.id for p in again] == [p["id"] for p in read_yaml(results.folder / "study.resolved.yaml")["points"]]


def test_the_command_prints_path_and_answer(results: Results, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(results.folder)]) == 0
    path, answer_html = capsys.readouterr().out.splitlines()
    assert path == str(results.folder / "report.html")
    assert answer_html == conclusion(results)


def test_equal_results_give_equal_pages(results: Results, text: str) -> None:
    render: Callable[[Results], str] = page
    assert render(Results.load(results.folder)) == text


def test_rows_of_the_table_show_an_interval_from_two_chips_on() -> None:
    record = {"case": "a", "mean": 0.9, "median": 0.92, "p05": 0.8, "p95": 0.99, "digital": 0.95}
    for chips, text in ((1, "90.00"), (2, "90.00 (85.00 to 94.00)")):
        cells = _row(record | {"chips": chips}, [], Metric(), (0.85, 0.94))
        assert cells[1] == (str(chips), chips)
        assert cells[2] == (text, pytest.approx(90.0))
