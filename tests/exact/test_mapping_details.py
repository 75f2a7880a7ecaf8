"""Details of mapped networks: what a report states, which encoding a layer gets, what is shared and refused."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import imc_sim as imc
from imc_sim import AssociativeMemory, InputError
from imc_sim._errors import CheckpointError
from imc_sim.analog import SiteLinear, deviations, read_conductances, straight_through
from imc_sim.array import Chip, Crossbar, Differential, Offset, Policy, Sliced, Tile
from imc_sim.backends.memtorch import why_not
from imc_sim.device import Device
from imc_sim.mapping import acting_settings, bytes_per_chip, import_checkpoint, map_model
from imc_sim.mapping._placing import bytes_of, encoding_of
from imc_sim.mapping._report import LayerRow, MappingReport, _of
from imc_sim.mapping._rounding import bits_for, weight_error
from imc_sim.nn import Conv2d, Linear
from imc_sim.nn.networks import BatmannController, SignActivation, build_arch
from tests.exact.networks import Distances, on_grid


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    """Sample the same weights and inputs in any order of the tests."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


CELL = Device(g_lrs_S=1e-4, g_hrs_S=2e-5)
CHIP = Chip(device=CELL, tile=Tile(rows=8, cols=8), policy=Policy(int8="crossbar", float="crossbar"))
VARIED = CHIP.replace("device.programming", {"kind": "relative", "sigma": 0.1})
FLOAT = CHIP.replace("encoding_multibit", {"kind": "sliced", "weight_bits": 16})


class Signs(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sign()


def signed(*sizes: int, digital: bool = False) -> nn.Module:
    """Return layers of policy sign whose inputs are signs, the first one of 8 bits if `digital`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers: list[nn.Module] = []
        for number, (a, b) in enumerate(itertools.pairwise(sizes)):
            first = digital and not number
            layers += [] if first else [SignActivation()]
            layers.append(Linear(a, b, "int8" if first else "sign", bias=False))
        return nn.Sequential(*layers).eval()


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# -- the report --------------------------------------------------------------------------------------------------


def test_the_report_is_a_table_with_totals() -> None:
    """12 x 8 weights are 12 x 16 cells on 2 x 2 tiles of 8 x 8 cells, 75 % in use; 8 x 3 are 48 of 64."""
    chip = VARIED.replace("policy.layers", {"0": "digital"}).replace("name", "small")
    report = map_model(signed(6, 12, 8, 3, digital=True), chip).report
    table = [line.split() for line in report.to_text().splitlines()]
    assert " ".join(table[0][2:]) == "weights runs encoding tiles cells in use computed in rounded by"
    assert table[1] == ["0", "int8", "72", "digital", "-", "0", "0", "-", "-", "-"]
    assert table[2][:9] == ["2", "sign", "96", "crossbar", "differential", "4", "192", "75", "%"]
    assert table[3][:9] == ["4", "sign", "24", "crossbar", "differential", "1", "48", "75", "%"]
    assert table[2][9] == "float32"
    assert 0 < float(table[2][10].rstrip(",")) < float(table[2][11]) < 2**-12
    assert report.to_text().splitlines()[-1] == "chip small: 5 tiles of 8 x 8, 240 cells"
    assert (report.tiles, report.cells) == (5, 240)
    data = report.to_dict()
    assert (data["tiles"], data["cells"], data["chip"]["name"]) == (5, 240, "small")
    assert [row["weights"] for row in data["layers"]] == [72, 96, 24]
    assert all("weight_error" not in row and "gating" not in row for row in data["layers"])
    assert (data["layers"][0]["rounding"], data["layers"][1]["rounding"]["compute"]) == (None, "float32")
    exact = map_model(signed(12, 3), CHIP).report.to_text().splitlines()[1].split()
    assert exact[-1] == "0"


def test_shares_of_a_report_are_of_weights_and_of_products() -> None:
    """Attention: 3 x 8 x 8 weights in, 8 x 8 out, 3 samples of 4 tokens, two products of activations."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.out = (
                nn.MultiheadAttention(8, 2, batch_first=True, bias=False),
                nn.Linear(8, 2, bias=False),
            )
            self.a, self.b = nn.Parameter(torch.randn(2, 3)), nn.Parameter(torch.randn(3, 2))

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.inner(x, x, x, need_weights=True)[0]) @ (self.a @ self.b)

    torch.manual_seed(0)
    network, x = on_grid(Net()), torch.randn(3, 4, 8)
    report = map_model(network, FLOAT.replace("policy.layers", {"out": "digital"}), inputs=x).report
    last = report.to_text().splitlines()[-1]
    weights, on = 192 + 64 + 16 + 4, 192 + 64 + 4
    adds = 12 * weights + 2 * 3 * 2 * 4 * 4 * 4 + 12
    assert f"{100 * on / weights:.3g} % of the weights in products" in last
    assert f"{100 * 12 * on / adds:.3g} % of the multiply-adds" in last
    assert "; 2 products of two activations stay digital" in last
    kinds = {row.layer: (row.policy, row.place, row.weights) for row in report.layers}
    assert kinds["out"] == ("levels", "digital", 16)
    assert [kind for kind in kinds.values() if kind[0] in ("dynamic", "constant")] == [
        ("dynamic", "digital", 0), ("dynamic", "digital", 0), ("constant", "digital", 0),
    ]  # fmt: skip
    assert (_of(1, 3), _of(0, 0)) == ("33.3 %", "0 %")


