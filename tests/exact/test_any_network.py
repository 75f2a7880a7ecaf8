"""Networks of any modules: which products are found, that ideal chips equal the network, and what is refused."""

from __future__ import annotations

import math
import re
import warnings
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
from imc_sim.analog._site_products import patches
from imc_sim.array import Chip
from imc_sim.device import Device
from imc_sim.sites import find_products, inputs_of, weights_of
from imc_sim.sites._calls import PRODUCTS
from tests.exact.networks import on_grid

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


def test_a_constant_input_is_one_bit() -> None:
    assert inputs_of(torch.tensor([0.5])).kind == "bits"
    assert inputs_of(torch.tensor([-0.5, 0.5])).kind == "binary"


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


def test_inputs_and_weights_that_the_probe_did_not_see_are_refused() -> None:
    class Late(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(6, 4)

        def forward(self, x: Tensor) -> Tensor:
            return F.linear(x, self.inner.weight.sign())

    signs = torch.randn(5, 6).sign()
    analog = imc.map_model(Late(), IDEAL, inputs=signs)
    with pytest.raises(InputError, match=r"up to 0\.3"):
        analog(0.3 * signs)
    next(iter(analog.network.parameters())).data.neg_()
    with pytest.raises(InputError, match="site '': got other weights than were mapped"):
        analog(signs)


def test_another_path_through_the_network_is_refused() -> None:
    class Branch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a(x)) if x.shape[0] > 2 else self.b(x)

    network, x = on_grid(Branch()), torch.randn(4, 4)
    analog = imc.map_model(network, FLOAT, inputs=x)
    with pytest.raises(InputError, match="site 'a': got other weights"):
        analog(x[:2])


def test_weights_that_cells_would_round_are_refused_with_an_encoding_that_holds_them() -> None:
    torch.manual_seed(0)
    network, x = nn.Sequential(nn.Linear(20, 5), nn.ReLU(), nn.Linear(5, 5)), torch.randn(4, 20)
    chip = IDEAL.replace("encoding_multibit", {"kind": "differential"})
    found = r"differential rounds: '0' by \d+\.\d %, '2' by .* weight_bits: (\d+)\}, .* device.levels (\d+) or"
    with pytest.raises(InputError, match=found) as error:
        imc.map_model(network, chip, inputs=x)
    bits, levels = map(int, re.search(found, str(error.value)).groups())  # type: ignore[union-attr]
    multibit = FLOAT.replace("encoding_multibit.weight_bits", bits)
    for fits in (multibit, chip.replace("device.levels", levels)):
        errors = [row.weight_error for row in imc.map_model(network, fits, inputs=x).report.layers]
        assert 0 < max(errors) <= 0.01
    with pytest.raises(InputError, match="rounds"):
        imc.map_model(network, multibit.replace("encoding_multibit.weight_bits", bits - 1), inputs=x)


def test_rounding_that_the_policy_allows_is_reported() -> None:
    """Of weights 1 and 0.4 on two levels, 1 and 0 are held."""
    network, x = nn.Linear(2, 1, bias=False), torch.randn(4, 2)
    network.weight.data = torch.tensor([[1.0, 0.4]])
    chip = IDEAL.replace("encoding_multibit", {"kind": "differential"}).replace("policy.allow_rounding", True)
    analog = imc.map_model(network, chip, inputs=x)
    assert torch.allclose(analog(x)[0], x[:, :1])
    (row,) = analog.report.layers
    assert row.weight_error == pytest.approx(0.4 / 1.16**0.5)
    assert row.to_dict()["weight_error"] == row.weight_error
    assert "37 %" in analog.report.to_text()


def test_levels_of_a_cell_that_are_not_equally_spaced_are_rounding() -> None:
    """The middle of three levels at 0, 0.9 and 1 of the window holds 0.9 for a weight of 0.5."""
    network, x = nn.Linear(2, 1, bias=False), torch.randn(4, 2)
    network.weight.data = torch.tensor([[1.0, 0.5]])
    device = Device(table_S=(0.0, 0.9e-4, 1e-4))  # type: ignore[call-arg]
    chip = IDEAL.replace("device", device.to_dict()).replace("encoding_multibit", {"kind": "differential"})
    with pytest.raises(InputError, match=r"rounds: '' by 35\.8 %"):
        imc.map_model(network, chip, inputs=x)


