"""Products in all forms that torch has: transposed, batched, by index, recurrent, and attention with learned keys."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import imc_sim as imc
from imc_sim import InputError
from imc_sim.array import Chip, Policy, Sliced
from imc_sim.device import Device
from imc_sim.sites import find_products
from imc_sim.sites._einsum import einsum
from tests.exact.networks import on_grid

FLOAT = Chip(
    device=Device(g_lrs_S=1e-4, g_hrs_S=0.0),
    policy=Policy(int8="crossbar", float="crossbar"),
    encoding_multibit=Sliced(weight_bits=16),
)


class Function(nn.Module):
    """A function of the inputs and of weights."""

    def __init__(self, function: Callable[..., Tensor], *shapes: tuple[int, ...]) -> None:
        super().__init__()
        self.function = function
        self.weights = nn.ParameterList([nn.Parameter(torch.randn(shape)) for shape in shapes])

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, *self.weights)


class Recurrent(nn.Module):
    """A recurrent layer whose input is [batch, steps, features] or has the steps first."""

    def __init__(self, kind: Callable[..., nn.Module], **settings: Any) -> None:
        super().__init__()
        self.inner = kind(4, 3, **settings)
        self.steps_first = not settings.get("batch_first", False)

    def forward(self, x: Tensor) -> Any:
        y, state = self.inner(x.transpose(0, 1) if self.steps_first else x)
        return y, state


class Cells(nn.Module):
    """A cell of each kind, step by step, one of them with its default state."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.gru, self.rnn = nn.LSTMCell(4, 3), nn.GRUCell(3, 3), nn.RNNCell(3, 3, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        state, h, g = None, None, x.new_zeros(len(x), 3)
        for t in range(x.shape[1]):
            state = self.lstm(x[:, t], state)
            h = self.gru(state[0], h)
            g = self.rnn(h, g)
        return g


