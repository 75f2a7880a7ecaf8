"""CrossSim, from a checkout: balanced pairs of cells with a proportional programming error, with ADCs at the ends.

Its noise generator is numpy's, and its products are those of numpy and torch.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

from typing import Any

import numpy as np
import torch
from _controller import BINARY, Controller
from _worker import Given, Task, serve
from simulator import AnalogCore, CrossSimParameters
from simulator.algorithms.dnn.torch.convert import from_torch
from simulator.parameters.core_parameters import CoreStyle
from simulator.parameters.xbar_parameters import ADCRangeLimits


def parameters(given: Given, converted: bool = True) -> CrossSimParameters:
    """Inputs and weights range over +-1, without DACs; full scale is that of every input and weight of a tile."""
    found = CrossSimParameters()
    found.core.style = CoreStyle.BALANCED
    found.core.rows_max = given.spec["rows"] if converted else 0
    for ends in (found.core.mapping.weights, found.core.mapping.inputs.mvm, found.core.mapping.inputs.vmm):
        ends.min, ends.max = -1.0, 1.0
    device = found.xbar.device
    device.infinite_on_off_ratio = True
    device.programming_error.enable = True
    device.programming_error.model = "NormalProportionalDevice"
    device.programming_error.magnitude = given.spec["sigma"]
    if converted:
        found.xbar.adc.mvm.model = "SignMagnitudeADC"  # replaces the parameters
        adc = found.xbar.adc.mvm
        adc.bits, adc.signed, adc.adc_range_option = given.spec["bits"], True, ADCRangeLimits.MAX
    return found


def weights_of(core: AnalogCore) -> np.ndarray:
    """Return the weights that the pairs hold, [out, in]."""
    return np.asarray(core.get_matrix(), dtype=float)


def linear(given: Given) -> Task:
    """Run one programmed layer."""
    core, x = AnalogCore(given["w"], parameters(given)), given["x"]
    return Task(lambda: (core @ x.T).T, lambda: [weights_of(core)])


def program(given: Given) -> Task:
    """Sample the cells of that layer again."""
    core, w = AnalogCore(given["w"], parameters(given)), given["w"]
    return Task(lambda: core.set_matrix(w))


def memory(given: Given) -> Task:
    """Set and program keys, then search."""
    core, w, x = AnalogCore(given["w"], parameters(given, converted=False)), given["w"], given["x"]

    def call() -> np.ndarray:
        core.set_matrix(w)
        return (core @ x.T).T

    return Task(call, lambda: [weights_of(core)])


def controller(given: Given) -> Task:
    """Sample the cells of three layers again, then run all images."""
    analog, images = Controller(given), torch.from_numpy(given["images"])
    for name in BINARY:
        analog.set_submodule(name, from_torch(analog.get_submodule(name), parameters(given)))
    layers: list[Any] = [analog.get_submodule(name) for name in BINARY]

    def call() -> torch.Tensor:
        for layer in layers:
            layer.synchronize()
        return analog(images)

    return Task(call, lambda: [weights_of(layer.core) for layer in layers])


if __name__ == "__main__":
    with torch.no_grad():
        every = {"linear": linear, "program": program, "memory": memory, "controller": controller}
        serve(every, ["CrossSim", "torch"])
