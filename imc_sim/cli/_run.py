"""`imc-sim run`: run a study from its file to its report."""

from __future__ import annotations

import math
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imc_sim.cli._console import Quiet
from imc_sim.cli._help import complete_study
from imc_sim.cli._own_network import Trust

if TYPE_CHECKING:
    from imc_sim.plotting import Metric
    from imc_sim.study import Progress, Results, Study


def run(
    study: Annotated[
        str,
        typer.Argument(help="A study of `imc-sim list studies`, or its YAML file.", autocompletion=complete_study),
    ],
    out: Annotated[Path | None, typer.Option(help="Results folder; default: results/STUDY.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="path=value, for example chips.min=100 or task.episodes=50. Repeat it for more."),
    ] = None,
    executor: Annotated[
        str | None,
        typer.Option(help="inline (this process, all threads), process or dask; default: as the other options need."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Worker processes; default of --executor process: one per core.")
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a running dask scheduler, such as tcp://host:8786.")
    ] = None,
    device: Annotated[str, typer.Option(help="Where trials compute: cpu or cuda.")] = "cpu",
    batch: Annotated[int, typer.Option(min=1, help="Largest number of chips in a batch of a worker.")] = 4,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Run trials again that failed in an earlier run.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Estimate time and memory on a few chips; write nothing.")
    ] = False,
    trust: Trust = False,
    quiet: Quiet = False,
) -> None:
    """Run a study and report on it.

    Prints a table of accuracies and writes figures and report.html to the results folder. Trials that the folder
    already holds are not run again: after a stop, the same command continues. Ctrl-C finishes the running trials first.
    Exit code 1 if trials failed or were left open.

    Examples:
      imc-sim run quickstart
      imc-sim run quickstart --dry-run
      imc-sim run quickstart --set chips.min=100 --workers 2 --out results/hundred
      imc-sim run quickstart --scheduler tcp://head:8786
    """
    from imc_sim.cli._repeated import keeping_output, kept_output

    options = {"executor": executor, "workers": workers, "scheduler": scheduler, "device": device, "batch": batch}
    request = [study, out, *(settings or []), *options.items()]
    if dry_run:
        from imc_sim.runs import check_executor

        check_executor(_executor(executor, workers, scheduler), workers, scheduler)
        _show(_read(study, settings), workers or 1, device, batch)
    elif (text := kept_output(request)) is not None:
        print(text, end="")
    else:
        with keeping_output(request) as keep:
            spec = _read(study, settings)
            folder = out or Path("results") / spec.name
            options["executor"] = _executor(executor, workers, scheduler)
            results, left_open = _run(spec, folder, options | {"retry_failed": retry_failed}, study)
            _finish(results, folder)
            if left_open:
                raise typer.Exit(1)
            keep(folder)


def _executor(executor: str | None, workers: int | None, scheduler: str | None) -> str:
    """Return the executor that was chosen, or the one that the other options need."""
    return executor or ("dask" if scheduler else "process" if (workers or 1) > 1 else "inline")


def _read(study: str, settings: list[str] | None) -> Study:
    """Return the study with the changes of the command line."""
    from imc_sim.cli._console import working

    with working(f"reading {study}"):
        from imc_sim.study import load_study, with_settings

        return with_settings(load_study(study), settings or [])


def _run(spec: Study, folder: Path, options: dict[str, Any], name: str) -> tuple[Results, int]:
    """Run the trials with progress; return the results and the number of trials that were left open.

    On a second Ctrl-C, name the command that continues.
    """
    from imc_sim import study
    from imc_sim._quantities import shown_bytes
    from imc_sim.cli._console import gentle_stop, progress_bar, say

    left_open = 0
    try:
        with gentle_stop("the running trials") as stop, progress_bar(f"running {spec.name}") as update:

            def show(progress: Progress) -> None:
                nonlocal left_open
                left_open = progress.left_open
                notes = {"failed": progress.failed, "left open": left_open, "running": progress.waiting}
                if progress.done == 0 and progress.memory_bytes is not None:
                    notes["memory"] = f"up to {shown_bytes(progress.memory_bytes)} a worker"
                update(progress.done, progress.total, {key: value for key, value in notes.items() if value})

            return study.run(spec, folder, progress=show, stop=stop, **options), left_open
    except KeyboardInterrupt:
        again = shlex.join(["imc-sim", *(sys.argv[1:] or ["run", name])])
        say(f"stopped; finished trials are kept in {folder}. To go on: {again}")
        raise typer.Exit(2) from None


def _show(spec: Study, workers: int, device: str, batch: int) -> None:
    """Print what a run would take."""
    from imc_sim import study
    from imc_sim.cli._console import print_rows, progress_bar, say

    with progress_bar(f"measuring {spec.name}") as update:
        found = study.dry_run(spec, workers=workers, device=device, batch=batch, progress=update)
    print_rows(found.rows())
    say(found.note)


def _finish(results: Results, folder: Path) -> None:
    """Print the table, and write figures and report to the folder."""
    from imc_sim.cli._console import print_rows, say, working

    if len(results.table):
        with working(f"summarising {folder}"):
            rows = _rows(results)
        print_rows(rows)
        with working(f"drawing {folder}"):
            figure, report, answer = _pages(results)
        print(f"figure {figure}, report {report}")
        print(answer)
    if results.failed:
        step = "To run them again, add --retry-failed to the command."
        say(f"{results.failure} {step}")
        raise typer.Exit(1)


def _rows(results: Results) -> list[dict[str, str]]:
    """Return the rows of the table on the screen."""
    from imc_sim.plotting import compares

    return comparison_rows(results) if compares(results) else table_rows(results)


def _pages(results: Results) -> tuple[Path, Path, str]:
    """Write figures and report; return the first figure, the report and the answer."""
    from imc_sim.plotting import figures_of
    from imc_sim.report import Conclusion, write_report

    figure = next((results.folder / f"{kind}.png" for kind in figures_of(results)), results.folder)
    found = Conclusion.of(results)
    return figure, write_report(results, figures=True, concluded=found), found.text


def comparison_rows(results: Results) -> list[dict[str, str]]:
    """Return the comparison with published figures for the screen; comparison.md has the long columns too."""
    from imc_sim.plotting import comparison_data
    from imc_sim.report import cells

    heads, rows = cells(comparison_data(results).assign(note="", chip_task=""))
    return [dict(zip(heads, (c if isinstance(c, str) else c[0] for c in row), strict=True)) for row in rows]


def table_rows(results: Results) -> list[dict[str, str]]:
    """Return the table for the screen: values in their units, accuracies in %, the band over chips."""
    from imc_sim._stats import band_label
    from imc_sim.plotting import Metric

    axes, band = results.study["axes"], band_label(results.table["chips"], named=False)
    metric = Metric.of(results.study)
    unit = f" {metric.unit}" if metric.unit else ""
    rows = []
    for record, ends in zip(results.table.to_dict("records"), results.intervals, strict=True):
        place = {_heading(axis): _value(record[axis["path"]], axis) for axis in axes}
        text = lambda key, record=record: metric.number(metric.factor * record[key])  # noqa: E731
        rows.append(
            {
                "case": record["case"],
                **place,
                "chips": str(record["chips"]),
                f"mean, 95 % interval{unit}": f"{text('mean')}{_interval(ends, metric)}",
                f"median{unit}": text("median"),
                band: f"{text('p05')} .. {text('p95')}",
                f"digital{unit}": text("digital"),
            }
        )
    return rows


def _interval(ends: tuple[float, float], metric: Metric) -> str:
    """Return an interval in brackets; empty for the infinite one of a single score."""
    low, high = (metric.number(metric.factor * end) for end in ends)
    return f" [{low}, {high}]" if math.isfinite(ends[0]) else ""


def _heading(axis: dict[str, object]) -> str:
    label = str(axis["label"] or axis["path"])
    return f"{label} ({axis['unit']})" if axis["unit"] else label


def _value(value: object, axis: dict[str, object]) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value * float(str(axis['scale'])):g}"
    return str(value)
