"""`imc-sim train --sweep`: one model trained once for every setting and seed."""

from __future__ import annotations

from pathlib import Path


def train_sweep(name: str, out: Path | None, device: str) -> None:
    """Run a training sweep and print the files written; what its folder holds already is not trained again."""
    from imc_sim.cli._console import Update, progress_bar
    from imc_sim.plotting import draw_trainings
    from imc_sim.train import load_trainings, run_trainings

    asked = load_trainings(name)
    folder = out or Path("results") / asked.name
    with progress_bar(asked.name) as update:

        def told(which: str) -> Update:
            return lambda done, total, row: update(done, total, {})

        rows = run_trainings(asked, folder, device, told)
    for path in draw_trainings(asked.to_dict(), rows, folder):
        print(path)