def test_rows_on_are_shown_where_they_differ_and_only_for_layers_that_switch() -> None:
    wires = {"kind": "nodal", "r_row_ohm": 1.0, "r_col_ohm": 1.0}
    chip = CHIP.replace("wires", wires).replace("encoding", {"kind": "bnn_i"})
    mapped = map_model(signed(6, 16, 3, digital=True), chip.replace("encoding_multibit", {"kind": "sliced"}))
    lines = mapped.report.to_text().splitlines()
    assert lines[0].split()[-4:] == ["rows", "on", "gating", "error"]
    assert lines[1].split()[-2:] == ["-", "-"]
    assert "50 % assumed" in lines[2]
    x = images(20, 6) + 0.5
    mapped.calibrate(x)
    gating = mapped.report.layers[1].gating
    assert gating is not None
    assert gating.low < gating.high
    shown = mapped.report.to_text().splitlines()[2]
    assert f" {100 * gating.low:.0f}-{100 * gating.high:.0f} % measured" in shown
    assert f"{100 * gating.error.rms:.1f} %, {100 * gating.error.max:.1f} %" in shown
    assert "rows on: not measured" not in mapped.report.to_text()
    own = map_model(signed(16, 3), chip.replace("encoding", {"kind": "bnn_v"})).report.to_text()
    assert "50 % by the encoding" in own
    assert "rows on: not measured" not in own


def test_a_row_of_a_layer_that_is_not_mapped_is_digital() -> None:
    row = LayerRow.of("a", Linear(3, 2, "int8"), None)
    assert (row.place, row.tiles, row.rounding, row.gating) == ("digital", 0, None, None)
    report = MappingReport(CHIP, (row,))
    assert (report.tiles, report.cells) == (0, 0)


# -- encodings and memory ------------------------------------------------------------------------------------------


def site(weight: Tensor, x: Tensor) -> SiteLinear:
    network = nn.Linear(weight.shape[1], len(weight), bias=False)
    network.weight.data = weight
    (layer,) = map_model(network, FLOAT, inputs=x).analog_layers.values()
    found = layer.digital
    assert isinstance(found, SiteLinear)
    return found