def test_a_network_without_products_on_chip_needs_the_key_memory_there() -> None:
    network, x = nn.Sequential(nn.Linear(4, 4)), torch.randn(4, 4)
    chip = IDEAL.replace("policy", {"float": "digital"})
    analog = imc.map_model(network, chip, chips=2, inputs=x)
    assert torch.equal(analog(x), network(x).expand(2, 4, 4))
    assert "on crossbars: 0 % of the weights" in analog.report.to_text()
    with pytest.raises(
        InputError,
        match=r"all products with weights digital \(1\); allowed: one product on crossbars, or a few-shot task",
    ):
        imc.map_model(network, chip.replace("policy.memory", "digital"), inputs=x)


def test_sites_that_cannot_be_mapped_are_named_together() -> None:
    network, x = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)), torch.randn(4, 4)
    with pytest.raises(InputError, match=r"no place for 2 sites: '0' \(real weights\), '2' \(real weights\)"):
        imc.map_model(network, "rram_hfo2_1t1r", inputs=x)


def scripted() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(nn.Linear(3, 2))


@pytest.mark.parametrize(
    ("network", "inputs", "match"),
    [
        (scripted(), torch.randn(2, 3), "a module that runs eagerly"),
        (nn.Linear(3, 2), torch.randn(2, 4), r"RuntimeError.*Run network\(inputs\)"),
        (nn.Linear(3, 2), torch.ones(2, 3), "inputs that differ"),
    ],
)
def test_networks_that_cannot_be_watched_are_refused(network: nn.Module, inputs: Tensor, match: str) -> None:
    with pytest.raises(InputError, match=match):
        find_products(network, inputs)


def test_the_mode_of_every_module_is_restored() -> None:
    network = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.9).eval(), nn.BatchNorm1d(3)).train()
    network[1].eval()
    mean = network[2].running_mean.clone()  # type: ignore[union-attr]
    find_products(network, torch.randn(4, 3))
    assert [module.training for module in network] == [True, False, True]
    assert torch.equal(network[2].running_mean, mean)  # type: ignore[arg-type]


def test_products_that_cannot_be_watched_have_to_be_named_as_digital() -> None:
    class Distances(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.places = nn.Linear(4, 3), nn.Parameter(torch.randn(5, 3))

        def forward(self, x: Tensor) -> Tensor:
            return torch.cdist(self.inner(x), self.places)

    network, x = on_grid(Distances()), torch.randn(3, 4)
    with pytest.raises(InputError, match=r"'' \(cdist, whose products cannot be on crossbars\)"):
        imc.map_model(network, FLOAT, inputs=x)
    analog = imc.map_model(network, FLOAT.replace("policy.layers", {"": "digital"}), inputs=x)
    assert [(row.layer, row.policy, row.place) for row in analog.report.layers] == [
        ("inner", "levels", "crossbar"), ("", "cdist", "digital"),
    ]  # fmt: skip
    assert torch.allclose(analog(x)[0], network(x), rtol=1e-5, atol=1e-6)


def test_the_page_can_be_followed(
    repository: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = (repository / "docs" / "your_network.md").read_text().split("```python\n")[1:]
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


def test_errors_name_the_way_to_map_any_network() -> None:
    """The first mistakes of a newcomer: no inputs, no place, cells for integers alone, a misspelt path."""
    network, x = nn.Sequential(nn.Linear(4, 3)).eval(), torch.randn(3, 4)
    chip = imc.load_chip("rram_hfo2_1t1r")
    cases: list[tuple[Callable[[], object], str]] = [
        (lambda: imc.map_model(network, chip), r"Give inputs="),
        (
            lambda: imc.map_model(network, chip, inputs=x),
            r"Set policy\.float to digital or crossbar \(on crossbars, real weights also need .*\), or",
        ),
        (lambda: imc.map_model(network, chip.replace("policy.float", "crossbar"), inputs=x), "sliced, weight_bits: 8"),
        (lambda: chip.replace("device.programing.sigma", 0.1), "Did you mean 'programming'"),
        (lambda: chip.replace("name.x", 1), "allowed: .*device"),
    ]
    for call, text in cases:
        with pytest.raises(InputError, match=text):
            call()
