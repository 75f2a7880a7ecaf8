"""`imc-sim map`: how a model is mapped to a chip."""

from __future__ import annotations

from typing import Annotated

import typer

from imc_sim.cli._console import Quiet
from imc_sim.cli._help import ChipName, ModelName


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
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    quiet: Quiet = False,
) -> None:
    """Show how a model is mapped to a chip.

    Prints the mapping report: layers, encodings, tiles, cells, utilisation.

    Examples:
      imc-sim map batmann_small_xnor rram_hfo2_1t1r
      imc-sim map batmann_small_xnor rram_hfo2_1t1r --set chip.tile.rows=64 --json
    """
    import json

    from imc_sim.cli._console import working

    with working(f"mapping {model}"):
        from imc_sim.cli._chips import chip_with
        from imc_sim.evaluate import calibrate_for_card
        from imc_sim.mapping import map_model
        from imc_sim.nn.store import load_model

        analog = map_model(load_model(model), chip_with(chip, settings), chips=1, seed=0)
        if calibrate:
            calibrate_for_card(analog, model)
        report = analog.report
    print(json.dumps(report.to_dict(), indent=2) if as_json else report.to_text())
