"""Small functions by hand: intervals over classes, limits of ADCs, rounding that is refused, order of samples, keys."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import imc_sim as imc
from imc_sim import AssociativeMemory, InputError
from imc_sim._errors import nearest
from imc_sim._quantiles import PARTS, TAIL, WIDTH, masses, normal_quantiles, probabilities
from imc_sim._stats import Sample, band_label, chip_interval, class_error, wilson
from imc_sim._tensors import check_finite, check_usual, real_values, unusual
from imc_sim.array import Chip, Converter, Crossbar, solve_nonlinear
from imc_sim.array._limits import Histogram, calibrated
from imc_sim.array.circuit.wires import Wires
from imc_sim.config import code_of
from imc_sim.device import VTEAM, Device
from imc_sim.device._state_law import StatePiece, evaluate
from imc_sim.nn import Conv2d, Linear, Norm
from imc_sim.nn._block import ConvBlock
from imc_sim.nn._weight_kinds import WEIGHT_KINDS
from imc_sim.nn.networks import BatmannController
from imc_sim.nn.networks._metaplastic_nets import _centred
from imc_sim.nn.neurons import BinaryActivation, hard_sigmoid
from imc_sim.nn.store._inputs import pack_inputs, read_inputs, unpack_inputs
from imc_sim.sites import Samples, find_products
from imc_sim.sites._einsum import einsum
from tests.exact.networks import Products

CELL = Device(g_lrs_S=1e-4, g_hrs_S=0.0)


# -- tensors -----------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
def test_properties_that_no_product_takes_are_named() -> None:
    x = torch.tensor([[1.0, -2.0]])
    found = {
        "meta": unusual(x.to("meta")), "quantised": unusual(torch.quantize_per_tensor(x, 0.1, 0, torch.qint8)),
        "sparse": unusual(x.to_sparse()), "complex": unusual(x.to(torch.complex64)),
        "float8": unusual(x.to(torch.float8_e4m3fn)),
    }  # fmt: skip
    for name, text in found.items():
        assert text is not None
        assert name in text
    taken = ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64"]
    for name in taken:
        dtype = getattr(torch, name)
        assert unusual(x.to(dtype)) is None
        assert real_values(x.to(dtype), "x").dtype == (dtype if name in ("float32", "float64") else torch.float32)
    with pytest.raises(InputError, match=r"x: got a list"):
        check_usual([1.0], "x")
    with pytest.raises(InputError, match="x: got a meta tensor"):
        check_usual(x.to("meta"), "x")


def test_only_values_that_are_not_finite_are_refused() -> None:
    """The sum of finite numbers may overflow, and a meta tensor has no values."""
    check_finite(torch.empty(3, device="meta"), "x")
    check_finite(torch.full((4,), 3e38), "x")
    for bad in (math.nan, math.inf, -math.inf):
        with pytest.raises(InputError, match="x: got 1 of 3 values NaN or infinite"):
            check_finite(torch.tensor([1.0, bad, 2.0]), "x")


# -- statistics --------------------------------------------------------------------------------------------------


def test_the_error_over_classes_by_hand() -> None:
    """Six classes, two equal episodes each: deviations d of the classes with sum of squares S.

    Single results add 2 S; sums over a class are 2 d, so that 4 S less (1 - 1/6) 2 S is the part of the classes, which
    grows by 6 / 5 for new ones.
    """
    values = np.repeat([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], 2)
    classes = np.repeat(np.arange(6), 2)[:, None]
    squares = float(((values - 0.5) ** 2).sum()) / 2
    pool, error = class_error(values, classes)
    assert pool == 6
    assert error == pytest.approx(math.sqrt(2 * squares + 6 / 5 * (4 - 2 * 5 / 6) * squares) / 12)
    assert class_error(values, np.repeat(np.arange(5), [4, 2, 2, 2, 2])[:, None]) == (None, None)


def test_intervals_of_samples_by_hand() -> None:
    sample = Sample.over("episodes", [0.0, 0.5, 1.0, 0.5])
    assert sample is not None
    assert (sample.count, sample.sd) == (4, pytest.approx(math.sqrt(1 / 6)))
    variance = 1 / 8  # over the number of episodes, not over one less
    assert sample.interval(0.5) == wilson(0.5, math.sqrt(variance / 4), 4, 3)
    assert Sample("episodes", 9, 0.1).class_interval(0.5) is None
    known = Sample("episodes", 9, 0.1, classes=20, class_error=0.05)
    assert known.class_interval(0.5) == wilson(0.5, 0.05, 20, 19)
    assert wilson(1.0, 0.0, 9, None) == (pytest.approx(9 / (9 + 1.959964**2)), 1.0)
    assert chip_interval([0.5]) == (0.5, 0.0, 1.0)
    assert chip_interval([0.5], vary=False) == (0.5, 0.5, 0.5)
    assert chip_interval([0.5, 0.5]) == (0.5, *wilson(0.5, 0.0, 2, 1))


@pytest.mark.parametrize(
    ("counts", "label"),
    [
        ([1], "lowest to highest of 1 chip"), ([5, 5], "lowest to highest of 5 chips"), ([19], "5-95 % of 19 chips"),
        ([3, 18], "lowest to highest of 3-18 chips"), ([20, 30], "5-95 % of 20-30 chips"),
        ([5, 19], "5-95 % of 5-19 chips (under 19: lowest to highest)"),
    ],
)  # fmt: skip
def test_labels_of_bands_state_what_they_show(counts: list[int], label: str) -> None:
    assert band_label(counts) == label


def test_columns_of_tables_are_in_the_middle_of_their_parts() -> None:
    p, q, mass = probabilities(), normal_quantiles(), masses()
    assert (p[0], p[PARTS - 1]) == (0.5 / PARTS, 1 - 0.5 / PARTS)
    assert (p[PARTS], p[PARTS + TAIL - 1]) == pytest.approx(
        (0.5 / TAIL / PARTS, (TAIL - 0.5) / TAIL / PARTS), rel=1e-12
    )
    assert np.allclose(p[PARTS:] + p[PARTS:][::-1], 1.0, rtol=0, atol=1e-15)
    assert bool((np.diff(q[:PARTS]) > 0).all())
    assert np.array_equal(q[PARTS:], -q[PARTS:][::-1])
    assert float(q[:PARTS].std(dtype=np.float64)) == pytest.approx(1.0, abs=1e-6)
    assert (mass[0], mass[PARTS - 1], mass[1], mass[PARTS]) == (0, 0, 1 / PARTS, 1 / PARTS / TAIL)
    assert len(p) == len(q) == len(mass) == WIDTH


def test_names_are_suggested_up_to_a_number_and_by_closeness() -> None:
    known = ["alpha", "alphas", "alphabet", "beta"]
    assert nearest("alpah", known).startswith("Did you mean 'alpha'")
    assert nearest("gamma rays", known) == ""


# -- limits and solvers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("bits", [2, 3, 6])
def test_limits_of_the_least_error_cannot_be_improved_at_either_end(seed: int, bits: int) -> None:
    """Of skewed values with a long tail on one side, which both ends have to find."""
    generator, rule = torch.Generator().manual_seed(seed), Converter(kind="auto", bits=bits, limits="mse")
    for sign in (1.0, -1.0):
        values = sign * torch.rand(4000, generator=generator, dtype=torch.float64).pow(-0.15)
        low, high = calibrated(lambda values=values: [values], rule, False)
        h = Histogram.of([values], float(values.min()), float(values.max()))
        centres, counts = torch.from_numpy(h.centres), torch.from_numpy(h.counts)

        def error(low: float, high: float, centres: Tensor = centres, counts: Tensor = counts) -> float:
            off = rule.quantiser(low, high, False)(centres) - centres
            return float((off.square() * counts).sum())

        least = error(low, high)
        shares = np.arange(1, 100) / 100
        assert min(error(float(s), high) for s in high - shares * (high - h.low)) > 0.995 * least
        assert min(error(low, float(e)) for e in low + shares * (h.high - low)) > 0.97 * least


@pytest.mark.parametrize("a", [100.0, -100.0])
@pytest.mark.parametrize("volts", [0.5, -0.5])
def test_cells_too_steep_for_their_voltage_are_refused_with_any_sign(a: float, volts: float) -> None:
    G, wires = torch.full((2, 2), 1e-5), Wires(kind="nodal", r_row_ohm=1.0)
    with pytest.raises(InputError, match="a times V up to 50"):
        solve_nonlinear(G, torch.full((1, 2), volts), wires, a)


# -- weights and networks ------------------------------------------------------------------------------------------


def test_gradients_of_standardised_inputs_shrink_with_their_scale() -> None:
    """Ten times larger inputs are the same after standardising; without it they would be outside of the window."""
    x = torch.linspace(-1.0, 1.0, 9).reshape(1, 9)
    found = []
    for scale in (1.0, 10.0):
        given = (scale * x).requires_grad_()
        y = WEIGHT_KINDS["xnor"].operand(given)
        (y * torch.arange(9.0)).sum().backward()
        assert given.grad is not None
        found.append(scale * given.grad)
    assert float(found[0].abs().max()) > 0.5
    assert torch.allclose(found[0], found[1], rtol=1e-4, atol=1e-6)


def test_initial_weights_of_convolutions_have_the_deviation_of_their_outputs() -> None:
    """sqrt(2 / (kernel^2 x width)), also in the first layer, which has one input channel; within 5 % by its count."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = BatmannController("float", width=64, dim=4)
    for layer in (model.features.conv1, model.features.conv2, model.features.conv3):
        wanted = math.sqrt(2 / (layer.kernel**2 * 64))
        assert float(layer.weight.detach().std()) == pytest.approx(wanted, rel=0.06)
    assert float(model.fc1.weight.detach().std()) == pytest.approx(0.01, rel=0.06)


