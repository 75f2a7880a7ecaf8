"""MemTorch as a second backend: the adapter compared with stored outputs of MemTorch, and both backends compared.

False-alarm rates are those of fixed seeds: a test that passes once passes always, unless the code changes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

import imc_sim as imc
from imc_sim import InputError
from imc_sim.array import Chip, Crossbar
from imc_sim.backends.memtorch import MemTorchCrossbar, MemTorchSettings, Patched, why_not
from imc_sim.config import Engine, build
from imc_sim.evaluate import _read_out, evaluate_chips
from imc_sim.study import load_study, run, with_settings

#: rounding of float32 sums, relative to the largest output
FLOAT32 = 2e-6
ALARM = 1e-3
TASK = {
    "dataset": "glyphs", "split": "test", "episodes": 25, "classes": 20, "instances": 5, "rotations": False,
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _memtorch() -> None:
    reason = why_not()
    if reason:
        pytest.skip(f"{reason}: `make memtorch` builds it")


def chip(**changes: Any) -> Chip:
    data = {
        "device": {"g_lrs_S": 1e-4, "g_hrs_S": 2e-6},
        "tile": {"rows": 32, "cols": 16},
        "policy": {"float": "crossbar"},
        "encoding": {"kind": "differential"},
        "encoding_multibit": {"kind": "differential"},
    }
    found = build(Chip, data, "chip")
    for path, value in changes.items():
        found = found.replace(path.replace("__", "."), value)
    return found


def real(out: int = 24, inputs: int = 50, seed: int = 0) -> Tensor:
    """Return asymmetric weights: a shifted normal law, so that a lost sign or a swapped column shows."""
    return torch.randn(out, inputs, generator=torch.Generator().manual_seed(seed)) + 0.4


def signs(out: int, inputs: int, seed: int = 0) -> Tensor:
    return (torch.rand(out, inputs, generator=torch.Generator().manual_seed(seed)) < 0.6).float() * 2 - 1


def difference(a: Tensor, b: Tensor) -> float:
    """Return the largest difference, relative to the largest entry."""
    return float((a.double() - b.double()).abs().max() / b.double().abs().max())


def pvalue(result: Any) -> float:
    return float(result.pvalue)


def both(weights: Tensor, spec: Chip, x: Tensor, chips: int = 1) -> tuple[Tensor, Tensor]:
    """Return products of this package, in float64, and of MemTorch."""
    ours = Crossbar.program(weights.double(), spec, chips).mvm(x.double())
    return ours, MemTorchCrossbar.program(weights, spec, chips).mvm(x)


# -- the adapter against stored outputs of MemTorch ------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "tile"),
    [("notile_noadc", {}), ("tile16_adc8", {"tile_rows": 16, "tile_cols": 16, "adc_bits": 8})],
)
def test_a_patched_layer_gives_the_stored_outputs(reference: Path, name: str, tile: dict[str, int]) -> None:
    stored = np.load(reference / "memtorch" / f"mt_layer_DoubleColumn_{name}.npz")
    settings = MemTorchSettings.model_validate({"g_lrs_S": 1e-4, "g_hrs_S": 1e-6, **tile})
    patched = Patched(torch.from_numpy(stored["W"]), settings, seed=0)
    for key, conductance in zip(("G0", "G1"), patched.conductance, strict=True):
        np.testing.assert_array_equal(conductance.numpy(), stored[key])
    # The stored layer scales its inputs to 0.3 V at most; ours are scaled here, its output is in amperes.
    x = torch.from_numpy(stored["x"])
    y = patched(x * (0.3 / x.abs().max()))
    amperes = y.numpy() * (1e-4 - 1e-6) / abs(stored["W"]).max()
    wanted = stored["y_untuned"] - stored["b"]
    # Subtracting the bias of 0.2 from currents of 1e-4 leaves three digits.
    np.testing.assert_allclose(amperes, wanted, atol=2e-8)
    assert abs(wanted).max() > 5e-5


# -- layers without noise --------------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [2, 5, 64])
@pytest.mark.parametrize("encoding", ["differential", "offset"])
def test_noise_free_layers_agree_to_float32(encoding: str, levels: int) -> None:
    spec = chip(encoding={"kind": encoding}, device__levels=levels)
    weights, x = real(), torch.randn(9, 50, generator=torch.Generator().manual_seed(1))
    ours, theirs = both(weights, spec, x)
    assert difference(theirs, ours) < FLOAT32
    assert difference(ours, (x @ weights.T)[None]) > (1e-3 if levels < 64 else 1e-4)  # levels were rounded


@pytest.mark.parametrize(("stride", "padding"), [(1, 0), (2, 0), (1, 1), (2, 2)])
def test_convolutions_agree_to_float32(stride: int, padding: int) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        network = nn.Sequential(imc.nn.Conv2d(3, 5, 3, "float", stride=stride, padding=padding))
        x = torch.randn(4, 3, 9, 8)
    ours, theirs = (
        imc.map_model(network, chip(device__levels=16), engine=e)(x) for e in ("native", "memtorch")
    )  # fmt: skip
    assert ours.shape == theirs.shape
    assert difference(theirs, ours) < FLOAT32


def test_a_whole_binary_controller_agrees() -> None:
    model = imc.load_model("batmann_small_xnor")
    x = torch.randn(3, 1, 32, 32, generator=torch.Generator().manual_seed(3))
    ours, theirs = (imc.map_model(model, "ideal", chips=1, engine=e)(x) for e in ("native", "memtorch"))
    assert difference(theirs, ours) < 1e-5
    with torch.no_grad():
        assert difference(ours[0], model(x)) < FLOAT32


def test_drift_agrees() -> None:
    aged = {"device__time__t_s": 1e4, "device__time__drift": {"nu": 0.06, "t0_s": 10.0}}
    weights, x = real(), torch.randn(5, 50, generator=torch.Generator().manual_seed(4))
    ours, theirs = both(weights, chip(**aged), x)
    assert difference(theirs, ours) < FLOAT32
    fresh = both(weights, chip(), x)[1]
    assert difference(theirs, fresh * 1e3**-0.06) < FLOAT32


def test_non_linear_cells_agree() -> None:
    bent = {"device__read__nonlinearity_per_V": 4.0, "device__read__v_read_V": 0.3, "device__levels": 6}
    weights, x = real(8, 12), 2 * torch.rand(4, 12, generator=torch.Generator().manual_seed(5)) - 1
    ours, theirs = both(weights, chip(**bent), x)
    assert difference(theirs, ours) < 1e-5  # MemTorch adds cell by cell
    assert difference(ours, Crossbar.program(weights, chip(device__levels=6)).mvm(x)) > 0.02


def test_cells_with_variation_may_be_non_linear() -> None:
    law = {"kind": "relative", "sigma": 0.2}
    spec = chip(device__read__nonlinearity_per_V=4.0, device__read__v_read_V=0.3, device__programming=law)
    crossbar = MemTorchCrossbar.program(signs(6, 10), spec)
    x = 2 * torch.rand(5, 10, generator=torch.Generator().manual_seed(9)) - 1
    plus, minus = (g[0] for g in crossbar.conductance)
    wanted = torch.sinh(1.2 * x) / np.sinh(1.2) @ (plus - minus) / (1e-4 - 2e-6)
    assert difference(crossbar.mvm(x)[0], wanted) < FLOAT32
    assert float(plus.std() / plus.mean()) > 0.5


# -- ADCs --------------------------------------------------------------------------------------------------------


def converted(weights: Tensor, x: Tensor, rows: int, cols: int, bits: int, overflow: float) -> Tensor:
    """An independent model of MemTorch's ADC on weights that the cells hold exactly: [batch, out].

    Every tile and input vector: the step is a power of two, the largest code lets all but the fraction `overflow`
    of the tile's outputs (columns not in use included) through.
    """
    out, inputs = weights.shape
    padded = np.zeros((-(-inputs // rows) * rows, -(-out // cols) * cols))
    padded[:inputs, :out] = weights.double().T
    drives = np.zeros((len(x), padded.shape[0]))
    drives[:, :inputs] = x.double()
    y = np.zeros((len(x), padded.shape[1]))
    for i in range(0, padded.shape[0], rows):
        for j in range(0, padded.shape[1], cols):
            for b in range(len(x)):
                u = drives[b, i : i + rows] @ padded[i : i + rows, j : j + cols] * (1e-4 - 2e-6)
                top = np.sort(np.abs(u))[::-1][min(round(overflow * cols), cols - 1)]
                step = 2.0 ** (1 - bits + np.ceil(np.log2(top)))
                codes = np.clip(np.floor(u / step + 0.5), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
                y[b, j : j + cols] += codes * step / (1e-4 - 2e-6)
    return torch.from_numpy(y[:, :out])


@pytest.mark.parametrize(("bits", "overflow"), [(4, 0.0), (6, 0.0), (6, 0.25), (8, 0.125)])
def test_adcs_of_tiles_equal_those_of_memtorch(bits: int, overflow: float) -> None:
    spec = chip(converter={"kind": "auto", "bits": bits, "range": "calibrated", "limits": "minmax"})
    weights, x = signs(20, 70), torch.randn(6, 70, generator=torch.Generator().manual_seed(6))
    engine = Engine(kind="memtorch", adc_overflow_rate=overflow)
    y = MemTorchCrossbar.program(weights, spec, engine=engine).mvm(x)[0]
    wanted = converted(weights, x, 32, 8, bits, overflow)
    step = float((wanted - x.double() @ weights.double().T).abs().max())
    # An output on a rounding tie of float32 may take the next code: rare, and never elsewhere.
    close = (y - wanted).abs() < 1e-4 * float(wanted.abs().max())
    assert close.double().mean() > 0.99
    assert step > 3e-3 * float(wanted.abs().max())  # it does convert


def test_adcs_of_both_backends_differ_by_their_steps() -> None:
    weights, x = signs(20, 70), torch.randn(40, 70, generator=torch.Generator().manual_seed(7))
    found = []
    for bits in (5, 8, 11):
        spec = chip(converter={"kind": "auto", "bits": bits, "range": "calibrated", "limits": "minmax"})
        ours = Crossbar.program(weights, spec)
        ours.set_limits(*Crossbar.program(weights, spec).tiled.profile(lambda rows: x[:, rows]))
        y, z = ours.mvm(x), MemTorchCrossbar.program(weights, spec).mvm(x)
        found.append(difference(z, y))
    # three tile rows, each within half a step of either backend, the larger of which is 2 / 2^bits of the range
    assert all(value < 3 * 2 * 2.0 ** (1 - bits) for value, bits in zip(found, (5, 8, 11), strict=True))
    assert found[0] > 4 * found[1] > 16 * found[2]


# -- cells: laws, faults ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("law", "law_hrs", "sigma", "sigma_hrs"),
    [("gaussian", "log_normal", 0.15, 0.4), ("log_normal", "gaussian", 0.3, 0.1), ("gaussian", "gaussian", 0.05, 0.2)],
)
def test_conductances_have_one_law_in_both_backends(law: str, law_hrs: str, sigma: float, sigma_hrs: float) -> None:
    programming = {"kind": "relative", "sigma": sigma, "sigma_hrs": sigma_hrs, "law": law, "law_hrs": law_hrs}
    spec = chip(device__programming=programming, tile={"rows": 60, "cols": 128})
    weights = signs(50, 60)
    theirs = MemTorchCrossbar.program(weights, spec).conductance
    ours = Crossbar.program(weights, spec).conductance[0, 0, :, :100].unflatten(1, (50, 2)).unbind(2)
    for g, h, held in zip(ours, theirs, (weights.T > 0, weights.T < 0), strict=True):
        for state, target, sigma_, kind in ((held, 1e-4, sigma, law), (~held, 2e-6, sigma_hrs, law_hrs)):
            a, b = g[state].double().numpy(), h[0][state].double().numpy()
            assert pvalue(stats.ks_2samp(a, b)) > ALARM
            exact = stats.norm(target, sigma_ * target) if kind == "gaussian" else stats.lognorm(sigma_, scale=target)
            assert pvalue(stats.kstest(b, exact.cdf)) > ALARM
            assert pvalue(stats.kstest(b * 1.05, exact.cdf)) < ALARM  # 1,200 cells and more: 5 % would show


@pytest.mark.parametrize("bits", [None, 8])
def test_wide_laws_of_states_that_overlap_agree(bits: int | None) -> None:
    """HfO2 cells at 100 %: a fifth of them are sampled with an HRS above their LRS."""
    spec = imc.load_chip("rram_hfo2_1t1r").replace("device.programming.sigma", 1.0).replace("tile.rows", 60)
    spec = spec.replace("device.programming.sigma_hrs", None)
    if bits:
        spec = spec.replace("converter", {"kind": "auto", "bits": bits, "range": "calibrated", "limits": "minmax"})
    weights = signs(50, 60)
    theirs = [g.reshape(60, -1)[:, :50] for g in MemTorchCrossbar.program(weights, spec).conductance]
    ours = Crossbar.program(weights, spec).conductance[0, 0, :, :100].unflatten(1, (50, 2)).unbind(2)
    for g, h, held in zip(ours, theirs, (weights.T > 0, weights.T < 0), strict=True):
        for state in (held, ~held):
            # Cells held at 0 S by one backend are close to 0 S in the other.
            a, b = (np.maximum(m[state].double().numpy(), 1e-9) for m in (g, h))
            assert pvalue(stats.ks_2samp(a, b)) > ALARM
            assert pvalue(stats.ks_2samp(a, 1.3 * b)) < ALARM


def test_cells_are_independent_and_addressed() -> None:
    spec = chip(device__programming={"kind": "relative", "sigma": 0.2})
    weights = signs(12, 40)
    g = MemTorchCrossbar.program(weights, spec, chips=3, seed=5).conductance[0].double()
    again = MemTorchCrossbar.program(weights, spec, chips=range(2, 3), seed=5).conductance[0].double()
    assert torch.equal(g[2], again[0])
    normal = (g / torch.where(weights.T > 0, 1e-4, 2e-6) - 1).flatten(1).numpy()
    correlation = np.corrcoef(normal)[np.triu_indices(3, 1)]
    assert (np.abs(correlation) < 3.9 / np.sqrt(480)).all()  # 1e-4 each
    for seed, layer, page in ((6, "crossbar", 0), (5, "b", 0), (5, "crossbar", 1)):
        other = MemTorchCrossbar.program(weights, spec, 1, seed, layer, page).conductance[0]
        assert not torch.equal(other[0].double(), g[0])


def test_stuck_cells_are_equally_many_and_in_the_same_states() -> None:
    spec = chip(device__faults={"stuck_lrs": 0.05, "stuck_hrs": 0.2}, tile={"rows": 60, "cols": 128})
    weights = signs(50, 60)
    theirs = MemTorchCrossbar.program(weights, spec).conductance
    ours = Crossbar.program(weights, spec).conductance[0, 0, :, :100].unflatten(1, (50, 2)).unbind(2)
    for g, h, held in zip(ours, theirs, (weights.T > 0, weights.T < 0), strict=True):
        for state, value, share in ((held, 2e-6, 0.2), (~held, 1e-4, 0.05)):
            count = [int(np.isclose(m[state].numpy(), value, rtol=1e-5, atol=0).sum()) for m in (g, h[0])]
            # MemTorch writes HRS first and lets LRS overwrite, which removes at most 5 % of the 20 %.
            expected = share * int(state.sum())
            assert all(abs(c - expected) < 4 * np.sqrt(expected) + 0.05 * expected for c in count)


# -- what it refuses, and what it leaves unchanged --------------------------------------------------------------


def test_the_shape_is_that_of_the_native_crossbar() -> None:
    """The weights of a convolution have an input for each place of the kernel."""
    for weights in (torch.ones(3, 5), torch.ones(3, 2, 2, 2)):
        assert (
            MemTorchCrossbar.program(weights, chip(), 2).shape == Crossbar.program(weights.flatten(1), chip(), 2).shape
        )


def test_every_chip_may_have_its_own_inputs_of_any_type() -> None:
    spec, weights = chip(device__programming={"kind": "relative", "sigma": 0.2}), signs(6, 10)
    crossbar = MemTorchCrossbar.program(weights, spec, 2)
    x = torch.randn(2, 5, 10, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    found = crossbar.mvm(x)
    assert found.dtype == torch.float64
    for number in range(2):
        assert torch.equal(found[number], crossbar.mvm(x[number])[number])
        assert not torch.equal(found[number], crossbar.mvm(x[number])[1 - number])
    assert crossbar.take_reads(3) == 0


def test_weights_between_the_levels_are_refused_where_cells_have_variation() -> None:
    variation = {"kind": "relative", "sigma": 0.1}
    with pytest.raises(InputError, match="levels with backend memtorch.*got 5; allowed: 2 with device variation"):
        MemTorchCrossbar.program(real(), chip(device__levels=5, device__programming=variation))
    ternary = torch.tensor([[1.0, 0.0, -1.0]])
    held = MemTorchCrossbar.program(ternary, chip(device__programming=variation))
    plus, minus = (g[0, :, 0] > 2e-5 for g in held.conductance)
    assert (plus.tolist(), minus.tolist()) == ([True, False, False], [False, False, True])


def test_the_state_of_the_process_is_restored() -> None:
    torch.manual_seed(11)
    np.random.seed(12)  # noqa: NPY002 - what must not change
    states = torch.get_rng_state(), json.dumps(np.random.get_state()[1].tolist()), np.geterr()  # type: ignore[union-attr] # noqa: NPY002
    bent = {"device__read__nonlinearity_per_V": 4.0, "device__programming": {"kind": "relative", "sigma": 0.1}}
    MemTorchCrossbar.program(signs(3, 4), chip(**bent, device__levels=2)).mvm(torch.ones(1, 4))
    MemTorchCrossbar.program(signs(3, 4), chip(device__faults={"stuck_lrs": 0.5})).mvm(torch.ones(1, 4))
    assert torch.equal(torch.get_rng_state(), states[0])
    assert json.dumps(np.random.get_state()[1].tolist()) == states[1]  # type: ignore[union-attr] # noqa: NPY002
    assert np.geterr() == states[2]
    assert "torchvision" not in sys.modules or hasattr(sys.modules["torchvision"], "__version__")


# -- the evaluation --------------------------------------------------------------------------------------------


def test_a_memory_agrees_without_noise_and_varies_with_it() -> None:
    generator = torch.Generator().manual_seed(8)
    keys, queries = torch.randn(6, 32, generator=generator), torch.randn(9, 32, generator=generator)
    labels = torch.arange(6) % 3
    found = []
    for engine in ("native", "memtorch"):
        for sigma in (0.0, 0.3):
            spec = chip(device__programming={"kind": "relative", "sigma": sigma})
            memory = imc.AssociativeMemory(spec, dim=32, chips=2, engine=engine)
            memory.write(keys, labels)
            found.append(memory.search(queries))
    assert difference(found[2], found[0]) < FLOAT32
    assert all(difference(found[i + 1], found[i]) > 0.02 for i in (0, 2))
    assert difference(found[3], found[1]) > 0.02  # each samples independently


def test_ideal_chips_have_equal_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hits differ at most by the queries at a tie: MemTorch rounds its sums, which flips a sign that is near 0.

    One sign of a query or of one of the five keys moves a similarity by 2 / 512, and a difference of two by twice that.
    """
    logits: list[Tensor] = []
    choose = _read_out._chosen
    monkeypatch.setattr(_read_out, "_chosen", lambda found: (logits.append(found), choose(found))[1])
    task = TASK | {"episodes": 10}
    hits = [evaluate_chips("batmann_small_xnor", imc.load_chip("ideal").to_dict(), task, [0], 0, engine=e)[0].correct
            for e in ("native", "memtorch")]  # fmt: skip
    named = imc.load_chip("ideal").replace("engine", "memtorch").to_dict()
    assert hits[1] == evaluate_chips("batmann_small_xnor", named, task, [0], 0)[0].correct
    first, second = torch.cat(logits[:10], 1)[0].topk(2).values.unbind(-1)
    ties = int((first - second <= 4 / 512).sum())
    assert abs(hits[0] - hits[1]) <= ties < 0.1 * len(first)
    assert (
        type(next(iter(imc.map_model(imc.load_model("batmann_small_xnor"), named).analog_layers.values()))).__name__
        == "MemTorchLayer"
    )


