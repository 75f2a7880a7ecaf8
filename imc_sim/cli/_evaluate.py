"""`imc-sim evaluate`: a model's accuracy, digital or on simulated chips."""

from __future__ import annotations

from typing import Annotated

import typer

from imc_sim._errors import InputError
from imc_sim.cli._chips import chip_with, origin_of
from imc_sim.cli._console import Quiet
from imc_sim.cli._help import ModelName, complete_chip
from imc_sim.cli._own_network import Arguments, Conductances, Inputs, Prefix, Rename, Trust, Weights, model_of


def evaluate(
    model: ModelName,
    chip: Annotated[
        str | None,
        typer.Option(
            help="A chip of `imc-sim list chips`, its YAML file, or an .npz map; without it, only the digital "
            "model is evaluated.",
            autocompletion=complete_chip,
        ),
    ] = None,
    chips: Annotated[
        int | None, typer.Option(min=1, help="Number of chips; default: 16, or all that were measured.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the chips.")] = 0,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="key=value for the tasks of the card, such as scaling=unit; chip.path=value for the chip.",
        ),
    ] = None,
    episodes: Annotated[
        int | None, typer.Option(min=1, help="Episodes (images for classifiers); default: as on the card.")
    ] = None,
    conductances: Conductances = None,
    weights: Weights = None,
    inputs: Inputs = None,
    arg: Arguments = None,
    rename: Rename = None,
    prefix: Prefix = None,
    trust: Trust = False,
    quiet: Quiet = False,
) -> None:
    """Measure a model's accuracy.

    Evaluates every task on the card of the model, or the one that --set names, digitally and with --chip on simulated
    chips, next to the accuracy that the card states. With --conductances, the chips are arrays that were measured.

    Examples:
      imc-sim evaluate batmann_small_xnor
      imc-sim evaluate batmann_small_xnor --chip rram_hfo2_1t1r --chips 4 --episodes 100
      imc-sim evaluate batmann_small_xnor --chip rram_hfo2_1t1r --conductances measured.npz
      imc-sim evaluate ./my_net.py:make --weights w.pth --inputs x.npy --set kind=classification --set dataset=mnist
    """
    from imc_sim.cli._console import print_rows, progress_bar, working

    if conductances is not None and chip is None:
        step = "Add --chip CHIP, the description of the array."
        raise InputError("--conductances", "no --chip", "a chip whose encoding and tiles the array has", step)
    with working(f"reading {chip or model}"):  # finds a misspelt chip before the work starts
        from imc_sim.config import parse_setting
        from imc_sim.evaluate import evaluate_card

        of_chip = [s for s in settings or () if s.startswith("chip.") and chip is not None]
        own = [s for s in settings or () if s not in of_chip]
        spec = None if chip is None else chip_with(chip, of_chip)
        changes = dict(map(parse_setting, own))
    with progress_bar(f"evaluating {model}") as update, model_of(model, weights, inputs, arg, rename, prefix) as name:
        cells = None if conductances is None else str(conductances)
        with origin_of(own).naming("--set", "task"):
            rows = evaluate_card(name, spec, chips, seed, episodes, update, changes, cells)
    print_rows([row.to_dict() for row in rows])
