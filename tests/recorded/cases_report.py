"""Reports: answers, tables, comparisons, costs, settings, pages, and the text of whole reports."""

from __future__ import annotations

import html
import re
from typing import Any

import numpy as np
from pandas import DataFrame

from imc_sim.plotting import Metric, comparison_data, comparison_figure, robustness_data
from imc_sim.report import (
    against_published,
    answer,
    answers,
    caption,
    cells,
    conclusion,
    fill_made,
    fill_pages,
    filled,
    markdown,
    page,
    read_comparison,
    tables_of,
)  # fmt: skip
from imc_sim.report._answer import joined
from imc_sim.report._baseline import baseline_warnings
from imc_sim.report._certainty import ChipSample, resampled_medians
from imc_sim.report._costs import cost_section, not_counted, place_cell, quoted
from imc_sim.report._html import _cell, details, document, pairs, svg, table
from imc_sim.report._pages import plain_table
from imc_sim.report._report import _data_sets, _needed, _number, _own_content, _row, _statistics
from imc_sim.report._settings import study_settings, text, variants
from imc_sim.report._task import task_line
from imc_sim.study import Results, load_study, points_of, resolved, run
from tests.recorded.cases_results import FUNCTION, measured, score
from tests.recorded.cases_study import SWEPT
from tests.recorded.contents import csv, made_figure, short
from tests.recorded.made import folder, tried, without
from tests.recorded.stored import CASES, SIGMA, STUDIES, made, stored

PAGE = """# A\r
<!-- table recorded -->\r
old\r
END\r
<!-- table gone -->
old
END
end <!-- table x -->
<!-- made m -->
<!-- end -->
"""
X = [1.0, 2.0, 4.0, 8.0]


def curves(
    medians: dict[str, list[float]], x: list[Any] = X, digital: float | list[float] = 90.0, **attrs: Any
) -> DataFrame:
    rows = [
        (name, at, 3 + n % 2, value)
        for name, values in medians.items()
        for n, (at, value) in enumerate(zip(x, values, strict=True))
    ]
    data = DataFrame(rows, columns=["series", "x", "chips", "median"]).assign(digital=digital)
    data.attrs = {"x_name": "variation", "x_unit": "%", **attrs}
    return data


def sampled(medians: list[float], width: float = 0.6, chips: int = 5, same: bool = False) -> ChipSample:
    """Return chips offsets evenly around medians in %."""
    offsets = np.linspace(-width, width, chips)
    rows = tuple(tuple(float(f"{v:.4f}") for v in (0 * offsets if same else offsets) + m) for m in medians)
    return ChipSample(rows, resampled_medians(rows, factor=1.0))


def shortened(value: Any) -> Any:
    if isinstance(value, list):
        return [shortened(part) for part in value]
    words = {"The median of 3-4 chips stays within 1 point of digital (90.0 %)": "NEAR", "variation": "v"}
    for old, new in {**words, "Resampling the chips gives": "RESAMPLED"}.items():
        value = value.replace(old, new)
    return value