def test_layers_get_the_encoding_of_their_weights_and_inputs() -> None:
    offset = CHIP.model_copy(update={"encoding": Offset()})
    bipolar = CHIP.replace("encoding", {"kind": "bnn_i"})
    rotated, padded = Linear(6, 2, "rbnn"), Conv2d(2, 2, 3, "sign", padding=1)
    assert encoding_of(rotated, offset).name == "offset"
    assert encoding_of(rotated, bipolar) == Differential()
    assert encoding_of(padded, bipolar) == Differential()
    assert encoding_of(padded, offset).name == "offset"
    assert encoding_of(Conv2d(2, 2, 3, "sign"), bipolar).name == "bnn_i"
    assert encoding_of(Conv2d(2, 2, 3, "xnor", padding=1), bipolar).name == "bnn_i"  # its analog layer refuses it
    assert encoding_of(Linear(6, 2, "float"), FLOAT) == Sliced(weight_bits=16)
    whole = site(torch.tensor([[3.0, -2.0], [1.0, 0.0]]), images(3, 2))
    assert encoding_of(whole, FLOAT) == Sliced(weight_bits=None)
    assert encoding_of(site(images(2, 2), images(3, 2)), FLOAT) == Sliced(weight_bits=16)


def test_estimates_of_memory_are_of_layers_on_crossbars() -> None:
    network = signed(6, 12, 3, digital=True)
    assert bytes_of("a", Linear(6, 12, "int8"), CHIP) == 72 * 64
    on = bytes_of("2", Linear(12, 3, "sign"), CHIP)
    assert bytes_per_chip(network, CHIP) == 72 * 64 + on
    assert bytes_per_chip(network, CHIP.replace("policy.int8", "digital")) == on
    assert bytes_per_chip(network, CHIP.replace("policy.layers", {"2": "digital"})) == 72 * 64
    plain = on_grid(nn.Sequential(nn.Linear(6, 4, bias=False)))
    assert bytes_per_chip(plain, FLOAT, images(3, 6)) == 24 * 64


def test_settings_that_act_are_those_of_the_layers_and_the_memory() -> None:
    network = signed(6, 4)
    for keys, memory, names in (
        (None, False, {"encoding"}),
        ("bipolar", True, {"encoding"}),
        ("float", True, {"encoding"}),
    ):
        found = acting_settings(network, VARIED, keys)
        assert {key for key in found if key.startswith("encoding")} == names
        assert found["policy"] == {"layers": {"1": "crossbar"}, "memory": memory}
    digital = VARIED.replace("policy", {"layers": {"*": "digital"}})
    assert set(acting_settings(network, digital, None)) == {"policy"}
    assert "encoding_multibit" in acting_settings(nn.Sequential(Linear(4, 2, "int8")).eval(), VARIED, None)
    assert "neurons" not in acting_settings(network, VARIED, None)


@pytest.mark.parametrize(
    ("keys", "time", "acts"),
    [
        ("bipolar", {}, True),
        (None, {}, False),
        (None, {"t_s": 9.0}, False),
        (None, {"t_s": 9.0, "refresh_s": 2.0}, True),
    ],
)
def test_correlation_acts_where_cells_are_programmed_again(keys: str | None, time: dict[str, Any], acts: bool) -> None:
    """A key memory is, and refreshed cells are."""
    network, chip = signed(6, 4), VARIED.replace("device.time", time)
    chips = [chip.replace("device.cycle_to_cycle.correlation", c) for c in (0.5, 0.1)]
    assert ("correlation" in acting_settings(network, chips[0], keys)["device"].get("cycle_to_cycle", {})) is acts
    one, other = (map_model(network, each)(torch.ones(1, 6)) for each in chips)
    assert torch.equal(one, other) is ("refresh_s" not in time)


# -- rounding ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weights", "bits"), [([1.0, -1.0], 2), ([1.0, 0.5], 7), ([7.0, 3.0, -5.0], 4), ([127.0, 1.0, 64.0], 7)]
)
def test_bits_that_hold_weights_within_a_percent(weights: list[float], bits: int) -> None:
    """Seven bits hold 0.5 as 32 / 63, and 64 / 127 as 32 / 63, and leave out 1 / 127."""
    assert bits_for(torch.tensor([weights], dtype=torch.float64)) == bits


