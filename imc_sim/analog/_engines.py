"""Which layers compute for which engine, and what an engine refuses before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from imc_sim.analog._layers import LAYERS, AnalogLayer
from imc_sim.array import Chip
from imc_sim.config import Engine
from imc_sim.nn import ProductLayer


def layer_kinds(engine: Engine) -> Mapping[type[ProductLayer], type[AnalogLayer]]:
    """For every product layer the analog layer that stands for it."""
    if engine.native:
        return LAYERS
    # MemTorch is an extra, and its adapter is loaded only where it is asked for.
    from imc_sim.analog._memtorch_engine import MEMTORCH_LAYERS

    return MEMTORCH_LAYERS


def check_engine(engine: Engine, chip: Chip, layers: Iterable[AnalogLayer]) -> None:
    """Raise what `engine` would raise for these natively mapped layers and a memory, without programming a cell."""
    if engine.native:
        return
    from imc_sim.analog._memtorch_chip import translate
    from imc_sim.analog._memtorch_engine import prepare
    from imc_sim.device._memtorch import part

    part("mn")
    for layer in layers:
        prepare(layer.matrix(), chip, layer.encoding, engine, f"layer {layer.name!r}")
    if chip.policy.place("memory", "memory") == "crossbar":
        translate(chip, chip.encoding, engine, "layer 'memory'")