def test_small_images_are_in_the_middle_of_each_side() -> None:
    found = _centred(torch.ones(1, 1, 2, 3), 5)[0, 0]
    wanted = torch.zeros(5, 5)
    wanted[1:3, 1:4] = 1.0
    assert torch.equal(found, wanted)
    with pytest.raises(InputError, match="2 x 6 pixels; allowed: up to 5 x 5"):
        _centred(torch.ones(1, 1, 2, 6), 5)


def test_a_neuron_fires_below_its_probability_only(monkeypatch: pytest.MonkeyPatch) -> None:
    neuron, z = BinaryActivation(stochastic=True).eval(), torch.tensor([[0.5, 0.5, 0.5]])
    p = hard_sigmoid(z)
    edge = torch.tensor([[-1e-6, 0.0, 1e-6]])
    monkeypatch.setattr(BinaryActivation, "_uniform", lambda *_: p + edge)
    assert neuron(z).tolist() == [[1.0, 0.0, 0.0]]


# -- mapping -------------------------------------------------------------------------------------------------------


def on_two_levels(*rows: list[float]) -> tuple[nn.Module, Tensor]:
    network = nn.Sequential(*(nn.Linear(len(row), 1, bias=False) for row in rows))
    for layer, row in zip(network, rows, strict=True):
        layer.weight.data = torch.tensor([row])
    return network.eval(), torch.randn(4, len(rows[0]), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("rows", "hold", "levels"),
    [
        ([[7.0, 3.0, -5.0]], "4 bits hold them", "device.levels 8 or continuous"),
        ([[1.0, 0.33, -0.71, 0.0456]], "bits hold them", "or continuous"),
    ],
)
def test_refused_rounding_names_the_bits_that_hold_every_layer(rows: list[list[float]], hold: str, levels: str) -> None:
    network, x = on_two_levels(*rows)
    chip = Chip(device=CELL).replace("policy", {"int8": "crossbar", "float": "crossbar"})
    chip = chip.replace("encoding_multibit", {"kind": "differential"})
    with pytest.raises(InputError, match="that differential rounds: '0' by") as caught:
        imc.map_model(network, chip, inputs=x)
    assert hold in str(caught.value)
    assert levels in str(caught.value)