def record_answers() -> dict[str, Any]:
    """Sentences that answer a study, for each course of its medians."""
    courses = {
        "all": [90.0, 89.5, 89.2, 89.0], "none": [80.0, 81.0, 79.0, 70.0], "up to": [90.0, 89.0, 88.9, 60.0],
        "up to the first": [89.0, 80.0, 70.0, 60.0], "from": [70.0, 80.0, 89.1, 90.0],
        "from the last": [70.0, 80.0, 81.0, 90.0], "between": [70.0, 89.5, 90.0, 80.0],
        "gaps": [90.0, 80.0, 89.5, 70.0], "ends": [90.0, 80.0, 70.0, 90.0], "above": [95.0, 96.0, 97.0, 98.0],
        "tie": [89.0, 89.0, 88.0, 88.0],
    }  # fmt: skip
    lower = Metric.of({"metric": {"name": "error", "unit": "V", "better": "lower", "tolerance": 0.5}})
    relative = Metric.of({"metric": {"name": "gain", "unit": "", "better": "higher", "tolerance": None}})
    found: dict[str, Any] = {}
    for name, medians in courses.items():
        for width, same in ((0.6, False), (3.0, True)):
            found[f"{name}, {width}"] = answers(curves({"all": medians}), None, sampled(medians, width, same=same))
        found[f"{name}, error"] = answers(curves({"all": [180 - m for m in medians]}, metric=lower))
        found[f"{name}, gain"] = answer(curves({"all": medians}, metric=relative))
    found["within 5"] = answer(curves({"all": courses["gaps"]}), 5.0)
    names = ["one", "two", "three", "four"]
    for name in ("all", "none", "up to", "gaps"):
        found[f"{name}, named"] = answers(curves({"all": courses[name]}, names))
    found["one value"] = answers(curves({"all": [90.0]}, [0.25]), None, sampled([90.0], chips=1))
    several = {
        "a": courses["all"],
        "b": courses["up to"],
        "c": courses["up to"],
        "d": courses["none"],
        "e": courses["up to"],
        "f": courses["up to"],
    }
    data = curves(several)
    chips = sampled([m for medians in several.values() for m in medians])
    found["several"] = [answer(data), answer(data, 2.0, chips), *answers(data, None, chips)]
    found["all equal"] = answer(
        curves({"a": courses["all"], "b": courses["all"]}), None, sampled([*courses["all"], *courses["all"]], 0.001)
    )
    mixed = curves(
        {"a": courses["all"], "b": courses["up to"]}, digital=[90.0, 91.0, 90.0, 90.0, 95.0, np.nan, 90.0, 90.0]
    )
    found["unknown"] = [answer(mixed), *answers(mixed)]
    found["unsorted"] = answer(
        curves({"all": [60.0, 90.0, 89.5, 88.0]}, [8.0, 1.0, 2.0, 4.0]), None, sampled([60.0, 90.0, 89.5, 88.0])
    )
    found = {name: shortened(value) for name, value in found.items()}
    found["joined"] = [joined(list("abc"[:n]), word) for n, word in ((1, "and"), (2, "or"), (3, "and"))]
    found["resampled"] = resampled_medians(((0.5, 0.7, 0.9), (0.2, 0.4)), 7)
    sample = ChipSample(((0.5, 0.6), (0.5, 0.6), (0.7,), (0.5, 0.6)), np.zeros((1, 4)))
    found["equal"] = [sample.equal([0, 1, 2, 3]), sample.equal([0, 2]), sample.alone([0, 1]), sample.alone([2])]
    return found


def record_comparisons() -> dict[str, Any]:
    """Tables of published and found accuracies, their captions and sentences."""
    found: dict[str, Any] = {}
    for name in ("cases", "no axes", "alone", "one axis"):
        data = comparison_data(STUDIES[name])
        heads, rows = cells(data)
        found[name] = [
            heads,
            [[cell if isinstance(cell, str) else list(cell) for cell in row] for row in rows[:2]],
            caption(data),
            against_published(data),
            against_published(data, 2.5),
        ]
        found[f"{name}, page"] = markdown(data).splitlines()[:4]
    data = comparison_data(STUDIES["cases"])
    data.loc[1, "chip"], data.loc[2, "chip_task"], data["note"] = (
        "other | chip",
        "way 3, episodes 3",
        ["a|b", "", "$x$"] * 2,
    )
    found["mixed"] = [cells(data)[0], markdown(data).splitlines(), caption(data)]
    data.attrs["chance"] = 20.0
    for name, part in (("chips", data), ("one chip", data[data["chip"] == "chip"]), ("above chance", data.iloc[:1])):
        found[f"figure, {name}"] = made_figure(comparison_figure, part)
    found["warnings"] = [
        baseline_warnings(robustness_data(STUDIES[name]), STUDIES[name]) for name in ("one axis", "scores", "cases")
    ]
    low = stored([SIGMA])
    low.table["digital"] = [0.25, 0.9, 0.2]
    found["at chance"] = baseline_warnings(robustness_data(low), low)
    low.table["digital"] = [0.25, 0.28, 0.2]
    found["all at chance"] = baseline_warnings(robustness_data(low), low)
    with folder() as at:
        (at / "tables").mkdir()
        page_of = at / "page.md"
        page_of.write_text(PAGE.replace("END", "<!-- end of table -->"))
        found["places"] = tables_of(page_of.read_bytes().decode())
        found["written"] = [path.name for path in fill_pages([page_of], [STUDIES["cases"]])]
        found["filled"] = [
            line if len(line) < 60 else short(line) for line in page_of.read_bytes().decode().split("\n")
        ]
        found["read"] = csv(read_comparison(at / "tables" / "recorded.csv"))[:3]
        found["again"] = filled(page_of.read_bytes().decode(), at / "tables") == page_of.read_bytes().decode()
        fill_made(page_of, "m", DataFrame({"a": [1, 2], "b": [0.126, np.nan], "c": ["x|y", "z"]}))
        found["made"] = page_of.read_bytes().decode().split("\n")[-8:]
        other: Any = made(study={"name": "recoded"}, folder=at / "r")
        (at / "empty.md").write_text("nothing")
        calls: Any = {
            "no place": lambda: fill_pages([page_of], [other]),
            "no table": lambda: fill_pages([at / "empty.md"], []),
            "no page": lambda: fill_pages([at / "q.md"], []),
            "not made": lambda: fill_made(page_of, "n", DataFrame()),
        }
        found |= {name: without(tried(call), at) for name, call in calls.items()}
    found["plain"] = plain_table(DataFrame({"n": [3], "x": [1.005], "t": ["a"]})).splitlines()
    return found