class Keys(nn.Module):
    """Attention to learned keys and values, as in Hopfield layers."""

    def __init__(self) -> None:
        super().__init__()
        self.keys, self.values = nn.Parameter(torch.randn(5, 8)), nn.Parameter(torch.randn(5, 6))

    def forward(self, x: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(x, self.keys, self.values)


#: network, input shape, matrices on crossbars
FORMS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]] = {
    "conv_transpose1d": (lambda: nn.ConvTranspose1d(4, 3, 3, stride=2, padding=1, output_padding=1), (3, 4, 5), 1),
    "conv_transpose2d": (
        lambda: nn.ConvTranspose2d(4, 6, (3, 2), (2, 1), (1, 0), groups=2, dilation=(1, 2)), (3, 4, 5, 4), 2,
    ),
    "conv_transpose3d": (lambda: nn.ConvTranspose3d(2, 3, 2, bias=False), (2, 2, 3, 3, 3), 1),
    "matmul, one matrix per head": (lambda: Function(lambda x, w: x @ w, (2, 6, 5)), (3, 2, 4, 6), 2),
    "matmul, weights on the left": (lambda: Function(lambda x, w: w @ x, (2, 5, 6)), (3, 2, 6, 4), 2),
    "matmul, reflected": (lambda: Function(lambda x, w: w.__rmatmul__(x), (6, 5)), (3, 6), 1),
    "matmul, more dimensions": (lambda: Function(lambda x, w: x[:, 0, 0] @ w, (2, 6, 5)), (3, 2, 4, 6), 1),
    "matmul, a vector of weights": (lambda: Function(lambda x, w: x @ w, (6,)), (3, 4, 6), 1),
    "bmm, equal matrices": (
        lambda: Function(lambda x, w: torch.bmm(x, w.expand(len(x), -1, -1)), (6, 5)), (3, 4, 6), 1,
    ),
    "baddbmm": (
        lambda: Function(lambda x, b, w: torch.baddbmm(b, x.transpose(0, 1), w, alpha=0.5), (2, 1, 5), (2, 6, 5)),
        (3, 2, 6), 2,
    ),
    "names": (lambda: Function(lambda x, w: torch.mm(x, mat2=w), (6, 5)), (3, 6), 1),
    "addmv": (lambda: Function(lambda x, b, w: torch.addmv(b, x, w, beta=2.0), (3,), (6,)), (3, 6), 1),
    "einsum": (lambda: Function(lambda x, w: torch.einsum("bthd,hde->bte", x, w), (2, 3, 5)), (3, 4, 2, 3), 1),
    "einsum, per head": (
        lambda: Function(lambda x, w: torch.einsum("b h i, h i o -> b h o", x, w), (2, 6, 5)), (3, 2, 6), 2,
    ),
    "einsum, three": (
        lambda: Function(lambda x, a, b: torch.einsum("bi,ij,jk->bk", x, a, b), (6, 4), (4, 5)), (3, 6), 2,
    ),
    "einsum, weights first": (lambda: Function(lambda x, w: torch.einsum("oi,...i", w, x), (5, 6)), (3, 4, 6), 1),
    "tensordot": (lambda: Function(lambda x, w: torch.tensordot(x, w, dims=([1, 2], [1, 0])), (6, 4, 5)), (3, 4, 6), 1),  # type: ignore[arg-type]
    "inner": (lambda: Function(lambda x, w: torch.inner(x, w), (5, 6)), (3, 4, 6), 1),
    "bilinear": (lambda: Function(lambda x, w: F.bilinear(x, x, w), (5, 6, 6)), (3, 6), 1),
    "multi_dot": (lambda: Function(lambda x, a, b: torch.linalg.multi_dot([x, a, b]), (6, 4), (4, 5)), (3, 6), 2),
    "learned keys": (Keys, (3, 4, 8), 2),
    "lstm": (lambda: Recurrent(nn.LSTM, num_layers=2, bidirectional=True, batch_first=True), (3, 5, 4), 8),
    "lstm, steps first": (lambda: Recurrent(nn.LSTM, proj_size=2, bias=False), (3, 5, 4), 3),
    "gru": (lambda: Recurrent(nn.GRU, num_layers=2, batch_first=True, dropout=0.5), (3, 5, 4), 4),
    "rnn": (lambda: Recurrent(nn.RNN, bidirectional=True, nonlinearity="relu"), (3, 5, 4), 4),
    "cells": (Cells, (3, 5, 4), 6),
    "transformer": (
        lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True), 2,
                                      enable_nested_tensor=False), (3, 4, 8), 8,
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("...ti,...io->...to", [(2, 3, 4, 5), (3, 5, 6)]), ("...i,...oi->...o", [(2, 2, 5), (2, 6, 5)]),
        ("...i,io", [(2, 3, 5), (5, 6)]), ("i...,oi->...o", [(5, 2, 3), (6, 5)]),
        ("...i,...i", [(2, 3, 5), (3, 5)]), ("...,...->...", [(2, 3), (2, 2, 3)]),
        ("a...b,b...->...a", [(4, 2, 3, 5), (5, 3)]),
        ("...i,...j,...k->...kij", [(3, 2), (2, 3, 4), (5,)]), ("ii,ij->j", [(4, 4), (4, 3)]),
        ("bij,bjk->kb", [(2, 3, 4), (2, 4, 5)]),
        ("ba,ac", [(3, 4), (4, 2)]), ("iij,j->i", [(3, 3, 2), (2,)]), ("ij,kl->", [(2, 3), (4, 5)]),
        ("ab,ab->ab", [(1, 3), (2, 3)]),
    ],
)  # fmt: skip
def test_sums_of_products_are_those_of_torch(equation: str, shapes: list[tuple[int, ...]]) -> None:
    """Whole numbers, so that the sums are exact in any order."""
    given = [torch.arange(math.prod(shape)).reshape(shape).remainder(7).double() - 3 for shape in shapes]
    found = einsum(equation, *given)
    assert found is not None
    assert torch.equal(found, torch.einsum(equation, *given))


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_on_crossbars_and_equals_the_network(form: str) -> None:
    torch.manual_seed(1)
    build, shape, matrices = FORMS[form]
    network, x = on_grid(build()), torch.randn(shape)
    analog = imc.map_model(network, FLOAT, chips=2, inputs=x)
    assert len(analog.analog_layers) == matrices
    products = analog.report.products
    assert products is not None
    assert not products.opaque
    assert products.seen >= products.counted
    found, expected = analog(x), network(x)
    pairs = zip(found, expected, strict=True) if isinstance(expected, tuple) else [(found, expected)]
    for one, own in pairs:
        for a, b in zip(one, own, strict=True) if isinstance(own, tuple) else [(one, own)]:
            assert torch.allclose(a, b.expand_as(a), rtol=5e-6, atol=3e-6)
    other = torch.randn(shape)  # the sites hold no input of the probe
    second = analog(other)[0] if isinstance(expected, tuple) else analog(other)
    own = network(other)[0] if isinstance(expected, tuple) else network(other)
    assert torch.allclose(second[0], own, rtol=5e-6, atol=3e-6)