def test_refused_rounding_names_the_most_bits_of_all_layers() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Parameter(torch.tensor([[7.0, 3.0, -5.0]]))
            self.b = nn.Parameter(torch.tensor([[63.0, 20.0, -41.0]]))

        def forward(self, x: Tensor) -> Tensor:
            return F.linear(x, self.a) + F.linear(x, self.b)

    chip = Chip(device=CELL).replace("policy", {"int8": "crossbar", "float": "crossbar"})
    chip = chip.replace("encoding_multibit", {"kind": "differential"})
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    with pytest.raises(InputError) as caught:
        imc.map_model(Both(), chip, inputs=x)
    text = str(caught.value)
    bits = int(text[: text.index(" bits hold them")].rsplit(maxsplit=1)[-1])
    assert bits > 4
    assert f"weight_bits: {bits}" in text
    assert f"device.levels {2 ** (bits - 1)} or" in text


# -- sites ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_one_sample_shows_its_place_as_many_do(batch: int) -> None:
    """Steps before samples: with one sample, only a pass of two shows which of both changes fastest."""
    x = torch.randn(batch, 4, 5, generator=torch.Generator().manual_seed(0))
    network = Products(torch.randn(3, 5), lambda x, w: F.linear(x.transpose(0, 1).flatten(0, 1), w))
    assert [site.samples for site in find_products(network, x).sites] == [Samples(0, inner=True)]


