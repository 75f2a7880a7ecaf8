"""BitNet: a convolutional network without normalisation whose layers send spikes.

Source: Reddy, Buddhi (2022), https://github.com/preddy5/Buddhi (BITnet6, BITnet6_v101), in its code; there is no paper.
Neither its training nor the gradient of its activation, bddi, is public: both are our substitutes.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imc_sim._errors import InputError
from imc_sim.nn._checks import check_choice, check_counts, check_size
from imc_sim.nn._layers import Conv2d, Linear, product_layers
from imc_sim.nn._product_layer import ProductLayer
from imc_sim.nn.events import EventProduct
from imc_sim.nn.networks._recompute import Step, summed
from imc_sim.nn.spiking import IfUnit, SpikeGradient, project

BitNetVersion = Literal["6", "6_v101"]
#: version -> numbers of the layers whose spikes are pooled
BITNET_VERSIONS: dict[BitNetVersion, tuple[int, ...]] = {"6": (2, 3, 5), "6_v101": (2, 4, 5)}
BITNET_LAYERS: tuple[str, ...] = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc")
_CHANNELS = (64, 64, 128, 256, 512)
#: fraction of a spike that a state counts for where it breaks ties: below 1, so that no order of counts changes
SHARE = 2.0**-8
#: (number of the layer from 0, product) -> output of the layer
Respond = Callable[[int, Tensor], Tensor]
Product = Callable[[Tensor], Tensor]


@final
class BitNet(nn.Module):
    """Classify images [batch, channels_in, size, size] by firing rates [batch, classes] over time steps.

    Five 3 x 3 convolutions with bias of 64, 64, 128, 256 and 512 channels times `scale` (rounded down) and a linear
    layer, each with integrate-and-fire units (`IfUnit`); spikes are max-pooled by 2, which is an OR. Images of 64
    pixels are pooled after layer 1 as well, as published. The image is presented in every step, so that the input of
    layer 1's units is constant and computed once.

    Args:
        scale: Factor on the channels.
        version: `6`, with pooling after layers 2, 3 and 5, or `6_v101`, after 2, 4 and 5.
        classes: Number of classes.
        channels_in: Channels of the images.
        size: Pixels a side, 8 or more.
        steps: Time steps at inference.
        training_steps: Time steps in training; None for `steps`.
        activation: `spikes`; `clamp` for clamp(z, 0, 1) instead of units in a single pass, the warm-up, whose state
            dict a spiking network loads, and not the limit of many steps; `relu` for the baseline, which has logits.
        select_first: Count the spikes of the first step.
        tie_break: Of equal counts the `lowest` class wins, or at inference with `residual` the one whose state is
            nearer to its next spike (states count for 1/256 spike).
        gradient: Gradient of the units, see `IfUnit`.
        leak: Factor of the gradient outside (0, 1), see `IfUnit`.
        memory: Training holds all `steps`, or one at a time with `recompute`, which gives the same gradient.
        events: At inference without gradients add up the weights of active inputs, see `EventProduct`.
        reread: At inference compute layer 1 in every step, which on a chip has separate noise.
    """

    def __init__(
        self, scale: float = 4.0, version: BitNetVersion = "6", classes: int = 10, channels_in: int = 3,
        size: int = 32, steps: int = 50, training_steps: int | None = None,
        activation: Literal["spikes", "clamp", "relu"] = "spikes", select_first: bool = True,
        tie_break: Literal["lowest", "residual"] = "lowest", gradient: SpikeGradient = "accumulator",
        leak: float = 0.1, memory: Literal["steps", "recompute"] = "steps", events: bool = False,
        reread: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        check_choice("arch.version", version, BITNET_VERSIONS)
        check_choice("arch.activation", activation, ("spikes", "clamp", "relu"))
        check_choice("arch.tie_break", tie_break, ("lowest", "residual"))
        check_choice("arch.memory", memory, ("steps", "recompute"))
        check_counts(classes=classes, channels_in=channels_in)
        widths = _widths(scale, size)
        self.size, self.channels_in, self.classes = size, channels_in, classes
        self.activation, self.select_first, self.tie_break = activation, select_first, tie_break
        self.memory, self.events, self.reread = memory, events, reread
        self.steps, self.training_steps = steps, training_steps
        self.pooled = (*((1,) if size == 64 else ()), *BITNET_VERSIONS[version])
        self.unit = IfUnit(gradient, leak)
        for name, channels in zip(BITNET_LAYERS[:-1], itertools.pairwise((channels_in, *widths)), strict=True):
            self.add_module(name, Conv2d(*channels, 3, padding=1))
        self.fc = Linear(widths[-1] * (size >> len(self.pooled)) ** 2, classes)
        self.reset_biases()
        for count in (steps, steps if training_steps is None else training_steps):
            self._counted(count)

    def reset_biases(self) -> None:
        """Sample biases from U(-1, 1) / sqrt(inputs of a unit), as for weights and torch's own layers."""
        for layer in product_layers(self):
            bound = 1 / math.sqrt(layer.weight[0].numel())
            nn.init.uniform_(layer.bias, -bound, bound)  # type: ignore[arg-type]

    def with_steps(self, steps: int) -> BitNet:
        """Return a network with shared weights and another number of steps at inference.

        Args:
            steps: Number of steps.
        """
        self._counted(steps)
        other = copy.copy(self)
        other.steps = steps
        return other

    def _counted(self, steps: int) -> int:
        """Return how many of `steps` are counted; InputError where there are none."""
        if steps < (least := 1 if self.select_first else 2):
            raise InputError("arch.steps", steps, f"{least} or more", "Use more steps, or count the first.")
        return steps if self.select_first else steps - 1

    def forward(self, x: Tensor) -> Tensor:
        check_size(x, self.channels_in, self.size)
        if self.activation != "spikes":
            return next(self.responses(x))[-1]
        steps = self._steps()
        counted = self._counted(steps)
        if self.training and self.memory == "recompute":
            return summed(self._fresh, self._layers()[0](x), list(self.parameters()), steps, steps - counted) / counted
        units = _Units(self.unit)
        outputs = [y[-1] for y in self._spikes(x, units)]
        counts = sum(outputs[steps - counted :], start=outputs[0].new_zeros(()))
        if self.tie_break == "residual" and not self.training:
            counts = counts + units.states[-1].detach() * SHARE
        return counts / counted

    def responses(self, x: Tensor) -> Iterator[list[Tensor]]:
        """Yield the outputs of the six layers, before pooling, for each step; `clamp` and `relu` have one step.

        Args:
            x: Images [batch, channels_in, size, size].
        """
        check_size(x, self.channels_in, self.size)
        if self.activation == "spikes":
            yield from self._spikes(x, _Units(self.unit))
        else:
            layers = self._layers()
            yield self._through(layers[0](x), layers, self._graded)

    def output_steps(self, x: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield spikes and next states of the last layer, [batch, classes] each, for each step.

        Args:
            x: Images [batch, channels_in, size, size].
        """
        check_size(x, self.channels_in, self.size)
        units = _Units(self.unit)
        for outputs in self._spikes(x, units):
            yield outputs[-1], units.states[-1]

    def drive(self, number: int, output: Tensor) -> Tensor:
        """Return the input of a layer: the output of the layer before, pooled, and flat for the last.

        Args:
            number: Number of the layer, 2 to 6.
            output: Output of the layer before.
        """
        x = F.max_pool2d(output, 2) if number - 1 in self.pooled else output
        return x.flatten(1) if number == len(BITNET_LAYERS) else x

    def _steps(self) -> int:
        return self.training_steps if self.training and self.training_steps is not None else self.steps

    def _layers(self) -> list[Product]:
        return [self.get_submodule(name) for name in BITNET_LAYERS]

    def _products(self) -> list[Product]:
        """Return the layers, or with events their event products from layer 2 on, except for layers on a chip."""
        first, *others = self._layers()
        if self.training or not self.events or torch.is_grad_enabled():
            return [first, *others]
        return [first, *(EventProduct(layer) if isinstance(layer, ProductLayer) else layer for layer in others)]

    def _spikes(self, x: Tensor, units: _Units) -> Iterator[list[Tensor]]:
        products = self._products()
        current = products[0](x)
        for step in range(self._steps()):
            if step and self.reread and not self.training:
                current = products[0](x)
            yield self._through(current, products, units)

    def _through(self, current: Tensor, products: Sequence[Product], respond: Respond) -> list[Tensor]:
        """Return the outputs of the layers in one step, where the product of layer 1 is `current`."""
        outputs = [respond(0, current)]
        for number, product in enumerate(products[1:], 1):
            outputs.append(respond(number, product(self.drive(number + 1, outputs[-1]))))
        return outputs

    def _graded(self, number: int, z: Tensor) -> Tensor:
        if self.activation == "clamp":
            return project(z, self.unit.leak)
        return F.relu(z) if number + 1 < len(BITNET_LAYERS) else z

    def _fresh(self) -> Step:
        """Return a step function with units at rest."""
        units, layers = _Units(self.unit), self._layers()
        return lambda current: self._through(current, layers, units)[-1]


class _Units:
    """The units of all layers of one pass, with their states, which the first step creates."""

    def __init__(self, unit: IfUnit) -> None:
        self.unit = unit
        self.states: list[Tensor] = []

    def __call__(self, number: int, z: Tensor) -> Tensor:
        if number == len(self.states):
            spikes, state = self.unit(z)
            self.states.append(state)
        else:
            spikes, self.states[number] = self.unit(z, self.states[number])
        return spikes


def _widths(scale: float, size: int) -> tuple[int, ...]:
    """Return the channels of the five convolutions; InputError for a scale or size that is too small."""
    if not 0 < scale < math.inf or int(_CHANNELS[0] * scale) < 1:
        raise InputError("arch.scale", scale, "1/64 or more", "Use 4 for the published network.")
    if size < 8:
        raise InputError("arch.size", size, "8 pixels or more", "Use larger images: they are halved three times.")
    return tuple(int(channels * scale) for channels in _CHANNELS)
