"""A chip: everything that a file in device_configs/ states."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterable, Mapping
from typing import Any, Literal, Self, final

from pydantic import Field, model_validator

from imc_sim._errors import InputError
from imc_sim.array._converter import Converter
from imc_sim.array._cost import Cost
from imc_sim.array._inputs import Inputs
from imc_sim.array._placement import Tile
from imc_sim.array.circuit.driven_rows import needs_density
from imc_sim.array.circuit.wires import Wires
from imc_sim.array.encoding.kinds import AnyEncoding
from imc_sim.array.encoding.multibit import Differential, Sliced
from imc_sim.config import (
    NATIVE,
    Engine,
    Label,
    Origin,
    Spec,
    build,
    find_content,
    held_yaml,
    once,
    stored_names,
    warn_if_shadowed,
)
from imc_sim.device import CONTINUOUS, Device, MapVariation, chip_of_map

Place = Literal["crossbar", "digital", "error"]
Neurons = Literal["bernoulli", "comparator"]
Compute = Literal["float32", "int16", "int8"]
Draws = Literal["cells", "pairs"]


@final
class Policy(Spec):
    """Choose which products run on crossbars. A layer with place `error` is refused, never silently digital.

    Attributes:
        binary: place of layers that train with weights of -1 and +1.
        int8: place of layers that train with 8-bit weights.
        float: place of layers that train with real weights.
        memory: place of the key memory, which is not a layer: globs do not match it.
        layers: glob of a layer's name -> place; the first match overrides the place of its kind.
        allow_rounding: whether cells may round weights of a network of any modules by more than 1 %.
    """

    binary: Place = "crossbar"
    int8: Place = "digital"
    float: Place = "error"
    memory: Place = "crossbar"
    layers: dict[str, Place] = Field(default_factory=dict)
    allow_rounding: bool = False

    def idle(self) -> frozenset[str]:
        return frozenset({"allow_rounding"})

    def place(self, layer: str, kind: str) -> Place:
        """Return where a layer runs.

        Args:
            layer: its name.
            kind: what it trains with, `binary`, `int8` or `float`; or `memory`.

        Raises:
            InputError: if its place is `error`.
        """
        globs = {} if kind == "memory" else self.layers
        match: Place | None = next((p for glob, p in globs.items() if fnmatch.fnmatchcase(layer, glob)), None)
        place: Place = match if match is not None else getattr(self, kind)
        if place == "error":
            step = f"Set its place: policy.layers: {{{layer!r}: digital}} or crossbar, or policy.{kind}."
            raise InputError(f"layer {layer!r}", f"{kind} weights and no place for them", "crossbar or digital", step)
        return place


@final
class Chip(Spec):
    """Describe cells, encoding, tiles, wires, DACs, ADCs and the policy that maps a network onto them.

    Attributes:
        name: name of the chip in reports.
        device: the memory cell.
        encoding: encoding of binary layers and of keys.
        tile: size of a physical array.
        wires: wire resistance.
        inputs: the DAC of a word line.
        converter: the ADC of a bit line; `adc` in files and paths too.
        policy: which layers run on crossbars.
        neurons: how stochastic binary activations are sampled. `bernoulli`: with the ideal probability, in digital
            logic. `comparator`: the sum is compared with its threshold; read noise is the only source of chance.
        compute: what products of whole-number inputs are computed with: differences of conductances in float32, on a
            grid of 2^-12 of the window, or rounded to whole numbers of 16 or 8 bits of the largest one. The mapping
            report states the deviation. Layers with real inputs and many-valued weights stay in float64.
        draws: what programming samples. `cells`: every cell. `pairs`: the difference of the two cells of each column
            pair of `differential`, one number with the same distribution. It needs a chip on which nothing depends on
            single cells, and its chips differ from those of `cells`.
        engine: backend that computes the products, this package or MemTorch; `backend` in files and paths too.
        cost: energy, time and area of the circuits, which change no result; None: not stated.
    """

    name: Label = "chip"
    source: str = Field(default="", description="where the numbers are from")
    validity: str = Field(default="", description="what the numbers hold for")
    device: Device
    encoding: AnyEncoding = Differential()
    encoding_multibit: AnyEncoding = Field(default=Sliced(), description="encoding of 8-bit and float layers")
    tile: Tile = Tile()
    wires: Wires = Wires()
    inputs: Inputs = Inputs()
    converter: Converter = Converter()
    neurons: Neurons = Field(default="bernoulli", description="how stochastic binary activations are sampled")
    policy: Policy = Policy()
    compute: Compute = Field(default="float32", description="what products of the crossbars are computed with")
    draws: Draws = Field(default="cells", description="what programming samples: every cell, or differences of pairs")
    engine: Engine = Field(default=NATIVE, description="backend that computes the products: native or memtorch")
    cost: Cost | None = Field(default=None, description="energy, time and area of the circuits; null: not stated")

    @model_validator(mode="after")
    def _pairs_are_enough(self) -> Self:
        """Refuse pairs sampled as differences where an effect needs single cells."""
        if self.draws == "pairs":
            device = self.device
            needed = {
                "faults, verify, pulses or cycle-to-cycle variation": not device.one_draw,
                "what happens after programming": device.ages,
                "read noise": device.read.noisy,
                "continuous levels": device.levels == CONTINUOUS,
                "wires": not self.wires.is_ideal,
                "measured cells by position": device.programming.by_position,
                "engine": not self.engine.native,
            }
            if any(needed.values()):
                names = ", ".join(name for name, there in needed.items() if there)
                raise ValueError(f"draws: cells where single cells are needed (here by {names})")
        return self

    @model_validator(mode="after")
    def _measured_cells_are_programmed(self) -> Self:
        """Refuse simulated programming of cells that were measured by position."""
        if self.device.programming.by_position and not self.device.one_draw:
            raise ValueError("no faults, verify, cycle_to_cycle or failed cells where device.programming.use is cells")
        return self

    @property
    def changes_cells(self) -> bool:
        """Tell whether ageing or wires change the conductances that products use."""
        return self.device.ages or not self.wires.is_ideal

    @property
    def calibrates(self) -> bool:
        """Tell whether ranges of ADCs or DACs, or the share of driven rows, need representative inputs."""
        converters = self.converter.range == "calibrated" and not self.converter.is_ideal
        rows = any(needs_density(e, self.wires) for e in (self.encoding, self.encoding_multibit))
        return converters or not self.inputs.is_ideal or rows

    @property
    def varies(self) -> bool:
        """Tell whether two chips can differ: cells are not ideal, cells age, or reads are noisy."""
        return not self.device.cells_are_ideal or self.device.ages or self.device.read.noisy

    @property
    def cells_are_ideal(self) -> bool:
        """Tell whether cells conduct their targets until they are read: no effects, no wire resistance."""
        return self.device.cells_are_ideal and not self.changes_cells

    def idle(self) -> frozenset[str]:
        # Binary layers whose inputs an encoding does not take are held by `Differential`.
        fallback = (Differential(), True, False)
        products = [(self.encoding, False, False), (self.encoding_multibit, False, False), fallback]
        return self.idle_in(products) | {"cost"}

    def idle_in(self, products: Iterable[tuple[AnyEncoding, bool, bool]]) -> frozenset[str]:
        """Return the paths of settings that change no result of some products but by rounding.

        Args:
            products: encoding of each product on crossbars, whether its weights are -1, 0 and +1, and whether its
                inputs are.
        """
        device, native, products = self.device, self.engine.native, list(products)
        exact_inputs = [exact for encoding, _, exact in products if encoding.operands == "real"]
        converts = not (self.converter.is_ideal or self.converter.of_outputs)
        tiled = converts or device.read.noisy_at(device.time.age_s)
        varies = tiled or not self.cells_are_ideal
        placed = device.correlated.gradient > 0.0 or not native
        # Whole-number products round to a part of the largest level.
        levels = any(e.uses_levels(device.linear, signs and self.compute == "float32") for e, signs, _ in products)
        bends = not all(exact_inputs) and self.inputs.kind != "bit_serial"
        window = varies or (levels and not device.linear)
        seen = (bends and device.read.nonlinearity_per_V > 0.0) or device.read.bandwidth_Hz > 0.0
        acts = {
            "tile.rows": placed or tiled or not self.wires.is_ideal,
            "tile.cols": placed or self.wires.joins_columns or (varies and any(e.referenced for e, _, _ in products)),
            "inputs": not native or not all(exact_inputs) or (tiled and bool(exact_inputs)),
            "inputs.passes": not native or tiled,
            "device.levels": not native or levels,
            "device.spacing": not native or (levels and device.levels > 2 and device.table_S is None),
            "device.table_S": not native or levels,
            "device.g_lrs_S": not native or window,
            "device.g_hrs_S": not native or window,
            "device.read.nonlinearity_per_V": not native or bends,
            "device.read.v_read_V": not native or seen or not device.disturb.is_ideal,
        }
        return frozenset(path for path, there in acts.items() if not there)

    def without_effects(self) -> Chip:
        """Return this chip with ideal cells, noise-free reads and ideal wires."""
        return self.model_copy(update={"device": self.device.without_effects(), "wires": Wires()})

    @property
    def resampled(self) -> Chip:
        """Return this chip with measured cells picked at random instead of by position."""
        law = self.device.programming
        if not isinstance(law, MapVariation):
            return self
        return self.replace("device.programming", law.model_copy(update={"use": "resample"}).to_dict())

    def physics(self) -> dict[str, Any]:
        """Return everything that affects a result: all settings but name, source, validity and cost."""
        return {k: v for k, v in self.to_dict().items() if k not in {"name", "source", "validity", "cost"}}

    def to_dict(self) -> dict[str, Any]:
        data = super().to_dict()
        return data if self.cost is not None else {key: value for key, value in data.items() if key != "cost"}


def known_settings(chip: Chip) -> dict[str, Any]:
    """Return all settings of a chip; within a block of `reading_once`, `load_chip` returns this chip for them.

    Args:
        chip: the chip.
    """
    data = chip.to_dict()
    once("chip", repr(data), lambda: chip)
    return data


def load_chip(chip: str | os.PathLike[str] | Mapping[str, Any] | Chip) -> Chip:
    """Return a chip.

    Args:
        chip: name of a file in device_configs/, path, mapping, or a chip. An .npz file is a measured map.

    Raises:
        InputError: for an unknown name, an unknown key, a missing unit, or a value out of range.
    """
    if isinstance(chip, Chip):
        return chip
    if isinstance(chip, Mapping):
        where = f"chip {chip.get('name', '<mapping>')!r}"
        return once("chip", repr(chip), lambda: build(Chip, stored_names(dict(chip), where), where))
    path = find_content("chip", chip)
    warn_if_shadowed("chip", chip, path)
    with Origin.of(path).naming():
        data = chip_of_map(path) if path.suffix == ".npz" else held_yaml(path)
        return build(Chip, stored_names(data, str(path)), str(path))