def test_a_site_keeps_the_weight_that_was_probed() -> None:
    network = Products(torch.ones(3, 5), F.linear)
    (site,) = find_products(network, torch.randn(2, 5)).sites
    network.weight.data.zero_()
    assert site.weight is not None
    assert site.weight.tolist() == [[1.0] * 5] * 3


@pytest.mark.parametrize("equation", ["zi,ia", "dcb,ba", "ji,kj", "zyx,xq", "bqa,ac", "...b,ba", "i,j", "ii"])
def test_results_without_an_arrow_are_in_alphabetical_order(equation: str) -> None:
    sizes = {letter: 2 + number for number, letter in enumerate("abcdijkqxyz")}
    shapes = [[3] * term.count("...") + [sizes[i] for i in term.replace("...", "")] for term in equation.split(",")]
    tensors = [torch.arange(float(math.prod(shape))).reshape(shape).remainder(7).double() for shape in shapes]
    found = einsum(equation, *tensors)
    assert found is not None
    assert torch.equal(found, torch.einsum(equation, *tensors))


# -- the key memory ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["bipolar", "binary", "float"])
def test_only_bipolar_queries_drive_every_word_line(form: Any) -> None:
    """A query of zeros reads nothing where 0 is a value; as -1, every line adds noise."""
    chip = Chip(device=CELL.replace("read.sigma", 0.2))
    memory = AssociativeMemory(chip, 6, form=form)
    keys = torch.tensor([[1.0, -1.0, 1.0, 1.0, -1.0, 1.0], [1.0, 1.0, -1.0, 1.0, 1.0, -1.0]])
    memory.write(keys, torch.arange(2))
    found = memory.search(torch.zeros(3, 6))
    assert bool(found.any()) == (form == "bipolar")


# -- files of inputs and of code -------------------------------------------------------------------------------------


