"""Networks of any modules: which products are found, that ideal chips equal the network, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import imc_sim as imc
from imc_sim import InputError
from imc_sim.analog import straight_through
from imc_sim.analog._patches import patches
from imc_sim.array import Chip
from imc_sim.device import Device
from imc_sim.sites import find_products, inputs_of, weights_of
from imc_sim.sites._calls import PRODUCTS
from tests.exact.networks import Products, on_grid

IDEAL = Chip(device=Device(g_lrs_S=1e-4, g_hrs_S=0.0)).replace("policy", {"int8": "crossbar", "float": "crossbar"})
FLOAT = IDEAL.replace("encoding_multibit", {"kind": "sliced", "weight_bits": 16})


class Signs(torch.autograd.Function):
    """A sign function as many repositories write it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.sign()

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> Tensor:
        return grad[0]


class BinaryConv(nn.Conv2d):
    """A convolution that binarizes weights and inputs inside, times the mean magnitude of each filter."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  named as in the base class
        alpha = self.weight.abs().mean((1, 2, 3), keepdim=True)
        w, x = Signs.apply(self.weight) * alpha, Signs.apply(input)
        return F.conv2d(x, w, self.bias, self.stride, self.padding, self.dilation, self.groups)


class Bare(nn.Module):
    """Parameters without a layer: integer weights on either side of a product, a bias by addmm, used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Parameter(torch.randint(-3, 4, (5, 6)).float() / 4)
        self.right = nn.Parameter(torch.randint(0, 2, (5, 3)).float())
        self.bias = nn.Parameter(torch.randn(3))

    def forward(self, x: Tensor) -> Tensor:
        h = (self.left @ x.mT).mT
        return torch.addmm(self.bias, h, self.right, alpha=0.5) + h @ self.right


class Attention(nn.Module):
    """Self-attention: its projections are weights, its scores a product of two activations."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x, x, x, need_weights=False)[0]


class Residual(nn.Module):
    """One layer used twice, under two names, with learned thresholds between."""

    def __init__(self) -> None:
        super().__init__()
        self.first = self.second = nn.Conv2d(4, 4, 3, padding="same", padding_mode="circular")
        self.act = nn.PReLU(4)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(self.act(self.first(x)))


class Single(nn.Module):
    """A convolution of single images, without a batch dimension."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Conv2d(2, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.inner(image) for image in x])


#: network, input shape, (name, kind of weights, of inputs, uses) of its sites; "" of weights: two activations
ZOO: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], list[tuple[str, str, str, int]]]] = {
    "linear of tokens": (lambda: nn.Sequential(nn.Linear(6, 5)), (4, 3, 6), [("0", "levels", "real", 1)]),
    "conv1d": (lambda: nn.Conv1d(3, 4, 3, stride=2, padding=1), (4, 3, 9), [("", "levels", "real", 1)]),
    "conv2d": (
        lambda: nn.Conv2d(4, 6, (3, 1), (2, 1), (1, 0), (2, 1), groups=2), (3, 4, 8, 5), [("", "levels", "real", 1)],
    ),
    "depthwise": (lambda: nn.Conv2d(4, 4, 3, groups=4, bias=False), (3, 4, 6, 6), [("", "levels", "real", 1)]),
    "conv3d": (lambda: nn.Conv3d(2, 3, 2), (3, 2, 4, 4, 4), [("", "levels", "real", 1)]),
    "binary": (lambda: BinaryConv(4, 5, 3), (3, 4, 6, 6), [("", "binary", "binary", 1)]),
    "binary, padded": (lambda: BinaryConv(4, 5, 3, padding=1), (3, 4, 6, 6), [("", "binary", "binary", 1)]),
    "bare": (Bare, (4, 6), [(":1", "levels", "real", 1), (":2", "bits", "real", 2)]),
    "residual": (Residual, (3, 4, 5, 5), [("first", "ternary", "real", 2)]),
    "one by one": (Single, (3, 2, 5, 5), [("inner", "levels", "real", 3)]),
    "attention": (
        Attention, (3, 4, 8),
        [("inner:1", "levels", "real", 1), ("inner:2", "", "real", 1), ("inner:3", "levels", "real", 1)],
    ),
}  # fmt: skip


