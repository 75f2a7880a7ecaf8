"""Parts of the page that depend on the results: answers, failures, figures, provenance and steps of a repetition."""

from __future__ import annotations

import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from imc_sim.plotting import robustness_data
from imc_sim.report import Conclusion, _report, page
from imc_sim.report._html import svg, table
from imc_sim.report._report import _each, _failed, _provenance, _reproduce
from imc_sim.report._settings import differences
from imc_sim.study import Results


@pytest.mark.parametrize(("count", "shape"), [(0, ""), (2, "<ul>"), (6, "<ul>"), (7, "<details>"), (12, "<details>")])
def test_answers_of_many_series_are_opened_by_a_click(count: int, shape: str) -> None:
    found = _each([f"a<{n}" for n in range(count)])
    assert found.startswith(shape)
    listed = "".join(f"<li>a&lt;{n}</li>" for n in range(count))
    assert re.sub("</?(ul|details)>|<summary>.*</summary>", "", found) == listed
    assert (f"<summary>Each of {count} cases</summary>" in found) is (shape == "<details>")


def test_a_page_has_the_conclusion_that_is_known(results: Results) -> None:
    found = Conclusion.of(results)
    assert len(found.each) == len(set(robustness_data(results)["series"])) > 1
    assert page(results) == page(results, concluded=found)
    text = page(results, concluded=Conclusion("It <holds>.", ["always"]))
    assert '<p class="answer">It &lt;holds&gt;.</p><ul><li>always</li></ul></section>' in text
    one = replace(results, table=results.table.head(1), accuracies=results.accuracies[:1])
    assert Conclusion.of(one).each == [], "one series has the answer of the study"


def test_failed_trials_are_named_above_the_table(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    few: Any = SimpleNamespace(failed=3)
    assert "3 trials failed and are missing here; run the study again with --retry-failed." in _failed(few)
    few.failed = 0
    assert _failed(few) == ""
    monkeypatch.setattr(_report, "_failed", lambda _: "<p>some failed</p>")
    assert "<h2>Table</h2><p>some failed</p><div" in page(results)


def test_figures_have_captions_and_only_wide_ones_the_whole_width(results: Results) -> None:
    text = page(results)
    plates = re.findall(r'<figure><div class="plate( narrow)?"><svg role="img" aria-label="(\w+): ', text)
    assert {kind: not narrow for narrow, kind in plates} == {
        "robustness": True, "heatmap": False, "convergence": False,
    }  # fmt: skip
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", text)
    assert [" accuracy on glyphs (test)" in caption for caption in captions] == [True, False, False]
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids)) > 3
    assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', text)) <= set(ids)


def test_ids_of_a_figure_begin_with_its_name() -> None:
    source = '<?xml?><svg w="1"><!-- x --><metadata>m</metadata><a id="p"/><use href="#p" c="url(#p)"/></svg>'
    found = svg(source, "map", 'a "b"')
    start = '<svg role="img" aria-label="a &quot;b&quot;" w="1">'
    assert found == f'{start}<a id="map-p"/><use href="#map-p" c="url(#map-p)"/></svg>'


def results_with(**study: Any) -> Any:
    environment = {"versions": {"imc-sim": "9.8", "torch": "2.1"}, "seconds": 12.6, "finished": "2026-01-02"}
    usual = {"weights": {"m": "w1", "n": "w2"}, "digest": "of the study", "task": {"dataset": "d"}, "cases": [],
             "axes": [], "points": ["hidden"], "name": "s"}  # fmt: skip
    return SimpleNamespace(environment=environment, digest="of the results", study=usual | study)


def test_provenance_identifies_study_weights_and_results() -> None:
    assert _provenance(results_with()) == [
        ("study", "SHA-256 of the study"), ("weights of m", "SHA-256 w1"), ("weights of n", "SHA-256 w2"),
        ("results", "SHA-256 of the results"), ("versions", "imc-sim 9.8, torch 2.1"),
        ("evaluation", "13 s in all, last trial 2026-01-02"),
    ]  # fmt: skip


def steps(found: str) -> list[str]:
    return [re.sub("<.*?>", "", step) for step in re.findall("<li>(.*?)</li>", found)]


def test_a_repetition_needs_the_page_and_content_of_the_user() -> None:
    plain = _reproduce(results_with())
    first, data, here, alone, last = steps(plain)
    assert first.startswith("Install imc_sim 9.8, and the other versions")
    assert data.startswith("Provide the data: d (")
    assert here == "In the folder of this page: imc-sim run study.resolved.yaml --out again"
    assert alone == (
        "With this page alone, save the settings below as study.yaml anywhere: imc-sim run study.yaml --out again"
    )
    assert last.startswith("Compare the SHA-256")
    assert "hidden" not in plain
    assert "digest: of the study" in plain
    own = steps(_reproduce(results_with(content={"model": {"m": "./models/m"}, "files": {"./files/f.py": "0"}})))
    held = "which holds files/f.py, models/m, after you have read the code there"
    assert own[2] == f"In the folder of this page, {held}: imc-sim run study.resolved.yaml --out again --trust"
    assert own[3].startswith("With this page and files/f.py, models/m, save the settings below as study.yaml next to f")
    metric = {"name": "MAE", "unit": "", "better": "lower", "tolerance": None}
    task = {"kind": "function", "call": "f.py:g", "files": ["x.csv"]}
    for content, start in (({}, "Provide"), ({"files": {"./files/f.py": "0"}}, "In the folder of this page is")):
        asks = steps(_reproduce(results_with(metric=metric, task=task, content=content)))[1]
        assert asks == f"{start} the function that computes MAE and its files: f.py:g, x.csv."


def test_settings_of_the_same_kind_are_compared_with_those_of_the_default() -> None:
    from imc_sim.array import load_chip

    chip = load_chip("rram_hfo2_1t1r")
    other = chip.replace("tile.rows", 64).replace("converter.bits", 5)
    found = {s.path: (s.value, s.default) for s in differences(other, "chip", chip) if s.default}
    assert found == {
        "chip.tile.rows": ("64", str(chip.tile.rows)), "chip.converter.bits": ("5", str(chip.converter.bits)),
    }  # fmt: skip
    required = {s.path for s in differences(chip, "chip", chip)}
    assert required == {"chip.device.g_lrs_S", "chip.device.g_hrs_S"}, "required ones are always listed"


def test_settings_are_keys_of_the_file() -> None:
    """Parts of a cost have no key `kind`, but ADCs."""
    from imc_sim.array import load_chip

    kinds = [s.path for s in differences(load_chip("rram_xnor"), "chip") if s.path.endswith(".kind")]
    assert "chip.cost.converter.kind" in kinds
    assert not {"chip.cost.kind", "chip.cost.lines.kind"} & set(kinds)


def test_a_table_is_sorted_by_its_heads() -> None:
    made = table(["a", "b"], [["x", ("1", 1.0)]], "l")
    heads = "".join(f'<th scope="col"><button type="button">{name}</button></th>' for name in "ab")
    row = '<tr><td class="text">x</td><td data-v="1.0">1</td></tr>'
    assert made == (
        f'<div class="wide"><table class="sort" aria-label="l"><thead><tr>{heads}</tr></thead><tbody>{row}</tbody>'
        "</table></div>"
    )
