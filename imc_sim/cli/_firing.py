"""`imc-sim firing`: how often a spiking network fires, and what it says after how many steps."""

from __future__ import annotations

from typing import Annotated

import typer

from imc_sim.cli._console import Quiet


def firing(
    model: Annotated[str, typer.Argument(help="A spiking model of `imc-sim list models`, or its folder.")],
    steps: Annotated[int | None, typer.Option(min=1, help="Time steps; default: those of the card.")] = None,
    images: Annotated[int, typer.Option(min=2, help="Test images, drawn by the seed of the task.")] = 1000,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Another task than the card's: key=value, such as split=train.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of two tables.")] = False,
    quiet: Quiet = False,
) -> None:
    """Count the spikes of a network.

    Per layer: rate, share of zeros, word lines driven for one image, and how many a dense read drives. Per number of
    steps: accuracy, by the rule for ties, and without the spikes of the first step.
    """
    import json

    from imc_sim.cli._console import print_rows, progress_bar

    with progress_bar(f"counting spikes of {model}") as update:
        from imc_sim.config import parse_setting
        from imc_sim.evaluate import measure_firing
        from imc_sim.nn.store import load_card

        stated = load_card(model)[0].measured
        task = dict(stated[0].task) if stated else {"kind": "classification"}
        task |= {"images": images, "steps": steps} | dict(map(parse_setting, settings or ()))
        found = measure_firing(model, task, update)
    data = found.to_dict()
    if as_json:
        print(json.dumps(data, indent=2))
        return
    print_rows(data["layers"])
    print()
    print_rows(data["accuracy"])
