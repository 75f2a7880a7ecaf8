"""Write the report: a self-contained page with answer, figures, table, settings, provenance and reproduction."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from imc_sim._arguments import checked
from imc_sim._files import write_file
from imc_sim._quantities import number_of
from imc_sim._stats import FULL_BAND, band_label
from imc_sim.config import write_yaml
from imc_sim.data import DATASETS
from imc_sim.plotting import (
    Metric,
    compares,
    comparison_data,
    figures_of,
    heading,
    is_number,
    robustness_data,
    robustness_figure,
    save_table,
    style,
    svg_text,
    write_drawn,
)
from imc_sim.report._answer import answer, answers
from imc_sim.report._baseline import baseline_warnings
from imc_sim.report._certainty import ChipSample
from imc_sim.report._comparison import against_published, caption, cells, write_comparison
from imc_sim.report._costs import cost_section, place_cell
from imc_sim.report._html import Cell, details, document, escaped, pairs, svg, table
from imc_sim.report._settings import study_settings, variants
from imc_sim.report._task import task_line

if TYPE_CHECKING:
    from pandas import DataFrame

    from imc_sim.study import Results

#: rows of a figure's data that the page contains; longer tables are only in the file next to it
_ROWS = 400
#: figures that have the whole width of the page
_WIDE = ("robustness", "comparison")
_COMPARE = (
    "Compare the SHA-256 of the results with the one above. Every random number is addressed by seed, chip, layer and "
    "cell; neither the number of processors nor the order of the trials changes it."
)


@final
@dataclass(frozen=True)
class Conclusion:
    """Hold the answer of a study.

    Attributes:
        text: the answer to its question, whether published accuracies were reached, and how many trials are left.
        each: the answer of each series, if there are several.
    """

    text: str
    each: list[str]

    @classmethod
    def of(cls, results: Results) -> Conclusion:
        """Return the conclusion of the results of a study.

        Args:
            results: of the study.
        """
        published = against_published(comparison_data(results)) if compares(results) else ""
        data, chips = robustness_data(results), ChipSample.of(results)
        left = f"Not finished: {number_of(results.left, 'trial')} left." if results.left else ""
        parts = [left, answer(data, chips=chips), baseline_warnings(data, results), published]
        each = answers(data, chips=chips) if len(set(data["series"])) > 1 else []
        return cls(" ".join(filter(None, parts)), each)


@checked
def write_report(results: Results, figures: bool = False, concluded: Conclusion | None = None) -> Path:
    """Write report.html into the results folder, a page without external assets.

    For a study with published accuracies, or of cases alone, comparison.csv and comparison.md are written too.

    Args:
        results: results of the study.
        figures: whether to write the figures as files too, as `imc_sim.plotting.draw` does, drawn once for both.
        concluded: conclusion of the study; None: it is computed.

    Returns:
        The path of the page.
    """
    write_comparison(results)
    path = results.folder / "report.html"
    write_file(path, page(results, figures, concluded))
    return path


def conclusion(results: Results) -> str:
    """Return the answer to the question of the study, and whether published accuracies were reached.

    Args:
        results: results of the study.
    """
    return Conclusion.of(results).text


def page(results: Results, figures: bool = False, concluded: Conclusion | None = None) -> str:
    """Return the whole page as text.

    Args:
        results: results of the study.
        figures: whether to write the figures as files into the results folder.
        concluded: conclusion of the study; None: it is computed.
    """
    study, found = results.study, concluded or Conclusion.of(results)
    body = [
        f'<header><p class="kind">imc_sim study</p><h1>{escaped(study["name"])}</h1>',
        f'<p class="question">{escaped(study["question"] or study["summary"])}</p></header>',
        f'<section class="answer"><p class="answer">{escaped(found.text)}</p>{_each(found.each)}</section>',
        _comparison(results),
        *_figures(results, figures),
        f"<h2>Table</h2>{_failed(results)}{_table(results)}",
        cost_section(results),
        f"<h2>Settings that differ from defaults</h2>{_settings(study)}",
        f"<h2>Provenance</h2>{pairs(_provenance(results))}",
        f"<h2>How to reproduce</h2>{_reproduce(results)}",
    ]
    return document(f"{study['name']} - imc_sim", body)


def _comparison(results: Results) -> str:
    """Return the comparison table, if there is one."""
    if not compares(results):
        return ""
    data = comparison_data(results)
    heads, rows = cells(data)
    shown = table(heads, rows, "published and ours")
    return f'<h2>Published and ours</h2>{shown}<p class="note">{escaped(caption(data))}</p>'


def _each(found: list[str]) -> str:
    """Return the answers series by series, if there are several."""
    listed = "".join(f"<li>{escaped(line)}</li>" for line in found)
    if len(found) <= 6:
        return f"<ul>{listed}</ul>" * bool(found)
    return details(f"Each of {len(found)} cases", f"<ul>{listed}</ul>")


def _figures(results: Results, files: bool) -> list[str]:
    """Return the figures of the study with their captions and data, and write their files."""
    parts = []
    for kind, each in figures_of(results).items():
        data, wide, text = each.data(results), kind == "robustness", ""
        if files:
            save_table(data, results.folder / kind)
        with style():
            if files:
                text = write_drawn(each.figure(data), results.folder / kind)
            if wide or not files:
                text = svg_text(robustness_figure(data, 5.6, 3.2) if wide else each.figure(data))
        drawn = svg(text, kind, f"{kind}: {each.caption}")
        plate = f'<div class="plate{"" if kind in _WIDE else " narrow"}">{drawn}</div>'
        caption = f"{task_line(results.study)} {each.caption}" if wide else each.caption
        parts.append(f"<figure>{plate}<figcaption>{escaped(caption)}</figcaption>{_data(data, kind)}</figure>")
    return parts


def _data(data: DataFrame, kind: str) -> str:
    """Return the data of a figure, equal to the file next to the page."""
    label = f"Data of this figure ({kind}.csv)"
    if len(data) > _ROWS:
        return f'<p class="note">{escaped(f"{label}: {len(data)} rows, in the file next to this page.")}</p>'
    rows: list[list[Cell]] = [[_number(v) for v in row] for row in data.to_numpy(object).tolist()]
    return details(label, table([str(c) for c in data.columns], rows, label))


def _number(value: Any) -> Cell:
    return (f"{value:.6g}", value) if is_number(value) else str(value)


def _table(results: Results) -> str:
    axes, metric = results.study["axes"], Metric.of(results.study)
    shown = ("mean, 95 % interval", "median", band_label(results.table["chips"], named=False), "digital")
    heads = ["case", *map(heading, axes), "chips", *(f"{name}{metric.in_brackets}" for name in shown)]
    each = zip(results.table.to_dict("records"), results.intervals, strict=True)
    rows = (_row(record, axes, metric, ends) for record, ends in each)
    return f'{table(heads, rows, "results")}<p class="note">{escaped(_statistics(results))}</p>'


def _statistics(results: Results) -> str:
    """Describe the intervals and the band of the table, and the random numbers that its points share."""
    few = sorted({int(n) for n in results.table["chips"] if 1 < n < FULL_BAND})
    content = ", ".join(f"{100 * (n - 1) / (n + 1):.0f} % for {n}" for n in few)
    held = f"; the lowest and the highest of fewer than {FULL_BAND} hold less ({content})" if few else ""
    metric = Metric.of(results.study)
    what = "" if metric.is_share else f"Results: {metric.name} of the user's function. "
    limits = " within 0 and 100 %; Wilson's where all chips score the same although they can differ"
    limits = limits if metric.is_share else ""
    return (
        f"{what}Interval: of the mean over chips (Student t{limits}). Band: 5 % and 95 % quantile over chips at "
        f"plotting positions k / (n + 1), between which 90 % of all chips lie on average{held}. All points have the "
        "same chip numbers, which share their random numbers: curves look smoother than those of independent chips."
    )


def _row(
    record: dict[Any, Any], axes: list[dict[str, Any]], metric: Metric, interval: tuple[float, float]
) -> list[Cell]:
    """Return a row of the table of results."""
    held = {key: metric.factor * record[key] for key in ("mean", "median", "p05", "p95", "digital")}
    low, high = (metric.factor * end for end in interval)
    text = metric.number
    ends = f" ({text(low)} to {text(high)})" if record["chips"] > 1 else ""
    return [
        str(record["case"]),
        *(place_cell(record[axis["path"]], axis) for axis in axes),
        (str(record["chips"]), record["chips"]),
        (f"{text(held['mean'])}{ends}", held["mean"]),
        (text(held["median"]), held["median"]),
        (f"{text(held['p05'])} to {text(held['p95'])}", held["p05"]),
        (text(held["digital"]) if held["digital"] == held["digital"] else "not yet", held["digital"]),
    ]


def _failed(results: Results) -> str:
    if not results.failed:
        return ""
    text = f"{results.failed} trials failed and are missing here; run the study again with --retry-failed."
    return f"<p><strong>{text}</strong></p>"


def _settings(study: dict[str, Any]) -> str:
    """Return model, chip and the settings that differ from their defaults, then cases and axes."""
    chip = study["chip"]
    prose = pairs([("model", study["model"]), ("chip", chip["name"]), ("source", chip["source"]),
                   ("valid for", chip["validity"])])  # fmt: skip
    found = study_settings(study)
    rows: list[list[Cell]] = [[s.path, s.value, s.default, s.meaning] for s in found]
    note = "SI units. An empty default: the setting is required. All other settings: see the end of the page."
    changed = table(["setting", "value", "default", "meaning"], rows, "settings that differ from defaults")
    return f'{prose}{changed}<p class="note">{note}</p><h3>Cases and axes</h3>{pairs(variants(study))}'


def _provenance(results: Results) -> list[tuple[str, str]]:
    """Return what identifies study, weights and results, and the versions that computed them."""
    e = results.environment
    versions = ", ".join(f"{name} {version}" for name, version in e["versions"].items())
    weights = [(f"weights of {name}", f"SHA-256 {digest}") for name, digest in results.study["weights"].items()]
    return [
        ("study", f"SHA-256 {results.study['digest']}"),
        *weights,
        ("results", f"SHA-256 {results.digest}"),
        ("versions", versions),
        ("evaluation", f"{e['seconds']:.0f} s in all, last trial {e['finished']}"),
    ]


def _reproduce(results: Results) -> str:
    """Return the steps that compute the results again, and all settings."""
    study = results.study
    version = results.environment["versions"].get("imc-sim", "")
    resolved = write_yaml({key: value for key, value in study.items() if key != "points"})
    own, data = _own_content(study), ", ".join(_data_sets(study))
    given = f"With this page and {own}" if own else "With this page alone"
    where = f"next to {own}" if own else "anywhere"
    trusted, read = "", ""
    if any(place.endswith(".py") for place in study.get("content", {}).get("files", {})):
        trusted, read = " --trust", ", after you have read the code there"
    steps = [
        (f"Install imc_sim {version}, and the other versions above for numbers that are equal to the last digit.", ""),
        _needed(study, data),
        (f"In the folder of this page{f', which holds {own}' if own else ''}{read}:",
         f"imc-sim run study.resolved.yaml --out again{trusted}"),
        (f"{given}, save the settings below as study.yaml {where}:", f"imc-sim run study.yaml --out again{trusted}"),
        (_COMPARE, ""),
    ]  # fmt: skip
    commands = [(text, f" <code>{escaped(command)}</code>" if command else "") for text, command in steps]
    listed = "".join(f"<li>{escaped(text)}{command}</li>" for text, command in commands)
    return f"<ol>{listed}</ol>{details('Every setting, resolved', f'<pre>{escaped(resolved)}</pre>')}"


def _needed(study: dict[str, Any], data: str) -> tuple[str, str]:
    """Return the step that provides the data, or the file of the function that computes the metric."""
    if study.get("metric"):
        files = ", ".join([study["task"].get("call", "that each point names"), *study["task"].get("files", ())])
        kept = study.get("content", {}).get("files")
        start = "In the folder of this page is" if kept else "Provide"
        return f"{start} the function that computes {study['metric']['name']} and its files: {files}.", ""
    if all(name in DATASETS and DATASETS[name].embedded for name in data.split(", ")):
        return f"The data are part of the installation: {data}.", ""
    return f"Provide the data: {data} (`imc-sim doctor` shows where they are expected).", ""


def _own_content(study: dict[str, Any]) -> str:
    """Return the copies of the user's models, chips and files that a run needs, as in the folder."""
    content = study.get("content", {})
    places = {place for kind in ("model", "chip") for place in content.get(kind, {}).values()}
    places |= {place for place in content.get("files", {}) if not place.startswith("./models/")}
    return ", ".join(sorted(place.removeprefix("./") for place in places if not place.startswith("shipped:")))


def _data_sets(study: dict[str, Any]) -> list[str]:
    """Return the data sets that the study, its cases and its axes name."""
    tasks = [study["task"], study.get("chip_task", {})]
    for case in study["cases"]:
        tasks += [case["set"].get("task", {}), {"dataset": case["set"].get("task.dataset")}]
    for axis in study["axes"]:
        named = "task.dataset" in (axis["path"], *axis.get("also", ()))
        tasks += [{"dataset": value} if named else value for value in axis["values"]]
    names = (str(task.get("dataset") or "") for task in tasks if isinstance(task, dict))
    return list(dict.fromkeys(name for name in names if name))