def test_the_error_of_weights_is_relative_and_in_their_unit() -> None:
    network = nn.Sequential(nn.Linear(2, 1, bias=False))
    network[0].weight.data = torch.tensor([[30.0, 12.0]])
    chip = CHIP.replace("encoding_multibit", {"kind": "differential"}).replace("policy.allow_rounding", True)
    (layer,) = map_model(network, chip, inputs=images(3, 2)).analog_layers.values()
    assert weight_error(layer) == pytest.approx(12 / (30**2 + 12**2) ** 0.5)
    even = map_model(network, chip.replace("device.levels", 6), inputs=images(3, 2)).analog_layers.values()
    assert weight_error(next(iter(even))) == pytest.approx(0.0, abs=1e-7)


# -- sites ---------------------------------------------------------------------------------------------------------


class Bits(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]]))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight)


@pytest.mark.parametrize(("int8", "placed"), [("digital", ()), ("crossbar", ("",))])
def test_weights_of_0_and_1_are_placed_as_integers(int8: str, placed: tuple[str, ...]) -> None:
    chip = CHIP.replace("policy", {"binary": "crossbar", "int8": int8, "float": "error"})
    assert map_model(Bits(), chip, inputs=images(4, 3)).report.placed == placed


def test_at_most_256_matrices_of_a_batch_are_on_crossbars(monkeypatch: pytest.MonkeyPatch) -> None:
    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(2, 3, 4))

        def forward(self, x: Tensor) -> Tensor:
            return x @ self.weight

    network, x = on_grid(Heads()), images(3, 2, 5, 3)
    for most, fits in ((2, True), (1, False)):
        monkeypatch.setattr("imc_sim.mapping._any_network._MATRICES", most)
        if fits:
            assert len(map_model(network, FLOAT, inputs=x).analog_layers) == 2
            assert bytes_per_chip(network, FLOAT, x) == 24 * 64
            continue
        with pytest.raises(InputError, match="a batch of 2 weights, which must stay digital"):
            map_model(network, FLOAT, inputs=x)
        assert bytes_per_chip(network, FLOAT, x) == 0


def test_a_product_that_cannot_be_watched_cannot_be_on_a_crossbar() -> None:
    for place in ("crossbar", "error"):
        with pytest.raises(InputError, match="cdist, whose products cannot be on crossbars"):
            map_model(on_grid(Distances()), FLOAT.replace("policy.layers", {"": place}), inputs=images(3, 4))


@pytest.mark.parametrize("limit", [10**9, 1])
def test_sites_hold_as_many_chips_as_fit(limit: int) -> None:
    network, x = on_grid(nn.Sequential(nn.Linear(6, 4))), images(3, 6)
    analog = map_model(network, FLOAT.replace("device.programming.sigma", 0.1), 3, inputs=x, memory_limit_bytes=limit)
    assert analog.block == (3 if limit > 1 else 1)
    assert {len(layer.crossbar.chips) for layer in analog.analog_layers.values()} == {analog.block}
    whole = map_model(network, FLOAT.replace("device.programming.sigma", 0.1), 3, inputs=x)
    assert torch.allclose(analog(x), whole(x), rtol=1e-5, atol=1e-6)


# -- layers and memories on chips ------------------------------------------------------------------------------------


def test_deviations_are_in_windows() -> None:
    """The window is 80 uS: cells of LRS are 10 % of 100 uS off, those of HRS 10 % of 20 uS."""
    (found,) = deviations(map_model(signed(64, 60), VARIED).analog_layers).values()
    assert found == pytest.approx((((0.1 / 0.8) ** 2 + (0.02 / 0.8) ** 2) / 2) ** 0.5, rel=0.03)


