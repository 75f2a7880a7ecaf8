"""The BATMANN controller: a five-layer CNN that computes the key of a character.

Source: rlin27/BATMANN (2021); network after Karunaratne et al., Nat. Commun. 12:2468 (2021).
"""

from __future__ import annotations

import math
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imc_sim._errors import InputError
from imc_sim.nn._checks import check_choice
from imc_sim.nn._layers import Conv2d, Linear, product_layers
from imc_sim.nn._product_layer import Policy
from imc_sim.nn.rotation import ROTATIONS, RotationMode

#: kind -> (policy of conv1, of conv2-4, of the last layer, conv layers have a bias)
KINDS: dict[str, tuple[Policy, Policy, Policy, bool]] = {
    "float": ("float", "float", "float", True),
    "xnor": ("int8", "xnor", "int8", False),
    "xnor_binary_fc": ("int8", "xnor", "xnor", False),
    "rbnn": ("float", "rbnn", "float", True),
    "rbnn_binary_fc": ("float", "rbnn", "rbnn", True),
}


class _Features(nn.Module):
    """conv1-conv2-pool-conv3-conv4-pool, ReLU after every convolution."""

    def __init__(self, channels_in: int, width: int, first: Policy, inner: Policy, bias: bool) -> None:
        super().__init__()
        self.conv1 = Conv2d(channels_in, width, 5, first, bias)
        self.conv2 = Conv2d(width, width, 5, inner, bias)
        self.conv3 = Conv2d(width, width, 3, inner, bias)
        self.conv4 = Conv2d(width, width, 3, inner, bias)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv1(x))
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.relu(self.conv3(x))
        return F.max_pool2d(F.relu(self.conv4(x)), 2)


@final
class BatmannController(nn.Module):
    """Compute features [batch, dim] of images [batch, channels_in, size, size], without batch norm and dropout.

    Names in the state dict are the original's: `features.conv1.weight`, `features.conv2.alpha`, `fc1.bias`, ….

    Args:
        kind: `float`, `xnor` (8-bit first and last layer), `xnor_binary_fc` (8-bit first layer), `rbnn` (rotated binary
            conv2 to conv4, the rest float) or `rbnn_binary_fc` (last layer as well).
        channels_in: Channels of the images.
        width: Channels of the convolutions.
        dim: Number of features.
        size: Pixels a side.
        bias_init: Initial bias of the last layer; the original's 1 keeps every feature positive, and so its sign
            constant, until training has changed it.
        rotation: Of the rbnn kinds: `updated`, or `frozen` as in all published runs.
    """

    def __init__(
        self, kind: str = "xnor", channels_in: int = 1, width: int = 128, dim: int = 512, size: int = 32,
        bias_init: float = 1.0, rotation: RotationMode = "updated",
    ) -> None:  # fmt: skip
        super().__init__()
        check_choice("arch.rotation", rotation, ROTATIONS)
        check_choice("arch.kind", kind, KINDS)
        first, inner, last, bias = KINDS[kind]
        self.kind, self.size, self.channels_in, self.dim = kind, size, channels_in, dim
        self.features = _Features(channels_in, width, first, inner, bias)
        side = ((size - 8) // 2 - 4) // 2
        if side < 1:
            raise InputError("arch.size", size, "20 pixels or more", "Use larger images.")
        self.fc1 = Linear(width * side * side, dim, last)
        for layer in product_layers(self):
            layer.rotation = rotation
            if isinstance(layer, Conv2d):
                nn.init.normal_(layer.weight, 0.0, math.sqrt(2 / (layer.kernel**2 * width)))
        nn.init.normal_(self.fc1.weight, 0.0, 0.01)
        nn.init.constant_(self.fc1.bias, bias_init)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return self.fc1(torch.flatten(self.features(x), 1))
