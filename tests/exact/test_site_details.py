"""Details of sites: scales, states, samples, and the torch calls that a probe replaces or refuses."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import imc_sim as imc
from imc_sim import InputError
from imc_sim.array import Chip
from imc_sim.device import Device
from imc_sim.sites import Arguments, find_products, joined, own_copy
from imc_sim.sites._calls import PRODUCTS
from imc_sim.sites._einsum import bilinear, contracted, einsum, inner, tensordot
from imc_sim.sites._recurrent import RECURRENT
from imc_sim.sites._replaced import REPLACED, attention
from tests.exact.networks import Function, on_grid


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    """Sample the same weights and inputs in any order of the tests."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


IDEAL = Chip(device=Device(g_lrs_S=1e-4, g_hrs_S=0.0)).replace("policy", {"int8": "crossbar", "float": "crossbar"})
FLOAT = IDEAL.replace("encoding_multibit", {"kind": "sliced", "weight_bits": 16})


def signs(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 2, shape, generator=torch.Generator().manual_seed(seed)).float() * 2 - 1


# -- scales and exact values -------------------------------------------------------------------------------------

ZERO_ROW = torch.cat([signs(3, 12), torch.zeros(1, 12)])


@pytest.mark.parametrize(
    ("drive", "weight", "exact", "kind"),
    [
        (lambda x: 0.5 * x.sign(), signs(4, 12), True, "signs"),
        (lambda x: 0.25 * (x > 0), signs(4, 12), True, "bits"),
        (lambda x: 2.0 * x.sign(), torch.tensor([[0.5], [2.0], [1.0], [0.25]]) * signs(4, 12), True, "signs"),
        (lambda x: x.sign(), ZERO_ROW, True, "signs"),
        (lambda x: 0.5 * x.sign(), (8 * ZERO_ROW).cumsum(0), False, "signs"),
        (lambda x: (3 * x).round(), signs(4, 12), False, "signs"),
    ],
)
def test_scales_of_weights_and_inputs_are_undone(
    drive: Callable[[Tensor], Tensor], weight: Tensor, exact: bool, kind: str
) -> None:
    """All numbers are multiples of powers of two, so that products are exact."""
    network = Function(lambda x, w: F.linear(drive(x), w), weight)
    x = torch.randn(9, 12, generator=torch.Generator().manual_seed(1))
    analog = imc.map_model(network, IDEAL, inputs=x)
    (layer,) = analog.analog_layers.values()
    assert (layer.digital.exact_operands, layer.digital.inputs) == (exact, kind)
    assert torch.equal(analog(x)[0], network(x))


@pytest.mark.parametrize(
    ("seen", "later", "match"),
    [
        ([1.0, 0.0], [1.0, -1.0], r"up to 1; allowed: 0 and 1 times 1, as in .* Map it again with more inputs"),
        ([1.0, -1.0], [1.0, 0.0], r"-1 and \+1 times 1, as"),
        ([2.0, 0.0], [2.0, 3.0], r"up to 3; allowed: 0 and 1 times 2, as"),
    ],
)
def test_inputs_beyond_the_values_that_were_seen_are_refused(seen: list[float], later: list[float], match: str) -> None:
    network = Function(lambda x, w: F.linear(x, w), signs(3, 6))
    x, other = (torch.tensor([values * 3, values[::-1] * 3]) for values in (seen, later))
    x[0, 0], other[0, 0] = seen[1], later[1]
    analog = imc.map_model(network, IDEAL, inputs=x)
    with pytest.raises(InputError, match=match):
        analog(other)


@pytest.mark.parametrize(("change", "refused"), [(1e-7, False), (1e-4, True)])
def test_weights_may_differ_by_rounding_alone(change: float, refused: bool) -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.tensor([[1.0, -0.5], [0.25, 0.75]]))
            self.gain = nn.Buffer(torch.ones(()))

        def forward(self, x: Tensor) -> Tensor:
            return F.linear(x, self.weight * self.gain)

    x = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    analog = imc.map_model(Scaled(), FLOAT, inputs=x)
    analog.network.network.gain += change  # type: ignore[union-attr]
    if not refused:
        analog(x)
        return
    with pytest.raises(InputError, match="other weights than were mapped"):
        analog(x)