def test_a_file_holds_the_cells_of_all_chips(tmp_path: Path) -> None:
    network = signed(6, 4)
    whole, blocks = (map_model(network, VARIED, chips=range(2, 5), memory_limit_bytes=limit) for limit in (10**9, 1))
    found = [read_conductances(mapped.to_npz(tmp_path / f"{k}.npz")) for k, mapped in enumerate((whole, blocks))]
    assert [list(each) for each in found] == [["1"], ["1"]]
    assert found[0]["1"].shape == (3, 1, 8, 8)
    assert np.array_equal(found[0]["1"], found[1]["1"])
    with np.load(tmp_path / "1.npz") as held:
        assert json.loads(str(held["metadata"]))["chips"] == [2, 3, 4]
    np.savez(tmp_path / "none.npz", other=np.zeros(2))
    with pytest.raises(InputError, match=r"the arrays other"):
        read_conductances(tmp_path / "none.npz")


def test_conductances_need_the_native_backend_and_layers_of_the_network() -> None:
    network = signed(6, 4)
    measured = {name: layer.crossbar.programmed for name, layer in map_model(network, CHIP).analog_layers.items()}
    with pytest.raises(InputError, match="the native backend"):
        map_model(network, CHIP, engine="memtorch", conductances=measured)
    with pytest.raises(InputError, match="layer 'x'; allowed: 1, the layers on crossbars"):
        map_model(network, CHIP, conductances={**measured, "x": measured["1"]})


def test_gradients_leave_no_hook_behind() -> None:
    analog = map_model(signed(6, 4), VARIED, chips=2)
    x = images(3, 6).requires_grad_()
    found = straight_through(analog, x, 1)
    assert found.requires_grad
    assert not any(layer._forward_hooks for layer in analog.analog_layers.values())
    assert torch.equal(found, analog(x)[1])
    assert not torch.equal(found, analog(x)[0])


