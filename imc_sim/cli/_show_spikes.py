"""`imc-sim show spikes`: spike statistics of a spiking network, and its accuracy after each number of steps."""

from __future__ import annotations

from typing import Annotated

import typer

from imc_sim.cli._console import Quiet
from imc_sim.cli._help import ModelName
from imc_sim.cli._own_network import Trust


def spikes(
    model: ModelName,
    steps: Annotated[int | None, typer.Option(min=1, help="Number of time steps; default: as on the card.")] = None,
    images: Annotated[int, typer.Option(min=2, help="Test images, sampled by the seed of the task.")] = 1000,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="key=value for the task, such as split=train; default: the task of the card."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of two tables.")] = False,
    trust: Trust = False,
    quiet: Quiet = False,
) -> None:
    """Count the spikes of a spiking network.

    Prints two tables. For each layer: firing rate, share of zeros, word lines driven for an image, and word lines that
    a dense read drives. For each number of steps: accuracy with each rule for ties, and without the first step.

    Examples:
      imc-sim show spikes bitnet_digits_spikes --steps 16 --images 200
      imc-sim show spikes bitnet_digits_spikes --json
    """
    import json

    from imc_sim.cli._console import print_rows, progress_bar

    with progress_bar(f"counting spikes of {model}") as update:
        from imc_sim.cli._chips import origin_of
        from imc_sim.config import parse_setting
        from imc_sim.evaluate import measure_firing
        from imc_sim.nn.store import check_code_of, load_card

        card, folder = load_card(model)
        check_code_of(card, folder, "measured")
        stated = card.measured
        task = dict(stated[0].task) if stated else {"kind": "classification"}
        task |= {"images": images, "steps": steps} | dict(map(parse_setting, settings or ()))
        with origin_of(settings).naming("task"):
            found = measure_firing(model, task, update)
    data = found.to_dict()
    if as_json:
        print(json.dumps(data, indent=2))
        return
    print_rows(data["layers"])
    print()
    print_rows(data["accuracy"])
