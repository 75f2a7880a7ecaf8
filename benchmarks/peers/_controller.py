"""The BATMANN controller as a plain torch network, which peers turn into their own analog layers.

Binary layers multiply signs with signs; first and last layer have the real weights that our 8-bit layers stand for.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from _worker import Given
from torch import Tensor, nn

BINARY = ("conv2", "conv3", "conv4")


def signs(x: Tensor) -> Tensor:
    """1 above the mean of each sample, else -1."""
    mean = x.mean(tuple(range(1, x.ndim)), keepdim=True)
    return torch.where(x > mean, 1.0, -1.0).to(x.dtype)


class Controller(nn.Module):
    """Images [batch, 1, size, size] -> features [batch, dim]. binary: sets the three products in the middle."""

    def __init__(self, given: Given, binary: list[Tensor] | None = None) -> None:
        super().__init__()
        arrays = {name: torch.from_numpy(given[name]) for name in given.arrays}
        for name in ("conv1", *BINARY):
            weight = arrays[name]
            layer = nn.Conv2d(weight.shape[1], weight.shape[0], int(weight.shape[2]), bias=False)
            layer.weight.data = weight.clone()
            self.add_module(name, layer)
        for layer, weight in zip(BINARY, binary or [], strict=bool(binary)):
            getattr(self, layer).weight.data = weight.reshape_as(arrays[layer])
        self.fc1 = nn.Linear(arrays["fc1"].shape[1], arrays["fc1"].shape[0])
        self.fc1.weight.data, self.fc1.bias.data = arrays["fc1"].clone(), arrays["fc1_bias"].clone()
        for name in BINARY:
            self.register_buffer(f"{name}_alpha", arrays[f"{name}_alpha"])
        self.eval().requires_grad_(False)

    def _binary(self, name: str, x: Tensor) -> Tensor:
        module: Any = self.get_submodule(name)
        return F.relu(module(signs(x)) * self.get_buffer(f"{name}_alpha"))

    def forward(self, x: Tensor) -> Tensor:
        first: Any = self.get_submodule("conv1")
        x = F.max_pool2d(self._binary("conv2", F.relu(first(x))), 2)
        x = self._binary("conv3", x)
        x = F.max_pool2d(self._binary("conv4", x), 2)
        return self.fc1(torch.flatten(x, 1))
