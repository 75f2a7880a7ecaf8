"""Write the table and the figure of docs/performance.md from stored measurements."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from _environments import PLAIN, ROOT, Peer
from _works import WORKS
from pandas import DataFrame

from imc_sim._files import write_file
from imc_sim.plotting._figure import LogLabels, new_figure, save_table, style
from imc_sim.report._pages import fill_made

PAGE = ROOT / "docs" / "performance.md"
THREADS = (1, 2)
#: cells of the table without a number
_NOTHING = ("", "-")


def write(folder: Path, peers: list[Peer], machine: str = "") -> None:
    """Write performance_peers.csv and .png to the figures, and `peers`, `left_out` and `versions` of the page.

    machine: ends the names of files and places, where the page has several machines.
    """
    end = f"_{machine}" * bool(machine)
    read = {path.stem: json.loads(path.read_text())["found"] for path in folder.glob("*-[0-9].json")}
    names = [peer.name for peer in peers if peer is not PLAIN]
    lines = [_line(read, work, name) for work in WORKS for name in names if _did(read, work, name)]
    table = DataFrame(lines)
    stem = PAGE.parent / "figures" / f"performance_peers{end}"
    save_table(table, stem)
    plot(table, stem)
    fill_made(PAGE, f"peers{end}", table)
    fill_made(PAGE, f"left_out{end}", DataFrame(_reasons(read)))
    fill_made(PAGE, f"versions{end}", DataFrame(_versions(read)))


def _did(read: dict[str, Any], work: str, name: str) -> bool:
    return any(read.get(f"{work}-{t}", {}).get(name, {}).get("ratios") for t in THREADS)


def _line(read: dict[str, Any], work: str, name: str) -> dict[str, str]:
    found = [read.get(f"{work}-{t}", {}) for t in THREADS]
    line = {"work": WORKS[work], "simulator": name}
    for threads, each in zip(THREADS, found, strict=True):
        line[f"time, {threads} thread{'s' * (threads > 1)}"] = _range(each.get(name, {}).get("ratios", []))
    line["over ours"] = ", ".join(filter(None, (_over(each, name) for each in found))) or "-"
    for key, column in (("error", "error"), ("spread", "variation")):
        value = next((each[name][key] for each in found if key in each.get(name, {})), None)
        line[column] = "-" if value is None else f"{100 * value:.2g} %"
    return line


def _range(ratios: list[float]) -> str:
    """Return median, least and most."""
    if not ratios:
        return "-"
    if len(ratios) == 1:
        return f"{_digits(ratios[0])} (once)"
    return f"{_digits(statistics.median(ratios))} ({_digits(min(ratios))} to {_digits(max(ratios))})"


def _digits(x: float) -> str:
    """Return two decimals of small numbers, and whole large numbers."""
    return f"{x:.2f}" if x < 20 else f"{x:,.0f}"


def _over(found: dict[str, Any], name: str) -> str:
    """Return the median over that of this package in float32 of the same run."""
    over = found.get(name, {}).get("over")
    return "" if over is None else _digits(over)


def _reasons(read: dict[str, Any]) -> list[dict[str, str]]:
    reasons = {n: kept["reason"] for found in read.values() for n, kept in found.items() if "reason" in kept}
    return [{"left out": name, "reason": reason.replace("|", "/")} for name, reason in reasons.items()]


def _versions(read: dict[str, Any]) -> list[dict[str, str]]:
    held = {n: kept["versions"] for found in read.values() for n, kept in found.items() if "versions" in kept}
    return [{"simulator": n, "versions": ", ".join(f"{p} {v}" for p, v in vs.items())} for n, vs in held.items()]


def plot(table: DataFrame, stem: Path) -> None:
    """Draw the median of every line on one thread, work by work; least to most as a bar."""
    with style():
        works = list(dict.fromkeys(table["work"]))
        figure, axes = new_figure(7.0, 0.6 + 0.15 * (len(table) + 1.6 * len(works)))
        y, ticks = 0.0, []
        for work in works:
            axes.text(0.0, y, work, transform=axes.get_yaxis_transform(), va="center", weight="bold", size=6.5)
            for _, line in table[table["work"] == work].iterrows():
                y += 1.0
                ticks.append((y, str(line["simulator"])))
                for column, marker, shift in (("time, 1 thread", "o", -0.12), ("time, 2 threads", "s", 0.12)):
                    _point(axes, str(line[column]), y + shift, marker, "imc_sim" in str(line["simulator"]))
            y += 1.6
        axes.axvline(1.0, color="0.5", linewidth=0.8)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(LogLabels())
        axes.xaxis.set_minor_formatter(LogLabels())
        axes.set_yticks([t for t, _ in ticks], [name for _, name in ticks])
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("time / plain torch (circles: one thread, squares: two)")
        png = {"format": "png", "metadata": {"Software": None}}
        write_file(stem.with_suffix(".png"), lambda file: figure.savefig(file, **png))


def _point(axes: Any, text: str, y: float, marker: str, ours: bool) -> None:
    """Draw the numbers of a cell of the table."""
    if text in _NOTHING:
        return
    numbers = [float(x.replace(",", "")) for x in text.replace("(", " ").replace(")", " ").split() if x[0].isdigit()]
    axes.plot(numbers[1:], [y] * len(numbers[1:]), color="C0" if ours else "C1", linewidth=0.8, marker="")
    axes.plot(numbers[0], y, color="C0" if ours else "C1", marker=marker, linestyle="")