#: the layers with less than half of the cells are on crossbars: a cell of MemTorch takes 0.2 ms
FEW_CELLS = {"features.conv2": "digital"}


@pytest.mark.slow
def test_accuracy_curves_agree_within_the_bands_of_the_chips() -> None:
    curve = []
    for sigma in (0.2, 1.0):
        spec = imc.load_chip("rram_hfo2_1t1r").replace("device.programming.sigma", sigma)
        spec = spec.replace("device.programming.sigma_hrs", None).replace("policy.memory", "digital")
        spec = spec.replace("policy.layers", FEW_CELLS).to_dict()
        ours, theirs = (
            np.array([r.accuracy for r in evaluate_chips("batmann_small_xnor", spec, TASK, range(n), 1, engine=e)])
            for e, n in (("native", 40), ("memtorch", 8))
        )
        low, high = np.percentile(ours, [2.5, 97.5])
        assert low <= np.median(theirs) <= high
        assert pvalue(stats.ttest_ind(ours, theirs, equal_var=False)) > ALARM
        curve.append((ours, theirs))
    # The effect is large: a backend that left out the variation at 1.0 would fail clearly.
    assert pvalue(stats.ttest_ind(curve[1][0], curve[0][1], equal_var=False)) < ALARM
    assert pvalue(stats.ttest_ind(curve[0][0], curve[1][1], equal_var=False)) < ALARM


def test_a_study_runs_on_both_backends(tmp_path: Path) -> None:
    settings = ["chips.min=2", "task.episodes=4", "task.classes=8", "chip.policy.memory=digital"]
    settings += [f"chip.policy.layers={json.dumps(FEW_CELLS)}"]
    study = with_settings(load_study("memtorch_agreement"), settings)
    axis = study.axes[0].model_copy(update={"values": (0.0, 0.8)})
    results = run(study.model_copy(update={"axes": (axis,)}), out=tmp_path / "both")
    assert results.failed == 0
    means = results.table.set_index(["case", "chip.device.programming.sigma"])["mean"].unstack()
    ours, theirs = means.loc["imc_sim"], means.loc["MemTorch 1.1.6"]
    assert ours[0.0] == results.table["digital"][0]
    assert theirs[0.0] == pytest.approx(ours[0.0], abs=0.03)  # of 80 queries, two at a tie
    assert ours[0.8] != theirs[0.8]  # different cells, sampled independently