def test_a_product_of_two_weights_stays_digital_and_is_reported() -> None:
    """Low-rank weights are multiplied by the network; only their product meets the input."""
    torch.manual_seed(0)
    network, x = on_grid(Function(lambda x, a, b: x @ (a @ b), (6, 2), (2, 5))), torch.randn(3, 6)
    sites = find_products(network, x).sites
    assert [(site.constant, site.dynamic) for site in sites] == [(True, False), (False, False)]
    analog = imc.map_model(network, FLOAT, inputs=x)
    assert [(row.policy, row.place) for row in analog.report.layers] == [
        ("constant", "digital"),
        ("real", "crossbar"),
    ]
    assert torch.allclose(analog(x)[0], network(x), rtol=1e-3, atol=1e-3)  # of 16 bits


@pytest.mark.parametrize(
    "computed",
    [
        lambda x: F.pad(1e-9 * x, (0, 1), value=1.0),  # nearly equal for all inputs, as in linear attention
        lambda x: (x > 4.0).double(),  # equal for all inputs of the probe
    ],
)
def test_a_factor_computed_from_the_input_is_no_weight(computed: Callable[[Tensor], Tensor]) -> None:
    network = Function(lambda x, w: F.linear(x, w).mT @ computed(x), (4, 4))
    x = torch.randn(2, 3, 4, dtype=torch.float64)
    sites = find_products(network.double(), x).sites
    assert [(site.kind, site.dynamic) for site in sites] == [("linear", False), ("matmul", True)]
    analog = imc.map_model(network, FLOAT.replace("policy.allow_rounding", True), inputs=x)
    assert analog(10 * x).shape == (1, 2, 4, computed(x).shape[-1])


def test_weights_with_constant_inputs_are_on_crossbars() -> None:
    """The class token meets weights before it meets an activation; a factor in the shape of the input is a weight."""
    network = Function(
        lambda x, a, b, c: (torch.cat([a, x]) @ b)[:1] @ (c * torch.ones_like(x[:4])), (1, 4), (4, 4), (4, 4)
    )
    x = torch.randn(5, 4)
    sites = find_products(network, x).sites
    assert [(site.constant, site.dynamic) for site in sites] == [(False, False), (False, False)]
    assert len(imc.map_model(on_grid(network), FLOAT, inputs=x).analog_layers) == 2


def test_attention_of_two_activations_runs_unchanged() -> None:
    class Scores(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.scaled_dot_product_attention(x, x, x, is_causal=True)

    network, x = nn.Sequential(on_grid(nn.Linear(8, 8)), Scores()), torch.randn(3, 4, 8)
    analog = imc.map_model(network, FLOAT, inputs=x)
    assert [(row.layer, row.policy, row.place) for row in analog.report.layers] == [
        ("0", "levels", "crossbar"), ("1", "dynamic", "digital"),
    ]  # fmt: skip
    assert torch.allclose(analog(x)[0], network(x), rtol=1e-6, atol=1e-6)


def test_packed_sequences_are_refused() -> None:
    class Packed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.GRU(4, 3, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(nn.utils.rnn.pack_padded_sequence(x, torch.tensor([5, 3, 2]), batch_first=True))[1]

    with pytest.raises(InputError, match="a packed sequence.*Pad the sequences"):
        imc.map_model(Packed(), FLOAT, inputs=torch.randn(3, 5, 4))


def test_products_that_cannot_be_watched_need_a_digital_place() -> None:
    network, x = Function(lambda x, w: F.linear(x, w).addmm_(x, w.mT), (5, 5)), torch.randn(3, 5)
    with pytest.raises(InputError, match=r"'' \(addmm_, whose products cannot be on crossbars\)"):
        imc.map_model(on_grid(network), FLOAT, inputs=x)