def test_a_digital_layer_is_shared_for_one_tensor_alone() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.out = Linear(6, 6, "int8"), Linear(6, 3, "sign", bias=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.out((self.first(x) + self.first(-2 * x)).sign())

    network = Twice().eval()
    analog = map_model(network, CHIP.replace("policy.int8", "digital"), chips=2)
    x = images(5, 6)
    with torch.no_grad():
        assert torch.equal(analog(x), network(x).expand(2, 5, 3))


def test_another_calibration_starts_from_nothing() -> None:
    chip = CHIP.replace("converter", {"kind": "auto", "range": "calibrated", "limits": "minmax"})
    chip = chip.replace("inputs", {"kind": "levels"}).replace("encoding_multibit", {"kind": "differential"})
    wide, narrow = (map_model(nn.Sequential(Linear(6, 4, "float")).eval(), chip) for _ in range(2))
    with torch.random.fork_rng(devices=[]):
        narrow.load_state_dict(wide.state_dict())
    for analog in (wide, narrow):
        for layer in analog.analog_layers.values():
            layer.program(range(1))
    x = images(9, 6)
    wide.calibrate(10 * x)
    assert wide.calibrate(x) == narrow.calibrate(x)
    (layer,) = wide.analog_layers.values()
    assert layer.input_limit == float(x.abs().max())


def test_ranges_of_several_uses_are_joined() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Linear(6, 4, "float", bias=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x) + self.inner(3 * x) + self.inner(x)

    chip = CHIP.replace("converter", {"kind": "auto", "range": "calibrated", "limits": "minmax"})
    chip = chip.replace("encoding_multibit", {"kind": "differential"})
    network, x = Twice().eval(), images(9, 6)
    found = map_model(network, chip)
    (limits,) = found.calibrate(x).values()
    (layer,) = found.analog_layers.values()
    bar = Crossbar.program(layer.matrix().detach().double(), chip, encoding=Differential())
    low, high = bar.tiled.profile(lambda rows: 3 * x.double()[:, rows])
    assert limits == pytest.approx((low, high))


def test_a_layer_alone_counts_the_reads_of_either_form_of_inputs() -> None:
    noisy = CHIP.replace("device.read.sigma", 0.1)
    one, other = (next(iter(map_model(signed(6, 4), noisy, chips=3).analog_layers.values())) for _ in range(2))
    x = images(5, 6).sign()
    for _ in range(2):
        assert torch.equal(one(x), other(x.expand(3, 5, 6)))


def test_memories_skip_reads_and_have_one_label_a_key() -> None:
    noisy, keys, queries = CHIP.replace("device.read.sigma", 0.2), images(3, 4, 8), images(5, 8)
    labels = torch.arange(4)
    for own in (keys, keys[0]):
        read, skipped = (AssociativeMemory(noisy, 8, chips=3) for _ in range(2))
        for memory in (read, skipped):
            memory.write(own, labels)
        read.search(queries)
        skipped.skip_reads(5)
        assert torch.equal(read.search(queries), skipped.search(queries))
    for wrong in (torch.arange(5), torch.arange(3), labels[:, None]):
        with pytest.raises(InputError, match="one label a key"):
            AssociativeMemory(noisy, 8).write(keys[0], wrong)


def test_every_chip_of_a_memory_is_calibrated() -> None:
    chip = CHIP.replace("converter", {"kind": "auto", "range": "calibrated"}).replace("inputs.kind", "levels")
    memory = AssociativeMemory(chip, 8, chips=3, form="float")
    memory.write(images(3, 4, 8), torch.arange(4))
    memory.calibrate(images(4, 8), images(5, 8, seed=1))
    assert {bar.ranges.limits for bar in memory._crossbars} == {memory.limits}
    assert {bar.ranges.input_limit for bar in memory._crossbars} == {float(images(5, 8, seed=1).abs().max())}


def test_layers_on_memtorch_have_the_cells_of_their_seed() -> None:
    if why_not():
        pytest.skip(f"{why_not()}: `make memtorch` builds it")
    chip, x = VARIED.replace("engine", "memtorch").replace("encoding", {"kind": "differential"}), images(3, 6).sign()
    found = [map_model(signed(6, 4), chip, seed=seed)(x) for seed in (0, 1, 1)]
    assert torch.equal(found[1], found[2])
    assert not torch.equal(found[0], found[1])
    layer = next(iter(map_model(signed(6, 4), chip).analog_layers.values()))
    with pytest.raises(InputError, match="engine: memtorch"):
        layer.tile_inputs(x)


# -- imports ---------------------------------------------------------------------------------------------------------


def test_a_controller_of_another_rank_is_refused(tmp_path: Path) -> None:
    state = BatmannController("float", width=2, dim=3, size=20).state_dict()
    for name in ("features.conv1.weight", "fc1.weight"):
        torch.save(state | {name: state[name].reshape(-1)}, tmp_path / "w.pth")
        with pytest.raises(CheckpointError, match="the BATMANN layout"):
            import_checkpoint(tmp_path / "w.pth", "batmann", tmp_path / "out")


NET = "import torch\ndef make():\n    net = torch.nn.Sequential(torch.nn.Linear(3, 2))\n"
NET += "    net.register_buffer('steps', torch.tensor([3]))\n    return net\n"


@pytest.mark.parametrize(
    ("keys", "options", "tensors"),
    [
        (["0.weight", "0.bias", "steps"], {}, 3),
        (["0.weight", "0.bias", "steps", "01.weight"], {"renames": [("01.weight", "")]}, 3),
        (["fc.weight", "fc.bias", "steps", "fc1.weight"], {"renames": [("fc", "0"), ("fc1.weight", "")]}, 3),
        (["a.0.weight", "a.0.bias", "a.steps", "b.x"], {}, 3),
    ],
)
def test_tensors_keep_their_numbers_under_other_names(
    keys: list[str], options: dict[str, Any], tensors: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET)
    made = {"weight": images(2, 3), "bias": images(2), "steps": torch.tensor([70001]), "x": images(1)}
    torch.save({key: made[key.rpartition(".")[2]] for key in keys}, tmp_path / "w.pth")
    report = import_checkpoint(tmp_path / "w.pth", "./net.py:make", "models/mine", **options)
    assert (report.tensors, report.parameters) == (tensors, 6 + 2 + 1)
    state = imc.load_model("mine").state_dict()
    assert torch.equal(state["0.weight"], made["weight"])
    assert (state["steps"].tolist(), state["steps"].dtype) == ([70001], torch.int64)


@pytest.mark.parametrize("others", [{"loss": torch.tensor(0.5)}, {"epoch": 3}, {"loss": torch.zeros(2), "name": "a"}])
def test_tensors_next_to_a_state_dict_are_left_out(others: dict[str, Any], tmp_path: Path) -> None:
    own = BatmannController("float", width=2, dim=3, size=20)
    torch.save({"model": own.state_dict(), **others}, tmp_path / "w.pth")
    report = import_checkpoint(tmp_path / "w.pth", "batmann", tmp_path / "out")
    assert report.tensors == len(own.state_dict())
    assert f"left out: {', '.join(sorted(others))}" in report.notes[0] or len(others) > 1


@pytest.mark.parametrize(
    ("arch", "args"),
    [
        ("bnn_mlp", {"inputs": 6, "hidden": [4], "classes": 2, "kind": "binary", "binary_inputs": True}),
        ("bnn_conv", {"channels": [1, 3, 3], "kernels": [4, 4], "classes": 2, "size": 28, "binary_inputs": True}),
        ("bnn_vgg", {"width": 0.03, "classes": 2, "channels_in": 3, "size": 16}),
        ("benn", {"kind": "ab", "width": 0.05, "size": 16}),
    ],
)
def test_states_under_the_names_of_this_package_are_read_unchanged(
    arch: str, args: dict[str, Any], tmp_path: Path
) -> None:
    given = args if arch == "benn" else args | {"statistics": "running"}
    own = build_arch(arch, given, tmp_path).eval()
    torch.save(own.state_dict(), tmp_path / "w.pth")
    report = import_checkpoint(tmp_path / "w.pth", arch, tmp_path / "out", given)
    assert report.notes == ()
    found = imc.load_model(tmp_path / "out").state_dict()
    assert all(torch.equal(value.sign(), own.state_dict()[key].sign()) for key, value in found.items())


def test_a_prefix_is_the_beginning_of_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET)
    one = {"a.0.weight": images(2, 3), "a.0.bias": images(2), "a.steps": torch.tensor([1])}
    torch.save(one | {"b.a.0.weight": images(2, 3, seed=1)}, tmp_path / "w.pth")
    report = import_checkpoint(tmp_path / "w.pth", "./net.py:make", "models/mine", prefix="a.")
    assert report.tensors == 3
    assert "left out: b.a.0.weight" in report.notes
    assert torch.equal(imc.load_model("mine").state_dict()["0.weight"], one["a.0.weight"])