def made(name: str) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(1)
    build, shape, _ = ZOO[name]
    module = build()
    return (module if "binary" in name or name == "bare" else on_grid(module)).eval(), torch.randn(*shape)


@pytest.mark.parametrize("name", ZOO)
def test_all_computed_products_are_found(name: str) -> None:
    network, x = made(name)
    products = find_products(network, x)
    found = [(s.name, s.weights.kind if s.weights else "", s.inputs.kind, s.uses) for s in products.sites]
    assert found == ZOO[name][2]
    dynamic = sum(site.multiply_adds for site in products.sites if site.dynamic)
    assert products.seen - dynamic == products.counted - (dynamic if products.counted == products.seen else 0)


@pytest.mark.parametrize("name", ZOO)
def test_an_ideal_chip_equals_the_network(name: str) -> None:
    """To the rounding of float32; scales and biases are multiplied and added as in the network."""
    network, x = made(name)
    analog = imc.map_model(network, FLOAT, chips=2, inputs=x)
    assert torch.allclose(analog(x), network(x).expand(2, *network(x).shape), rtol=2e-6, atol=1e-6)
    assert len(analog.report.placed) == sum(kind != "" for _, kind, _, _ in ZOO[name][2])
    last = analog.report.to_text().splitlines()[-1]
    assert ("two activations" in last) == (name == "attention")
    assert "100 % of the weights" in last


def test_signs_without_a_scale_are_equal_to_the_bit() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(20, 300))

        def forward(self, x: Tensor) -> Tensor:
            return F.linear(x.sign(), self.weight.sign())

    network, x = Net(), torch.randn(7, 300)
    assert torch.equal(imc.map_model(network, IDEAL, inputs=x)(x)[0], network(x))


@pytest.mark.parametrize(
    ("rows", "kind", "top"),
    [([[1, 1, 1], [-2, 2, -2]], "binary", 1), ([[0, 3, 3], [1, 1, 1]], "bits", 1),
     ([[0, 3, -3], [1, 1, 1]], "ternary", 1), ([[1, 1, 1], [0, 3, -3]], "ternary", 1),
     ([[0.1, -0.3, 0.7]], "levels", 7), ([[0.3, -0.7, 0.0]], "levels", 7),
     ([[0, 0], [1, -1]], "binary", 1), ([[0.1, 0.312345678, -0.7234]], "real", 0)],
)  # fmt: skip
def test_weights_have_the_smallest_class_that_holds_them(rows: list[list[float]], kind: str, top: int) -> None:
    w = torch.tensor(rows)
    found = weights_of(w)
    assert (found.kind, found.top) == (kind, top)
    if found.exact:
        unit = torch.where(found.scale > 0, found.scale, 1.0)[:, None]
        assert torch.allclose((w / unit).round() * found.scale[:, None], w.double(), rtol=1e-6)