def record_parts_of_pages() -> dict[str, Any]:
    """Cells, tables, pairs, costs, settings and lines of the task."""
    found: dict[str, Any] = {"table": table(["a<b", "c"], [["x&y", ("1.5", 1.5)], ["", ("-", float("nan"))]], 'l"')}
    found["cells"] = [_cell(each) for each in ("t", ("1", 1), ("n", "key"))] + [
        details("s<", "<b>"),
        pairs([("k", "v"), ("e", ""), ("q&", "<")]),
    ]
    page_text = document("t<", ["<p>", "<q>"])
    found["document"] = [
        line
        for line in re.sub(r"<style>.*?</style>|<script>.*?</script>", "", page_text, flags=re.DOTALL).splitlines()
        if line
    ]
    from imc_sim.plotting import new_figure, style, svg_text

    with style():
        image = svg(svg_text(new_figure()[0]), "name", "a <label>")
    found["svg"] = [
        image[:60],
        "<metadata" in image,
        "<!--" in image,
        set(re.findall(r'\bid="(\w+)-', image)) == {"name"},
        set(re.findall(r"url\(#(\w+)-", image)) <= {"name"},
    ]
    priced = STUDIES["two axes"]
    section = cost_section(priced)
    found["costs"] = [
        html.unescape(re.sub(r"<[^>]+>", "|", section)).replace("||", "|"),
        cost_section(STUDIES["one axis"]),
    ]
    many = STUDIES["many cases"]
    found["many costs"] = short(cost_section(many))
    row = {
        "chips": 3,
        "energy_J": 1.5e-9,
        "energy_p05_J": 1e-9,
        "energy_p95_J": 2e-9,
        "latency_s": float("nan"),
        "median": 91.26,
        "p05": 90.0,
        "p95": 92.0,
        "label": "a",
    }
    found["quoted"] = [
        quoted({**row, **more}, Metric()) for more in ({}, {"chips": 1, "latency_s": 2e-6, "label": ""}, {"chips": 19})
    ]
    priced.study["chip"]["cost"] = {"rows_per_read": 16, "source": "a paper"}
    found["not counted"] = not_counted(priced)
    del priced.study["chip"]["cost"]
    found["places"] = [place_cell(v, SIGMA) for v in (0.25, "a", True, None)]
    found["numbers"] = [_number(v) for v in (1.23456789, "a", 3, None)]
    record = {
        "case": "c",
        "chip.s": 0.1,
        "chips": 3,
        "mean": 0.5,
        "median": 0.6,
        "p05": 0.4,
        "p95": 0.7,
        "digital": 0.8,
    }
    found["rows"] = [
        _row({**record, **more}, [SIGMA], m, (0.45, 0.55))
        for m in (Metric(), Metric.of({"metric": {"name": "e", "unit": "V", "better": "lower", "tolerance": None}}))
        for more in ({}, {"chips": 1}, {"digital": float("nan")})
    ]
    found["statistics"] = [
        _statistics(made(table=DataFrame({"chips": chips}), study=study))
        for chips, study in (
            ([1, 30], {}),
            ([5, 3, 18, 19], {}),
            ([30], {"metric": {"name": "e", "unit": "V", "better": "lower", "tolerance": 1.0}}),
        )
    ]
    found["texts"] = [text(v) for v in (None, True, False, 0.5, 3, "a", {"a": [1, "ä"]}, (1, 2))]
    tasks: list[dict[str, Any]] = [{},
        {"task": {"kind": "classification", "dataset": "mnist", "split": "test", "images": 100,
            "attack": {"kind": "pgd", "epsilon": 0.25}}},
            {"chip_task": {"episodes": 5}, "axes": [{"path": "task.way", "also": ["task.dataset"]}]},
                                   {"task": {"kind": "function", "metric": "mean error", "call": "./a/f.py:g"}},
                                       {"axes": [{"path": "task"}]},
                                           {"derived": {"task.shot": "x"},
                                               "cases": [{"name": "a", "set": {"task.split": 1},
                                               "sweep": ["task.episodes"]}]}]  # fmt: skip
    base = STUDIES["one axis"].study
    found["task lines"] = [task_line(base | change) for change in tasks]
    found["variants"] = variants(
        base
        | {
            "cases": [{"name": "a", "set": {"x": True, "y": {"z": 1}}, "sweep": ["p", "q"]}, {"name": "b", "set": {}}],
            "axes": [
                {"path": "p", "values": [1, 0.5, None], "labels": []},
                {"path": "q", "values": [1], "labels": ["one"]},
            ],
        }
    )
    found["data"] = [
        _data_sets(
            base
            | {
                "chip_task": {"dataset": "a"},
                "cases": [{"set": {"task": {"dataset": "b"}}}, {"set": {"task.dataset": "c"}}],
                "axes": [
                    {"path": "task.dataset", "values": ["d", "a"]},
                    {"path": "x", "also": ["task.dataset"], "values": ["e"]},
                    {"path": "y", "values": [{"dataset": "f"}, 3]},
                ],
            }
        )
    ]
    content = {
        "content": {
            "model": {"m": "./models/m", "n": "shipped:n"},
            "chip": {"c": "./device_configs/c.yaml"},
            "files": {"./models/m/net.py": "1", "./files/f.py": "2"},
        }
    }
    found["own"] = [_own_content(content), _own_content({})]
    metric = {"metric": {"name": "e"}, "task": {"call": "f.py:g", "files": ["a", "b"]}}
    found["needed"] = [_needed({**metric, **more}, "mnist")[0] for more in ({}, content)] + [
        _needed({"task": {}}, "mnist, usps")[0]
    ]
    return found


