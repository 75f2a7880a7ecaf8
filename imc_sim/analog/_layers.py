"""Torch modules whose matrix product runs on crossbars."""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor, nn

from imc_sim._errors import InputError
from imc_sim.array import Chip, Converter, Crossbar, DrivenRows, Encoding, InputVectors, Patches, Rows
from imc_sim.config import NATIVE, Engine
from imc_sim.nn import Conv2d, LatentInputs, Linear, ProductLayer

#: Reads from one use of a layer to its next in the same pass: more than there are images, so that no two meet.
_PASS = 2**32


@final
@dataclass(frozen=True)
class Pass:
    """One pass of images through a network.

    index: position of the chip that computes; None: the digital network computes, and layers calibrate. first_read:
    number of the first image. uses: how often each layer has worked in this pass, by its id.
    """

    index: int | None
    first_read: int = 0
    uses: dict[int, int] = field(default_factory=dict)

    def use(self, layer: object) -> int:
        """Return how often `layer` has worked in this pass before, and count this time."""
        before = self.uses.get(id(layer), 0)
        self.uses[id(layer)] = before + 1
        return before


@final
@dataclass
class Context:
    """What the layers of an analog model share: the backend, the pass that runs, results of digital layers.

    A network's own modules lie between the model and its layers and take images only, so that the pass, which is the
    argument of everything else, reaches the layers through here. None: a layer is called without its model.
    """

    engine: Engine = NATIVE
    running: Pass | None = None
    shared: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    @contextlib.contextmanager
    def during(self, one: Pass) -> Iterator[None]:
        """Let the layers work for this pass."""
        self.running = one
        try:
            yield
        finally:
            self.running = None


