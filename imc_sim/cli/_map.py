"""`imc-sim map`: how a model is mapped to a chip."""

from __future__ import annotations

from typing import Annotated

import typer

from imc_sim.cli._console import Quiet
from imc_sim.cli._help import ChipName, ModelName
from imc_sim.cli._own_network import Arguments, Inputs, Prefix, Rename, Trust, Weights, model_of


def map_(
    model: ModelName,
    chip: ChipName,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="chip.path=value, for example chip.policy.float=digital. Repeat it for more."),
    ] = None,
    calibrate: Annotated[
        bool,
        typer.Option("--calibrate", help="Measure the share of driven rows on training data of the card's first task."),
    ] = False,
    weights: Weights = None,
    inputs: Inputs = None,
    arg: Arguments = None,
    rename: Rename = None,
    prefix: Prefix = None,
    trust: Trust = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    quiet: Quiet = False,
) -> None:
    """Show how a model is mapped to a chip.

    Prints the mapping report: layers, encodings, tiles, cells, utilisation.

    Examples:
      imc-sim map batmann_small_xnor rram_hfo2_1t1r
      imc-sim map batmann_small_xnor rram_hfo2_1t1r --set chip.tile.rows=64 --json
      imc-sim map ./my_net.py:make rram_hfo2_1t1r --weights w.pth --inputs images.npy
    """
    import json

    from imc_sim.cli._console import working

    with working(f"mapping {model}"):
        from imc_sim.cli._chips import chip_with
        from imc_sim.evaluate import calibrate_for_card, map_for_card

        spec = chip_with(chip, settings)  # finds a misspelt chip before the work starts
        with model_of(model, weights, inputs, arg, rename, prefix) as name:
            analog = map_for_card(name, spec)
            if calibrate:
                calibrate_for_card(analog, name)
    report = analog.report
    print(json.dumps(report.to_dict(), indent=2) if as_json else report.to_text())
