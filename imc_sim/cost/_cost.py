"""Cost of a network, of a key memory, and of one full tile."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from imc_sim._arguments import checked
from imc_sim._errors import InputError, check_whole
from imc_sim._quantities import type_of
from imc_sim.analog import AnalogModel, AssociativeMemory
from imc_sim.array import Chip, Crossbar, Placement, Rows, load_chip
from imc_sim.cost._components import Components
from imc_sim.cost._observe import Observer, count_actions, count_search
from imc_sim.cost._price import price
from imc_sim.cost._report import CostReport


def cost(analog: AnalogModel, inputs: Any, programming: bool = True) -> CostReport:
    """Return energy, latency and area of an inference of a network on its chips.

    Cells take V^2 G t with the conductances of each chip and the inputs that reach them. What the chip does not state
    is listed as not counted.

    Args:
        analog: mapped network, calibrated where its chip needs it.
        inputs: some inputs, such as 16 images [batch, ...], or the arguments of a network of any modules.
        programming: count what programs the cells as well.

    Returns:
        The report, per inference.

    Raises:
        InputError: the chip states no cost, another backend computes, there are no inputs, or no products.
    """
    _check(analog, AnalogModel, "a network on chips", "Map the network: imc.map_model(network, chip).")
    chip = analog.report.chip
    Components.of(chip)  # raises before anything runs
    counted = count_actions(analog, inputs, programming)
    if not counted:
        allowed, step = "a convolution, linear layer or product", "Only products and programming are counted."
        raise InputError("cost", "a network without products", allowed, step)
    return dataclasses.replace(price(chip, counted), peak=macro_cost(chip))


def memory_cost(memory: AssociativeMemory, queries: Tensor, programming: bool = True) -> CostReport:
    """Return energy, latency and area of a search in a key memory, and what writing its keys takes.

    Args:
        memory: memory with keys.
        queries: [batch, dim], or [chip, batch, dim].
        programming: count what writes the keys as well.

    Returns:
        The report, per query; `programming_J` is that of writing all keys.

    Raises:
        InputError: the chip states no cost, another backend computes, no keys are stored, or for other queries.
    """
    _check(memory, AssociativeMemory, "a key memory", "Build it with imc.AssociativeMemory, and write keys.")
    Components.of(memory.chip)
    return price(memory.chip, [count_search(memory, queries, programming)])


@checked
def macro_cost(
    chip: Chip | str | os.PathLike[str] | Mapping[str, Any], inputs: Literal["signs", "real"] = "signs",
    vectors: int = 32, seed: int = 0,
) -> CostReport:  # fmt: skip
    """Return energy, latency and area of one full tile: random signs as weights in all rows and columns.

    Args:
        chip: the chip, or its name, path or mapping.
        inputs: `signs`, -1 and +1, for `unipolar` 0 and 1 as the weights; or `real`, numbers between -1 and +1.
        vectors: number of input vectors; the report is per vector.
        seed: seed of weights, inputs and cells.

    Returns:
        The report, per vector.

    Raises:
        InputError: the chip states no cost, or there are no such inputs.
    """
    chip = load_chip(chip)
    Components.of(chip)
    check_whole(vectors, "macro_cost, vectors", 1)
    check_whole(seed, "macro_cost, seed", most=2**63 - 1)
    place = Placement.of(chip.tile, chip.encoding, 1, 1, "macro")
    outputs = place.outputs_per_tile - chip.encoding.referenced
    random = torch.Generator().manual_seed(seed)
    slices = len(chip.encoding.encode(torch.ones(1, 1), chip.device.levels, "macro").places)
    weights = torch.randn(max(1, outputs // slices), place.inputs_per_tile, generator=random).sign()
    x = torch.rand(vectors, place.inputs_per_tile, generator=random) * 2 - 1
    exact = inputs == "signs"
    low = 0.0 if chip.encoding.name == "unipolar" else -1.0
    weights = weights.clamp_min(low)
    x = torch.where(x < 0, low, 1.0) if exact else x
    crossbar = Crossbar.program(weights, chip, seed=seed, layer="macro")
    observer = Observer(chip, programming=False)
    observer.add("macro", crossbar, 0, Rows(x), exact)
    return price(chip, [observer.counted("macro", vectors)])


def _check(value: object, kind: type, allowed: str, step: str) -> None:
    """Raise InputError for a value of another type."""
    if not isinstance(value, kind):
        raise InputError("cost", type_of(value), allowed, step)
