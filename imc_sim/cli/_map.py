"""`imc-sim map`: how a model is mapped to a chip."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imc_sim._quantities import number_of
from imc_sim.cli._console import Quiet
from imc_sim.cli._help import ChipName, ModelName
from imc_sim.cli._own_network import Arguments, Conductances, Inputs, Prefix, Rename, Trust, Weights, model_of


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
    conductances: Conductances = None,
    export: Annotated[
        Path | None, typer.Option(help="Write target and programmed conductances of all layers to this .npz.")
    ] = None,
    chips: Annotated[int | None, typer.Option(min=1, help="Number of chips to export; default: 1.")] = None,
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

    Prints the mapping report: layers, encodings, tiles, cells, utilisation. With --conductances, cells are those of a
    measured array, and the report states how far they are from their targets; --export writes such a file.

    Examples:
      imc-sim map batmann_small_xnor rram_hfo2_1t1r
      imc-sim map batmann_small_xnor rram_hfo2_1t1r --set chip.tile.rows=64 --json
      imc-sim map batmann_small_xnor rram_hfo2_1t1r --chips 4 --export cells.npz
      imc-sim map batmann_small_xnor rram_hfo2_1t1r --conductances measured.npz
      imc-sim map ./my_net.py:make rram_hfo2_1t1r --weights w.pth --inputs images.npy
    """
    import json

    from imc_sim.cli._console import working

    with working(f"reading {chip}"):  # finds a misspelt chip before the work starts
        from imc_sim.analog import deviations
        from imc_sim.cli._chips import chip_with
        from imc_sim.evaluate import calibrate_for_card, map_for_card

        spec = chip_with(chip, settings)
    with working(f"mapping {model}"):
        with model_of(model, weights, inputs, arg, rename, prefix) as name:
            analog = map_for_card(name, spec, conductances, chips)
            if calibrate:
                calibrate_for_card(analog, name)
            if export is not None:
                analog.to_npz(export)
        report, off = analog.report, {} if conductances is None else deviations(analog.analog_layers)
    if as_json:
        print(json.dumps(report.to_dict() | ({"measured": off} if off else {}), indent=2))
        return
    print(report.to_text())
    for layer, deviation in off.items():
        count = number_of(len(analog.chips), "measured chip")
        print(f"{layer}: cells of {count} are {100 * deviation:.1f} % of the window off their targets (rms)")
