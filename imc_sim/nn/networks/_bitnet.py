"""BitNet: a convolutional network without normalisation whose layers speak in spikes.

Source: Reddy, Buddhi (2022), https://github.com/preddy5/Buddhi (BITnet6, BITnet6_v101), in its code; there is no paper.
How it is trained there is not public, nor is the gradient of its activation, bddi: both are substitutes of our own.
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

from imc_sim._errors import InputError, nearest
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
_CHOICES = {
    "version": tuple(BITNET_VERSIONS), "activation": ("spikes", "clamp", "relu"), "tie_break": ("lowest", "residual"),
    "memory": ("steps", "recompute"),
}  # fmt: skip
#: share of a spike that a state counts for where it breaks ties: below 1, so that no order of counts changes
SHARE = 2.0**-8
#: what a layer does to its product: (number of the layer from 0, product) -> output
Respond = Callable[[int, Tensor], Tensor]
Product = Callable[[Tensor], Tensor]


@final
class BitNet(nn.Module):
    """Images [batch, channels_in, size, size] -> firing rates [batch, classes] in [0, 1] over `steps` time steps.

    Five 3 x 3 convolutions with bias of 64, 64, 128, 256 and 512 channels times `scale` (rounded down), the spikes of
    layers 2, 3 and 5 (version `6`) or 2, 4 and 5 (`6_v101`) max-pooled by 2, which of spikes is an OR, and a linear
    layer; each ends in integrate-and-fire units (`IfUnit`). Images of 64 pixels are pooled after layer 1 as well, as
    published; the head fits any other size of 8 pixels or more. The image is presented in every step: the input of
    layer 1's units is constant and computed once.

    steps: at inference; training_steps: in training, None for as many. select_first: count the spikes of the first
    step. tie_break: of equal counts the class that comes first wins (`lowest`), or at inference the one whose state is
    nearer to its next spike (`residual`: states count for 1/256 spike). gradient, leak: of the units, our substitutes.
    memory: a training pass holds all `steps`, or one, which it computes again (`recompute`: the same gradient).

    activation: `clamp` is the network of the same shape and weights with clamp(z, 0, 1) in place of the units, one pass
    instead of steps: the warm-up, whose state loads into a spiking network as it is, and not the limit of many steps.
    `relu`: the baseline, whose output is logits. events: at inference without gradients add up the weights of active
    inputs, see `EventProduct`. reread: at inference compute layer 1 in every step, which on a chip has its own noise.
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
        _check(version=version, activation=activation, tie_break=tie_break, memory=memory)
        widths = _widths(scale, size, classes, channels_in)
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
        for asked in (steps, steps if training_steps is None else training_steps):
            self._counted(asked)

    def reset_biases(self) -> None:
        """Biases from U(-1, 1) / sqrt(inputs of a unit), as torch's own layers start; weights do so in any case."""
        for layer in product_layers(self):
            bound = 1 / math.sqrt(layer.weight[0].numel())
            nn.init.uniform_(layer.bias, -bound, bound)  # type: ignore[arg-type]

    def with_steps(self, steps: int) -> BitNet:
        """The same network, weights shared, that takes `steps` steps at inference."""
        self._counted(steps)
        other = copy.copy(self)
        other.steps = steps
        return other

    def _counted(self, steps: int) -> int:
        """How many of so many steps are counted; InputError where there are none."""
        if steps < (least := 1 if self.select_first else 2):
            raise InputError("arch.steps", steps, f"{least} or more", "Take more steps, or count the first.")
        return steps if self.select_first else steps - 1

    def forward(self, x: Tensor) -> Tensor:
        self._check_images(x)
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
        """Outputs of the six layers, before pooling, one step after the other; `clamp` and `relu` have one step."""
        self._check_images(x)
        if self.activation == "spikes":
            yield from self._spikes(x, _Units(self.unit))
        else:
            layers = self._layers()
            yield self._through(layers[0](x), layers, self._graded)

    def output_steps(self, x: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Spikes and states after them of the last layer, [batch, classes] each, one step after the other."""
        self._check_images(x)
        units = _Units(self.unit)
        for outputs in self._spikes(x, units):
            yield outputs[-1], units.states[-1]

    def drive(self, number: int, output: Tensor) -> Tensor:
        """What layer `number` (2 to 6) gets of the output of the layer before: pooled, and flat for the last."""
        x = F.max_pool2d(output, 2) if number - 1 in self.pooled else output
        return x.flatten(1) if number == len(BITNET_LAYERS) else x

    def _steps(self) -> int:
        return self.training_steps if self.training and self.training_steps is not None else self.steps

    def _layers(self) -> list[Product]:
        return [self.get_submodule(name) for name in BITNET_LAYERS]

    def _products(self) -> list[Product]:
        """The layers, or for events what takes their place from layer 2 on; those of a chip stay."""
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
        """The layers' outputs in one step, where layer 1's product is `current`."""
        outputs = [respond(0, current)]
        for number, product in enumerate(products[1:], 1):
            outputs.append(respond(number, product(self.drive(number + 1, outputs[-1]))))
        return outputs

    def _graded(self, number: int, z: Tensor) -> Tensor:
        if self.activation == "clamp":
            return project(z, self.unit.leak)
        return F.relu(z) if number + 1 < len(BITNET_LAYERS) else z

    def _fresh(self) -> Step:
        """A step function with units at rest."""
        units, layers = _Units(self.unit), self._layers()
        return lambda current: self._through(current, layers, units)[-1]

    def _check_images(self, x: Tensor) -> None:
        if x.shape[1:] != (self.channels_in, self.size, self.size):
            got, allowed = (" x ".join(map(str, s)) for s in (x.shape[1:], (self.channels_in, self.size, self.size)))
            step = "Set arch.args.size and arch.args.channels_in, or the task's size."
            raise InputError("images", f"{got} (channels, pixels)", allowed, step)


class _Units:
    """The units of all layers of one pass, with their states: none yet before the first step."""

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


def _widths(scale: float, size: int, classes: int, channels_in: int) -> tuple[int, ...]:
    """Channels of the five convolutions, where the sizes of a network can be."""
    if not 0 < scale < math.inf or int(_CHANNELS[0] * scale) < 1:
        raise InputError("arch.scale", scale, "1/64 or more", "Take 4 for the published network.")
    if size < 8:
        raise InputError("arch.size", size, "8 pixels or more", "Use larger images: they are halved three times.")
    if min(classes, channels_in) < 1:
        raise InputError("arch.classes, channels_in", (classes, channels_in), "1 or more", "Give what the images have.")
    return tuple(int(channels * scale) for channels in _CHANNELS)


def _check(**chosen: str) -> None:
    for name, value in chosen.items():
        if value not in _CHOICES[name]:
            step = f"{nearest(value, _CHOICES[name])}Choose one."
            raise InputError(f"arch.{name}", repr(value), ", ".join(_CHOICES[name]), step)
