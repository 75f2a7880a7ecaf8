"""Torch modules whose matrix product runs on crossbars."""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor, nn

from imc_sim._errors import InputError
from imc_sim._tensors import comparable
from imc_sim.analog._site_layers import SiteConv2d, SiteLayer, SiteLinear
from imc_sim.array import Chip, Converter, Crossbar, DrivenRows, Encoding, InputVectors, MapCells, Patches, Rows
from imc_sim.config import NATIVE, Engine
from imc_sim.nn import Conv2d, Linear, ProductLayer

#: half precision, which crossbars compute in float32
HALF = (torch.float16, torch.bfloat16)
#: reads between two uses of a layer in the same pass: more than there are images, so that no read is used twice
PASS = 2**32


@final
@dataclass(frozen=True)
class Pass:
    """Hold one pass of images through a network.

    Attributes:
        index: position of the chip that computes; None: the digital network computes, and layers calibrate.
        first_read: number of the first image.
        folded: chips from this position on that compute together, each its part of the batch.
        batch: number of samples of a chip; None where every input of a layer is a sample.
        uses: number of uses of each layer in this pass, by its id.
    """

    index: int | None
    first_read: int = 0
    folded: int = 1
    batch: int | None = None
    uses: dict[int, int] = field(default_factory=dict)

    def use(self, layer: object) -> int:
        """Return the number of earlier uses of a layer in this pass, and count this one."""
        before = self.uses.get(id(layer), 0)
        self.uses[id(layer)] = before + 1
        return before


@final
@dataclass
class Context:
    """Hold what the layers of an analog model share.

    The modules of a network between the model and its layers take images only, so that the pass reaches the layers
    through this object.

    Attributes:
        backend: backend that computes the products.
        running: the pass that runs; None: a layer is called without its model.
        shared: input and output of digital layers by their id, and of digital products by the number of the call.
        measured: measured conductances in S of every layer by name; None: cells are simulated.
        cells: places of the layers on a measured map.
        observer: called with every layer, the position of the chip and the inputs of the product, before it is read.
    """

    backend: Engine = NATIVE
    running: Pass | None = None
    shared: dict[int, Any] = field(default_factory=dict)
    measured: Mapping[str, Any] | None = None
    cells: MapCells = field(default_factory=MapCells)
    observer: Callable[[AnalogLayer, int, Tensor], None] | None = None

    @contextlib.contextmanager
    def during(self, one: Pass) -> Iterator[None]:
        """Set the running pass for the duration of a block.

        Args:
            one: the pass.

        Yields:
            Nothing.
        """
        self.running = one
        try:
            yield
        finally:
            self.running = None


