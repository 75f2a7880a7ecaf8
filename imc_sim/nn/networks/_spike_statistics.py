"""Spike statistics of a BitNet: firing rates, activated word lines and products per step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor

from imc_sim._errors import InputError
from imc_sim.nn._images import evaluating
from imc_sim.nn._layers import Conv2d
from imc_sim.nn.networks._bitnet import BITNET_LAYERS, SHARE, BitNet


@final
@dataclass(frozen=True)
class FiringRate:
    """State the spike statistics of one layer over images, steps and units.

    Attributes:
        layer: Name of the layer.
        rate: Mean output.
        zeros: Fraction of outputs that are 0, before any pooling, as published (1 - rate of spikes).
        active_inputs: Fraction of the layer's inputs that are not 0, after the pooling of the layer before.
    """

    layer: str
    rate: float
    zeros: float
    active_inputs: float


@torch.no_grad()
def firing_rates(model: BitNet, images: Tensor) -> list[FiringRate]:
    """Return the spike statistics of the six layers at inference.

    Args:
        model: The network, with its number of steps.
        images: Images [batch, …].
    """
    total = torch.zeros(len(BITNET_LAYERS), 3, dtype=torch.float64)
    steps = 0
    for inputs, outputs in _passes(model, images):
        steps += 1
        means = [[_mean(y), _mean(y == 0), _mean(x != 0)] for x, y in zip(inputs, outputs, strict=True)]
        total += torch.tensor(means, dtype=total.dtype)
    rows = (total / steps).tolist()
    return [FiringRate(name, *row) for name, row in zip(BITNET_LAYERS, rows, strict=True)]


@torch.no_grad()
def word_line_activations(model: BitNet, images: Tensor) -> dict[str, float]:
    """Return the mean number of driven word lines per image by layer, which the energy of reads grows with.

    A word line counts once in every read in which its input is not 0, and a convolution is read at every output pixel
    in every step; layer 1, whose inputs are real, once per image, or in every step with `reread`. Bits of the inputs,
    and passes and copies of an encoding, depend on the chip and are not counted.

    Args:
        model: The network, with its number of steps.
        images: Images [batch, …].
    """
    found = dict.fromkeys(BITNET_LAYERS, 0.0)
    for step, (inputs, _) in enumerate(_passes(model, images)):
        for name, x in zip(BITNET_LAYERS, inputs, strict=True):
            if step == 0 or name != BITNET_LAYERS[0] or model.reread:
                found[name] += float(_driven(model, name, x)) / len(images)
    return found


@torch.no_grad()
def dense_word_lines(model: BitNet) -> dict[str, float]:
    """Return the driven word lines per image by layer of an array that drives every input.

    Args:
        model: The network, with its number of steps.
    """
    ones = torch.ones(1, model.channels_in, model.size, model.size, dtype=torch.float32)
    shapes = [torch.ones_like(x) for x in next(_passes(model, ones))[0]]
    reads = [model.steps if name != BITNET_LAYERS[0] or model.reread else 1 for name in BITNET_LAYERS]
    each = zip(BITNET_LAYERS, shapes, reads, strict=True)
    return {name: float(_driven(model, name, x)) * count for name, x, count in each}


@final
@dataclass(frozen=True)
class StepAnswers:
    """Hold the answers after 1, 2, … steps, each [steps, batch].

    Attributes:
        lowest: Class of the largest count, of equal counts the lowest.
        residual: The same, of equal counts the class whose state is nearer to its next spike.
        later: `lowest` without the spikes of the first step; -1 after one step.
        tied: Whether two classes or more had the largest count.
    """

    lowest: Tensor
    residual: Tensor
    later: Tensor
    tied: Tensor


@torch.no_grad()
def answers_by_step(model: BitNet, images: Tensor) -> StepAnswers:
    """Return the answers of a spiking network after each of its steps, in one pass.

    Args:
        model: A network with activation `spikes`.
        images: Images [batch, …].

    Raises:
        InputError: The network has no spikes.
    """
    if model.activation != "spikes":
        raise InputError("arch.activation", repr(model.activation), "'spikes'", "Use a spiking network.")
    rows = []
    with evaluating(model):
        counts = first = None
        for spikes, state in model.output_steps(images):
            first = spikes if first is None else first
            counts = spikes if counts is None else counts + spikes
            rest = counts - first
            later = rest.argmax(1) if rows else torch.full_like(counts[:, 0], -1).long()
            tied = (counts == counts.amax(1, keepdim=True)).sum(1) > 1
            rows.append((counts.argmax(1), (counts + state * SHARE).argmax(1), later, tied))
    return StepAnswers(*(torch.stack(each) for each in zip(*rows, strict=True)))


def products_per_step(model: BitNet) -> dict[str, int]:
    """Return the multiply-adds of one image and one dense step by layer; with spikes most of them add 0.

    Args:
        model: The network.
    """
    found, side = {}, model.size
    for number, name in enumerate(BITNET_LAYERS, 1):
        layer = model.get_submodule(name)
        side //= 2 if number - 1 in model.pooled else 1
        weights = layer.weight.numel()  # type: ignore[operator, union-attr]
        found[name] = weights * (side**2 if isinstance(layer, Conv2d) else 1)
    return found


def _passes(model: BitNet, images: Tensor) -> Iterator[tuple[list[Tensor], list[Tensor]]]:
    """Yield inputs and outputs of the six layers in every step."""
    with evaluating(model):
        for outputs in model.responses(images):
            yield [images, *(model.drive(number, y) for number, y in enumerate(outputs[:-1], 2))], outputs


def _driven(model: BitNet, name: str, x: Tensor) -> Tensor:
    """Return the number of inputs other than 0 in all patches, or vectors, that a layer reads."""
    layer, on = model.get_submodule(name), (x != 0).double()
    if not isinstance(layer, Conv2d):
        return on.sum()
    ones = on.new_ones(1, 1, layer.kernel, layer.kernel)
    return F.conv2d(on.sum(1, keepdim=True), ones, stride=layer.stride, padding=layer.padding).sum()


def _mean(values: Tensor) -> float:
    return float(values.double().mean())