def record_reports() -> dict[str, Any]:
    """Text of whole reports, without drawings and what belongs to one run."""
    found: dict[str, Any] = {}
    with folder() as at:
        (at / "f.py").write_text("def score(network, chip):\n    return 0.5\n")
        studies: dict[str, tuple[dict[str, Any], Any]] = {
            "swept": (SWEPT, score),
            "cases": ({key: value for key, value in SWEPT.items() if key not in ("axes", "derived", "skip")}
            | {"cases": [{"name": "a", "published": 0.95}, {"name": "b", "set": {"task.keys": "float"}}]}, score),
            "function": (FUNCTION, measured),
        }  # fmt: skip
        for name, (study, evaluator) in studies.items():
            results = run(study, at / name, evaluator=evaluator)
            found[f"{name}, conclusion"] = conclusion(results)
            found[f"{name}, settings"] = [
                " | ".join(each[:3]) for each in study_settings(results.study) if each.path != "chip.device.g_lrs_S"
            ]
            found[name] = lines_of(page(results), results)
        found["checked"] = resolved(load_study(SWEPT), points_of(load_study(SWEPT)))["digest"][:12]
    return found


def lines_of(text_of: str, results: Results) -> list[str]:
    """Return the words of a page; long ones by their digest."""
    plain = re.sub(
        r"<svg.*?</svg>|<style>.*?</style>|<script>.*?</script>|<pre>.*?</pre>", "", text_of, flags=re.DOTALL
    )
    plain = re.sub(r"(SHA-256 )?[0-9a-f]{64}", "DIGEST", html.unescape(re.sub(r"<[^>]+>", "\n", plain)))
    lines = [line.strip() for line in plain.splitlines() if line.strip()]
    lines = [
        line
        for line in lines
        if "torch" not in line and "s in all" not in line and not line.startswith("Install imc_sim")
    ]
    start = lines.index("Settings that differ from defaults")
    rest = lines[start:]
    end = rest.index("Cases and axes")
    return [
        *lines[:3],
        short("\n".join(lines[3:start])),
        *[short(line) for line in lines[3:start] if len(line) > 60],
        *[short(line) if len(line) > 60 else line for line in rest[end:]],
    ]


def record_report_figures() -> dict[str, Any]:
    """The wide figure of the report, and its cases."""
    from imc_sim.plotting import robustness_figure

    data = robustness_data(STUDIES["cases"])
    return {"wide": made_figure(robustness_figure, data, 5.6, 3.2), "names": [case["name"] for case in CASES]}
