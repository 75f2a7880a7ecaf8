"""Driven rows: measured per row of tiles and pass, used in the approximation of switched rows, stored and reported."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from imc_sim import InputError
from imc_sim.analog import AnalogModel, AssociativeMemory
from imc_sim.array import (
    Chip,
    CompiledReadout,
    Crossbar,
    Wires,
    approximate_gating,
    encodings,
    gating_error,
    needs_density,
)
from imc_sim.array._programming import apply_wires
from imc_sim.array.circuit.driven_rows import PATTERNS, own_density, random_gates
from imc_sim.array.circuit.tiles import density
from imc_sim.device import Device, RelativeVariation
from imc_sim.evaluate import evaluate_chips
from imc_sim.mapping import map_model
from imc_sim.nn import Conv2d, Linear
from imc_sim.nn.networks import BatmannController, SignActivation
from imc_sim.study._rows import _more
from imc_sim.study._stored_chip import as_stored
from imc_sim.train._variation import ChipNoise, Variation
from tests.exact.test_wiring import circuit

NODAL = {"kind": "nodal", "r_row_ohm": 1.0, "r_col_ohm": 2.0}
IDEAL: dict[str, Any] = {"kind": "ideal", "r_row_ohm": 0.0, "r_col_ohm": 0.0}
DEVICE = Device(g_lrs_S=2.5e-4, g_hrs_S=2.5e-5, programming=RelativeVariation(sigma=0.1))


def chip(encoding: str = "bnn_i", rows: int = 32, tile_cols: int = 24, **wires: Any) -> Chip:
    base = Chip(device=DEVICE).replace("encoding", {"kind": encoding}).replace("wires", NODAL | wires)
    return base.replace("tile", {"rows": rows, "cols": tile_cols})


def inputs(shares: tuple[float, ...], each: int = 32, vectors: int = 40) -> torch.Tensor:
    """Return +-1 inputs [vectors, tiles x each], of which a share is +1 in every group of `each`."""
    plus = torch.tensor(shares).repeat_interleave(each)
    draw = torch.rand(vectors, len(plus), generator=torch.Generator().manual_seed(3))
    return torch.where(draw < plus, 1.0, -1.0).double()


def signs(*shape: int) -> torch.Tensor:
    return (torch.randint(0, 2, shape, generator=torch.Generator().manual_seed(1)) * 2 - 1).double()


# -- counting --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "expected"), [
    ("bnn_i", [[0.25], [0.75]]), ("bnn_ii", [[0.75], [0.25]]), ("bnn_iii", [[0.25, 0.75], [0.75, 0.25]]),
    ("bnn_v", [[0.5], [0.5]]), ("tnn_i", [[0.5], [0.5]]),
    ("tnn_ii", [[1.0, 0.75], [1.0, 0.25]]), ("tnn_iii", [[0.0, 0.25], [0.0, 0.75]]),
])  # fmt: skip
def test_rows_are_counted_per_row_of_tiles_and_pass(kind: str, expected: list[list[float]]) -> None:
    """The first tile has 2 of 8 inputs at +1 in every vector, the second 6."""
    rows = encodings()[kind].rows
    x = torch.tensor([[1.0] * 2 + [-1.0] * 6 + [1.0] * 6 + [-1.0] * 2]).repeat(3, 1)
    bar = Crossbar.program(signs(4, 16), chip(kind, 8 * rows))
    found = bar.measure_rows(lambda part: x[:, part])
    assert found is not None
    assert found.shares.tolist() == expected
    assert found.joined(found).shares.tolist() == expected
    other = bar.measure_rows(lambda part: -x[:1, part])
    assert found.joined(other).shares.tolist() == ((3 * found.shares + other.shares) / 4).round(decimals=3).tolist()  # type: ignore[union-attr]


def test_zeros_of_ternary_inputs_switch_rows_off() -> None:
    x = torch.tensor([[0.0, 0.0, 0.0, 1.0], [0.0, 0.0, -1.0, 1.0]])
    found = Crossbar.program(signs(2, 4), chip("tnn_i", 8)).measure_rows(lambda part: x[:, part])
    assert found is not None
    assert found.shares.tolist() == [[round(3 / 16, 3)]]
    assert [own_density(encodings()[k]()) is not None for k in ("bnn_i", "bnn_v", "bnn_vi", "tnn_i")] == [
        False, True, True, False,
    ]  # fmt: skip


def test_patterns_are_sampled_evenly_over_the_vectors_or_cover_all_densities() -> None:
    x = inputs((0.3, 0.6))
    found = Crossbar.program(signs(3, 64), chip()).measure_rows(lambda part: x[:, part])
    assert found is not None
    kept = [0, 6, 11, 17, 22, 28, 33, 39]
    assert [g.tolist() for g in found.gates] == [(x[kept, :32] > 0)[None].tolist(), (x[kept, 32:] > 0)[None].tolist()]
    for kind in ("bnn_i", "tnn_ii"):  # rows of TNN II's first pass are on where the input is not 0
        shares = random_gates(encodings()[kind](), 5000)[0].double().mean(-1)
        assert torch.allclose(shares, torch.linspace(0.1, 0.9, PATTERNS).double(), atol=0.03)


def test_the_density_in_use_is_set_measured_or_assumed() -> None:
    x = inputs((0.0, 0.3))
    shares = lambda made, measure: density(  # noqa: E731
        made.plan, made.measure_rows(lambda part: x[:, part]) if measure else None
    )
    measured = shares(Crossbar.program(signs(3, 64), chip()), True)
    assert measured.source == "measured"
    assert measured.shares[0, 0] == 1 / 32, "at least one row"
    assert abs(float(measured.shares[1, 0]) - 0.3) < 0.05
    assert shares(Crossbar.program(signs(3, 64), chip()), False).source == "assumed"
    assert shares(Crossbar.program(signs(3, 64), chip()), False).shares.tolist() == [[0.5], [0.5]]
    assert shares(Crossbar.program(signs(3, 64), chip(density=0.2)), True).source == "set"
    assert shares(Crossbar.program(signs(3, 64), chip(density=0.2)), True).shares.tolist() == [[0.2], [0.2]]
    assert shares(Crossbar.program(signs(3, 64), chip("bnn_v")), False).source == "encoding"


@pytest.mark.parametrize(("kind", "wires"), [
    ("differential", {}), ("bnn_v", {}), ("bnn_i", {"cells": "passive"}), ("bnn_i", {"gating": "all_on"}),
    ("bnn_i", {"density": 0.5}), ("bnn_i", IDEAL),
])  # fmt: skip
def test_nothing_is_measured_where_no_result_depends_on_it(kind: str, wires: dict[str, Any]) -> None:
    made = chip(kind, **wires)
    assert not made.calibrates
    assert not needs_density(made.encoding, made.wires)
    assert chip().calibrates


# -- what it is used for ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [k for k, e in encodings().items() if e.operands != "real"])
def test_measured_rows_bring_the_approximation_close_to_the_exact_circuit(kind: str) -> None:
    """Two rows of tiles, with few and with many inputs at +1: half the error of 0.5 for both, or less."""
    rows = encodings()[kind].rows
    made = chip(kind, 32 * rows)
    w, x = signs(12, 64), inputs((0.2, 0.8))
    if 0.0 in encodings()[kind]().values:
        x = x * (torch.rand(x.shape, generator=torch.Generator().manual_seed(4)) < 0.6)
    bar = Crossbar.program(w, made)
    expected = circuit(bar, x, made.wires)
    rms = lambda: float((bar.mvm(x)[0] - expected).square().mean().sqrt())  # noqa: E731
    assumed = rms()
    bar.set_driven_rows(bar.measure_rows(lambda part: x[:, part]))
    if needs_density(bar.encoding, made.wires):
        assert rms() < 0.5 * assumed
    else:
        assert rms() == assumed
    again = Crossbar.program(w, made, driven=bar.driven_rows)
    assert torch.equal(again.mvm(x), bar.mvm(x))


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        SignActivation(), Conv2d(4, 6, 3, policy="xnor"), SignActivation(), nn.Flatten(), Linear(96, 5, policy="xnor")
    ).eval()


def images(count: int = 12) -> torch.Tensor:
    return torch.randn(count, 4, 6, 6, generator=torch.Generator().manual_seed(2)) - 0.7


def analog(chips: int | range = 2, memory: int = 10**9, **wires: Any) -> AnalogModel:
    return map_model(network(), chip(**wires), chips, seed=1, memory_limit_bytes=memory)


def test_calibration_sets_the_rows_of_every_layer() -> None:
    made, x = analog(), images()
    assumed = made(x)
    made.calibrate(x)
    on = made.rows_on
    assert list(on) == ["1", "4"]
    assert len(on["1"]) == 2, "36 inputs on tiles of 32 rows"
    assert abs(sum(share for row in on["1"] for share in row) / 2 - float((x >= 0).float().mean())) < 0.05
    assert not torch.equal(made(x), assumed)
    fresh = analog()
    fresh.calibrate(x)
    assert torch.equal(analog(density=0.5)(x), assumed), "0.5 where nothing was measured"
    assert torch.equal(fresh(x), made(x)), "the same cells, read before or not"


class Twice(nn.Module):
    """One layer, used with an input and its opposite in one pass."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.layer = Linear(32, 4, policy="xnor")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x) + self.layer(-x)


