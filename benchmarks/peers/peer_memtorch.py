"""MemTorch: one object per cell, so that a layer is programmed by building it again.

Cells are log-normal in resistance and set to the ends of their ranges, and outputs are scaled by the exact factor: the
mapping of MemTorch samples the levels once per layer, and its scaling is a regression. ADCs range over the outputs of
their tile, by powers of two. torchvision, which it imports for data sets, is replaced by a mock.
"""

# pyright: reportMissingImports=false, reportArgumentType=false, reportAttributeAccessIssue=false
from __future__ import annotations

import math
import sys
from typing import Any
from unittest import mock

import numpy as np
import torch
from _worker import Given, Task, serve
from torch import Tensor, nn

G_LRS_S, G_HRS_S = 1e-4, 1e-6

_STAND_IN = ("torchvision", "torchvision.transforms", "torchvision.datasets", "torchvision.datasets.utils")
with mock.patch.dict(sys.modules, {name: mock.MagicMock() for name in _STAND_IN}):
    import memtorch
    from memtorch.bh.crossbar.Crossbar import Scheme
    from memtorch.bh.StochasticParameter import StochasticParameter
    from memtorch.mn.Module import patch_model


def _resistance(g_S: float, sigma: float) -> Any:
    return StochasticParameter(distribution=torch.distributions.LogNormal, loc=-math.log(g_S), scale=sigma)


def _to_the_ends(weight: Tensor, _on: float, _off: float, scheme: Any, p_l: float | None = None) -> Any:
    beyond_S = 1e6
    return (weight > 0).float() * beyond_S, (weight < 0).float() * beyond_S


def patched(given: Given, converted: bool) -> Any:
    """Return a programmed layer of the weights."""
    w, rows = torch.from_numpy(given["w"]), given.spec["rows"]
    layer = nn.Linear(w.shape[1], w.shape[0]).requires_grad_(False)
    layer.weight.data, layer.bias.data = w.clone(), torch.zeros(w.shape[0])
    sigma = given.spec["sigma"]
    found = patch_model(
        nn.Sequential(layer),
        memristor_model=memtorch.bh.memristor.VTEAM,
        memristor_model_params={"r_on": _resistance(G_LRS_S, sigma), "r_off": _resistance(G_HRS_S, sigma)},
        module_parameters_to_patch=[nn.Linear],
        mapping_routine=_to_the_ends,
        transistor=True,
        programming_routine=None,
        scheme=Scheme.DoubleColumn,
        tile_shape=(rows, rows) if converted else None,
        max_input_voltage=None,
        ADC_resolution=given.spec["bits"] if converted else None,
        ADC_overflow_rate=0.0,
        quant_method="linear" if converted else None,
        verbose=False,
    )[0]
    found.transform_output = lambda current: current / (G_LRS_S - G_HRS_S)
    return found


def weights_of(layer: Any) -> np.ndarray:
    """Return cells as weights [out, in], read through the layer without its ADCs."""
    with mock.patch.multiple(layer, ADC_resolution=None, quant_method=None):
        return layer(torch.eye(layer.in_features)).T.double().numpy()


def linear(given: Given) -> Task:
    """Run one programmed layer."""
    layer, x = patched(given, True), torch.from_numpy(given["x"])
    return Task(lambda: layer(x), lambda: [weights_of(layer)])


def program(given: Given) -> Task:
    """Sample the cells of that layer again."""
    return Task(lambda: patched(given, True) and None)


def memory(given: Given) -> Task:
    """Program keys and search."""
    x, held = torch.from_numpy(given["x"]), [None]

    def call() -> Tensor:
        held[0] = patched(given, False)
        return held[0](x)

    return Task(call, lambda: [weights_of(held[0])])


if __name__ == "__main__":
    with torch.no_grad():
        serve({"linear": linear, "program": program, "memory": memory}, ["memtorch-cpu", "torch"])
