"""aihwkit: inference tiles whose weights vary when they are programmed, with ADCs at the ends.

argv[2]: `torch` or `compiled`, one of its two tiles.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

import sys
from typing import Any

import numpy as np
import torch
from _controller import BINARY, Controller
from _worker import Given, Task, serve
from aihwkit.inference.noise.base import BaseNoiseModel
from aihwkit.nn import AnalogLinear
from aihwkit.nn.conversion import convert_to_analog
from aihwkit.simulator.configs import InferenceRPUConfig, TorchInferenceRPUConfig
from aihwkit.simulator.parameters.enums import BoundManagementType, NoiseManagementType
from torch import Tensor


class Relative(BaseNoiseModel):
    """A normal law of every conductance around its target, with a standard deviation relative to it."""

    def __init__(self, sigma: float) -> None:
        super().__init__()
        self.sigma = sigma

    def apply_programming_noise_to_conductance(self, g_target: Tensor) -> Tensor:
        """Sample all cells."""
        return (g_target * (1.0 + self.sigma * torch.randn_like(g_target))).clamp_(min=0.0)


def config(given: Given, converted: bool = True) -> Any:
    """No DACs, no read noise; full scale is that of every input and weight of a tile."""
    found: Any = InferenceRPUConfig() if sys.argv[2] == "compiled" else TorchInferenceRPUConfig()
    found.noise_model = Relative(given.spec["sigma"])
    found.drift_compensation = None
    io = found.forward
    io.inp_res, io.out_noise, io.w_noise, io.is_perfect = -1, 0.0, 0.0, not converted
    io.noise_management, io.bound_management = NoiseManagementType.NONE, BoundManagementType.NONE
    io.out_bound, io.out_res = float(given.spec["rows"]), 1 / (2 ** given.spec["bits"] - 2)
    found.mapping.max_input_size = given.spec["rows"] if converted else 0
    found.mapping.max_output_size = 0
    return found


def layer_of(given: Given, converted: bool) -> Any:
    """Return a programmed layer of the weights."""
    w = torch.from_numpy(given["w"])
    layer = AnalogLinear(w.shape[1], w.shape[0], bias=False, rpu_config=config(given, converted)).eval()
    layer.set_weights(w)
    layer.program_analog_weights()
    return layer


def weights_of(layer: Any) -> np.ndarray:
    """Return the weights that the tiles hold, [out, in]."""
    weight = layer.get_weights()[0].double()
    return weight.reshape(len(weight), -1).numpy()


def linear(given: Given) -> Task:
    """Run one programmed layer."""
    layer, x = layer_of(given, True), torch.from_numpy(given["x"])
    return Task(lambda: layer(x), lambda: [weights_of(layer)])


def program(given: Given) -> Task:
    """Sample the cells of that layer again."""
    layer = layer_of(given, True)
    return Task(layer.program_analog_weights)


def memory(given: Given) -> Task:
    """Set and program keys, then search."""
    layer, w, x = layer_of(given, False), torch.from_numpy(given["w"]), torch.from_numpy(given["x"])

    def call() -> Tensor:
        layer.set_weights(w)
        layer.program_analog_weights()
        return layer(x)

    return Task(call, lambda: [weights_of(layer)])


def controller(given: Given) -> Task:
    """Sample the cells of three layers again, then run all images."""
    analog = convert_to_analog(Controller(given), config(given), exclude_modules=["conv1", "fc1"]).eval()
    images = torch.from_numpy(given["images"])

    def call() -> Tensor:
        analog.program_analog_weights()
        return analog(images)

    return Task(call, lambda: [weights_of(analog.get_submodule(name)) for name in BINARY])


if __name__ == "__main__":
    with torch.no_grad():
        serve({"linear": linear, "program": program, "memory": memory, "controller": controller}, ["aihwkit", "torch"])