def test_all_uses_of_a_layer_in_one_pass_count() -> None:
    made = map_model(Twice().eval(), chip(), seed=1)
    made.calibrate(inputs((0.2,)).float())
    assert made.rows_on == {"layer": [[0.5]]}
    made.calibrate(inputs((0.2,)).float())
    assert made.rows_on == {"layer": [[0.5]]}


def test_wires_computed_again_leave_no_memory_allocated() -> None:
    """The limit is the memory of the compiled product, if that is used."""
    x = inputs((0.2,) * 4, vectors=400).float()
    spec = chip(tile_cols=128).replace("converter", {"kind": "auto", "bits": 8})
    bar = Crossbar.program(signs(60, 128).float(), spec)
    bar.mvm(x)
    bar.set_driven_rows(bar.measure_rows(lambda part: x[:, part]))
    assert not isinstance(bar.readout, CompiledReadout) or not bar.readout._packed
    assert torch.equal(bar.mvm(x), Crossbar.program(signs(60, 128).float(), spec, driven=bar.driven_rows).mvm(x))


def test_read_noise_uses_the_mean_of_the_passes() -> None:
    """BNN III with all inputs at +1: its first pass drives every cell, its second none."""
    made, x = chip("bnn_iii").replace("device.read.sigma", 0.1), inputs((0.2,))
    bar = Crossbar.program(signs(12, 32), made)
    bar.set_driven_rows(bar.measure_rows(lambda part: x[:, part]))
    seen, _ = apply_wires(bar.plan, bar.cells(0), bar.addresses[0], bar.driven_rows)
    assert len(seen) == 2
    G = bar.plan.siemens(torch.stack(seen).mean(0)) / made.device.window_S
    power = bar.readout.weights[0].power
    assert power.constant is not None
    assert power.linear is not None
    found = (power.constant[0] + power.linear.sum(-1)) * bar.encoding.gain_in**2
    assert torch.allclose(found[0::2], 0.01 * G.square().sum((1, 2, 3, 4)), rtol=1e-9)
    assert torch.allclose(found[1::2], torch.zeros(12).double(), atol=1e-12)


