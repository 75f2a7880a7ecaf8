"""A chip: everything that a file in device_configs/ says."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Mapping
from typing import Any, Literal, Self, final

from pydantic import Field, model_validator

from imc_sim._errors import InputError
from imc_sim.array._converter import Converter
from imc_sim.array._inputs import Inputs
from imc_sim.array._placement import Tile
from imc_sim.array.circuit.driven_rows import needs_density
from imc_sim.array.circuit.wires import Wires
from imc_sim.array.encoding.kinds import AnyEncoding
from imc_sim.array.encoding.multibit import Differential, Sliced
from imc_sim.config import NATIVE, Engine, Spec, build, find_content, read_yaml
from imc_sim.device import Device

Place = Literal["crossbar", "digital", "error"]
Neurons = Literal["bernoulli", "comparator"]
Compute = Literal["float32", "int16", "int8"]
Draws = Literal["cells", "pairs"]


@final
class Policy(Spec):
    """Which products run on crossbars. A layer that ends at `error` is refused, never silently digital.

    binary, int8, float: layers by the operands they train with. layers: glob of a layer's name -> place, first
    match wins over the kinds. memory: the key memory, which is no layer and which no glob reaches.
    """

    binary: Place = "crossbar"
    int8: Place = "digital"
    float: Place = "error"
    memory: Place = "crossbar"
    layers: dict[str, Place] = Field(default_factory=dict)

    def place(self, layer: str, kind: str) -> Place:
        """Where the layer of that name and operand kind (binary, int8, float) runs; `error` raises."""
        globs = {} if kind == "memory" else self.layers
        match: Place | None = next((p for glob, p in globs.items() if fnmatch.fnmatchcase(layer, glob)), None)
        place: Place = match if match is not None else getattr(self, kind)
        if place == "error":
            step = f"Say where it runs: policy.layers: {{{layer!r}: digital}} or crossbar, or policy.{kind}."
            raise InputError(f"layer {layer!r}", f"{kind} weights and no place for them", "crossbar or digital", step)
        return place


@final
class Chip(Spec):
    """Cells, encoding, tiles, wires, drives, converters and the policy that maps a network onto them.

    neurons: how stochastic binary activations fire: `bernoulli` draws with the ideal probability, in digital logic;
    `comparator` compares the sum with its threshold and leaves the chance to the noise with which the cells are read.

    compute: what products of whole-number inputs are computed with: differences of conductances in float32, on a grid
    of 2^-12 of the window, or rounded to whole numbers of 16 or 8 bits of the largest one. The mapping report says
    how far that is from the conductances. Layers with real inputs and many-valued weights stay in float64.

    draws: what programming draws. cells: every cell. pairs: of each column pair of `differential` the difference of its
    cells, one number of the same law; only where nothing asks for the cells themselves, and other chips than by cells.
    """

    name: str = "chip"
    source: str = Field(default="", description="where the figures come from")
    validity: str = Field(default="", description="for what they hold")
    device: Device
    encoding: AnyEncoding = Differential()
    encoding_multibit: AnyEncoding = Field(default=Sliced(), description="encoding of 8-bit and float layers")
    tile: Tile = Tile()
    wires: Wires = Wires()
    inputs: Inputs = Inputs()
    converter: Converter = Converter()
    neurons: Neurons = Field(default="bernoulli", description="how neurons that fire at random are drawn")
    policy: Policy = Policy()
    compute: Compute = Field(default="float32", description="what products of the crossbars are computed with")
    draws: Draws = Field(default="cells", description="what programming draws: every cell, or differences of pairs")
    engine: Engine = Field(default=NATIVE, description="who computes what the crossbars give")

    @model_validator(mode="after")
    def _pairs_are_enough(self) -> Self:
        """Differences of pairs are all that is asked for."""
        if self.draws == "pairs":
            device = self.device
            asked = {
                "faults, verify or pulses": not device.one_draw,
                "what happens after programming": device.ages,
                "read noise": device.read.noisy,
                "wires": not self.wires.is_ideal,
                "engine": not self.engine.native,
            }
            if any(asked.values()):
                names = ", ".join(name for name, there in asked.items() if there)
                raise ValueError(f"draws: cells where single cells are asked for (here by {names})")
        return self

    @property
    def changes_cells(self) -> bool:
        """Tell whether products use other conductances than those that were programmed: aged cells, or wires."""
        return self.device.ages or not self.wires.is_ideal

    @property
    def calibrates(self) -> bool:
        """Ranges of converters or DACs, or rows that wires depend on, are to be measured with representative inputs."""
        converters = self.converter.range == "calibrated" and not self.converter.is_ideal
        rows = any(needs_density(e, self.wires) for e in (self.encoding, self.encoding_multibit))
        return converters or not self.inputs.is_ideal or rows

    @property
    def cells_are_ideal(self) -> bool:
        """Tell whether cells conduct what they are programmed for until they are read: no effects, no wires."""
        return self.device.cells_are_ideal and not self.changes_cells

    def without_effects(self) -> Chip:
        """The same chip with cells that land on their targets and read without noise, on ideal wires."""
        return self.model_copy(update={"device": self.device.without_effects(), "wires": Wires()})

    def physics(self) -> dict[str, Any]:
        """All that affects a result: everything but the prose."""
        return {k: v for k, v in self.to_dict().items() if k not in {"name", "source", "validity"}}


def load_chip(chip: str | os.PathLike[str] | Mapping[str, Any] | Chip) -> Chip:
    """A chip by name (device_configs/), path or mapping."""
    if isinstance(chip, Chip):
        return chip
    if isinstance(chip, Mapping):
        return build(Chip, dict(chip), where=f"chip {chip.get('name', '<mapping>')!r}")
    path = find_content("chip", chip)
    return build(Chip, read_yaml(path), where=str(path))