class AnalogLayer(nn.Module, abc.ABC):
    """A product layer on crossbars of `chips` chips: x [batch, …] or [chip, batch, …] -> [chip, batch, …].

    The digital layer's `operand` drives the word lines and its `rescale` works on the converted sums. +-1 operands
    are exact; real ones are computed in float64 under many-valued weights, so that rounding decides no later sign.
    A converter of range `unit` converts the rescaled sums instead, its bias as an ideal current of the column.

    A layer that a network uses again in one pass, as a spiking one does in every step, reads again: same cells, other
    read noise. Which noise an image meets depends on its number and on the use, not on the batch.
    """

    def __init__(
        self, digital: ProductLayer, chip: Chip, encoding: Encoding, chips: range, seed: int, name: str,
        context: Context | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.digital, self.name, self.encoding, self.seed = digital, name, encoding, seed
        # One conversion an output, of all that the columns and the bias give: the sums before it pass as they are.
        self._converter = chip.converter if chip.converter.of_outputs else None
        self.chip = chip if self._converter is None else chip.model_copy(update={"converter": Converter()})
        self.context = context or Context()
        self.exact_operands = digital.exact_operands
        # A rotated layer's real operands are float32 in the digital network as well: no later sign hangs on them.
        self._single = digital.binary and not digital.double_operands
        # A padded input is 0, which is exact but neither -1 nor +1.
        self._unit_inputs = self.exact_operands and not digital.zero_operands
        self._check()
        self.limits: tuple[float, float] | None = None
        self.driven_rows: DrivenRows | None = None
        # Magnitudes of exact operands are known, padded or not; those of real ones are measured.
        self.input_limit: float | None = 1.0 if self.exact_operands else None
        self.program(chips)
        if self._converter is not None:
            _check_single(self.crossbar, chip, name)

    @abc.abstractmethod
    def matrix(self) -> Tensor:
        """The weight operand as [out, in]."""

    @abc.abstractmethod
    def on_chip(self, index: int, a: Tensor, first_read: int) -> Tensor:
        """Product of operands a [batch, …] on the chip at position `index`."""

    @abc.abstractmethod
    def tile_inputs(self, a: Tensor) -> InputVectors:
        """Return the vectors that operands a [batch, …] are for the word lines."""

    def program(self, chips: range) -> None:
        """Program the cells of these chips anew; equal numbers get equal cells."""
        self.crossbar = self._programmed(self.chip, chips)
        if self.input_limit is not None:
            self.crossbar.set_input_limit(self.input_limit)
        if self.limits is not None:
            self.crossbar.set_limits(*self.limits)

    def calibrate(self, x: Tensor, first: bool = True) -> None:
        """Measure the DAC's largest input, the converter's limits (in windows) and driven rows on inputs x [batch, …].

        Cells are ideal while it lasts: what is found is a property of the network and its inputs. Further uses in
        the same pass (not `first`) widen what that one has found; inputs that are all 0, as before the first spike, say
        nothing.
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
            quiet = self._programmed(self.chip.without_effects(), range(1))
            quiet.set_input_limit(self.input_limit)
            self.limits = _widened(self.limits, quiet.tiled.profile(self.tile_inputs(quiet.lines.voltages(operand))))
            self.crossbar.set_limits(*self.limits)

    def check_calibrated(self) -> None:
        """Raise InputError where calibration has seen nothing but zeros."""
        if self.input_limit == 0.0:
            self.crossbar.set_input_limit(0.0)

    def _programmed(self, chip: Chip, chips: range) -> Crossbar:
        weights = self.matrix().detach()
        weights = weights if self._single else weights.double()
        return Crossbar.program(
            weights, chip, chips, self.seed, self.name, encoding=self.encoding, unit_inputs=self._unit_inputs,
            driven=self.driven_rows,
        )  # fmt: skip

    def operand(self, x: Tensor) -> Tensor:
        a = self.digital.operand(x)
        if self.exact_operands and not self.digital.kind.makes_inputs:
            _check_exact(a, self.digital.inputs, self.name)
        return a if self._single else a.double()

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        running = self.context.running
        if running is not None:
            before = running.use(self)
            if running.index is not None:
                return self._one(running.index, x, running.first_read + _PASS * before)
            self.calibrate(x, before == 0)
            return self.digital(x)
        chips = self.crossbar.shape[0]
        shared = x.ndim == self._input_dims()
        first = self.crossbar.take_reads(x.shape[0 if shared else 1])
        return torch.stack([self._one(c, x if shared else x[c], first) for c in range(chips)])

    def _one(self, index: int, x: Tensor, first_read: int) -> Tensor:
        y = self.on_chip(index, self.operand(x), first_read)
        z = self.digital.rescale(y.to(x.dtype))
        return z if self._converter is None else self._converter.unit(z)

    @abc.abstractmethod
    def _input_dims(self) -> int:
        """Dimensions of an input without a chip axis."""

    def _check(self) -> None:  # a hook: not every layer has something to refuse
        """Refuse what this layer cannot map."""


@final
class AnalogLinear(AnalogLayer):
    """A fully connected layer on crossbars."""

    def matrix(self) -> Tensor:
        return self.digital.weight_operand()

    def on_chip(self, index: int, a: Tensor, first_read: int) -> Tensor:
        return self.crossbar.read(index, self.tile_inputs(a), first_read)

    def tile_inputs(self, a: Tensor) -> InputVectors:
        return Rows(a)

    def _input_dims(self) -> int:
        return 2


@final
class AnalogConv2d(AnalogLayer):
    """A convolution on crossbars; word lines in the order kernel row, kernel column, channel (see `Patches`)."""

    digital: Conv2d

    def matrix(self) -> Tensor:
        return self.digital.weight_operand().permute(0, 2, 3, 1).flatten(1)

    def on_chip(self, index: int, a: Tensor, first_read: int) -> Tensor:
        return self.crossbar.read(index, self.tile_inputs(a), first_read).permute(0, 3, 1, 2)

    def tile_inputs(self, a: Tensor) -> InputVectors:
        return Patches(a, self.digital.kernel, self.digital.stride, self.digital.padding)

    def _input_dims(self) -> int:
        return 4

    def _check(self) -> None:
        if self.digital.padding and self.encoding.operands == "bipolar":
            got = f"padding {self.digital.padding} with encoding {self.encoding.name}"
            step = "Use encoding differential, which drives a padded input with 0 V."
            raise InputError(f"layer {self.name!r}", got, "operands of -1 and +1 only", step)


def _widened(limits: tuple[float, float] | None, found: tuple[float, float]) -> tuple[float, float]:
    """The range that holds both."""
    return found if limits is None else (min(limits[0], found[0]), max(limits[1], found[1]))


def _check_single(crossbar: Crossbar, chip: Chip, name: str) -> None:
    """A converter clips an output only if all of it reaches that converter at once, before anything is added."""
    plan, where = crossbar.plan, f"layer {name!r}, converter.range unit"
    if (count := len(plan.placement.row_slices)) > 1:
        rows = plan.placement.inputs * plan.encoding.rows
        step = "Enlarge the tile, or take range calibrated, whose partial sums are clamped after they are added."
        raise InputError(where, f"{count} rows of tiles", f"one, of tile.rows {rows} or more", step)
    passes = len(chip.inputs.factors) if plan.encoding.operands == "real" else 1
    correction = plan.encoding.correction
    if passes * len(plan.factors) > 1 or correction.sum_w or correction.sum_x or correction.count:
        got = f"encoding {plan.encoding.name} with {passes * len(plan.factors)} conversions an output"
        step = "Take encoding differential without copies, and inputs in one pass."
        raise InputError(where, got, "one conversion an output, corrected by nothing", step)


def _check_exact(a: Tensor, inputs: LatentInputs, name: str) -> None:
    """Layers that take their inputs as they come would drive others than promised wrongly, unnoticed."""
    low = 0.0 if inputs == "bits" else -1.0
    if not bool(((a == low) | (a == 1)).all()):
        step = "Put a SignActivation before the layer." if inputs == "signs" else "Mend what comes before the layer."
        got = f"other values, up to {float(a.abs().max()):g}"
        raise InputError(f"layer {name!r}, inputs", got, "0 and 1" if inputs == "bits" else "-1 and +1", step)


LAYERS: dict[type[ProductLayer], type[AnalogLayer]] = {Conv2d: AnalogConv2d, Linear: AnalogLinear}
