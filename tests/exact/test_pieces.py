"""Work in pieces that fit memory or a cache: the size of the pieces changes no result."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from imc_sim.array import Wires, _telegraph, _vectors, approximate_gating, effective_conductance, load_chip
from imc_sim.array.circuit import conductance, gates
from imc_sim.config import build
from imc_sim.evaluate import FewShotData, FewShotTask, _read_out
from imc_sim.mapping import map_model
from imc_sim.nn import Conv2d
from imc_sim.train import MetaplasticAdam, _metaplastic


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape)))


def traps() -> Tensor:
    """Several reads of several vectors; float64 takes the path that is not compiled."""
    places = torch.randint(0, 9, (5, 2, 3), generator=torch.Generator().manual_seed(1))
    tile = _telegraph.Traps(places, normal(3, 5, 2, 1, 3).double(), 0.3, None)
    return tile._changes(normal(12, 9).double(), _telegraph.Stream(3, "l", "telegraph"), (2, 1, 5), 2)


def cells(*shape: int) -> Tensor:
    return 1e-5 + 1e-4 * normal(*shape).abs().double()


def tangent() -> Tensor:
    return approximate_gating(cells(3, 2, 7, 5), Wires(kind="nodal", r_row_ohm=2.0, r_col_ohm=3.0)).matrix


def single_nodes() -> Tensor:
    return effective_conductance(cells(9, 6), r_col_ohm=3.0, r_source_ohm=20.0)


def convolved() -> Tensor:
    """Read noise is that of the image and of its place, whatever is read together."""
    torch.manual_seed(4)
    layer = Conv2d(2, 3, 3, "xnor", bias=False)
    chip = load_chip("ideal").replace("device.read.sigma", 0.1)
    return map_model(nn.Sequential(layer), chip, 2, seed=3)(normal(7, 2, 5, 5).sign())


def answers() -> Tensor:
    task = build(FewShotTask, {"way": 3, "shot": 1, "queries": 2, "episodes": 11}, "task")
    index = np.random.default_rng(1).permuted(np.tile(np.arange(30), (11, 1)), axis=1)[:, :9].reshape(11, 3, 3)
    data = FewShotData(torch.zeros(30, 1, 1, 1), index[..., :1], index[..., 1:])
    return _read_out.digital_answers(normal(30, 16), task.read_out, data)


def trained() -> Tensor:
    weight = nn.Parameter(normal(6, 7))
    optimizer = MetaplasticAdam([weight], m=1.3, weight_decay=0.01)
    for step in range(3):
        weight.grad = normal(6, 7) * (step - 0.7)
        optimizer.step()
    return weight.detach()


@pytest.mark.parametrize(
    ("made", "module", "name"),
    [
        (traps, _telegraph, "_AT_ONCE"),
        (tangent, gates, "_CELLS_AT_ONCE"),
        (single_nodes, conductance, "_NUMBERS_AT_ONCE"),
        (convolved, _vectors, "CHUNK"),
        (answers, _read_out, "_EPISODES"),
        (trained, _metaplastic, "_CHUNK"),
    ],
)
def test_the_size_of_pieces_changes_no_result(
    made: Callable[[], Tensor], module: ModuleType, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = made()
    assert len(whole.unique()) > 1
    for size in (1, 4, 200):
        monkeypatch.setattr(module, name, size)
        torch.testing.assert_close(made(), whole, rtol=1e-6, atol=0.0)
