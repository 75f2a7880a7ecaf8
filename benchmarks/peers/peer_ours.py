"""This package. argv[2]: `compute` of its chips."""

from __future__ import annotations

import itertools
import sys
from typing import Any

import numpy as np
import torch
from _worker import Given, Task, serve
from torch import Tensor

import imc_sim as imc
from imc_sim.array import Chip, Crossbar


def chip_of(given: Given, converted: bool = True) -> Chip:
    """HfO2 cells with the variation of the work, which is one of the weights, tiles and ADCs."""
    chip = imc.load_chip("rram_hfo2_1t1r")
    window = 1.0 - chip.device.g_hrs_S / chip.device.g_lrs_S
    chip = chip.replace("device.programming.sigma", given.spec["sigma"] * window)
    chip = chip.replace("device.programming.sigma_hrs", None).replace("compute", sys.argv[2])
    if not converted:
        return chip
    tile = {"rows": given.spec["rows"], "cols": given.spec["rows"]}
    return chip.replace("tile", tile).replace("converter", {"kind": "auto", "bits": given.spec["bits"]})


def weights_of(crossbar: Any) -> np.ndarray:
    """Return the cells of the first chip as weights [out, in], in float64."""
    eye = torch.eye(crossbar.shape[2], dtype=torch.float64)
    return crossbar.mvm(eye)[0].T.numpy()


def in_order(w: np.ndarray, layer: Any) -> np.ndarray:
    """Reorder a convolution from kernel row, kernel column, channel to channel, kernel row, kernel column."""
    out, channels, k, _ = layer.weight.shape
    return w.reshape(out, k, k, channels).transpose(0, 3, 1, 2).reshape(out, -1)


def linear(given: Given) -> Task:
    """Run one programmed layer."""
    w, x = torch.from_numpy(given["w"]), torch.from_numpy(given["x"])
    held = Crossbar.program(w, chip_of(given))
    exact = chip_of(given).replace("converter.kind", "ideal")
    return Task(lambda: held.mvm(x)[0], lambda: [weights_of(Crossbar.program(w.double(), exact))])


def program(given: Given) -> Task:
    """Program the cells of that layer, another chip every time."""
    w, chip, numbers = torch.from_numpy(given["w"]), chip_of(given), itertools.count()

    def call() -> Tensor:
        n = next(numbers)
        Crossbar.program(w, chip, range(n, n + 1))
        return w

    return Task(call)


def memory(given: Given) -> Task:
    """Write and search keys, without ADCs."""
    keys, queries = torch.from_numpy(given["w"]), torch.from_numpy(given["x"])
    chip, dim = chip_of(given, converted=False), keys.shape[1]
    held, labels = imc.AssociativeMemory(chip, dim=dim), torch.arange(len(keys)) // 5

    def call() -> Tensor:
        held.write(keys, labels, epoch=0)
        return held.similarity(queries)[0] * dim

    exact = chip.replace("compute", "float32")
    return Task(call, lambda: [weights_of(Crossbar.program(keys.double(), exact, layer="memory"))])


def controller(given: Given) -> Task:
    """Sample the cells of three layers again, then run all images."""
    model = imc.nn.networks.BatmannController("xnor", width=int(given["width"])).eval()
    model.load_state_dict({k.removeprefix("state."): torch.from_numpy(v) for k, v in given.arrays.items() if "." in k})
    images, chip, numbers = torch.from_numpy(given["images"]), chip_of(given), itertools.count()
    latest = [0]

    def call() -> Tensor:
        latest[0] = n = next(numbers)
        return imc.map_model(model, chip, chips=range(n, n + 1))(images)[0]

    def cells() -> list[np.ndarray]:
        exact = chip.replace("converter.kind", "ideal").replace("compute", "float32")
        analog = imc.map_model(model, exact, chips=range(latest[0], latest[0] + 1))
        for layer in analog.analog_layers.values():
            layer._single = False
            layer.program(analog.chips[: analog.block])
        return [in_order(weights_of(layer.crossbar), layer.digital) for layer in analog.analog_layers.values()]

    return Task(call, cells)


def wires(given: Given) -> Task:
    """Compute the currents of the exact circuit."""
    G, V, r = torch.from_numpy(given["G"]), torch.from_numpy(given["V"]), given.spec["r_ohm"]
    resistances = imc.array.Wires(kind="nodal", r_row_ohm=r, r_col_ohm=r)
    return Task(lambda: imc.array.solve_currents(G, V, resistances).currents)


if __name__ == "__main__":
    every = {"linear": linear, "program": program, "memory": memory, "controller": controller, "wires": wires}
    with torch.no_grad():
        serve(every, ["imc-sim", "torch"])
