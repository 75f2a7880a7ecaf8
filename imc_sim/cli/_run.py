"""`imc-sim run`: a study, from its file to its report."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from imc_sim.study import Progress, Results


def run(
    study: Annotated[str, typer.Argument(help="A study of `imc-sim list studies`, or its YAML file.")],
    out: Annotated[Path | None, typer.Option(help="Results folder; default: results/<name of the study>.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="path=value, for example chips.min=100 or task.episodes=50.")
    ] = None,
    executor: Annotated[str, typer.Option(help="inline (all threads, one process) or process.")] = "inline",
    workers: Annotated[int | None, typer.Option(min=1, help="Worker processes; default: one a core.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no progress.")] = False,
) -> None:
    """Run a study and report on it.

    Takes up what is already stored in the results folder. Exit code 1 if trials failed.
    """
    from imc_sim.cli._console import say
    from imc_sim.study import load_study, with_settings

    spec = with_settings(load_study(study), settings or [])
    folder = out or Path("results") / spec.name
    try:
        results = _run(spec.name, spec, folder, executor, workers, quiet)
    except KeyboardInterrupt:
        again = " ".join(["imc-sim", *sys.argv[1:]]) if sys.argv[1:] else f"imc-sim run {study}"
        say(f"stopped; finished trials are kept in {folder}. To go on: {again}")
        raise typer.Exit(2) from None
    _finish(results, folder)


def _run(name: str, spec: object, folder: Path, executor: str, workers: int | None, quiet: bool) -> Results:
    from imc_sim import study
    from imc_sim.cli._console import progress_bar

    if quiet:
        return study.run(spec, folder, executor, workers)  # type: ignore[arg-type]
    with progress_bar(f"running {name}") as update:

        def show(progress: Progress) -> None:
            note = {"failed": progress.failed} if progress.failed else {}
            update(progress.done, progress.total, {"trials": f"{progress.done}/{progress.total}"} | note)

        return study.run(spec, folder, executor, workers, show)  # type: ignore[arg-type]


def _finish(results: Results, folder: Path) -> None:
    """Table to stdout, figure and report to the folder."""
    from imc_sim.cli._console import print_rows, say
    from imc_sim.plotting import draw
    from imc_sim.report import write_report

    if len(results.table):
        print_rows(table_rows(results))
        figure = next((path for path in draw(results) if path.suffix == ".png"), folder)
        print(f"figure {figure}, report {write_report(results)}")
    if results.failed:
        say(f"{results.failed} trials failed; their errors are in {folder / 'trials.jsonl'}. Run again to retry them.")
        raise typer.Exit(1)


def table_rows(results: Results) -> list[dict[str, str]]:
    """The table as a person reads it: values in their units, accuracies in %, the band over chips."""
    axes = results.study["axes"]
    rows = []
    for record in results.table.to_dict("records"):
        place = {_heading(axis): _value(record[axis["path"]], axis) for axis in axes}
        rows.append(
            {
                "case": record["case"],
                **place,
                "chips": str(record["chips"]),
                "mean %": f"{100 * record['mean']:.2f} +- {100 * record['half_width']:.2f}",
                "median %": f"{100 * record['median']:.2f}",
                "5-95 % of chips": f"{100 * record['p05']:.2f} .. {100 * record['p95']:.2f}",
                "digital %": f"{100 * record['digital']:.2f}",
            }
        )
    return rows


def _heading(axis: dict[str, object]) -> str:
    label = str(axis["label"] or axis["path"])
    return f"{label} ({axis['unit']})" if axis["unit"] else label


def _value(value: object, axis: dict[str, object]) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value * float(str(axis['scale'])):g}"
    return str(value)
