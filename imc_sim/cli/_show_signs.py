"""`imc-sim show sign-flips` and `quadratic`: sensitivity to sign flips of latent weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imc_sim.cli._console import Quiet
from imc_sim.cli._own_network import Trust

#: the small task of the paper's Methods: Hessian, optimum, start, rate and steps
_HESSIAN, _OPTIMUM, _START = ((2.4047, 0.2158), (0.2158, 0.7733)), (1.5, 0.5), (0.01, 0.02)
_RATE, _STEPS = 0.35, 500
_LARGE, _LARGE_RATE = 200, 0.1


def sign_flips(
    folder: Annotated[Path, typer.Argument(help="A folder of `imc-sim train` with its checkpoint.pt.")],
    flips: Annotated[
        list[int], typer.Option(min=1, help="Number of weights flipped together; repeat it for every layer.")
    ],
    images: Annotated[int, typer.Option(min=1, help="Number of training images for the loss.")] = 1000,
    draws: Annotated[
        int, typer.Option(min=1, help="Random choices of flipped weights in each bin of magnitudes.")
    ] = 20,
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("results/probe"),
    trust: Trust = False,
    quiet: Quiet = False,
) -> None:
    """Measure the sensitivity to sign flips of latent weights.

    Flips the signs of weights of similar magnitude in every layer of a trained network, and draws the increase of the
    loss against the magnitude of the latent weights. Prints the files written.

    Examples:
      imc-sim show sign-flips runs/probe --flips 500 --flips 500 --flips 25 --draws 10
    """
    from imc_sim.cli._console import print_paths, working
    from imc_sim.plotting import draw_flips

    with working(f"flipping signs of {folder}"):
        from imc_sim.train import probe_folder

        found = probe_folder(folder, flips, images, draws)
    print_paths(draw_flips(found, out / "signs"))


def quadratic(
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("results/probe"),
    seed: Annotated[int, typer.Option(min=0, help="Seed of the task in 200 dimensions.")] = 0,
    trust: Trust = False,
    quiet: Quiet = False,
) -> None:
    """Train signs on a quadratic loss, without a network.

    Trains the published task of two weights, and a random one of 200. Prints the files written.

    Examples:
      imc-sim show quadratic
    """
    from imc_sim.cli._console import print_paths
    from imc_sim.plotting import draw_quadratic, quadratic_data

    small, large = _small(), _large(seed)
    from pandas import DataFrame

    print_paths(draw_quadratic(quadratic_data(*small), DataFrame(large), out / "quadratic"))


def _small() -> tuple[object, list[float]]:
    """Return the path of the two latent weights, and the optimum."""
    import torch

    from imc_sim.train import QuadraticTask

    task = QuadraticTask(torch.tensor(_HESSIAN, dtype=torch.float64), torch.tensor(_OPTIMUM, dtype=torch.float64))
    return task.path(torch.tensor(_START), _RATE, _STEPS).numpy(), list(_OPTIMUM)


def _large(seed: int) -> dict[str, list[float]]:
    """Return the latent weights after training, and the increase of the loss when each sign is flipped."""
    import torch

    from imc_sim.train import QuadraticTask

    task = QuadraticTask.random(torch.linspace(0.5, 2.5, _LARGE).tolist(), seed)
    w = task.path(torch.full((_LARGE,), 0.01), _LARGE_RATE, _STEPS)[-1]
    return {"w": w.tolist(), "increase": task.flip_increases(w).tolist()}