def test_a_layer_alone_is_used_as_before_a_pass() -> None:
    x = torch.randn(5, 1, 6, generator=torch.Generator().manual_seed(0))
    analog = imc.map_model(on_grid(nn.Sequential(nn.Linear(6, 4))), FLOAT, chips=2, inputs=x[:, 0])
    (layer,) = analog.analog_layers.values()
    before = layer(x)
    assert before.shape == (2, 5, 1, 4)
    analog(x[:, 0])
    assert torch.equal(layer(x), before)
    with pytest.raises(InputError, match=r"got \[batch, 7\] \(mat1 .*; allowed: \[batch, 6\], as in the mapping"):
        analog.on_chip(1, torch.randn(5, 7))

    def fail(*_: Any) -> None:
        raise RuntimeError("odd")

    analog.get_submodule("network.network").register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="odd"):
        analog.on_chip(1, x[:, 0])
    assert torch.equal(layer(x), before)


def test_inputs_of_another_shape_are_tried_a_batch_at_a_time() -> None:
    def run(x: Tensor, w: Tensor) -> Tensor:
        assert x.shape[1] in (6, 7), f"{x.shape[1]} columns"
        seen.append(len(x))
        return F.linear(x[:, :6], w)

    seen = list[int]()
    x = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
    analog = imc.map_model(Function(run, signs(4, 6)), FLOAT, inputs=x[:, :6])
    analog.batch = 2
    seen.clear()
    assert torch.equal(analog(x), analog(x[:, :6]))
    assert seen == [2, *[2, 2, 1] * 2]
    with pytest.raises(InputError, match=r"got \[batch, 8\] \(8 columns\); allowed: \[batch, 6\]"):
        analog(torch.randn(5, 8))


# -- samples, chips and outputs ----------------------------------------------------------------------------------


def frames(x: Tensor, w: Tensor) -> Tensor:
    """Convolve every frame of videos [batch, frames, C, H, W]."""
    return F.conv2d(x.flatten(0, 1), w, padding=1).unflatten(0, x.shape[:2])


