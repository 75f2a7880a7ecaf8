"""aihwkit-lightning: its layers in evaluation, on weights that the benchmark varies.

Its weight noise is meant for training and sampled in every forward pass, while a chip keeps its cells. Its ADCs range
over the largest weight of a tile times the bound.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

from typing import Any

import numpy as np
import torch
from _controller import BINARY, Controller
from _worker import Given, Task, serve
from aihwkit_lightning.nn import AnalogLinear
from aihwkit_lightning.nn.conversion import convert_to_analog
from aihwkit_lightning.simulator.configs import TorchInferenceRPUConfig
from torch import Tensor


def config(given: Given, converted: bool = True) -> TorchInferenceRPUConfig:
    """Inputs range over +-1; ADCs over every input and weight of a tile."""
    found = TorchInferenceRPUConfig()
    if converted:
        found.forward.out_bound, found.forward.out_res = float(given.spec["rows"]), 2 ** given.spec["bits"] - 2
        ranges = found.pre_post.input_range
        ranges.enable, ranges.learn_input_range, ranges.init_value, ranges.init_from_data = True, False, 1.0, 0
        found.mapping.max_input_size = given.spec["rows"]
    return found


def varied(w: Tensor, given: Given) -> Tensor:
    """Return sampled weights as cells hold them."""
    return w * (1.0 + given.spec["sigma"] * torch.randn_like(w))


def layer_of(given: Given, converted: bool) -> tuple[Any, Tensor, Tensor]:
    """Return a programmed layer, the weights and the inputs."""
    w, x = torch.from_numpy(given["w"]), torch.from_numpy(given["x"])
    layer = AnalogLinear(w.shape[1], w.shape[0], bias=False, rpu_config=config(given, converted)).eval()
    layer.set_weights(varied(w, given))
    return layer, w, x


def weights_of(layer: Any) -> np.ndarray:
    """Return the weights that the layer holds, [out, in]."""
    weight = layer.weight.detach().double()
    return weight.reshape(len(weight), -1).numpy()


def linear(given: Given) -> Task:
    """Run one programmed layer."""
    layer, _, x = layer_of(given, True)
    return Task(lambda: layer(x), lambda: [weights_of(layer)])


def program(given: Given) -> Task:
    """Sample the cells of that layer again."""
    layer, w, _ = layer_of(given, True)
    return Task(lambda: layer.set_weights(varied(w, given)))


def memory(given: Given) -> Task:
    """Set keys with variation, then search."""
    layer, w, x = layer_of(given, False)

    def call() -> Tensor:
        layer.set_weights(varied(w, given))
        return layer(x)

    return Task(call, lambda: [weights_of(layer)])


def controller(given: Given) -> Task:
    """Sample the cells of three layers again, then run all images."""
    analog = convert_to_analog(Controller(given), config(given), exclude_modules=["conv1", "fc1"]).eval()
    images = torch.from_numpy(given["images"])
    layers = [analog.get_submodule(name) for name in BINARY]
    signs = [torch.from_numpy(given[name]) for name in BINARY]

    def call() -> Tensor:
        for layer, w in zip(layers, signs, strict=True):
            layer.set_weights(varied(w, given))
        return analog(images)

    return Task(call, lambda: [weights_of(layer) for layer in layers])


if __name__ == "__main__":
    with torch.no_grad():
        every = {"linear": linear, "program": program, "memory": memory, "controller": controller}
        serve(every, ["aihwkit-lightning", "torch"])
