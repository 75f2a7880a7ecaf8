"""Grouped convolutions: one product of all groups where every readout is a single matrix product."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast, final

import torch
import torch.nn.functional as F
from torch import Tensor

from imc_sim.analog._layers import HALF, AnalogLayer
from imc_sim.analog._site_layers import SiteLayer
from imc_sim.array import IdealReadout, Readout
from imc_sim.device import check_finite
from imc_sim.sites import Call

#: next step of an error where sums overflow
_LARGE = "Scale the inputs down."


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

    Sums of whole numbers equal those of each group alone to the bit; real ones equal them to rounding.

    Args:
        layers: one per group.
    """

    def __init__(self, layers: Sequence[AnalogLayer]) -> None:
        self._layers = layers
        self._scale = _joined([cast("SiteLayer", layer.digital).unit for layer in layers], 1.0)
        self._readouts: list[Readout] = []
        self._weights: dict[int, _Weights] = {}

    def product(self, call: Call, x: Tensor) -> Tensor | None:
        """Return the product of all groups; None where ADCs, DACs or read noise need them one after the other.

        Args:
            call: the convolution.
            x: images, those of each chip together.
        """
        running = self._layers[0].context.running
        if running is None or running.index is None or self._layers[0].context.observer is not None:
            return None  # each layer is calibrated, or its inputs are observed
        readouts = [layer.crossbar.readout for layer in self._layers]
        if readouts != self._readouts:  # programmed again
            self._readouts, self._weights = readouts, {}
        if not all(isinstance(r.reference, IdealReadout) and r.lines.is_ideal for r in readouts):
            return None
        first, single = self._layers[0], x.float() if x.dtype in HALF else x
        chips = enumerate(first.operand(single).chunk(running.folded), running.index)
        each = [self._convolved(call, a, index).to(single.dtype) for index, a in chips]
        y = each[0] if len(each) == 1 else torch.cat(each)
        y = y if self._scale is None else y * _lifted(self._scale, y)
        return first.converted(y).to(x.dtype)

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