def test_blocks_batches_and_other_chips_change_nothing() -> None:
    x = images()
    whole = analog(3)
    whole.calibrate(x)
    expected = whole(x)
    blocks = analog(3, memory=1)
    assert blocks.block == 1
    blocks.calibrate(x)
    assert torch.equal(blocks(x), expected)
    alone = analog(range(2, 3))
    alone.calibrate(x)
    assert torch.equal(alone(x)[0], expected[2])
    assert torch.equal(torch.cat([alone(part) for part in x.split(5)], 1)[0], expected[2])


def test_a_memory_uses_the_rows_of_its_queries() -> None:
    keys, queries = signs(6, 64).float(), inputs((0.2, 0.3)).float()
    memory = AssociativeMemory(chip(), dim=64, seed=1)
    memory.write(keys, torch.arange(6), epoch=0)
    assumed = memory.similarity(queries)
    memory.calibrate(keys, queries)
    measured = memory.similarity(queries)
    assert not torch.equal(measured, assumed)
    again = AssociativeMemory(chip(), dim=64, seed=1)
    again.calibrate(keys, queries)
    again.write(keys, torch.arange(6), epoch=0)
    assert torch.equal(again.similarity(queries), measured)


def test_trials_store_rows_and_ranges_only_where_they_are_measured() -> None:
    task = {"dataset": "glyphs", "split": "test", "episodes": 2, "queries": 1, "classes": 40}
    made = Chip(device=DEVICE).replace("encoding", {"kind": "bnn_i"}).replace("wires", NODAL)
    (found,) = evaluate_chips("batmann_small_xnor", made.to_dict(), task, [1], 0)
    assert set(found.rows_on) == {"features.conv2", "features.conv3", "features.conv4", "memory"}
    assert all(0 < share < 1 for rows in found.rows_on.values() for row in rows for share in row)
    assert not found.ranges
    other = evaluate_chips("batmann_small_xnor", made.replace("wires.density", 0.5).to_dict(), task, [1], 0)[0]
    assert not other.rows_on
    full = made.replace("converter", {"kind": "auto", "bits": 8, "range": "max"})
    assert not evaluate_chips("batmann_small_xnor", full.to_dict(), task, [1], 0)[0].ranges
    assert _more(found) == {"rows_on": found.rows_on}
    calibrated = full.replace("converter.range", "calibrated").replace("wires", {})
    (found,) = evaluate_chips("batmann_small_xnor", calibrated.to_dict(), task, [1], 0)
    assert set(found.ranges) == {"features.conv2", "features.conv3", "features.conv4", "memory"}


