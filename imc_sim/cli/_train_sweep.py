"""`imc-sim train --sweep`: one model trained once for every setting and seed."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import typer


def train_sweep(name: str, out: Path | None, device: str, workers: int | None, retry_failed: bool) -> None:
    """Run a training sweep and print the files written; what its folder holds already is not trained again.

    Exit code 1 if a point failed.
    """
    from imc_sim.cli._console import Update, print_paths, progress_bar, say
    from imc_sim.plotting import draw_trainings
    from imc_sim.train import load_trainings, run_trainings

    sweep = load_trainings(name)
    folder = out or Path("results") / sweep.name
    executor = "process" if workers and workers > 1 else "inline"
    try:
        with progress_bar(sweep.name) as update:

            def told(which: str) -> Update:
                return lambda done, total, row: update(done, total, {})

            rows = run_trainings(
                sweep, folder, device, told, executor=executor, workers=workers, retry_failed=retry_failed
            )
    except KeyboardInterrupt:
        again = shlex.join(["imc-sim", *sys.argv[1:]])
        say(f"stopped; finished points are kept in {folder}. To go on: {again}")
        raise typer.Exit(2) from None
    if any(row["row"] is not None for row in rows):
        print_paths(draw_trainings(sweep.to_dict(), rows, folder))
    failed = sum(row["row"] is None for row in rows)
    if failed:
        step = "To train them again: the same command with --retry-failed."
        say(f"{failed} of {len(rows)} points failed; their errors are in {folder / 'trainings.jsonl'}. {step}")
        raise typer.Exit(1)
