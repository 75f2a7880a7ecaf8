"""Grouped convolutions: all groups in one product, or tile by tile in one readout where ADCs or noise need it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast, final

import torch
import torch.nn.functional as F
from torch import Tensor

from imc_sim.analog._layers import HALF, PASS, AnalogLayer, Pass
from imc_sim.analog._patches import output_sizes, windows
from imc_sim.analog._site_layers import SiteLayer
from imc_sim.array import GroupedReadout, IdealReadout, Readout
from imc_sim.device import check_finite
from imc_sim.sites import Call

#: next step of an error where sums overflow
_LARGE = "Scale the inputs down."
#: elements of the input vectors of groups that are read together
_ELEMENTS = 2**17


@final
@dataclass(frozen=True)
class _Weights:
    """Hold filters of all groups, a bias and a gain of each output; None: 0 and 1."""

    filters: Tensor
    bias: Tensor | None
    gain: Tensor | None


@final
class Groups:
    """The groups of one convolution, each with its own crossbars and random numbers, read by one product.

    Sums of whole numbers equal those of each group alone to the bit; real ones equal them to rounding. Where ADCs, DACs
    or read noise follow, results equal those of each group alone to the bit.

    Args:
        layers: one per group.
    """

    def __init__(self, layers: Sequence[AnalogLayer]) -> None:
        self._layers = layers
        self._scale = _joined([cast("SiteLayer", layer.digital).unit for layer in layers], 1.0)
        self._readouts: list[Readout] = []
        self._weights: dict[int, _Weights] = {}
        self._tiled: list[tuple[list[int], GroupedReadout]] = []

    def product(self, call: Call, x: Tensor, reads: int | None) -> Tensor | None:
        """Return the product of all groups; None where they must be read one after the other.

        Args:
            call: the convolution.
            x: images, those of each chip together.
            reads: number of reads that the images are; None where they are one.
        """
        running = self._layers[0].context.running
        if running is None or running.index is None or self._layers[0].context.observer is not None:
            return None  # each layer is calibrated, or its inputs are observed
        readouts = [layer.crossbar.readout for layer in self._layers]
        if readouts != self._readouts:  # programmed again
            self._readouts, self._weights, self._tiled = readouts, {}, GroupedReadout.by_shape(readouts)
        ideal = all(isinstance(r.reference, IdealReadout) and r.lines.is_ideal for r in readouts)
        if not ideal and (not reads or not self._fits(call, x, running.folded)):
            return None
        first, single = self._layers[0], x.float() if x.dtype in HALF else x
        parts = enumerate(first.operand(single).chunk(running.folded), running.index)
        if ideal:
            each = [self._convolved(call, a, index).to(single.dtype) for index, a in parts]
        else:
            start = self._first_read(running, reads or 1)
            count = (reads or 1) // running.folded
            each = [self._read(call, a, index, start, count).to(single.dtype) for index, a in parts]
        y = each[0] if len(each) == 1 else torch.cat(each)
        y = y if self._scale is None else y * _lifted(self._scale, y)
        return first.converted(y).to(x.dtype)

    def _fits(self, call: Call, x: Tensor, folded: int) -> bool:
        """Tell whether all groups are read tile by tile together."""
        vectors = len(x) // folded * math.prod(output_sizes(x, call.factors[1].shape[2:], call.settings))
        return bool(self._tiled) and all(readout.serves(vectors) for _, readout in self._tiled)

    def _first_read(self, running: Pass, reads: int) -> int:
        """Return the number of the first read, and count this use of every layer."""
        (before,) = {running.use(layer) for layer in self._layers}
        first = running.first_read + PASS * before
        return first if running.batch is None else first * max(1, reads // (running.folded * running.batch))

    def _read(self, call: Call, a: Tensor, index: int, first_read: int, reads: int) -> Tensor:
        """Return the product on one chip, read tile by tile."""
        kernel, groups = call.factors[1].shape[2:], len(self._layers)
        x = windows(a, kernel, call.settings)  # [image, *pixels, *kernel, channels]
        sizes, length = x.shape[1 : 1 + len(kernel)], math.prod(kernel) * a.shape[1] // groups
        x = x.unflatten(-1, (groups, -1)).movedim(-2, 0)
        count = len(a) * math.prod(sizes)
        block, found = max(1, _ELEMENTS // (count * length)), x.new_empty(groups, count, len(call.factors[1]) // groups)
        for places, readout in self._tiled:
            for start in range(0, len(places), block):
                here = slice(start, start + block)
                part = x[here] if len(places) == groups else x[places[here]]
                y = readout.read(index, here, part.reshape(-1, count, length), first_read, count // reads)
                found[here if len(places) == groups else places[here]] = y
        y = found.unflatten(1, (len(a), *sizes))  # [group, image, *pixels, out]
        return y.movedim(-1, 1).flatten(0, 1).movedim(0, 1)

    def _convolved(self, call: Call, a: Tensor, index: int) -> Tensor:
        """Return the product on one chip, in units of weight x input."""
        if index not in self._weights:
            self._weights[index] = self._of_chip(index, call.factors[1].shape[2:])
        held = self._weights[index]
        # For float64, torch's kernel is up to seven times as fast where channels are not last.
        y = getattr(F, call.kind)(a.contiguous(), held.filters, **call.settings)
        check_finite(y, "currents", _LARGE, self._layers[0].name)
        y = y if held.bias is None else y + _lifted(held.bias, y, held.bias.dtype)
        return y if held.gain is None else y * _lifted(held.gain, y)

    def _of_chip(self, index: int, kernel: Sequence[int]) -> _Weights:
        """Return the weights of a chip; word lines are in the order of the kernel, then of the channels."""
        readouts = [cast("IdealReadout", readout.reference) for readout in self._readouts]
        matrices = [readout.matrix(index) for readout in readouts]
        outputs = len(matrices[0])
        filters = torch.cat(matrices).unflatten(1, (*kernel, -1)).movedim(-1, 1)
        gains = [torch.full((outputs,), readout.gain(index), dtype=torch.float64) for readout in readouts]
        biases = [readout.bias(index) for readout in readouts]
        zeros = matrices[0].new_zeros(outputs)
        bias = _joined([zeros if each is None else each for each in biases], 0.0)
        return _Weights(filters.clone(memory_format=torch.contiguous_format), bias, _joined(gains, 1.0))


def _joined(each: Sequence[Tensor], neutral: float) -> Tensor | None:
    """Return values of the outputs of all groups; None where all are neutral."""
    values = torch.cat(list(each))
    return None if bool((values == neutral).all()) else values


def _lifted(values: Tensor, y: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Return a value of each output in a shape that fits images."""
    return values.to(y.device, dtype or y.dtype).reshape(-1, *[1] * (y.ndim - 2))
