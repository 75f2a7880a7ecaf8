"""Settings and states of chips, layers and content that act in one case only, each case with its result."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import imc_sim as imc
from imc_sim import InputError
from imc_sim._quantiles import WIDTH
from imc_sim.array import Chip, Crossbar, Differential, Sliced, Tile, encodings
from imc_sim.array.circuit import tiles
from imc_sim.config import build, content_names, find_card, find_content
from imc_sim.device import CONTINUOUS, Device, WriteVerify
from imc_sim.mapping._benn import _names as benn_names
from imc_sim.mapping._benn import benn_state
from imc_sim.nn import Linear, Norm, comparator_of
from imc_sim.nn.networks import SignActivation
from imc_sim.nn.networks._user_networks import made_network
from tests.exact.samples import signs

G = {"g_lrs_S": 1e-4, "g_hrs_S": 1e-5}
NODAL = {"kind": "nodal", "r_row_ohm": 1.0, "r_col_ohm": 2.0}


def chip(device: dict[str, Any] | None = None, **more: Any) -> Chip:
    data = {"tile": {"rows": 16, "cols": 16}, **more, "device": {**G, **(device or {})}}
    return build(Chip, data, "chip")


# -- chips -------------------------------------------------------------------------------------------------------

LAW = {"kind": "relative", "sigma": 0.1}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"device": {"faults": {"stuck_lrs": 0.1}}}, "faults, verify, pulses"),
        ({"device": {"verify": {"tolerance": 0.1, "max_pulses": 3}}}, "faults, verify, pulses"),
        ({"device": {"cycle_to_cycle": {"share": 0.5}}}, "faults, verify, pulses"),
        ({"device": {"time": {"t_s": 9.0, "drift": {"nu": 0.1}}}}, "what happens after programming"),
        ({"device": {"correlated": {"chip": 0.1}}}, "what happens after programming"),
        ({"device": {"disturb": {"reads": 9}}}, "what happens after programming"),
        ({"device": {"read": {"sigma": 0.1}}}, "read noise"),
        ({"device": {"read": {"bandwidth_Hz": 1e6}}}, "read noise"),
        ({"device": {"levels": "continuous"}}, "continuous levels"), ({"wires": NODAL}, "wires"),
        ({"engine": "memtorch"}, "engine"),
    ],
)  # fmt: skip
def test_pairs_are_not_sampled_where_single_cells_are_needed(changes: dict[str, Any], named: str) -> None:
    device = {"programming": LAW} | changes.get("device", {})
    rest = {key: value for key, value in changes.items() if key != "device"}
    assert chip({"programming": LAW}, draws="pairs").draws == "pairs"
    assert chip(device, **rest).draws == "cells"
    with pytest.raises(InputError, match=rf"here by {named}"):
        chip(device, draws="pairs", **rest)


BEND = "device.read.nonlinearity_per_V"
READ = {"read": {"nonlinearity_per_V": 2.0}}


@pytest.mark.parametrize(
    ("products", "spec", "acting"),
    [
        ([(Differential(), True, True)], chip(READ), set()),
        ([(Differential(), True, False)], chip(READ), {BEND, "device.read.v_read_V", "inputs"}),
        ([(Differential(), True, False)], chip(), {BEND, "inputs"}),
        ([(Differential(), True, False)], chip(READ, inputs={"kind": "bit_serial"}), {"inputs"}),
        ([(Differential(), True, True), (Sliced(), False, False)], chip(READ),
         {BEND, "device.read.v_read_V", "inputs"}),
        ([(encodings()["bnn_i"](), True, False)], chip(READ), set()),  # its inputs are -1 and +1
        ([(Differential(), True, True)], chip(READ | {"read": {"sigma": 0.1}}),
         {"inputs", "inputs.passes", "tile.rows", "device.g_lrs_S", "device.g_hrs_S"}),
        ([(Differential(), False, True)], chip({"levels": 4, "spacing": "resistance"}),
         {"device.levels", "device.spacing", "device.table_S", "device.g_lrs_S", "device.g_hrs_S"}),
        ([(Differential(), False, True)], chip({"levels": 4}), {"device.levels", "device.spacing", "device.table_S"}),
        ([(encodings()["offset"](), True, True)], chip({"programming": LAW}),
         {"tile.cols", "device.g_lrs_S", "device.g_hrs_S"}),
        ([(Differential(), True, True)], chip({"correlated": {"gradient": 0.1}}),
         {"tile.rows", "tile.cols", "device.g_lrs_S", "device.g_hrs_S"}),
    ],
)  # fmt: skip
def test_settings_of_a_chip_act_by_its_products(products: Any, spec: Chip, acting: set[str]) -> None:
    every = {
        "tile.rows", "tile.cols", "inputs", "inputs.passes", "device.levels", "device.spacing", "device.table_S",
        "device.g_lrs_S", "device.g_hrs_S", BEND, "device.read.v_read_V",
    }  # fmt: skip
    assert every - spec.idle_in(products) == acting


@pytest.mark.parametrize(
    ("verify", "ideal"),
    [
        (WriteVerify(), True), (WriteVerify(max_pulses=5), True), (WriteVerify(tolerance=0.1), True),
        (WriteVerify(tolerance=0.1, max_pulses=2), False), (WriteVerify(tolerance_S=1e-6, max_pulses=2), False),
    ],
)  # fmt: skip
def test_either_tolerance_switches_verify_on(verify: WriteVerify, ideal: bool) -> None:
    assert verify.is_ideal == ideal
    target = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    wanted = verify.tolerance_S / 9e-5 + verify.tolerance * (target + 1 / 9)
    assert torch.allclose(verify.width(target, 1 / 9, 9e-5), wanted, rtol=1e-12, atol=0)


def test_pulses_between_levels_are_those_of_the_nearest_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """A continuous level lies between two of 65 rows; here the count of each row is its number."""
    rows = torch.arange(65)[:, None].expand(-1, WIDTH)
    monkeypatch.setattr("imc_sim.device._device.pulse_counts", lambda *_: rows)
    law = {"kind": "pulses", "cell": {"kind": "vteam"}}
    data = {"g_lrs_S": 0.018, "g_hrs_S": 0.002, "levels": "continuous", "programming": law}
    steps, row = CONTINUOUS - 1, 2**17
    offsets = torch.tensor([0, row // 2 - 1, row // 2 + 1, row - 1, row], dtype=torch.int32)
    found = build(Device, data, "device").pulses(20 * row + offsets, steps, 3, "l", 1)
    assert found.tolist() == [20, 20, 21, 21, 21]


def test_channels_that_always_fire_fire_for_the_lowest_number() -> None:
    norm = Norm(3).eval()
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([0.0, 1e-45, 1.0]))  # type: ignore[union-attr]
        norm.bias.copy_(torch.tensor([1.0, 1.0, 0.5]))  # type: ignore[union-attr]
    end = torch.finfo(torch.float32).max
    x = torch.tensor([[-end], [-1.0], [0.0], [end]]).expand(4, 3).contiguous()
    found = comparator_of(norm)(x)
    assert torch.equal(found, (norm(x) > 0).float())
    assert found[0].tolist() == [1.0, 1.0, 0.0]


# -- layers ------------------------------------------------------------------------------------------------------


def two_layers() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(SignActivation(), Linear(24, 6, "sign", bias=False)).eval()


def test_the_estimate_of_each_row_of_tiles_is_for_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[float] = []
    seen: list[list[bool]] = []
    approximate, deviate = tiles.approximate_gating, tiles.gating_deviation

    def deviation(found: Any, G: Tensor, on: Tensor, *rest: Any) -> Any:
        seen.append(on[0, :16].tolist())
        return deviate(found, G, on, *rest)

    def watched(G: Tensor, wires: Any, method: Any, density: float) -> Any:
        used.append(density)
        return approximate(G, wires, method, density)

    spec = chip(wires=NODAL, encoding={"kind": "bnn_i"})
    x = signs(40, 32)
    x[:, :16] = torch.where(torch.arange(16) < 4, 1.0, -1.0)
    x[:, 16:] = torch.where(torch.arange(16) < 12, 1.0, -1.0)
    bar = Crossbar.program(signs(4, 32), spec)
    bar.set_driven_rows(bar.measure_rows(lambda rows: x[:, rows]))
    monkeypatch.setattr(tiles, "approximate_gating", watched)
    monkeypatch.setattr(tiles, "gating_deviation", deviation)
    found = bar.gating()
    assert found is not None
    assert (found.low, found.high, found.source) == (0.25, 0.75, "measured")
    assert used == [0.25, 0.75]
    assert seen == [[True] * 4 + [False] * 12, [True] * 12 + [False] * 4]


def test_ranges_and_rows_of_a_calibration_stay_and_are_replaced_by_the_next() -> None:
    converter = {"kind": "auto", "range": "calibrated", "limits": "minmax"}
    spec = chip(wires=NODAL, encoding={"kind": "bnn_i"}, converter=converter)
    x = torch.where(torch.rand(20, 24, generator=torch.Generator().manual_seed(1)) < 0.2, 1.0, -1.0)
    analog, fresh = (imc.map_model(two_layers(), spec, chips=3, memory_limit_bytes=1) for _ in range(2))
    assert analog.block == 1
    analog.calibrate(x)
    (layer,) = analog.analog_layers.values()
    first, rows = layer.limits, layer.driven_rows
    analog.program(range(2, 3))
    assert layer.crossbar.ranges.limits == first
    assert layer.crossbar.driven_rows is rows is not None
    analog.calibrate(-x)
    fresh.calibrate(-x)
    (other,) = fresh.analog_layers.values()
    assert layer.limits == other.limits != first
    assert analog.rows_on == fresh.rows_on
    assert torch.equal(analog(x), fresh(x))


def test_files_hold_blocks_of_chips_that_are_programmed_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    analog = imc.map_model(two_layers(), chip({"programming": LAW}), chips=range(1, 4), memory_limit_bytes=1)
    held: list[range] = []
    program = type(analog).program
    monkeypatch.setattr(type(analog), "program", lambda self, chips: (held.append(chips), program(self, chips))[1])
    analog.to_npz(tmp_path / "x.npz")
    assert held[:3] == [range(1, 2), range(2, 3), range(3, 4)]


def test_networks_of_users_are_copied_and_unwrapped() -> None:
    inner = nn.Linear(3, 2)
    assert made_network(lambda: nn.DataParallel(inner), {}, "arch") is inner
    copied = made_network(inner, {}, "arch")
    assert copied is not inner
    assert torch.equal(copied.weight, inner.weight)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="which has no size yet"):
        made_network(lambda: nn.LazyLinear(2), {}, "arch")
    with pytest.raises(InputError, match="which returns an int"):
        made_network(lambda: 3, {}, "arch")
    made = made_network(lambda wide, deep=1: nn.Linear(wide, deep), {"wide": 4}, "arch")
    assert isinstance(made, nn.Linear)
    assert (made.in_features, made.out_features) == (4, 1)
    for args, match in (({}, "no wide; "), ({"wide": 1, "high": 2}, "Remove it, or fix its name")):
        with pytest.raises(InputError, match=match):
            made_network(lambda wide, deep=1: nn.Linear(wide, deep), args, "arch")


# -- content by name -----------------------------------------------------------------------------------------------

CARD = "name: {name}\nsummary: of {place}\narch: {{name: bnn_mlp, args: {{inputs: 3}}}}\n"
SHIPPED = "batmann_small_xnor"


def write_card(folder: Path, name: str, place: str) -> Path:
    path = folder / "models" / name / "model.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(CARD.format(name=name, place=place))
    return path


def test_models_of_the_user_come_before_those_that_ship(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working folder first, then the path in its order; an explicit path before all."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IMC_SIM_PATH", os.pathsep.join([str(tmp_path / "a"), str(tmp_path / "b")]))
    shipped = find_card(SHIPPED)
    assert not shipped.place.is_relative_to(tmp_path)
    for place in ("b", "a", "."):
        path = write_card(tmp_path / place, SHIPPED, place)
        assert find_card(SHIPPED).data["summary"] == f"of {place}"
        assert find_card(SHIPPED).folder == path.parent
    assert find_card(str(tmp_path / "b" / "models" / SHIPPED)).data["summary"] == "of b"
    assert find_card(shipped.place).data["summary"] == shipped.data["summary"]
    assert content_names("model").count(SHIPPED) == 1


def test_a_family_of_the_user_comes_before_the_one_that_ships(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("IMC_SIM_PATH", raising=False)
    (tmp_path / "models" / "batmann").mkdir(parents=True)
    row = f"models:\n  {SHIPPED}:\n    summary: mine\n    arch: {{name: bnn_mlp}}\n"
    (tmp_path / "models" / "batmann" / "family.yaml").write_text(row)
    assert find_card(SHIPPED).data["summary"] == "mine"
    write_card(tmp_path, SHIPPED, "the folder")
    assert find_card(SHIPPED).data["summary"] == "of the folder"


@pytest.mark.parametrize(("kind", "folder", "name"), [
    ("chip", "device_configs", "ideal"), ("study", "studies", "quickstart"),
])  # fmt: skip
def test_files_of_the_user_come_before_those_that_ship(
    kind: Any, folder: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IMC_SIM_PATH", str(tmp_path / "a"))
    assert not find_content(kind, name).is_relative_to(tmp_path)
    for place in ("a", "."):
        path = tmp_path / place / folder / f"{name}.yaml"
        path.parent.mkdir(parents=True)
        path.write_text("")
        assert find_content(kind, name).samefile(path)
        assert content_names(kind).count(name) == 1


# -- layouts of others ---------------------------------------------------------------------------------------------


def test_only_the_kind_with_a_float_twin_has_centred_weights() -> None:
    """Without the float ends there is no float network of these names, so that any weights are binary ones."""
    for kind in ("ab", "sb"):
        state = {}
        for theirs, ours in benn_names(kind).items():
            state[theirs] = torch.rand(4, 4, 1, 1) + 0.1 if ours.endswith("conv.weight") else torch.ones(4)
        if kind == "sb":
            with pytest.raises(imc.CheckpointError, match="not centred"):
                benn_state(state, "f", [], {})
            continue
        assert benn_state(state, "f", [], {})[1]["kind"] == "ab"


def test_tiles_hold_whole_groups_of_cells() -> None:
    for kind, rows, cols in (("differential", 1, 2), ("bnn_v", 2, 1), ("bnn_vi", 2, 2), ("unipolar", 1, 1)):
        encoding = {"kind": kind}
        w = torch.ones(1, 1)
        assert Crossbar.program(w, chip(encoding=encoding, tile={"rows": rows, "cols": cols})).placement.tiles == 1
        for short in ((rows - 1, cols), (rows, cols - 1)):
            if min(short) < 1:
                continue
            with pytest.raises(InputError, match=f"{rows} x {cols} cells or more"):
                Crossbar.program(
                    w, chip(encoding=encoding).model_copy(update={"tile": Tile(rows=short[0], cols=short[1])})
                )
