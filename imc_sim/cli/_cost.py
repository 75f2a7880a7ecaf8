"""`imc-sim cost`: energy, latency and area of an inference."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imc_sim.cli._console import Quiet
from imc_sim.cli._help import ChipName, ModelName
from imc_sim.cli._own_network import Arguments, Inputs, Prefix, Rename, Trust, Weights, model_of


def cost(
    model: ModelName,
    chip: ChipName,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="chip.path=value, for example chip.converter.bits=4. Repeat it for more."),
    ] = None,
    chips: Annotated[int, typer.Option(min=1, help="Number of chips to sample.")] = 4,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the sampled chips.")] = 0,
    images: Annotated[int, typer.Option(min=1, help="Training images of the task that are averaged.")] = 16,
    out: Annotated[Path | None, typer.Option(help="Folder for a figure and its table.")] = None,
    weights: Weights = None,
    inputs: Inputs = None,
    arg: Arguments = None,
    rename: Rename = None,
    prefix: Prefix = None,
    trust: Trust = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    quiet: Quiet = False,
) -> None:
    """Estimate energy, latency and area of an inference.

    Prints energy, latency and area of every layer and component, with a search in the key memory of a few-shot task.
    The chip states what its circuits take; docs/cost.md has the formulas. What it leaves out is listed as not counted.

    Examples:
      imc-sim cost batmann_small_xnor rram_neurram_core
      imc-sim cost batmann_small_xnor rram_xnor --set chip.converter.bits=4 --json
      imc-sim cost ./my_net.py:make rram_neurram_core --weights w.pth --inputs images.npy --out results/cost
    """
    import json

    from imc_sim.cli._console import say, working

    with working(f"reading {chip}"):  # finds a misspelt chip, or one without costs, before the work starts
        from imc_sim.cli._chips import chip_with
        from imc_sim.cost import Components
        from imc_sim.evaluate import cost_for_card

        spec = chip_with(chip, settings)
        Components.of(spec)
    with working(f"counting the actions of {model}"):
        with model_of(model, weights, inputs, arg, rename, prefix) as name:
            report = cost_for_card(name, spec, chips, seed, images)
        drawn: list[Path] = []
        if out is not None:
            from imc_sim.plotting import draw_cost

            drawn = draw_cost(report, out / "cost")
    print(json.dumps(report.to_dict(), indent=2) if as_json else report)
    for path in drawn:
        say(str(path))