@pytest.mark.parametrize("together", [1, 10**9])
def test_noise_of_frames_follows_their_video(together: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several images of one sample are its reads, whatever the batch and the chips of one pass."""
    monkeypatch.setattr("imc_sim.analog._sites._ELEMENTS", together)
    generator = torch.Generator().manual_seed(0)
    network = on_grid(Function(frames, torch.randn(3, 2, 3, 3, generator=generator)))
    x = torch.randn(4, 3, 2, 5, 5, generator=generator)
    noisy = FLOAT.replace("device.read.sigma", 0.1)
    whole = imc.map_model(network, noisy, chips=2, inputs=x)(x)
    parts = imc.map_model(network, noisy, chips=2, inputs=x)
    parts.batch = 2
    assert torch.allclose(parts(x), whole, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(whole[0, 0, 0], whole[0, 0, 1], atol=1e-2)
    same = torch.cat([x[:1]] * 2)
    again = imc.map_model(network, noisy, inputs=x)(same)[0]
    assert not torch.allclose(again[0], again[1], atol=1e-3)


ONE_BY_ONE: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], tuple[int, ...], tuple[int, ...]]] = {
    "a dimension of one": (lambda x, w: x @ w, (3, 2, 4, 6), (1, 2, 6, 5)),
    "two dimensions of one": (lambda x, w: x @ w, (3, 4, 6), (1, 1, 6, 5)),
    "vector and matrix": (lambda x, w: torch.stack([each @ w for each in x]), (3, 6), (6, 5)),
    "matrix and vector": (lambda x, w: torch.stack([w @ each for each in x]), (3, 6), (5, 6)),
    "vector and matrices": (lambda x, w: torch.stack([each @ w for each in x]), (3, 6), (2, 6, 5)),
    "matrices and vector": (lambda x, w: torch.stack([w @ each for each in x]), (3, 6), (2, 5, 6)),
    "vectors": (lambda x, w: torch.stack([each @ w for each in x]), (3, 6), (6,)),
}


@pytest.mark.parametrize("form", ONE_BY_ONE)
def test_products_of_vectors_and_single_matrices(form: str) -> None:
    call, shape, weight = ONE_BY_ONE[form]
    generator = torch.Generator().manual_seed(2)
    network = on_grid(Function(call, torch.randn(weight, generator=generator)))
    x = torch.randn(shape, generator=generator)
    found = imc.map_model(network, FLOAT, chips=2, inputs=x)(x)
    assert torch.allclose(found, network(x).expand_as(found), rtol=5e-6, atol=3e-6)


def test_a_second_use_of_a_layer_reads_again() -> None:
    network = on_grid(Function(lambda x, w: (F.linear(x, w), F.linear(x, w)), torch.randn(4, 6)))
    x = torch.randn(3, 6)
    first, second = imc.map_model(network, FLOAT.replace("device.read.sigma", 0.1), inputs=x)(x)
    assert not torch.allclose(first, second, atol=1e-3)


def test_outputs_that_are_no_tensors_are_those_of_every_chip() -> None:
    """Numbers that differ come as a tuple, equal ones once; the size of a batch is not that of several chips."""

    def call(x: Tensor, w: Tensor) -> dict[str, Any]:
        y = F.linear(x, w)
        return {"sum": float(y.detach().sum()), "name": "a", "count": len(x), "y": y}

    chip = FLOAT.replace("device.programming.sigma", 0.2)
    x = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    found = imc.map_model(on_grid(Function(call, torch.randn(3, 6))), chip, chips=3, inputs=x)(x)
    assert (found["name"], found["count"]) == ("a", 4)
    assert found["sum"] == pytest.approx(tuple(found["y"].flatten(1).sum(1).tolist()), rel=1e-5)
    assert len(set(found["sum"])) == 3


def test_tensors_that_hold_no_samples_stay_whole_in_parts() -> None:
    network = on_grid(Function(lambda x, table, w: F.linear(x, w) + table.sum(), torch.randn(3, 6)))
    x, table = torch.randn(5, 6), torch.arange(7.0)
    analog = imc.map_model(network, FLOAT, inputs=(x, table))
    whole = analog(x, table)
    analog.batch = 2
    assert torch.allclose(analog(x, table), whole, rtol=1e-6)


@dataclasses.dataclass
class Counted:
    """A dataclass with a field that its constructor does not take."""

    value: Tensor
    total: float = dataclasses.field(init=False, default=0.0)


def test_results_keep_their_classes() -> None:
    found = joined(lambda a, b: a + b, *[collections.OrderedDict(a=torch.ones(2), b=[torch.ones(1)])] * 2)
    assert type(found) is collections.OrderedDict
    assert found["b"][0].tolist() == [2.0]
    assert joined(torch.neg, Counted(torch.ones(2))).value.tolist() == [-1.0, -1.0]
    with pytest.raises(InputError, match="different structures"):
        joined(lambda a, b: a, {"a": torch.ones(1)}, {"b": torch.ones(1)})
    with pytest.raises(InputError, match="different structures"):
        joined(lambda a, b: a, (torch.ones(1),), torch.ones(1))


def test_the_first_tensor_sets_the_batch() -> None:
    assert Arguments.of((torch.ones(()), torch.ones(4, 2), torch.ones(7)), {"z": torch.ones(9)}).batch == 4
    x = torch.arange(6.0).reshape(2, 3)
    assert Arguments.of((x,), {}).reversed().args[0].tolist() == [[5, 4, 3], [2, 1, 0]]
    half = torch.full((2, 3), 1.0)
    half[1, 2] = torch.nan
    with pytest.raises(InputError, match="NaN"):
        Arguments.of((half,), {}).checked()


# -- what a probe leaves as it was ---------------------------------------------------------------------------------


def test_a_probe_leaves_frozen_weights_and_settings_of_torch() -> None:
    network = nn.Sequential(nn.Linear(4, 3), nn.TransformerEncoderLayer(3, 1, 8, batch_first=True))
    network[0].weight.requires_grad_(False)
    wanted = [weight.requires_grad for weight in network.parameters()]
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        find_products(network, torch.randn(3, 2, 4))
        assert not torch.backends.mha.get_fastpath_enabled()
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
    assert [weight.requires_grad for weight in network.parameters()] == wanted


def test_what_a_network_prepares_in_its_first_pass_is_no_product_of_the_others() -> None:
    class Cached(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Parameter(torch.randn(4, 2)), nn.Parameter(torch.randn(2, 3))
            self.product: Tensor | None = None

        def forward(self, x: Tensor) -> Tensor:
            self.product = (self.a @ self.b).detach() if self.product is None else self.product
            return x @ self.product

    assert [site.constant for site in find_products(Cached(), torch.randn(3, 4)).sites] == [False]


def test_attention_is_split_only_where_a_factor_is_a_weight() -> None:
    class Plain(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.scaled_dot_product_attention(x, x, x)

    keys = Function(F.scaled_dot_product_attention, torch.randn(5, 8), torch.randn(5, 8))
    sites = find_products(nn.Sequential(keys, Plain()), torch.randn(3, 4, 8)).sites
    values = Function(lambda x, w: F.scaled_dot_product_attention(x, x, w.expand(len(x), -1, -1)), torch.randn(4, 6))
    assert [site.dynamic for site in find_products(values, torch.randn(3, 4, 8)).sites] == [True, False]
    assert [(site.path, site.kind, site.dynamic) for site in sites] == [
        ("0", "matmul", False), ("0", "matmul", False), ("1", "attention", True),
    ]  # fmt: skip


class OptimizedModule(nn.Linear):
    """Named as what torch.compile returns."""


def test_compiled_networks_are_refused() -> None:
    with pytest.raises(InputError, match="an OptimizedModule.*runs eagerly"):
        find_products(OptimizedModule(3, 2), torch.randn(2, 3))


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("addmm_", lambda x, w: F.linear(x, w).addmm_(x, w)),
        ("addmv_", lambda x, w: x.sum(0).addmv_(w, x[0]) + x * 0),
        ("addbmm_", lambda x, w: F.linear(x, w).addbmm_(x[None], w[None])),
        ("baddbmm_", lambda x, w: F.linear(x, w)[None].baddbmm_(x[None], w[None])[0]),
        ("tensordot", lambda x, w: torch.tensordot(x, w, 1, out=torch.empty(len(x), 6))),
        ("matmul", lambda x, w: torch.matmul(x, w, out=torch.empty(len(x), 6))),
    ],
)
def test_products_in_place_are_named(name: str, call: Callable[..., Tensor]) -> None:
    products = find_products(Function(call, torch.randn(6, 6)), torch.randn(3, 6))
    assert products.opaque == (("", name),)


@pytest.mark.parametrize(
    "call",
    [
        lambda x, w: torch.einsum(x, [0, 1], w, [1, 2], [0, 2]),
        lambda x, w: torch.einsum("ab,bc->ac", [x, w]),
    ],
)
def test_every_way_to_call_einsum_is_watched(call: Callable[..., Tensor]) -> None:
    products = find_products(Function(call, torch.randn(6, 5)), torch.randn(3, 6))
    assert products.opaque == ()
    assert [site.kind for site in products.sites] == ["matmul"]


# -- replaced functions against torch -----------------------------------------------------------------------------


def whole(*shape: int) -> Tensor:
    """Return whole numbers, whose sums are exact in any order."""
    count = int(torch.tensor(shape).prod()) if shape else 1
    return (torch.arange(count).reshape(shape).remainder(5) - 2).double()


@pytest.mark.parametrize(
    ("ours", "theirs", "args", "more"),
    [
        (tensordot, torch.tensordot, (whole(3, 4, 5), whole(4, 5, 2)), {"dims": 2}),
        (tensordot, torch.tensordot, (whole(3, 4), whole(5, 2)), {"dims": 0}),
        (tensordot, torch.tensordot, (whole(4, 3, 5), whole(5, 2, 4)), {"dims": ([0, 2], [2, 0])}),
        (inner, torch.inner, (whole(3, 4), whole(4)), {}),
        (inner, torch.inner, (whole(), whole(3)), {}),
        (inner, torch.inner, (whole(2, 3, 4), whole(5, 4)), {}),
        (bilinear, F.bilinear, (whole(2, 3), whole(2, 4), whole(5, 3, 4), whole(5)), {}),
        (REPLACED[torch.addbmm], torch.addbmm, (whole(2, 5), whole(3, 2, 4), whole(3, 4, 5)), {}),
        (REPLACED[torch.addbmm], torch.addbmm, (whole(2, 5), whole(3, 2, 4), whole(3, 4, 5)), {"beta": 2, "alpha": 3}),
        (REPLACED[torch.chain_matmul], torch.linalg.multi_dot, ([whole(2, 3), whole(3, 4), whole(4, 5)],), {}),
    ],
)
def test_replaced_functions_are_those_of_torch(ours: Any, theirs: Any, args: tuple[Any, ...], more: Any) -> None:
    assert torch.equal(ours(*args, **more), theirs(*args, **more))


@pytest.mark.parametrize(
    ("tensors", "indices", "result"),
    [
        ((whole(2, 3), whole(3, 4), whole(2, 4)), ("ab", "bc", "ac"), "c"),
        ((whole(2, 3), whole(2, 3)), ("ab", "ab"), ""),
        ((whole(2, 3, 4), whole(3, 5)), ("abc", "bd"), "cad"),
        ((whole(3, 2, 4), whole(3, 4, 2, 5)), ("abc", "acbd"), "ad"),
        ((whole(2, 3),), ("ab",), "b"),
        ((whole(2, 3), whole(4)), ("ab", "c"), "c"),
    ],
)
def test_contractions_are_those_of_torch(tensors: tuple[Tensor, ...], indices: tuple[str, ...], result: str) -> None:
    wanted = torch.einsum(f"{','.join(indices)}->{result}", *tensors)
    assert torch.equal(contracted(tensors, indices, result), wanted)
    assert torch.equal(torch.as_tensor(einsum(f"{','.join(indices)}->{result}", *tensors)), wanted)


MASK = torch.tensor([[True, True, False, True]] * 3)


@pytest.mark.parametrize(
    "more",
    [
        {}, {"scale": 0.3}, {"is_causal": True}, {"attn_mask": MASK}, {"attn_mask": torch.randn(3, 4)},
        {"enable_gqa": True},
    ],
)  # fmt: skip
def test_attention_is_that_of_torch(more: dict[str, Any]) -> None:
    heads = 2 if more.get("enable_gqa") else 4
    q, k, v = torch.randn(2, 4, 3, 8), torch.randn(2, heads, 4, 8), torch.randn(2, heads, 4, 6)
    assert torch.allclose(attention(q, k, v, **more), F.scaled_dot_product_attention(q, k, v, **more), atol=1e-6)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_recurrent_layers_start_in_the_state_that_is_given(kind: str, batch_first: bool) -> None:
    layer = getattr(nn, kind)(4, 3, num_layers=2, bidirectional=True, batch_first=batch_first)
    x, h, c = torch.randn(5, 6, 4), torch.randn(4, 5, 3), torch.randn(4, 5, 3)
    x = x if batch_first else x.transpose(0, 1)
    hx = (h, c) if kind == "LSTM" else h
    name = {"LSTM": "lstm", "GRU": "gru", "RNN": "rnn_tanh"}[kind]
    weights = layer._flat_weights
    ours = RECURRENT[getattr(torch, name)](x, hx, weights, True, 2, 0.0, False, True, batch_first)
    wanted, state = layer(x, hx)
    assert torch.allclose(ours[0], wanted, atol=1e-6)
    for one, other in zip(ours[1:], state if kind == "LSTM" else (state,), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


X, W = torch.randn(2, 4, 5, 5), torch.randn(4, 3, 2, 2)


@pytest.mark.parametrize(
    ("function", "args", "more", "wanted"),
    [
        (F.conv_transpose2d, (X, W, None, 2, 1, 1, 2, 3), {},
         {"stride": 2, "padding": 1, "output_padding": 1, "groups": 2, "dilation": 3}),
        (F.conv2d, (X, W, None, 2, 1, 3, 2), {}, {"stride": 2, "padding": 1, "dilation": 3, "groups": 2}),
        (F.conv2d, (X, W), {"groups": 2, "padding": "same"},
         {"stride": 1, "padding": "same", "dilation": 1, "groups": 2}),
    ],
)  # fmt: skip
def test_settings_of_convolutions_have_the_places_of_torch(
    function: Any, args: Any, more: dict[str, Any], wanted: dict[str, Any]
) -> None:
    call = PRODUCTS[function](*args, **more)
    assert dict(call.settings) == wanted


A, B, C = whole(3, 4), whole(4, 5), whole(3, 5)


@pytest.mark.parametrize(
    ("function", "args", "more"),
    [
        (torch.matmul, (A, B), {}), (torch.Tensor.matmul, (A, B), {}), (torch.Tensor.__rmatmul__, (B, A), {}),
        (torch.mm, (A,), {"mat2": B}), (torch.bmm, (A[None], B[None]), {}), (torch.mv, (A, B[:, 0]), {}),
        (torch.dot, (A[0],), {"tensor": B[:, 0]}), (torch.vdot, (A[0],), {"other": B[:, 0]}),
        (torch.addmm, (C, A, B), {"beta": 2, "alpha": 3}), (torch.Tensor.addmm, (C, A, B), {"alpha": 2}),
        (torch.addmv, (C[:, 0], A, B[:, 0]), {"beta": 0.5}),
        (torch.baddbmm, (C[None], A[None], B[None]), {"beta": 2}), (torch.linalg.matmul, (A, B), {}),
    ],
)  # fmt: skip
def test_factors_of_products_are_those_of_torch(function: Any, args: Any, more: dict[str, Any]) -> None:
    call = PRODUCTS[function](*args, **more)
    found = call.alpha * torch.matmul(*call.factors) + (0 if call.added is None else call.added)
    assert torch.equal(found, function(*args, **more))


# -- what a probe leaves as it was -----------------------------------------------------------------------------------


@pytest.mark.parametrize("fused", [True, False])
def test_fused_attention_is_set_as_before_after_a_probe(fused: bool) -> None:
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(fused)
    try:
        find_products(nn.Linear(3, 2), torch.randn(4, 3))
        assert torch.backends.mha.get_fastpath_enabled() == fused
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def test_a_copy_shares_no_tensor_with_its_network() -> None:
    network = nn.Linear(3, 2)
    computed: Any = 2 * network.weight
    network.__dict__["computed"] = computed
    copied: Any = own_copy(network)
    assert torch.equal(copied.computed, computed)
    with torch.no_grad():
        copied.computed.zero_()
        copied.weight.zero_()
    assert computed.abs().min() > 0
    assert network.weight.abs().min() > 0