@pytest.mark.parametrize("scale", [0.0123, 3.3e-7, 41.7])
@pytest.mark.parametrize("row", [[127, 63, 10], [-127, 64, 10, 0], [119, 34, -17], [101, 37]])
def test_whole_numbers_are_found_whatever_rounds_their_scale(row: list[int], scale: float) -> None:
    """Products in float32; neither the smallest distance of two values nor any value is the step."""
    w = torch.tensor([row]) * torch.tensor(scale)
    found = weights_of(w)
    step = math.gcd(*row)
    assert (found.kind, found.top) == ("levels", max(map(abs, row)) // step)
    assert (w.double() / found.scale[:, None]).round().tolist() == [[each / step for each in row]]


def test_a_product_belongs_to_the_module_that_makes_it_after_another_has_failed() -> None:
    class Failing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise ArithmeticError

    class Careful(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fast, self.weight = Failing(), nn.Parameter(torch.randn(3, 4))

        def forward(self, x: Tensor) -> Tensor:
            try:
                return self.fast(x)
            except ArithmeticError:
                return F.linear(x, self.weight)

    (site,) = find_products(nn.Sequential(Careful()), torch.randn(2, 4)).sites
    assert site.path == "0"


@pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")
@pytest.mark.parametrize(
    ("kernel", "settings"),
    [
        ((3,), {"padding": 1}), ((4,), {"padding": "same"}), ((4,), {"padding": "same", "dilation": 3}),
        ((2,), {"padding": "valid", "stride": 3}), ((5,), {"padding": 2, "stride": 2, "dilation": 2}),
        ((3, 2), {"padding": (0, 2), "stride": (2, 1)}), ((4, 2), {"padding": "same", "dilation": (1, 3)}),
        ((2, 3), {"padding": 1, "dilation": (2, 1), "stride": 2}), ((2, 1, 3), {"padding": (1, 0, 2)}),
    ],
)  # fmt: skip
def test_patches_are_those_of_a_convolution(kernel: tuple[int, ...], settings: dict[str, Any]) -> None:
    """Whole numbers, so that the sums are exact in any order."""
    n = len(kernel)
    x, w = (torch.randint(-9, 10, shape).double() for shape in ((2, 3, 11, 9, 7)[: 2 + n], (4, 3, *kernel))[:2])
    vectors, sizes = patches(x, kernel, {"stride": 1, "dilation": 1, **settings})
    found = (vectors @ w.movedim(1, -1).flatten(1).mT).mT.unflatten(2, sizes)  # channels change fastest
    convolution: Any = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[n]
    assert torch.equal(found, convolution(x, w, **settings))


A, Q = torch.ones(2, 5, 4), torch.ones(2, 3, 5, 4)


@pytest.mark.parametrize(
    ("function", "args", "count"),
    [
        (F.linear, (A, torch.ones(7, 4)), 2 * 5 * 7 * 4),
        (torch.matmul, (A, torch.ones(4, 7)), 2 * 5 * 7 * 4),
        (torch.matmul, (torch.ones(7, 5), A), 2 * 7 * 4 * 5),
        (F.conv2d, (torch.ones(2, 4, 6, 9), torch.ones(8, 2, 3, 1), None, 2, 1, 1, 2), 2 * 8 * 3 * 6 * 2 * 3),
        (F.conv_transpose1d, (torch.ones(2, 4, 9), torch.ones(4, 3, 5), None, 2), 2 * 4 * 9 * 3 * 5),
        (F.scaled_dot_product_attention, (Q, torch.ones(2, 3, 7, 4), torch.ones(2, 3, 7, 6)), 6 * 5 * 7 * (4 + 6)),
    ],
)
def test_multiply_adds_are_those_of_the_definition(
    function: Callable[..., Tensor], args: tuple[Any, ...], count: int
) -> None:
    assert PRODUCTS[function](*args).multiply_adds(function(*args)) == count


def test_the_share_on_crossbars_is_of_all_that_torch_counts() -> None:
    """Torch counts a product that is written to `out=` as well, which the probe does not see."""

    class Hidden(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hidden = nn.Parameter(torch.randn(16, 4))
            self.out, self.head = nn.Linear(16, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.out(torch.mm(x, self.hidden.mT, out=x.new_empty(len(x), 16))))

    network, x = on_grid(Hidden()).eval(), torch.randn(3, 4)
    analog = imc.map_model(network, FLOAT.replace("policy.layers", {"": "digital", "head": "digital"}), inputs=x)
    last = analog.report.to_text().splitlines()[-1]
    assert f"{100 * 64 / 72:.3g} % of the weights in products, {100 * 64 / 136:.3g} % of the multiply-adds" in last
    assert f"{100 * 64 / 136:.3g} % are in functions of '' that were not seen" in last


def test_a_constant_input_is_one_bit_and_zeros_promise_nothing() -> None:
    assert inputs_of(torch.tensor([0.5])).kind == "bits"
    assert inputs_of(torch.tensor([-0.5, 0.5])).kind == "binary"
    assert inputs_of(torch.tensor([0.0, -0.0])).kind == "real"


@pytest.mark.parametrize("adc", ["ideal", "auto"])
def test_a_layer_whose_inputs_were_all_zero_is_mapped(adc: str) -> None:
    network = Products(torch.randn(4, 6), lambda x, w: F.linear((x - 3).relu(), w.sign()))
    x, chip = torch.randn(5, 6).clamp(-2, 2), IDEAL.replace("converter.kind", adc)
    analog = imc.map_model(network, chip, inputs=x)
    assert torch.equal(analog(x)[0], network(x))
    assert torch.allclose(imc.map_model(network, IDEAL, inputs=x)(4 * x)[0], network(4 * x), atol=1e-5)
    assert bool(network(4 * x).any())


@pytest.mark.parametrize("largest", [1.0, 60.0])
def test_signs_that_a_network_rounds_to_its_weights_are_signs(largest: float) -> None:
    """Of `sign * scale - weight + weight`, whose gradient is that of the weight."""
    weight = 0.02 * torch.randn(8, 500).abs().clamp_min(0.01) * torch.randn(8, 500).sign()
    weight[0, 0] = largest * weight[0].abs().mean()
    scale = weight.abs().mean(1, keepdim=True)
    found = weights_of(scale * weight.sign() - weight + weight)
    assert found.kind == "binary"
    torch.testing.assert_close(found.scale[:, None], scale.double(), rtol=2e-6, atol=0.0)


def test_noise_follows_the_image_and_every_chip_differs() -> None:
    network, x = made("linear of tokens")
    chip = FLOAT.replace("device.read.sigma", 0.1)
    whole = imc.map_model(network, chip, chips=2, inputs=x)(x)
    parts = imc.map_model(network, chip, chips=2, inputs=x)
    assert torch.equal(whole, torch.cat([parts(x[:1]), parts(x[1:])], 1))
    assert not torch.equal(whole[0], whole[1])
    assert not torch.equal(whole[0, 0], imc.map_model(network, FLOAT, inputs=x)(x)[0, 0])


def test_adcs_are_calibrated_and_gradients_pass() -> None:
    network, x = made("binary")
    chip = IDEAL.replace("converter", {"kind": "auto", "bits": 8, "range": "calibrated"})
    analog = imc.map_model(network, chip, inputs=x)
    with pytest.raises(InputError, match="no calibration"):
        analog(x)
    assert set(analog.calibrate(x)) == {""}
    assert 0 < float((analog(x)[0] - network(x)).detach().abs().max()) < 0.2
    x.requires_grad_()
    (found,) = torch.autograd.grad(straight_through(analog, x).sum(), x)
    (own,) = torch.autograd.grad(network(x).sum(), x)
    assert torch.allclose(found, own, atol=1e-5)


def test_the_page_can_be_followed(
    repository: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pages = [(repository / "docs" / f"{name}.md").read_text() for name in ("your_network", "measured_arrays")]
    blocks = "".join(pages).split("```python\n")[1:]
    code = "\n".join(block.split("```")[0] for block in blocks)
    names: dict[str, Any] = {}
    exec(compile(code, "your_network.md", "exec"), names)
    assert names["outputs"].shape == (30, 8, 10)
    assert names["analog"].report.placed == ("2",)
    printed = capsys.readouterr().out
    assert "88.3 % of the multiply-adds" in printed
    assert "  0 %: 100.0 % of the images" in printed
    assert torch.allclose(names["measured"](names["images"]), names["analog"](names["images"]), rtol=1e-5, atol=1e-6)
    table = names["table"]
    assert table["median"].tolist() == sorted(table["median"])
    assert (tmp_path / "results" / "regression" / "trials.jsonl").is_file()