class AnalogLayer(nn.Module, abc.ABC):
    """Run a product layer on the crossbars of chips: x [batch, …] or [chip, batch, …] -> [chip, batch, …].

    Word lines are driven with the digital layer's `operand`; its `rescale` is applied to the converted sums. Inputs of
    +-1 are exact; real ones are computed in float64 with many-valued weights, so that rounding changes no later sign.
    An ADC of range `unit` converts the rescaled sums instead, with the bias as an ideal current of the column.

    A layer that a network uses several times in one pass, as a spiking one does in every step, reads each time: same
    cells, other read noise. The noise of an image depends on its number and on the use, not on the batch.

    Args:
        digital: the product layer.
        chip: the chip.
        encoding: encoding of the weights.
        chips: numbers of the chips.
        seed: seed of all random numbers.
        name: name that addresses the random numbers and appears in errors.
        context: what all layers of a model share; None for a layer without a model.
    """

    def __init__(
        self, digital: ProductLayer, chip: Chip, encoding: Encoding, chips: range, seed: int, name: str,
        context: Context | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.digital, self.name, self.encoding, self.seed = digital, name, encoding, seed
        # A single ADC per output converts columns and bias together: the sums before it are not converted.
        self._converter = chip.converter if chip.converter.of_outputs else None
        self.chip = chip if self._converter is None else chip.model_copy(update={"converter": Converter()})
        self.context = context or Context()
        self.exact_operands = digital.exact_operands
        # The real inputs of a rotated layer are float32 in the digital network as well.
        self._single = digital.binary and not digital.double_operands
        # A padded input is 0, which is exact but neither -1 nor +1.
        self._unit_inputs = self.exact_operands and not digital.zero_operands
        self._check()
        self.limits: tuple[float, float] | None = None
        self.driven_rows: DrivenRows | None = None
        # The magnitude of exact inputs is known, padded or not; that of real ones is measured.
        self.input_limit: float | None = 1.0 if self.exact_operands else None
        self.program(chips)
        if self._converter is not None:
            _check_single(self.crossbar, chip, name)

    def matrix(self) -> Tensor:
        """Return the digital layer's weights as [out, in]."""
        return self.digital.weight_operand()

    def on_chip(self, index: int, a: Tensor, first_read: int) -> Tensor:
        """Return the product on one chip.

        Args:
            index: position of the chip.
            a: inputs of the product [batch, …].
            first_read: number of the first read.
        """
        return self.crossbar.read(index, self.tile_inputs(a), first_read)

    @abc.abstractmethod
    def tile_inputs(self, a: Tensor) -> InputVectors:
        """Return the vectors for the word lines.

        Args:
            a: inputs of the product [batch, …].
        """

    def program(self, chips: range) -> None:
        """Program the cells of other chips; equal numbers get equal cells.

        Args:
            chips: numbers of the chips.
        """
        self.crossbar = self._programmed(self.chip, chips)
        if self.input_limit is not None:
            self.crossbar.set_input_limit(self.input_limit)
        if self.limits is not None:
            self.crossbar.set_limits(*self.limits)

    def calibrate(self, x: Tensor, first: bool = True) -> None:
        """Measure the range of DACs and ADCs, and the rows that inputs switch on, with ideal cells.

        Inputs that are all 0, as before the first spike, are skipped.

        Args:
            x: inputs of the layer [batch, …].
            first: whether this is the first use of the layer in a pass; further uses widen the ranges.
        """
        operand = self.operand(x)
        largest = float(operand.abs().max())
        if first:
            self.input_limit, self.limits, self.driven_rows = 0.0, None, None
        if largest == 0.0:
            return
        self.input_limit = max(largest, self.input_limit or 0.0)
        self.crossbar.set_input_limit(self.input_limit)
        found = self.crossbar.measure_rows(self.tile_inputs(operand))
        if found is not None:
            self.driven_rows = found.joined(self.driven_rows)
            self.crossbar.set_driven_rows(self.driven_rows)
        if self.chip.converter.range == "calibrated" and not self.chip.converter.is_ideal:
            ideal = self._programmed(self.chip.without_effects(), range(1))
            ideal.set_input_limit(self.input_limit)
            self.limits = _widened(self.limits, ideal.tiled.profile(self.tile_inputs(ideal.lines.voltages(operand))))
            self.crossbar.set_limits(*self.limits)

    def check_calibrated(self) -> None:
        """Raise InputError if all inputs of the calibration were zero."""
        if self.input_limit == 0.0:
            self.crossbar.set_input_limit(0.0)

    def _programmed(self, chip: Chip, chips: range) -> Crossbar:
        """Return the crossbar of a chip's cells, simulated or measured."""
        weights = self.matrix().detach()
        weights = weights if self._single else weights.double()
        options: dict[str, Any] = {
            "encoding": self.encoding,
            "unit_inputs": self._unit_inputs,
            "driven": self.driven_rows,
        }
        measured = self.context.measured
        if measured is None or chip is not self.chip:  # ranges are calibrated with ideal cells
            options["cells"] = self.context.cells
            return Crossbar.program(weights, chip, chips, self.seed, self.name, **options)
        if self.name not in measured:
            step = "Add its conductances, or set policy.layers: {NAME: digital}."
            raise InputError(f"layer {self.name!r}, conductances", "none", ", ".join(measured) or "some", step)
        return Crossbar.from_conductance(measured[self.name], weights, chip, chips, self.seed, self.name, **options)

    def operand(self, x: Tensor) -> Tensor:
        """Return the inputs of the product, as the digital layer computes them.

        Args:
            x: inputs of the layer [batch, …].
        """
        a = self.digital.operand(x)
        if self.exact_operands and not self.digital.kind.makes_inputs:
            _check_exact(a, self.digital, self.name)
        return a if self._single else a.double()

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        running = self.context.running
        if running is not None:
            before = running.use(self)
            if running.index is not None:
                return self._one(running.index, x, running.first_read + PASS * before)
            self.calibrate(x, before == 0)
            return self.digital(x)
        chips = self.crossbar.shape[0]
        shared = x.ndim == (3 if isinstance(self.digital, SiteLinear) else self.digital.weight.ndim)
        first = self.crossbar.take_reads(x.shape[0 if shared else 1])
        return torch.stack([self._one(c, x if shared else x[c], first) for c in range(chips)])

    def _one(self, index: int, x: Tensor, first_read: int) -> Tensor:
        """Return the layer's output on one chip, or on several that each have a part of x."""
        running = self.context.running
        folded, batch = (1, None) if running is None else (running.folded, running.batch)
        if batch is not None:
            first_read *= max(1, len(x) // (folded * batch))  # reads of a sample
        single = x.float() if x.dtype in HALF else x
        if folded == 1:
            return self._on(index, single, first_read).to(x.dtype)
        parts = enumerate(single.chunk(folded), index)
        return torch.cat([self._on(number, part, first_read) for number, part in parts]).to(x.dtype)

    def _on(self, index: int, x: Tensor, first_read: int) -> Tensor:
        a = self.operand(x)
        if self.context.observer is not None:
            self.context.observer(self, index, a)
        y = self.on_chip(index, a, first_read)
        return self.converted(self.digital.rescale(y.to(x.dtype)))

    def converted(self, z: Tensor) -> Tensor:
        """Return rescaled outputs through the ADC of the layer, if it has one for outputs.

        Args:
            z: outputs.
        """
        return z if self._converter is None else self._converter.unit(z)

    def _check(self) -> None:  # optional in subclasses
        """Refuse settings that this layer cannot map."""


class AnalogLinear(AnalogLayer):
    """Run a fully connected layer on crossbars."""

    def tile_inputs(self, a: Tensor) -> InputVectors:
        return Rows(a)


class AnalogConv2d(AnalogLayer):
    """Run a convolution on crossbars, word lines in the order kernel row, kernel column, channel (see `Patches`)."""

    digital: Any  # with kernel, stride and padding

    def matrix(self) -> Tensor:
        return self.digital.weight_operand().permute(0, 2, 3, 1).flatten(1)

    def on_chip(self, index: int, a: Tensor, first_read: int) -> Tensor:
        return super().on_chip(index, a, first_read).permute(0, 3, 1, 2)

    def tile_inputs(self, a: Tensor) -> InputVectors:
        return Patches(a, self.digital.kernel, self.digital.stride, self.digital.padding)

    def _check(self) -> None:
        if self.digital.padding and self.encoding.operands == "bipolar":
            got = f"padding {self.digital.padding} with encoding {self.encoding.name}"
            step = "Use encoding differential, which drives a padded input with 0 V."
            raise InputError(f"layer {self.name!r}", got, "inputs of -1 and +1 only", step)


def _widened(limits: tuple[float, float] | None, found: tuple[float, float]) -> tuple[float, float]:
    """Return the range that contains both."""
    return found if limits is None else (min(limits[0], found[0]), max(limits[1], found[1]))


def _check_single(crossbar: Crossbar, chip: Chip, name: str) -> None:
    """Refuse a crossbar with several conversions per output, each of which an ADC of range `unit` would clip."""
    plan, where = crossbar.plan, f"layer {name!r}, converter.range unit"
    if (count := len(plan.placement.row_slices)) > 1:
        rows = plan.placement.inputs * plan.encoding.rows
        step = "Enlarge the tile, or use range: calibrated, whose partial sums are clamped after they are added."
        raise InputError(where, f"{count} rows of tiles", f"one, of tile.rows {rows} or more", step)
    passes = len(chip.inputs.factors) if plan.encoding.operands == "real" else 1
    correction = plan.encoding.correction
    if passes * len(plan.factors) > 1 or correction.sum_w or correction.sum_x or correction.count:
        got = f"encoding {plan.encoding.name} with {passes * len(plan.factors)} conversions an output"
        step = "Use encoding differential without copies, and inputs in one pass."
        raise InputError(where, got, "one conversion per output, without a correction", step)


def _check_exact(a: Tensor, layer: ProductLayer, name: str) -> None:
    """Reject inputs outside the values that the layer promises."""
    bits = layer.inputs == "bits"
    values = comparable(a)
    if not bool(((values == (0.0 if bits else -1.0)) | (values == 1)).all()):
        step = "Fix the module before the layer." if bits else "Put a SignActivation before the layer."
        allowed, got = "0 and 1" if bits else "-1 and +1", f"other values, up to {float(a.abs().max()):g}"
        if isinstance(layer, SiteLayer):
            step = "Map it again with more inputs, in which the layer has such values as well."
            allowed += f" times {layer.input_scale:g}, as in the inputs that it was mapped with"
            got = f"other values, up to {float(a.abs().max()) * layer.input_scale:g}"
        raise InputError(f"layer {name!r}, inputs", got, allowed, step)


#: product layer -> the layer that runs it on crossbars
LAYERS: dict[type[ProductLayer], type[AnalogLayer]] = {
    Conv2d: AnalogConv2d, SiteConv2d: AnalogConv2d, Linear: AnalogLinear, SiteLinear: AnalogLinear,
}  # fmt: skip
