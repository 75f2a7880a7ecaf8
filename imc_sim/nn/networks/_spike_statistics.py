"""What a BitNet costs: how often its units fire, which word lines they activate, how many products a step has."""

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
    """One layer, over images, steps and units.

    rate: mean output. zeros: share of outputs that are 0, before any pooling, as published (1 - rate of spikes).
    active_inputs: share of the layer's inputs that are not 0, after the pooling of the layer before.
    """

    layer: str
    rate: float
    zeros: float
    active_inputs: float


@torch.no_grad()
def firing_rates(model: BitNet, images: Tensor) -> list[FiringRate]:
    """Firing rates of the six layers over images [batch, …], at inference with the steps that the model has."""
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
    """Word lines driven for one of images [batch, …], on average, by layer: what the energy of reads goes with.

    A word line counts once in every read in which its input is not 0, and a convolution is read at every output pixel
    in every step; layer 1, whose inputs are real, once an image, or in every step where the model says `reread`. The
    bits of its drives, and the passes and copies that an encoding adds, are the chip's and not counted.
    """
    found = dict.fromkeys(BITNET_LAYERS, 0.0)
    for step, (inputs, _) in enumerate(_passes(model, images)):
        for name, x in zip(BITNET_LAYERS, inputs, strict=True):
            if step == 0 or name != BITNET_LAYERS[0] or model.reread:
                found[name] += float(_driven(model, name, x)) / len(images)
    return found


@torch.no_grad()
def dense_word_lines(model: BitNet) -> dict[str, float]:
    """`word_line_activations` where every input is driven, as an array without events would do."""
    ones = torch.ones(1, model.channels_in, model.size, model.size, dtype=torch.float32)
    shapes = [torch.ones_like(x) for x in next(_passes(model, ones))[0]]
    reads = [model.steps if name != BITNET_LAYERS[0] or model.reread else 1 for name in BITNET_LAYERS]
    each = zip(BITNET_LAYERS, shapes, reads, strict=True)
    return {name: float(_driven(model, name, x)) * count for name, x, count in each}


@final
@dataclass(frozen=True)
class StepAnswers:
    """Classes given after 1, 2, … steps, each [steps, batch].

    lowest: of equal counts the class that comes first. residual: the one whose state is nearer to its next spike.
    later: lowest, with the spikes of the first step not counted; -1 after one step. tied: whether two classes or more
    had the largest count.
    """

    lowest: Tensor
    residual: Tensor
    later: Tensor
    tied: Tensor


@torch.no_grad()
def answers_by_step(model: BitNet, images: Tensor) -> StepAnswers:
    """What a spiking network says of images [batch, …] after each of its steps, in one pass; see `StepAnswers`."""
    if model.activation != "spikes":
        raise InputError("arch.activation", repr(model.activation), "'spikes'", "Name a spiking network.")
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
    """Multiply-adds of one image and one dense step, by layer; the spikes make most of them additions of nothing."""
    found, side = {}, model.size
    for number, name in enumerate(BITNET_LAYERS, 1):
        layer = model.get_submodule(name)
        side //= 2 if number - 1 in model.pooled else 1
        weights = layer.weight.numel()  # type: ignore[operator, union-attr]
        found[name] = weights * (side**2 if isinstance(layer, Conv2d) else 1)
    return found


def _passes(model: BitNet, images: Tensor) -> Iterator[tuple[list[Tensor], list[Tensor]]]:
    """(inputs, outputs) of the six layers in every step."""
    with evaluating(model):
        for outputs in model.responses(images):
            drives = [model.drive(number, y) for number, y in enumerate(outputs[:-1], 2)]
            yield [images, *drives], outputs


def _driven(model: BitNet, name: str, x: Tensor) -> Tensor:
    """Inputs other than 0 in all the patches, or vectors, that the layer reads."""
    layer, on = model.get_submodule(name), (x != 0).double()
    if not isinstance(layer, Conv2d):
        return on.sum()
    ones = on.new_ones(1, 1, layer.kernel, layer.kernel)
    return F.conv2d(on.sum(1, keepdim=True), ones, stride=layer.stride, padding=layer.padding).sum()


def _mean(values: Tensor) -> float:
    return float(values.double().mean())
