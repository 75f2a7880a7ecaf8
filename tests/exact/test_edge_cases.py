"""Values next to an edge, with effects that meet: logits, rounding, memory of chips, noise after a refresh, reports."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import imc_sim as imc
from imc_sim import InputError
from imc_sim._quantiles import masses
from imc_sim.array import (
    CompiledReadout,
    Crossbar,
    GatingError,
    GatingEstimate,
    Patches,
    Rows,
    Wires,
    encodings,
    solve_currents,
)
from imc_sim.array._compiled import _product, _readout
from imc_sim.config import build, family_summaries
from imc_sim.device import Device, ReadDisturb, Retention, check_finite
from imc_sim.mapping._placing import chips_together, on_chip_of
from imc_sim.mapping._report import _explained, _gating, _passes
from imc_sim.nn import Conv2d, Linear
from imc_sim.nn.networks import SignActivation
from imc_sim.nn.neurons import BinaryActivation
from imc_sim.nn.similarity import inference_logits, sharpen, training_logits
from imc_sim.sites import Samples
from imc_sim.sites._records import _DISTINCT, _distinct, classified
from tests.exact.samples import signs
from tests.exact.test_array_details import chip

# -- logits ------------------------------------------------------------------------------------------------------

SIMILAR = torch.tensor([[[0.9, -0.4, 0.1], [0.2, 0.6, -0.8]]])
VALUES = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]])


def test_training_normalises_what_is_sharpened_and_leaves_dot_products() -> None:
    for kind in ("abs", "none"):
        wanted = (SIMILAR.abs() if kind == "abs" else SIMILAR) @ VALUES
        assert torch.equal(training_logits(SIMILAR, VALUES, kind), wanted)
    for kind in ("softabs", "softabs_exp", "softmax"):
        w = sharpen(SIMILAR, kind)
        w = w / w.sum(-1, keepdim=True)
        wanted = ((w - w.mean()) / w.std()) @ VALUES  # over all queries and keys of the episode
        assert torch.allclose(training_logits(SIMILAR, VALUES, kind), wanted, atol=1e-6)
        assert torch.equal(inference_logits(SIMILAR, VALUES, kind), sharpen(SIMILAR, kind) @ VALUES)


def test_large_similarities_do_not_overflow_and_small_ones_are_exact() -> None:
    assert torch.allclose(sharpen(torch.tensor([[1.0, 2.0]]), "softmax"), torch.tensor([[1.0, 2.0]]).exp())
    large = sharpen(torch.tensor([[1e4, 1e4 - 1.0]]), "softmax")
    assert bool(large.isfinite().all())
    assert float(large[0, 0] / large[0, 1]) == pytest.approx(math.e, rel=1e-4)
    for kind in ("softabs", "softabs_exp"):
        sharpen(torch.tensor([[1.0 + 1e-6, -1.0]]), kind)
        with pytest.raises(InputError, match="magnitudes up to 1"):
            sharpen(torch.tensor([[0.0, -1.1]]), kind)
    assert sharpen(torch.tensor([0.5, -0.5]), "softabs").tolist() == pytest.approx([0.5, 0.5], rel=1e-3)


# -- cells -------------------------------------------------------------------------------------------------------


def test_an_overflow_names_the_tile_of_its_first_value() -> None:
    values = torch.tensor([[1.0, math.inf, math.nan], [1.0, 2.0, 3.0]])
    tile = torch.tensor([[4, 5, 6], [7, 8, 9]])
    with pytest.raises(InputError, match="layer 'l', tile 5, here: got an overflow in 2 of 6 values"):
        check_finite(values, "here", "Step.", "l", tile)
    with pytest.raises(InputError, match=r"^layer 'l', tile 3, here"):
        check_finite(values, "here", "Step.", "l", 3)
    with pytest.raises(InputError, match=r"^here: got"):
        check_finite(values, "here", "Step.")
    check_finite(torch.full((4,), 3e38), "here", "Step.", "l", 0)  # only the sum is too large
    check_finite(values.to("meta"), "here", "Step.")


def test_noise_of_reads_after_a_refresh_is_that_of_the_age() -> None:
    """25 s after programming and 5 s after the last refresh."""
    w, x = signs(4, 12), signs(6, 12, seed=1)
    found = []
    for time in ({"t_s": 5.0}, {"t_s": 25.0, "refresh_s": 10.0}, {"t_s": 25.0}):
        read = {"flicker": {"q": 0.2, "g_max_S": 1e-4, "t_read_s": 0.1}}
        found.append(Crossbar.program(w, chip({"read": read, "time": time})).mvm(x)[0] - x @ w.T)
    assert float(found[0].abs().max()) > 0.05
    assert torch.allclose(found[0], found[1], rtol=0, atol=1e-6)
    assert not torch.allclose(found[0], found[2], rtol=0, atol=1e-3)


def test_retention_stretches_the_product_of_rate_and_time() -> None:
    law = Retention(rate_Hz=4.0, beta=0.5)
    G = torch.tensor([9e-5], dtype=torch.float64)
    for t in (0.25, 1.0, 4.0):
        wanted = 1e-5 + 8e-5 * math.exp(-math.sqrt(4.0 * t))
        assert float(law.apply(G, t, 300.0, 1e-5)) == pytest.approx(wanted, rel=1e-12, abs=0)


def test_refreshes_rewrite_cells_in_lrs_alone() -> None:
    wear = ReadDisturb(reads=10**6, cycles=7, refresh={"kind": "cells", "tolerance": 0.1}).wear(0.4, 300.0)  # type: ignore[arg-type]
    assert wear.refreshes > 0
    assert (wear.cycles, wear.rewritten(5)) == (7 + wear.refreshes, 5 * wear.refreshes)


# -- circuits ----------------------------------------------------------------------------------------------------


def test_the_residual_is_that_of_the_currents() -> None:
    """Relative, of the power: a looser tolerance leaves a larger one, and the currents are off by about as much."""
    g = torch.rand(12, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 1e-4
    volts, wires = torch.ones(1, 12, dtype=torch.float64), Wires(kind="nodal", r_row_ohm=50.0, r_col_ohm=50.0)
    exact = solve_currents(g, volts, wires, tol=1e-13).currents
    for tol in (1e-2, 1e-4, 1e-6):
        found = solve_currents(g, volts, wires, tol=tol)
        off = float((found.currents - exact).norm() / exact.norm())
        assert float(found.residual) <= tol
        assert off <= 3 * tol
        assert off <= 30 * float(found.residual) + 1e-12


@pytest.mark.parametrize("kind", ["bnn_i", "tnn_ii"])
def test_shares_of_two_calibrations_are_weighted_by_their_vectors(kind: str) -> None:
    bar = Crossbar.program(signs(3, 16), chip(wires={"kind": "nodal", "r_row_ohm": 1.0}, encoding={"kind": kind}))
    some, others = torch.ones(1, 16), -torch.ones(3, 16)
    one, three = (bar.measure_rows(lambda rows, x=x: x[:, rows]) for x in (some, others))
    assert one is not None
    assert three is not None
    assert one.joined(three).shares.tolist() == ((one.shares + 3 * three.shares) / 4).tolist()
    assert one.joined(None) is one


# -- chips and layers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chips", "limit", "sizes", "together"),
    [
        (4, 40, [6, 4], 4), (4, 39, [6, 4], 2), (4, 16, [6, 4], 1), (4, 31, [6, 4], 1), (4, 32, [6, 4], 2),
        (4, 0, [1], 1),
    ],
)  # fmt: skip
def test_blocks_of_chips_leave_room_for_a_layer_that_is_programmed_again(
    chips: int, limit: int, sizes: list[int], together: int
) -> None:
    assert chips_together(chips, limit, sizes) == together


@pytest.mark.parametrize(
    ("layer", "zeros"),
    [
        (Linear(4, 2, "sign"), False), (Conv2d(2, 2, 3, "sign"), False), (Conv2d(2, 2, 3, "sign", padding=1), True),
        (Linear(4, 2, "int8"), False), (Conv2d(2, 2, 3, "float", padding=1), False),
    ],
)  # fmt: skip
def test_exact_inputs_are_zero_by_padding_or_as_bits(layer: Any, zeros: bool) -> None:
    assert layer.zero_operands == zeros
    bits = Linear(4, 2, "latent")
    for inputs, wanted in (("signs", False), ("bits", True), ("real", False)):
        bits.inputs = inputs  # type: ignore[assignment]
        assert bits.zero_operands == wanted


def test_comparators_take_the_place_of_norms_where_the_chip_has_them() -> None:
    for neurons in ("comparator", "bernoulli"):
        network = nn.Sequential(nn.Linear(3, 2), BinaryActivation(stochastic=True)).eval()
        activation: Any = on_chip_of(network, chip(neurons=neurons)).get_submodule("1")
        assert activation.comparator == (neurons == "comparator")


def test_only_a_digital_place_excuses_a_layer_that_crossbars_cannot_hold() -> None:
    network = nn.Sequential(nn.Linear(3, 3), Linear(3, 2, "sign")).eval()
    for place in ("crossbar", "error"):
        with pytest.raises(InputError, match="layer '0': got Linear"):
            imc.map_model(network, chip().replace("policy.layers", {"0": place}))
    imc.map_model(network, chip().replace("policy.layers", {"0": "digital"}))


def estimate(source: Any, low: float = 0.5, high: float = 0.5) -> GatingEstimate:
    return GatingEstimate("tangent", low, high, source, GatingError(0.01, 0.25))


def test_a_report_asks_for_a_calibration_where_any_share_is_assumed() -> None:
    asks = lambda *found: any("not measured" in line for line in _explained(found))  # noqa: E731
    assert asks(estimate("assumed"))
    assert asks(None, estimate("measured"), estimate("assumed"))
    assert not asks(estimate("measured"), None, estimate("set"), estimate("encoding"))
    assert _explained([None, None]) == []
    assert _gating(estimate("set", 0.25, 0.75)) == ["25-75 % set", "1.0 %, 25.0 %"]
    assert _gating(estimate("encoding")) == ["50 % by the encoding", "1.0 %, 25.0 %"]
    assert _gating(None) == ["-", "-"]


# -- sites -------------------------------------------------------------------------------------------------------


def test_inputs_are_whole_numbers_only_if_those_of_every_call_are() -> None:
    few, other = torch.tensor([0.0, 1.0]), torch.tensor([0.0, 2.0])
    assert classified([few, few]).kind == "bits"
    assert classified([few, other]).kind == "levels"
    assert classified([few, None]).kind == "real"
    whole = torch.arange(float(_DISTINCT))
    assert _distinct(whole) is not None
    assert _distinct(torch.cat([whole, torch.tensor([-1.0])])) is None
    assert _distinct(whole.repeat(9)) is not None


def test_weights_of_transposed_convolutions_have_a_scale_of_each_output() -> None:
    """Outputs of several sizes: each pixel of the kernel gets the scale of its output, not of its place."""

    class Up(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(signs(4, 3, 2, 2) * torch.tensor([0.5, 2.0, 1.0])[:, None, None])

        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.conv_transpose2d(x.sign(), self.weight, stride=2)

    spec = chip({"g_hrs_S": 0.0}).replace("policy", {"int8": "crossbar", "float": "crossbar"})
    network, x = Up().eval(), signs(2, 4, 3, 3, seed=2)
    analog = imc.map_model(network, spec, inputs=x)
    (layer,) = analog.analog_layers.values()
    assert layer.digital.binary
    assert torch.equal(analog(x)[0], network(x))


def test_samples_move_to_the_front_and_back() -> None:
    x = torch.arange(24.0).reshape(2, 6, 2)
    for place in (Samples(1), Samples(1, inner=True)):
        first = place.first(x, 3)
        assert first.shape == (3, 2, 2, 2)
        assert torch.equal(place.back(first), x)
    assert Samples(1).first(x, 3)[1, 0].tolist() == x[0, 2:4].tolist()
    assert Samples(1, inner=True).first(x, 3)[1, 0].tolist() == x[0, [1, 4]].tolist()


@pytest.mark.parametrize("kind", [k for k, e in encodings().items() if e.operands != "real"])
def test_a_drift_that_all_cells_share_is_undone_for_every_encoding(kind: str) -> None:
    """With HRS at 0 S nothing else is in the sums: the products come back, also those with digital corrections."""
    among = torch.tensor(encodings()[kind]().values, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    w, x = (among[torch.randint(0, len(among), (n, 12), generator=generator)] for n in (5, 7))
    time = {"t_s": 1e6, "drift": {"nu": 0.05}, "compensation": True}
    spec = chip({"g_hrs_S": 0.0, "time": time}, encoding={"kind": kind}, tile={"rows": 24, "cols": 16})
    assert torch.allclose(Crossbar.program(w, spec).mvm(x)[0], x @ w.T, rtol=0, atol=1e-9)
    plain = spec.replace("device.time.compensation", False)
    assert not torch.allclose(Crossbar.program(w, plain).mvm(x)[0], x @ w.T, rtol=0, atol=0.1)


# -- readouts and measured cells ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("device", "more", "unit_inputs", "compiled"),
    [
        ({}, {}, False, True), ({}, {"converter": {"kind": "auto"}}, False, True),
        ({"read": {"sigma": 0.1}}, {}, True, True), ({"read": {"sigma": 0.1}}, {}, False, False),
        ({"read": {"telegraph": {"probability": 0.5, "amplitude": 0.2}}}, {}, True, False),
        ({"read": {"sigma": 0.1}}, {"encoding": {"kind": "offset"}}, True, False),
        ({}, {"converter": {"kind": "auto", "accumulator": "integer"}}, False, False),
        ({}, {"converter": {"kind": "auto"}, "inputs": {"kind": "bit_serial", "bits": 4}}, False, False),
        ({}, {"converter": {"kind": "auto"}, "encoding": {"kind": "tnn_v"}}, False, False),
        ({"read": {"nonlinearity_per_V": 2.0}}, {}, False, False),
    ],
)  # fmt: skip
def test_the_compiled_readout_serves_what_one_pass_can_compute(
    device: dict[str, Any], more: dict[str, Any], unit_inputs: bool, compiled: bool
) -> None:
    bar = Crossbar.program(signs(4, 12), chip(device, **more), unit_inputs=unit_inputs)
    assert CompiledReadout.serves(bar.readout.reference) == compiled  # type: ignore[arg-type]
    assert isinstance(bar.readout, CompiledReadout) == compiled
    double = Crossbar.program(signs(4, 12).double(), chip(device, **more), unit_inputs=unit_inputs)
    assert not isinstance(double.readout, CompiledReadout)


def test_ranges_are_measured_on_ideal_cells_even_where_cells_were_measured() -> None:
    converter = {"kind": "auto", "range": "calibrated", "limits": "minmax"}
    network = nn.Sequential(SignActivation(), Linear(24, 6, "sign", bias=False)).eval()
    spec = chip(converter=converter)
    programmed = {name: layer.crossbar.programmed for name, layer in imc.map_model(network, spec).analog_layers.items()}
    measured = {name: 0.5 * g for name, g in programmed.items()}
    x = torch.randn(20, 24, generator=torch.Generator().manual_seed(0))
    simulated, found = imc.map_model(network, spec), imc.map_model(network, spec, conductances=measured)
    assert simulated.calibrate(x) == found.calibrate(x)
    (layer,) = found.analog_layers.values()
    assert torch.equal(layer.crossbar.programmed, measured["1"])


def test_weights_are_compared_again_in_every_call() -> None:
    """A change through `data` counts no version of a parameter."""
    network = nn.Sequential(nn.Linear(4, 3, bias=False)).eval()
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    spec = chip().replace("policy", {"int8": "crossbar", "float": "crossbar"})
    spec = spec.replace("encoding_multibit", {"kind": "sliced", "weight_bits": 16})
    analog = imc.map_model(network, spec, inputs=x)
    analog(x)
    for weight in analog.sites.network.parameters():  # type: ignore[union-attr]
        weight.data.mul_(2.0)
    with pytest.raises(InputError, match="other weights than were mapped"):
        analog(x)


def test_a_family_of_the_user_is_summarised_in_place_of_the_one_that_ships(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("IMC_SIM_PATH", raising=False)
    assert family_summaries()["batmann"][0] != "mine"
    (tmp_path / "models" / "batmann").mkdir(parents=True)
    text = "summary: mine\nmodels:\n  batmann_own:\n    summary: one\n    arch: {name: bnn_mlp}\n"
    (tmp_path / "models" / "batmann" / "family.yaml").write_text(text)
    assert family_summaries()["batmann"] == ("mine", ["batmann_own"])


@pytest.mark.skipif(_product.why_not() is not None, reason=str(_product.why_not()))
def test_vectors_of_rows_and_of_images_have_separate_layouts_of_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """In turn on one crossbar: 18 inputs in one run, or in three runs of 6."""
    for name in ("_SMALL", "_SMALL_MERGED", "_NARROW"):
        monkeypatch.setattr(_readout, name, 0)
    bar = Crossbar.program(signs(5, 18), chip(converter={"kind": "auto", "bits": 5}))
    rows, images = Rows(signs(7, 18, seed=1)), Patches(signs(3, 2, 5, 6, seed=2), 3, 1, 1)
    for inputs in (rows, images, rows):
        assert torch.equal(bar.readout.read(0, inputs, 0), bar.readout.reference.read(0, inputs, 0))
    assert len(bar.readout._packed) == 2  # type: ignore[attr-defined]


def test_verify_accepts_cells_that_are_clipped_into_the_tolerance() -> None:
    """Half of the cells aimed at 0 S are sampled below it, read as 0 S, and need no second pulse."""
    law = {"kind": "polynomial", "coefficients_S": [2e-5], "g_max_S": 1e-4}
    verify = {"tolerance_S": 1e-6, "max_pulses": 2}
    cells = build(Device, {"g_lrs_S": 1e-4, "g_hrs_S": 0.0, "programming": law, "verify": verify}, "device")
    once = 0.5 + (torch.special.ndtr(torch.tensor(0.05)) - 0.5)
    share = float(((cells.table(1)[0] <= 0.01 + 1e-9) * torch.from_numpy(masses())).sum())
    assert share == pytest.approx(float(1 - (1 - once) ** 2), abs=1e-3)
    assert float(cells.verification(1).converged[0]) == pytest.approx(share, abs=1e-3)


@pytest.mark.parametrize("labels", [[0.0, 1.7], [0.5, 1.0], [0.0, -1.0]])
def test_labels_of_keys_are_whole_numbers_from_0(labels: list[float]) -> None:
    memory = imc.AssociativeMemory(chip(), 4)
    with pytest.raises(InputError, match=r"memory\.write, labels"):
        memory.write(signs(2, 4), torch.tensor(labels))
    memory.write(signs(2, 4), torch.tensor([0.0, 2.0]))
    assert memory.search(signs(3, 4)).shape == (1, 3, 3)


def test_only_sites_on_crossbars_make_chips_run_one_after_the_other() -> None:
    sites = [SimpleNamespace(name="mixed", samples=None), SimpleNamespace(name="apart", samples=Samples())]
    products: Any = SimpleNamespace(sites=sites, outputs=(Samples(),))
    assert _passes(products, {"apart"}) == "chips run in one pass where batches are small"
    assert "site 'mixed' does" in _passes(products, {"apart", "mixed"})
    assert "the output does" in _passes(SimpleNamespace(sites=sites, outputs=None), {"apart"})  # type: ignore[arg-type]


def test_only_code_that_cannot_be_kept_is_compiled_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    jit = pytest.importorskip("imc_sim._jit")

    def njit(text: str) -> Any:
        def compiled(cache: bool = False, **_: Any) -> Any:
            if cache:
                raise RuntimeError(text)
            return lambda function: function

        return compiled

    jit._say_once.cache_clear()
    monkeypatch.setattr(jit, "njit", njit("cannot cache function 'f': no locator available"))
    with pytest.warns(RuntimeWarning, match="Compiled code cannot be kept"):
        assert jit.kept_njit(len) is len
    monkeypatch.setattr(jit, "njit", njit("another fault"))
    with pytest.raises(RuntimeError, match="another fault"):
        jit.kept_njit(len)