# -- what is reported of it ------------------------------------------------------------------------------


def test_the_report_states_rows_and_error() -> None:
    made, x = analog(), images()
    before = made.report.layers[-1].gating
    assert before is not None
    assert (before.source, before.low, before.high) == ("assumed", 0.5, 0.5)
    assert "50 % assumed" in made.report.to_text()
    assert "wires.density" in made.report.to_text()
    made.calibrate(x)
    after = made.report.layers[-1].gating
    assert after is not None
    assert after.source == "measured"
    assert 0.0 < after.low < after.high < 0.5
    assert "% measured" in made.report.to_text()
    assert "not measured" not in made.report.to_text()
    assert made.report.to_dict()["layers"][0]["gating"]["error"]["rms"] > 0.0
    plain = map_model(network(), chip(**IDEAL)).report
    assert "gating" not in plain.to_text()
    assert "gating" not in plain.to_dict()["layers"][0]


@pytest.mark.parametrize("rows", [32, 40])  # all rows of the tile in use, or the first of them
@pytest.mark.parametrize("share", [0.3, 0.6])  # the largest deviation is above 0 with 0.3, below with 0.6
def test_the_estimated_error_is_that_of_the_circuit(share: float, rows: int) -> None:
    """One tile: the error that `gating_error` returns for the same inputs."""
    x, made = inputs((share,), vectors=5), chip(rows=rows)
    bar = Crossbar.program(signs(12, 32), made)
    bar.set_driven_rows(bar.measure_rows(lambda part: x[:, part]))
    found = bar.gating()
    assert found is not None
    G = bar.conductance[0, 0]
    pairs = torch.kron(torch.eye(12), torch.tensor([[1.0], [-1.0]])).double()
    approximation = approximate_gating(G, made.wires, "tangent", found.low)
    gates = torch.nn.functional.pad(x > 0, (0, rows - 32))
    error = gating_error(approximation, G, gates, made.wires, combine=pairs)
    assert found.error.rms == pytest.approx(error.rms, rel=1e-9)
    assert found.error.max == pytest.approx(error.max, rel=1e-9)


def test_with_all_rows_on_every_approximation_is_that_of_all_rows() -> None:
    made = chip()
    G = Crossbar.program(signs(12, 32), made).conductance[0, 0]
    whole = approximate_gating(G, made.wires, "all_on", 1.0)
    mean, tangent = (approximate_gating(G, made.wires, method, 1.0) for method in ("mean", "tangent"))
    assert torch.equal(mean.matrix, whole.matrix)
    torch.testing.assert_close(tangent.matrix.sum(0) + tangent.offset, whole.matrix.sum(0), rtol=1e-12, atol=0)
    for share in (0.0, 1.0 + 1e-9, float("nan")):
        with pytest.raises(InputError, match="approximate_gating, density"):
            approximate_gating(G, made.wires, "tangent", share)


# -- identities ------------------------------------------------------------------------------------------


def test_only_chips_that_depend_on_the_density_have_another_identity() -> None:
    """Stored results have 0.5 where nothing depends on the share of rows."""
    shown = lambda *kind, **wires: as_stored(chip(*kind, **wires).to_dict())["wires"]["density"]  # noqa: E731
    assert shown("differential") == shown("bnn_v") == 0.5
    assert shown(**IDEAL) == shown(cells="passive") == shown(gating="all_on") == 0.5
    assert shown() is None
    assert shown(density=0.3) == 0.3
    assert Wires.model_validate(NODAL | {"cells": "passive"}).idle() == {"gating", "density"}


def test_training_with_unmeasured_rows_is_refused() -> None:
    model = BatmannController("xnor", width=16, dim=32)
    setting: dict[str, Any] = {"encoding": {"kind": "bnn_i"}, "wires": NODAL}
    with pytest.raises(InputError, match=r"wires\.density, layer 'features\.conv2': got null"):
        ChipNoise(model, Variation(chip="rram_hfo2_1t1r", set=setting), seed=0)
    ChipNoise(model, Variation(chip="rram_hfo2_1t1r", set=setting | {"wires": NODAL | {"density": 0.3}}), seed=0)
