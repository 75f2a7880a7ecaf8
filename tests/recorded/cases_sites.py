"""Products that are found in networks: kinds of values, sites, samples, arguments and replaced functions."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imc_sim.sites import (
    Arguments,
    Products,
    Samples,
    Site,
    content_of,
    find_products,
    inputs_of,
    joined,
    leaves,
    nearly_equal,
    own_copy,
    weights_of,
)
from imc_sim.sites._einsum import bilinear, contracted, einsum, inner, tensordot
from imc_sim.sites._probe import _names
from imc_sim.sites._recurrent import RECURRENT
from imc_sim.sites._replaced import REPLACED, attention
from imc_sim.sites._samples import place_of, projected
from tests.exact.networks import Function
from tests.recorded.made import parts, real, signs, tried, whole

EPS = torch.finfo(torch.float32).eps


class Pair(NamedTuple):
    first: Any
    second: Any


class OptimizedModule(nn.Module):
    """A module with the name that compiled ones have."""


class Several(nn.Module):
    """Named layers that a function calls."""

    def __init__(self, function: Callable[..., Any], **layers: nn.Module) -> None:
        super().__init__()
        self.function = function
        for number, (name, layer) in enumerate(layers.items()):
            self.add_module(name, made(layer, number))

    def forward(self, *args: Any) -> Any:
        return self.function(self, *args)


@torch.no_grad()
def made(module: nn.Module, seed: int = 0) -> nn.Module:
    """Return a module with weights that no version of torch changes."""
    for number, weight in enumerate(module.parameters()):
        weight.copy_(real(*weight.shape, seed=seed + 7 * number) / 2)
    for number, buffer in enumerate(module.buffers()):
        buffer.copy_(real(*buffer.shape, seed=seed + 7 * number).abs() / 2 + 0.5 * buffer.is_floating_point())
    return module.eval()


def record_values() -> dict[str, Any]:
    """Kind, scale and largest whole number of weights and of inputs."""
    rows = {
        "binary": [[0.5, -0.5, 0.5], [2.0, 2.0, -2.0]],
        "binary and a row of zeros": [[0.5, -0.5, 0.5], [0.0, 0.0, 0.0]],
        "zeros": [[0.0, 0.0], [0.0, 0.0]],
        "ones": [[3.0, 3.0], [3.0, 3.0]],
        "bits": [[3.0, 0.0], [0.0, 3.0]],
        "ternary": [[3.0, 0.0], [0.0, -3.0]],
        "levels": [[0.3, -0.2, 0.1], [5.0, 2.0, -4.0]],
        "7 steps": [[7.0, -3.0, 2.0], [1.4, 0.6, 0.4]],
        "one row real": [[7.0, -3.0, 2.0], [1.0, 0.123456, 0.654321]],
        "127": [[127.0, 64.0, 1.0]],
        "128": [[128.0, 127.0, 1.0]],
        "127 without neighbours": [[127.0, 125.0, 120.0]],
        "128 without neighbours": [[128.0, 125.0, 120.0]],
        "1000": [[1000.0, -999.0, 1.0]],
        "largest": [[2.0**15, 2.0**15 - 1, 0.0]],
        "too large": [[2.0**15 + 1, 2.0**15, 0.0]],
        "near 1": [[1.0, -1.0 + 3e-7, 1.0]],
        "not near 1": [[1.0, -1.0 + 5e-7, 1.0]],
        "near a third": [[1.0, 1 / 3 + 3e-7, 2 / 3]],
        "not near a third": [[1.0, 1 / 3 + 2e-6, 2 / 3]],
        "negative": [[-1.0, -1.0, -1.0]],
        "uneven rows": [[1.0, 0.5, 0.0], [1.0, 0.75, 0.25], [0.9, 0.3, -0.6]],
    }
    many = torch.arange(-300, 301, dtype=torch.float64)[None]
    found: dict[str, Any] = {name: parts(weights_of(torch.tensor(row).double())) for name, row in rows.items()}
    found |= {f"inputs {name}": parts(inputs_of(torch.tensor(row).double())) for name, row in rows.items()}
    found |= {"601 steps": parts(weights_of(many)), "601 steps of 0.3": parts(weights_of(many * 0.3))}
    found["exact"] = [weights_of(torch.tensor(rows[name])).exact for name in ("bits", "one row real", "1000")]
    one = torch.tensor([1.0, 0.5])
    shifts = (0.0, 15.0, 17.0, -15.0, -17.0)
    found["nearly equal"] = [nearly_equal(one + torch.tensor([0.0, shift * EPS]), one) for shift in shifts]
    return found


def site_of(site: Site) -> list[Any]:
    """Return all that is known of a site: words in one line, and numbers."""
    weights = "-" if site.weights is None else f"{site.weights.kind} {site.weights.top}"
    words = f"{site.name} | {site.path} | {site.kind} {list(site.shape)} at {site.place} | {weights} | "
    words += f"{site.inputs.kind} {site.inputs.top} {float(site.inputs.scale.sum()):.5g} | {site.uses} uses, "
    words += f"{site.multiply_adds} products, {site.elements} elements | {site.samples and tuple(site.samples)} | "
    words += ", ".join(f"{key} {value}" for key, value in site.settings.items())
    words += "".join(f" | {name}" for name in ("dynamic", "stack", "constant") if getattr(site, name))
    numbers = [] if site.weights is None or site.weight is None else [float(site.weights.scale.sum())]
    weight = None if site.weight is None else site.weight.double()
    return [words, *numbers, *([] if weight is None else [float((weight * ramp(weight)).sum())])]


def ramp(x: Tensor) -> Tensor:
    return torch.linspace(1, 2, x.numel(), dtype=torch.float64).reshape(x.shape)


def outputs_of(value: Any) -> list[Any]:
    """Return the leaves of a result: of tensors their scale, and a mean that changes with each value and its place."""
    return [mean_of(each) if isinstance(each, Tensor) else each for each in leaves(value)]


def mean_of(x: Tensor) -> dict[str, float]:
    x = x.detach().double()
    return {"mean": float((x * ramp(x)).mean()), "rms": float(x.square().mean().sqrt())}


def products_of(found: Products) -> dict[str, Any]:
    rest = f"order {list(found.order)}, counted {found.counted}, seen {found.seen}, batch {found.batch}, "
    rest += f"split {sorted(found.split)}, unseen {list(found.unseen)}, opaque {list(found.opaque)}, "
    rest += f"outputs {found.outputs and [tuple(each) for each in found.outputs]}"
    return {"sites": [site_of(site) for site in found.sites], "rest": rest}


DIMS: Any = ([2, 1], [0, 1])
W34, W43 = real(3, 4), real(4, 3, seed=1)
NETWORKS: dict[str, tuple[nn.Module, tuple[Any, ...]]] = {
    "linear, signs": (Function(F.linear, signs(3, 4) / 4, real(3)), (signs(5, 4),)),
    "linear, ternary on levels": (Function(F.linear, whole(3, 4, low=-1, high=2)), (whole(5, 4),)),
    "linear, a vector": (Function(F.linear, whole(4)), (real(5, 4),)),
    "linear on tokens": (Function(F.linear, whole(3, 4) / 8), (whole(2, 5, 4, low=0, high=2),)),
    "matmul, weights right": (Function(torch.matmul, W43), (real(5, 4),)),
    "matmul, weights left": (Function(lambda x, w: w @ x, W34), (real(2, 4, 5),)),
    "matmul, stacks": (Function(torch.matmul, whole(6, 4, 3)), (real(2, 6, 5, 4),)),
    "matmul, equal stacks": (Function(torch.matmul, W43.expand(6, 4, 3)), (real(2, 6, 5, 4),)),
    "matmul, stacks left": (Function(lambda x, w: w @ x, whole(6, 3, 4)), (real(2, 6, 4, 5),)),
    "rmatmul": (Function(lambda x, w: w.__rmatmul__(x), W43), (real(5, 4),)),
    "mm": (Function(torch.mm, W43), (real(5, 4),)),
    "bmm": (Function(torch.bmm, whole(6, 4, 3)), (real(6, 5, 4),)),
    "mv": (Function(torch.mv, whole(4)), (real(5, 4),)),
    "addmm": (Function(lambda x, w, b: torch.addmm(b, x, w, beta=0.5, alpha=2), W43, real(3)), (real(5, 4),)),
    "baddbmm": (Function(lambda x, w, b: torch.baddbmm(b, x, w, alpha=3), whole(6, 4, 3), real(6, 5, 3)),
    (real(6, 5, 4),)),
    "addmv": (Function(lambda x, w, b: b.addmv(x, w, beta=-1), whole(4), real(5)), (real(5, 4),)),
    "addbmm": (Function(lambda x, w, b: torch.addbmm(b, x, w, beta=2, alpha=3), whole(6, 4, 3), real(5, 3)),
    (real(6, 5, 4),)),
    "einsum": (Function(lambda x, w: torch.einsum("bij,kj->bki", x, w), W34), (real(2, 5, 4),)),
    "einsum with dots": (Function(lambda x, w: torch.einsum("...i,oi", x, w), W34), (real(2, 5, 4),)),
    "tensordot": (Function(lambda x, w: torch.tensordot(x, w, DIMS), real(4, 5, 3)), (real(2, 5, 4),)),
    "inner": (Function(torch.inner, W34), (real(2, 5, 4),)),
    "bilinear": (Function(F.bilinear, real(3, 4, 5), real(3)), (real(2, 4), real(2, 5, seed=1))),
    "chain": (Function(lambda x, a, b: torch.linalg.multi_dot([x, a, b]), W43, W34), (real(5, 4),)),
    "conv1d": (Function(partial(F.conv1d, stride=2, padding=1, dilation=2), real(4, 3, 3)), (real(2, 3, 9),)),
    "conv2d, groups": (
        Function(partial(F.conv2d, stride=(2, 1), padding=(0, 1), groups=2), whole(4, 3, 3, 2)), (real(2, 6, 7, 5),)),
    "conv2d, same": (Function(partial(F.conv2d, padding="same"), signs(4, 3, 3, 3)), (signs(2, 3, 5, 6),)),
    "conv2d, no batch": (Function(F.conv2d, real(4, 3, 2, 2)), (real(3, 5, 6),)),
    "conv3d": (Function(partial(F.conv3d, stride=2), real(2, 3, 2, 1, 2)), (real(2, 3, 4, 3, 5),)),
    "transposed, groups": (
        Function(partial(F.conv_transpose2d, stride=2, output_padding=1, groups=2), real(4, 3, 2, 3)),
            (real(2, 4, 3, 5),)),
    "used twice": (Function(lambda x, w: F.linear(F.linear(x, w).sign() * 0.5, w), real(4, 4)), (signs(5, 4),)),
    "time by batch": (Function(lambda x, w: F.linear(x.transpose(0, 1).reshape(-1, 4), w), W34), (real(2, 5, 4),)),
    "batch by time": (Function(lambda x, w: F.linear(x.reshape(-1, 4), w), W34), (real(2, 5, 4),)),
    "batch last": (Function(lambda x, w: w @ x.T, W34), (real(5, 4),)),
    "mixed samples": (Function(lambda x, w: F.linear(x - x.mean(0), w), W34), (real(5, 4),)),
    "mixed outputs": (Function(lambda x, w: {"y": F.linear(x, w).mean(0), "n": None, "k": 3}, W34), (real(5, 4),)),
    "other outputs": (Function(lambda x, w: (F.linear(x, w), len(x), Pair(x, "a")), W34), (real(5, 4),)),
    "constant": (Function(lambda x, a, b: x @ (a @ b), W43, W34), (real(5, 4),)),
    "opaque": (Function(lambda x, w: torch.cdist(x, w), W34), (real(5, 4),)),
    "attention": (Function(lambda x, w: F.scaled_dot_product_attention(x @ w, x, x), real(4, 4)), (real(2, 5, 4),)),
    "learned keys": (Function(lambda x, k, v: F.scaled_dot_product_attention(x, k, v), real(6, 4), real(6, 3)),
    (real(2, 5, 4),)),
    "heads": (made(nn.MultiheadAttention(8, 2, batch_first=True, add_bias_kv=True)),
    (real(2, 5, 8), real(2, 3, 8, seed=1), real(2, 3, 8, seed=2))),
    "lstm": (made(nn.LSTM(3, 4, 2, bidirectional=True, batch_first=True)), (real(2, 5, 3),)),
    "gru": (made(nn.GRU(3, 4, bias=False)), (real(5, 2, 3),)),
    "rnn": (made(nn.RNN(3, 4, nonlinearity="relu")), (real(5, 2, 3),)),
    "cells": (
        Several(lambda n, x: n.lstm(n.gru(x), (n.rnn(x), x[:, :4])), lstm=nn.LSTMCell(4, 4), gru=nn.GRUCell(5, 4),
            rnn=nn.RNNCell(5, 4)),
        (real(2, 5),)),
    "in layers": (Several(lambda n, x: n.b(n.a(x).relu()) + n.b(x), a=nn.Linear(4, 4), b=nn.Linear(4, 4)),
    (real(5, 4),)),
}  # fmt: skip


def record_products() -> dict[str, Any]:
    """Every field of the sites of networks of every kind of product."""
    return {name: products_of(find_products(network, *inputs)) for name, (network, inputs) in NETWORKS.items()}


def record_refused() -> dict[str, Any]:
    """Errors of networks and inputs that cannot be watched."""
    linear = Function(F.linear, W34)
    changing = Function(
        lambda x, w: F.linear(F.linear(x, w).T.contiguous().T, w[:, :3]) if x.sum() > 0 else F.linear(x, w), W34
    )
    x = torch.cat([real(3, 4).abs(), -real(3, 4).abs()])
    uneven = Function(lambda x, w: F.linear(x, w) if float(x[0, 0]) > 0 else F.linear(F.linear(x, w), w[:, :3]), W34)
    cases: dict[str, tuple[Any, ...]] = {
        "compiled": (OptimizedModule(), x),
        "equal": (linear, torch.ones(3, 4)), "palindrome": (linear, torch.tensor([[1.0, 2], [2, 1]])),
        "nan": (linear, torch.full((2, 4), math.nan)), "empty": (linear, torch.zeros(0, 4)),
        "no tensor": (linear, torch.tensor(1.0)), "wrong size": (linear, real(2, 5)),
        "complex": (linear, torch.zeros(2, 4, dtype=torch.complex64)), "other products": (uneven, x),
        "sums": (changing, x),
    }  # fmt: skip
    found = {
        name: tried(lambda n=network, i=given: products_of(find_products(n, *i)))
        for name, (network, *given) in cases.items()
    }
    found["wrong size"] = found["wrong size"].partition("RuntimeError")[0]  # the rest is of torch
    packed = nn.utils.rnn.pack_padded_sequence(real(3, 2, 3), torch.tensor([3, 2]))
    found["packed"] = tried(lambda: find_products(Several(lambda n, x: n.a(packed), a=nn.GRU(3, 4)), real(2, 3)))
    return found


def record_arguments() -> dict[str, Any]:
    """Inputs of networks: their samples, parts, joined structures and refusals."""
    x, y = real(5, 2), real(5, 3, 2, seed=1)
    given = Arguments.given({"x": x, "rest": (y, [torch.tensor(2.0), "word"], {"n": 3, "four": real(4)})})
    found: dict[str, Any] = {"batch": given.batch, "leaves": len(list(leaves((given.args, given.kwargs))))}
    found["split"] = [[part.batch, *outputs_of(dict(part.kwargs))] for part in given.split(2)]
    found["reversed"] = outputs_of(dict(given.reversed().kwargs))
    found["equals"] = [given.equals(given.reversed()), given.equals(given.batched(lambda x: x.clone()))]
    found["joined"] = outputs_of(dict(given.batched(lambda a, b: a + 2 * b, given.reversed()).kwargs))
    found["run"] = outputs_of(Arguments.given((x, x.T)).run(Function(torch.matmul)))
    for name, wrong in {
        "a list": [x],
        "a number": 3,
        "keys": {3: x},
        "nothing": (),
        "no samples": torch.zeros(0, 3),
    }.items():
        found[name] = tried(lambda wrong=wrong: str(Arguments.given(wrong)))
    found["nan"] = tried(lambda: str(Arguments.given(torch.tensor([[math.nan]])).checked()))
    found["infinite"] = Arguments.given(torch.tensor([[math.inf]])).checked().batch
    both = joined(lambda a, b: a * 10 + b, {"a": Pair(1, [2, 3]), "b": (4,)}, {"a": Pair(5, [6, 7]), "b": (8,)})
    found["structures"] = [type(both["a"]).__name__, type(both["a"].second).__name__, outputs_of(both)]
    found["unlike"] = [
        tried(joined, max, {"a": 1}, {"b": 1}),
        tried(joined, max, (1, 2), (1,)),
        tried(joined, max, [1], 2),
    ]
    found["names"] = _names(["a", "b", "a", "", "a"])
    module = Several(lambda n, x: n.a(x), a=nn.Linear(2, 3), b=nn.BatchNorm1d(3))
    found["content"] = {name: value.hex() for name, value in content_of(own_copy(module)).items()}
    return found


def record_samples() -> dict[str, Any]:
    """Where samples are in tensors: whole, as inner and as outer part of a dimension."""
    x, y = real(3, 4, 6), real(3, 4, 6, seed=1)
    found: dict[str, Any] = {}
    for place in (Samples(), Samples(2), Samples(2, True), Samples(1)):
        batch = 4 if place.dim == 1 else 3
        first = place.first(x, batch)
        found[str(tuple(place))] = [list(first.shape), *outputs_of([first, place.back(first)])]
    found["projected"] = {str(tuple(place)): value for place, value in projected(x, 3, 3).items()}
    shapes: dict[str, Callable[[Tensor], Tensor]] = {
        "first": lambda x: x, "last": lambda x: x.movedim(0, 2), "outer": lambda x: x.flatten(0, 1),
        "inner": lambda x: x.movedim(0, 1).flatten(0, 1), "mean": lambda x: x - x.mean(0), "gone": lambda x: x.sum(),
        "cut": lambda x: x[:2],
    }  # fmt: skip
    for name, change in shapes.items():
        each = [projected(change(z), n, change(z).ndim) for z, n in ((x, 3), (y, 3), (torch.cat([x, y]), 6))]
        place = place_of(*each)
        found[name] = None if place is None else list(place)
    slightly = torch.cat([x, y]) * (1 + torch.tensor([0.0, 0.04, 0, 0, 0, 0]).reshape(6, 1, 1))
    found["slightly mixed"] = parts(place_of(projected(x, 3, 1), projected(y, 3, 1), projected(slightly, 6, 1)))
    return found


def shaped(x: Tensor | None) -> list[Any]:
    return [] if x is None else [*outputs_of(x), *x.shape]


def record_functions() -> dict[str, Any]:
    """Values of the functions that replace those of torch."""
    a, b, c = real(2, 3, 4), real(4, 5), real(2, 4, 5, seed=1)
    terms: list[tuple[Any, ...]] = [
        ("bij,jk->bki", a, b), ("bij,jk", a, b), ("...j,jk->...k", a, b), ("b...,b...->...", a, a), ("ii->i", b[:, :4]),
        ("ii,ij->j", b[:, :4], b), ("bij,bjk->bik", a, c), ("bij,bjk,k->bi", a, c, real(5)), ("bij->", a),
        ("i,j->ij", real(3), real(4)),
        ("ij,ij->ij", b, b), ("bij,jk->i", a, b), (" z y , y x -> x z", a[0], b), ("ba,cb", b, a[0]),
        ("...a,a...", b[:, :4].T, b[:, :4]),
    ]  # fmt: skip
    found: dict[str, Any] = {str(number): shaped(einsum(*term)) for number, term in enumerate(terms)}
    found["einsum of a list"] = outputs_of(einsum("ij,jk->ik", [a[0], b]))
    found["not einsum"] = [einsum(a, [0, 1, 2]), einsum("ij,j->i", b, 3)]
    pairs: list[tuple[Any, ...]] = [
        (a, real(4, 6), 1), (a, b[0], 0), (a, b, ([2], [0])), (a, real(2, 4, 5), ([2, 0], [1, 0])),
        (a, c, ([0, 2], [0, 1])),
    ]  # fmt: skip
    found["tensordot"] = [shaped(tensordot(*pair)) for pair in pairs]
    found["not tensordot"] = [tensordot(a, b, torch.tensor(1)), tensordot(a, b, 1, out=b)]
    found["inner"] = outputs_of([inner(a, c.mT), inner(a, torch.tensor(2.0)), inner(real(4), real(4))])
    found["bilinear"] = outputs_of([bilinear(a, a, real(5, 4, 4), real(5)), bilinear(a[0], a[1], real(5, 4, 4))])
    found["contracted"] = outputs_of(contracted([a, b[:1].expand(1, 5), c], ["bij", "xk", "bjk"], "ikx"))
    q, k, v = real(2, 4, 5, 6), real(2, 2, 7, 6, seed=1), real(2, 2, 7, 3, seed=2)
    more: list[dict[str, Any]] = [
        {"enable_gqa": True},
        {"scale": 0.3},
        {"is_causal": True},
        {"attn_mask": real(5, 7)},
        {"attn_mask": real(5, 7) > -0.5},
    ]
    found["attention"] = [outputs_of(attention(q if "enable_gqa" in m else q[:, :2], k, v, **m)) for m in more]
    found["replaced"] = sorted({function.__name__ for function in REPLACED})
    for name in ("lstm", "gru", "rnn_tanh", "rnn_relu"):
        size = {"lstm": 16, "gru": 12}.get(name, 4)
        weights = [
            w
            for seed in range(4)
            for w in (
                real(size, 3 if seed < 2 else 8, seed=seed),
                real(size, 4, seed=seed),
                real(size, seed=seed),
                real(size, seed=seed + 9),
            )
        ]
        states = real(4, 2, 4)
        given = (states, real(4, 2, 4, seed=3)) if name == "lstm" else states
        y = RECURRENT[getattr(torch, name)](real(2, 5, 3), given, weights, True, 2, 0.0, False, True, True)
        state = (real(2, 4), real(2, 4, seed=3)) if name == "lstm" else real(2, 4)
        cell = RECURRENT[getattr(torch, f"{name}_cell")](real(2, 3), state, *weights[:4])
        found[name] = outputs_of([*y, cell])
    shapes = ((16, 3), (16, 2), (16,), (16,), (2, 4))
    weights = [real(*shape, seed=number) for number, shape in enumerate(shapes)]
    states = (real(1, 2, 2), real(1, 2, 4, seed=1))
    found["projected"] = outputs_of(RECURRENT[torch.lstm](real(5, 2, 3), states, weights, True, 1, 0.0, False, False))
    return found