@pytest.mark.parametrize(
    ("kind", "fits"), [("differential", True), ("bnn_vi", True), ("bnn_i", False), ("bnn_v", False)]
)
def test_one_conversion_of_a_whole_output_has_no_correction(kind: str, fits: bool) -> None:
    chip = Chip(device=CELL, tile=Tile(rows=64, cols=64)).replace("encoding", {"kind": kind})
    chip = chip.replace("converter", {"kind": "auto", "range": "unit"})
    if fits:
        assert map_model(signed(6, 4), chip)(images(3, 6)).shape == (1, 3, 4)
        return
    with pytest.raises(InputError, match="one conversion per output, without a correction"):
        map_model(signed(6, 4), chip)


@pytest.mark.parametrize("label", [-1, -5])
def test_classes_are_counted_from_0(label: int) -> None:
    memory = AssociativeMemory(CHIP, 8)
    with pytest.raises(InputError, match=f"a label of {label}; allowed: 0 or more"):
        memory.write(images(2, 8), torch.tensor([0, label]))


def test_two_prefixes_that_fit_are_not_guessed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET)
    one = {"0.weight": images(2, 3), "0.bias": images(2), "steps": torch.tensor([1])}
    torch.save({f"{start}.{key}": value for start in ("a", "b") for key, value in one.items()}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="--prefix"):
        import_checkpoint(tmp_path / "w.pth", "./net.py:make", "models/mine")
    assert import_checkpoint(tmp_path / "w.pth", "./net.py:make", "models/mine", prefix="b.").tensors == 3
