"""One page that stands alone: question, answer, figure, table, settings, provenance."""

from __future__ import annotations

import html
import io
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imc_sim.config import write_yaml
from imc_sim.plotting import figure_height, new_figure, plot_robustness, robustness_data, style
from imc_sim.report._answer import answers

if TYPE_CHECKING:
    from pandas import DataFrame

    from imc_sim.study import Results

_CSS = Path(__file__).with_name("style.css")


def write_report(results: Results) -> Path:
    """Write report.html into the results folder: no external asset, no script; returns its path."""
    path = results.folder / "report.html"
    part = path.with_suffix(".html.part")
    part.write_text(page(results), encoding="utf-8")
    part.replace(path)
    return path


def page(results: Results) -> str:
    """The whole page as text."""
    study, data = results.study, robustness_data(results)
    body = [
        f'<header><p class="kind">imc_sim study</p><h1>{_e(study["name"])}</h1>',
        f'<p class="question">{_e(study["question"])}</p></header>',
        _list("answer", answers(data)),
        _figure(data, study),
        f"<h2>Table</h2>{_failed(results)}{_table(results)}",
        f"<h2>Chip</h2>{_pairs(_chip(study))}",
        f"<h2>Provenance</h2>{_pairs(_provenance(results))}",
        f"<details><summary>Every setting, resolved</summary><pre>{_e(_settings(study))}</pre></details>",
    ]
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">\
<title>{_e(study["name"])} - imc_sim</title><style>{_CSS.read_text(encoding="utf-8")}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n' + "\n".join(body) + "\n</body></html>\n"


def _figure(data: DataFrame, study: dict[str, Any]) -> str:
    with style():
        figure, ax = new_figure(5.6, figure_height(data, 3.2))
        plot_robustness(ax, data)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": "imc_sim"})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    task = study["task"]
    caption = (
        f"{task['way']}-way {task['shot']}-shot accuracy on {task['dataset']} ({task['split']}), "
        f"{task['episodes']} episodes a chip. "
        "Line: median over chips; band: 5 to 95 % of chips; dashed: the digital network."
    )
    return f'<figure><div class="plate">{svg}</div><figcaption>{_e(caption)}</figcaption></figure>'


def _table(results: Results) -> str:
    axes = results.study["axes"]
    heads = [*map(_heading, axes), "chips", "mean, 95 % interval", "median", "5-95 % of chips", "digital"]
    head = "".join(f"<th>{_e(h)}</th>" for h in heads)
    body = "".join(
        f'<tbody><tr><th class="case" colspan="{len(heads)}">{_e(case)}</th></tr>{_rows(part, axes)}</tbody>'
        for case, part in results.table.groupby("case", sort=False)
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead>{body}</table></div>'


def _rows(part: DataFrame, axes: list[dict[str, Any]]) -> str:
    rows = (_row(record, axes) for record in part.to_dict("records"))
    return "".join("<tr>" + "".join(f"<td>{_e(c)}</td>" for c in row) + "</tr>" for row in rows)


def _row(record: dict[Any, Any], axes: list[dict[str, Any]]) -> list[str]:
    percent = {key: f"{100 * record[key]:.2f}" for key in ("mean", "half_width", "median", "p05", "p95", "digital")}
    return [
        *(_shown(record[axis["path"]], axis) for axis in axes),
        str(record["chips"]),
        f"{percent['mean']} \u00b1 {percent['half_width']}",
        percent["median"],
        f"{percent['p05']} to {percent['p95']}",
        percent["digital"],
    ]


def _shown(value: Any, axis: dict[str, Any]) -> str:
    return (
        f"{value * axis['scale']:g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
    )


def _heading(axis: dict[str, Any]) -> str:
    label = str(axis["label"] or axis["path"])
    return f"{label} ({axis['unit']})" if axis["unit"] else label


def _failed(results: Results) -> str:
    if not results.failed:
        return ""
    text = f"{results.failed} trials failed and are missing here; run the study again to retry them."
    return f"<p><strong>{text}</strong></p>"


def _chip(study: dict[str, Any]) -> list[tuple[str, str]]:
    chip = study["chip"]
    device, tile, converter = chip["device"], chip["tile"], chip["converter"]
    adc = "ideal" if converter["kind"] == "ideal" else f"{converter['bits']} bits, range {converter['range']}"
    return [
        ("name", chip["name"]),
        ("source", chip["source"]),
        ("valid for", chip["validity"]),
        (
            "states",
            f"LRS {device['g_lrs_S'] * 1e6:g} uS, HRS {device['g_hrs_S'] * 1e6:g} uS, {device['levels']} levels",
        ),
        ("encoding", chip["encoding"]["kind"]),
        ("tiles", f"{tile['rows']} x {tile['cols']}"),
        ("converters", adc),
    ]


def _provenance(results: Results) -> list[tuple[str, str]]:
    e = results.environment
    versions = ", ".join(f"{name} {version}" for name, version in e["versions"].items())
    weights = [(f"weights of {name}", f"SHA-256 {digest}") for name, digest in results.study["weights"].items()]
    return [
        ("reproduce", e["command"]),
        ("study", f"SHA-256 {results.study['digest']}"),
        *weights,
        ("versions", versions),
        ("evaluation", f"{e['seconds']:.0f} s in all, last trial {e['finished']}"),
    ]


def _settings(study: dict[str, Any]) -> str:
    return write_yaml({k: v for k, v in study.items() if k != "points"})


def _list(kind: str, items: Iterable[str]) -> str:
    return f'<ul class="{kind}">' + "".join(f"<li>{_e(item)}</li>" for item in items) + "</ul>"


def _pairs(pairs: Iterable[tuple[str, str]]) -> str:
    return "<dl>" + "".join(f"<dt>{_e(k)}</dt><dd>{_e(v)}</dd>" for k, v in pairs if v) + "</dl>"


def _e(text: object) -> str:
    return html.escape(str(text))
