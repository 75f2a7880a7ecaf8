"""The report in a headless Chromium, from the disk: no request, no error, visible figures, sortable tables."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imc_sim.report import write_report
from imc_sim.study import Results

BOXES = """[...document.querySelectorAll("figure svg")].map(svg => {
  const b = svg.getBoundingClientRect();
  return {x: b.x + scrollX, y: b.y + scrollY, width: b.width, height: b.height};
})"""


@pytest.fixture(scope="module")
def page(browser: Any, results: Results, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return the browser with the report open, moved away from the results folder: the page needs no other file."""
    path = tmp_path_factory.mktemp("alone") / "report.html"
    path.write_bytes(write_report(results).read_bytes())
    browser.open(path)
    browser.path = path
    return browser


def test_the_page_opens_without_a_request_or_an_error(page: Any) -> None:
    requested = {request["request"]["url"] for request in page.of("Network.requestWillBeSent")}
    assert requested <= {page.path.as_uri()}
    assert page.of("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded") == []


def test_names_of_a_study_stay_text(page: Any) -> None:
    assert page.js("document.title") == "small - imc_sim"
    assert page.js("document.querySelectorAll('script').length") == 1
    assert page.js("document.querySelectorAll('img, iframe, link, object').length") == 0
    assert "onerror" in page.js("document.querySelector('p.question').textContent")


def test_figures_are_visible(page: Any) -> None:
    boxes = page.js(BOXES)
    assert len(boxes) == 3
    for box in boxes:
        assert box["width"] > 300
        assert box["height"] > 200
        pixels = np.asarray(Image.open(io.BytesIO(page.picture(box))).convert("RGB"), dtype=int)
        dark = (pixels.max(-1) < 90).mean()  # axes and letters
        coloured = (np.ptp(pixels, axis=-1) > 60).mean()  # lines, bands, maps
        assert dark > 0.002, box
        assert coloured > 0.002, box
    assert page.js("new Set([...document.querySelectorAll('[id]')].map(e => e.id)).size") == page.js(
        "document.querySelectorAll('[id]').length"
    )


def column(page: Any, head: int) -> list[str]:
    rows = "[...document.querySelectorAll('table[aria-label=results] tbody tr')]"
    return page.js(f"{rows}.map(r => r.cells[{head}].dataset.v ?? r.cells[{head}].textContent)")


def click(page: Any, head: int) -> str:
    button = f"document.querySelectorAll('table[aria-label=results] th button')[{head}]"
    place = page.js(
        f"{button}.scrollIntoView({{block: 'center'}}), (b => [b.x + b.width / 2, b.y + b.height / 2])"
        f"({button}.getBoundingClientRect())"
    )
    for kind in ("mousePressed", "mouseReleased"):
        page.call("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)
    return page.js(f"{button}.closest('th').getAttribute('aria-sort')")


def test_table_sorts_by_a_click(page: Any, results: Results) -> None:
    heads = page.js("[...document.querySelectorAll('table[aria-label=results] th')].map(h => h.textContent)")
    bits, median = 2, heads.index("median (%)")
    before = column(page, median)
    assert [float(v) for v in before] == [100 * m for m in results.table["median"]]
    assert click(page, median) == "ascending"
    assert [float(v) for v in column(page, median)] == sorted(float(v) for v in before)
    assert click(page, median) == "descending"
    assert [float(v) for v in column(page, median)] == sorted((float(v) for v in before), reverse=True)
    assert click(page, bits) == "ascending"
    assert [float(v) for v in column(page, bits)] == [3] * 8 + [10] * 8, "sorted as numbers, not as text"
    ties = [float(v) for v in column(page, median)]
    assert ties[:8] == sorted(ties[:8], reverse=True), "equal rows keep their order"
    assert page.js("document.querySelectorAll('table[aria-label=results] th[aria-sort]').length") == 1
    assert click(page, 0) == "ascending"
    assert column(page, 0)[-1] == "b"
    assert page.of("Runtime.exceptionThrown") == []


def test_the_page_fits_a_phone(page: Any) -> None:
    page.call("Emulation.setDeviceMetricsOverride", width=390, height=800, deviceScaleFactor=1, mobile=False)
    try:
        assert page.js("document.documentElement.scrollWidth") <= 390
        assert all(box["x"] >= 0 and box["x"] + box["width"] <= 390 for box in page.js(BOXES))
    finally:
        page.call("Emulation.clearDeviceMetricsOverride")


def test_a_forbidden_script_is_noticed(browser: Any, results: Results, tmp_path: Path) -> None:
    """The checks above work: the page's policy stops a foreign script and image, and reports it."""
    text = write_report(results).read_text(encoding="utf-8")
    foreign = "<script>document.title = 'taken'</script><img src='http://example.org/x.png'></body>"
    (tmp_path / "report.html").write_text(text.replace("</body>", foreign), encoding="utf-8")
    browser.open(tmp_path / "report.html")
    assert browser.js("document.title") == "small - imc_sim"
    complaints = [entry["entry"]["text"] for entry in browser.of("Log.entryAdded")]
    assert len([text for text in complaints if "Content Security Policy" in text]) == 2