def test_arrays_in_another_order_are_put_in_that_of_their_numbers(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {f"arr_{k}": np.full((3, 2), k, np.float32) for k in (2, 0, 1)}
    np.savez(tmp_path / "x.npz", **arrays)
    found = read_inputs(tmp_path / "x.npz")
    assert [float(x[0, 0]) for x in found] == [0.0, 1.0, 2.0]
    (tmp_path / "x.safetensors").write_bytes(pack_inputs(tuple(torch.full((2, 2), float(k)) for k in range(11))))
    assert [float(x[0, 0]) for x in unpack_inputs(tmp_path / "x.safetensors")] == list(range(11))


@pytest.mark.parametrize("shape", [(4,), (1, 4), (2, 0)])
def test_inputs_have_two_samples_or_more_each(shape: tuple[int, ...], tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros(shape, np.float32))
    if shape[0] == 2:
        read_inputs(tmp_path / "x.npy")
        return
    with pytest.raises(InputError, match="two or more samples"):
        read_inputs(tmp_path / "x.npy")
    np.savez(tmp_path / "y.npz", a=np.zeros((2, 3)), b=np.zeros((3, 3)))
    with pytest.raises(InputError, match="samples a: 2, b: 3"):
        read_inputs(tmp_path / "y.npz")


def test_names_are_found_in_every_folder_up_to_that_of_the_card(tmp_path: Path) -> None:
    """A file three folders down finds what is next to it, and in any folder above it."""
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c" / "net.py").write_text("import near, above, upper, top\n")
    for place in ("a/b/c/near.py", "a/b/above.py", "a/upper.py", "top.py"):
        (tmp_path / place).write_text("")
    found = sorted(code_of("a/b/c/net.py:Net", tmp_path).files)
    assert found == ["a/b/above.py", "a/b/c/near.py", "a/b/c/net.py", "a/upper.py", "top.py"]
    lower = sorted(code_of("c/net.py:Net", tmp_path / "a" / "b").files)
    assert lower == ["above.py", "c/near.py", "c/net.py"]


def test_layers_keep_what_they_were_made_with() -> None:
    layer = Conv2d(3, 4, 5, "sign", stride=2, padding=1)
    assert (layer.kernel, layer.stride, layer.padding, tuple(layer.weight.shape)) == (5, 2, 1, (4, 3, 5, 5))
    assert tuple(Linear(6, 3, "int8").weight.shape) == (3, 6)
    bar = Crossbar.program(torch.ones(2, 3), Chip(device=CELL), chips=range(2, 4))
    assert (bar.shape, list(bar.chips), bar.layer) == ((2, 2, 3), [2, 3], "crossbar")


@pytest.mark.parametrize("iv", ["linear", "exponential"])
def test_states_of_vteam_and_conductances_invert_each_other(iv: Any) -> None:
    model = VTEAM(iv=iv)
    G = torch.linspace(*model.range_S, 7, dtype=torch.float64)
    states = model.from_conductance(G)
    assert torch.allclose(model.conductance(states), G, rtol=1e-9, atol=0)
    assert len(states.unique()) == 7


@pytest.mark.parametrize(
    ("stochastic", "comparator", "folds"), [(False, False, True), (True, True, True), (True, False, False)]
)
def test_sampled_activations_fold_only_where_the_chip_compares(stochastic: bool, comparator: bool, folds: bool) -> None:
    act = BinaryActivation(stochastic=stochastic)
    act.comparator = comparator
    block = ConvBlock(Conv2d(2, 3, 3), Norm(3), 1, act).eval()
    assert block.fold() == folds
    assert isinstance(block.norm, Norm) != folds
    assert (block.act is act) != folds


# -- laws of the state ---------------------------------------------------------------------------------------------


def test_the_first_piece_that_covers_a_state_holds() -> None:
    ends = (0.2, 0.5, None)
    law = tuple(StatePiece(coefficients=(value,), below=end) for value, end in zip((1.0, 2.0, 3.0), ends, strict=True))
    found = evaluate(law, torch.tensor([0.1, 0.2, 0.4, 0.5, 0.9]))
    assert torch.as_tensor(found).tolist() == [1.0, 2.0, 2.0, 3.0, 3.0]


def test_vteam_needs_two_different_ends() -> None:
    with pytest.raises(ValueError, match="r_off_ohm above r_on_ohm"):
        VTEAM(r_on_ohm=1e4, r_off_ohm=1e4)
