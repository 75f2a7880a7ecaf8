"""Actions of an inference, counted: hand cases for arrays, layers, key memories and networks of any modules."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import imc_sim as imc
from imc_sim import InputError
from imc_sim.array import Chip, Crossbar, Encoding, Rows, encodings, load_chip
from imc_sim.cost import Actions, Counted, count_actions, count_search
from imc_sim.cost._observe import Observer
from imc_sim.nn import Conv2d, Linear, SignActivation

CELLS = {"device": {"g_lrs_S": 100e-6, "g_hrs_S": 10e-6, "read": {"v_read_V": 0.5}}}
COST = {"cost": {"read_pulse_s": "10 ns"}}


def chip(**changes: Any) -> Chip:
    return load_chip(CELLS | COST | {"tile": {"rows": 8, "cols": 8}} | changes)


def count(weights: Tensor, x: Tensor, spec: Chip, exact: bool = True) -> Counted:
    """Count the reads of vectors x by the cells of weights, as of one sample."""
    observer = Observer(spec, programming=True)
    crossbar = Crossbar.program(weights, spec, seed=1)
    observer.add("layer", crossbar, 0, Rows(x), exact)
    return observer.counted("layer", 1)


def voltages(encoding: Encoding, x: Tensor) -> Iterator[Tensor]:
    """Yield the voltages of the physical word lines for every vector and pass, input by input."""
    for vector in x.tolist():
        for drives in encoding.drives:
            lines = [c[0] + c[1] * value + c[2] * value * value for value in vector for c in drives]
            yield torch.tensor(lines, dtype=torch.float64)


@pytest.mark.parametrize("kind", sorted(encodings()))
@pytest.mark.parametrize("shape", [(2, 2), (5, 3)])
def test_every_encoding_drives_the_lines_and_cells_of_its_circuit(kind: str, shape: tuple[int, int]) -> None:
    encoding = encodings()[kind]()
    random = torch.Generator().manual_seed(3)
    weights, x = torch.randn(shape, generator=random), torch.randn(4, shape[1], generator=random)
    signs = encoding.operands == "bipolar"
    weights, x = (t.sign() if signs else t.clamp(-1, 1).round() for t in (weights, x))
    weights, x = (t.abs() if kind == "unipolar" else t for t in (weights, x))
    noisy = {"programming": {"kind": "relative", "sigma": 0.1}, **CELLS["device"], "g_hrs_S": 1e-6}
    spec = chip(encoding={"kind": kind}, device=noisy, tile={"rows": 4, "cols": 6})
    crossbar = Crossbar.program(weights, spec, seed=1)
    counted = count(weights, x, spec)
    inputs = 4 // encoding.rows  # per row of tiles
    siemens, driven = 0.0, 0
    for volts in voltages(encoding, x):
        rows = volts.split(inputs * encoding.rows)
        for tile, each in itertools.product(range(len(rows)), range(len(crossbar.placement.column_slices))):
            g = crossbar.conductance[0, tile * len(crossbar.placement.column_slices) + each]
            for row, volt in enumerate(rows[tile].tolist()):
                siemens += volt * volt * float(g[row].sum())
                driven += volt != 0.0
    assert counted.siemens[0] == pytest.approx(siemens, rel=1e-3)  # cells are on a grid of 2^-12 of the window
    (actions,) = counted.actions
    assert actions.lines_driven == actions.lines_charged == actions.pulses == driven
    assert actions.vectors == actions.operations / (2 * weights.numel()) == 4
    passes, per_tile = 4 * len(encoding.drives), len(encoding.terms) * len(crossbar.plan.targets.places)
    assert actions.reads == passes * crossbar.placement.tiles
    assert actions.conversions == 4 * per_tile * shape[0] * len(crossbar.placement.row_slices)


def test_a_2_x_2_array_by_hand() -> None:
    """Differential: each word line has an LRS and an HRS cell per output, 2 x 110 uS = 220 uS."""
    weights, x = torch.tensor([[1.0, -1.0], [-1.0, -1.0]]), torch.tensor([[1.0, 0.0], [-1.0, 1.0]])
    (actions,), siemens = count(weights, x, chip()).actions, count(weights, x, chip()).siemens
    assert siemens == (pytest.approx(3 * 220e-6),)
    assert actions == Actions(
        operations=16, vectors=2, passes=2, reads=2, lines_driven=3, lines_charged=3, pulses=3, squared_drive=3,
        integrations=4, conversions=4, outputs=4, bits_in=4, bits_out=2 * 2 * 8, pulses_in_sequence=2,
        conversions_in_sequence=2,
    )  # fmt: skip


def test_a_3_x_5_array_of_bnn_v_by_hand() -> None:
    """XNOR rows: one of the two lines of an input is on; of its 3 cells those with the same sign are in LRS."""
    weights = torch.tensor([[1.0, 1, 1, 1, 1], [1, -1, 1, -1, 1], [-1, -1, -1, -1, -1]])
    spec = chip(encoding={"kind": "bnn_v"}, tile={"rows": 10, "cols": 3}, converter={"kind": "pos", "bits": 4})
    counted = count(weights, torch.tensor([[1.0, 1, 1, 1, -1]]), spec)
    same = [2, 1, 2, 1, 1]  # weights equal to the input
    assert counted.siemens == (pytest.approx(sum(100e-6 * n + 10e-6 * (3 - n) for n in same)),)
    (actions,) = counted.actions
    assert actions.lines_driven == 5
    assert (actions.conversions, actions.shift_adds, actions.additions) == (3, 0, 3)  # one correction per output
    assert (actions.bits_in, actions.bits_out) == (5, 3 * 4)


def test_two_passes_of_one_cell_are_shifted_and_added() -> None:
    """BNN III: +1 drives the line in the first pass, -1 in the second; two conversions and sum x of each output."""
    weights = torch.ones(3, 5)
    (actions,) = count(weights, torch.ones(1, 5), chip(encoding={"kind": "bnn_iii"})).actions
    assert (actions.passes, actions.reads, actions.lines_driven) == (2, 2, 5)
    assert (actions.conversions, actions.shift_adds) == (6, 3)
    assert actions.additions == 5 + 3  # the sum of inputs, and its subtraction
    assert (actions.pulses_in_sequence, actions.conversions_in_sequence) == (2, 2)


def test_bits_of_inputs_are_passes() -> None:
    """4 bits with a sign: planes of 1, 2 and 4; the codes 7 and 5 have the bits 111 and 101."""
    inputs = {"kind": "bit_serial", "bits": 4}
    x = torch.tensor([[7.0, -5.0, 0.0]]) / 7
    counted = count(torch.ones(2, 3), x, chip(inputs=inputs), exact=False)
    (actions,) = counted.actions
    assert (actions.passes, actions.lines_driven, actions.squared_drive) == (3, 5, 5)
    assert (actions.conversions, actions.shift_adds, actions.bits_in) == (6, 4, 3 * 4)
    twice = count(torch.ones(2, 3), x, chip(inputs=inputs | {"passes": 2}), exact=False).actions[0]
    assert (twice.passes, twice.lines_driven, twice.conversions) == (6, 5, 12)


def test_a_dac_drives_a_line_with_the_square_of_its_level() -> None:
    x = torch.tensor([[7.0, -3.0, 0.2]]) / 7
    counted = count(torch.ones(2, 3), x, chip(inputs={"kind": "levels", "bits": 4}), exact=False)
    assert counted.actions[0].squared_drive == pytest.approx(1 + 9 / 49)
    assert counted.actions[0].lines_driven == 2
    assert counted.siemens[0] == pytest.approx((1 + 9 / 49) * 220e-6)


def test_pulses_code_an_input_in_phases() -> None:
    """8 bits in phases of 4: 7 pulses each and one at the start; a line is charged once per bit, and once more."""
    cost = {"coding": "pulses", "bits_per_phase": 4}
    spec = chip(inputs={"kind": "levels", "bits": 8}, cost=cost)
    (actions,) = count(torch.ones(2, 3), torch.tensor([[1.0, -0.5, 0.0]]), spec, exact=False).actions
    assert (actions.passes, actions.lines_driven, actions.lines_charged) == (2, 4, 2 * 2 * 5)
    assert (actions.pulses, actions.pulses_in_sequence, actions.conversions) == (4 * 8, 14, 4)
    assert actions.integrations == 4 * 7
    assert actions.squared_drive == pytest.approx(14 * (1 + 64 / 127), rel=1e-6)
    signs = count(torch.ones(2, 3), torch.ones(1, 3), spec).actions[0]
    assert (signs.pulses, signs.lines_charged, signs.pulses_in_sequence) == (6, 6, 1)


def test_a_width_codes_an_input_in_one_pulse() -> None:
    spec = chip(inputs={"kind": "levels", "bits": 4}, cost={"coding": "width"})
    (actions,) = count(torch.ones(2, 3), torch.tensor([[7.0, -3.0, 0.0]]) / 7, spec, exact=False).actions
    assert actions.squared_drive == pytest.approx(1 + 3 / 7)
    assert (actions.pulses, actions.lines_charged, actions.pulses_in_sequence) == (2, 2, 1)


def test_tiles_that_are_not_full_and_rows_that_are_read_in_turn() -> None:
    """7 inputs on tiles of 4 rows and 4 columns: 4 + 3 rows, outputs 2 + 1 of column pairs."""
    weights, x = torch.ones(3, 7), torch.ones(1, 7)
    (actions,) = count(weights, x, chip(tile={"rows": 4, "cols": 4})).actions
    assert (actions.reads, actions.conversions, actions.additions, actions.lines_driven) == (4, 6, 3, 14)
    in_turn = chip(tile={"rows": 4, "cols": 4}, cost={"rows_per_read": 2})
    (actions,) = count(weights, x, in_turn).actions  # each row of tiles takes two reads
    assert (actions.reads, actions.conversions, actions.additions, actions.lines_driven) == (8, 12, 9, 14)
    assert (actions.pulses_in_sequence, actions.conversions_in_sequence) == (2, 2)


def test_lines_that_keep_their_voltage_are_charged_when_it_changes() -> None:
    x = torch.tensor([[1.0, -1.0], [1.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    spec = chip(cost={"lines": {"capacitance_F": 1e-15, "swing_V": 1.0, "returns": False}})
    (actions,) = count(torch.ones(1, 2), x, spec).actions
    assert (actions.lines_driven, actions.lines_charged) == (7, 1 + 3)
    two_passes = spec.replace("encoding", {"kind": "bnn_iii"})
    (actions,) = count(torch.ones(1, 2), x[:2], two_passes).actions
    assert actions.lines_charged == 2 + 1  # the first line is off in every second pass, the second one on in the middle


def test_adcs_convert_the_bit_lines_that_share_them_in_turn() -> None:
    spec = chip(tile={"rows": 8, "cols": 12}, cost={"converter": {"kind": "sar", "columns": 6}})
    (actions,) = count(torch.ones(5, 3), torch.ones(2, 3), spec).actions
    assert actions.conversions_in_sequence == 2 * 3  # 5 column pairs on 2 ADCs, two vectors


class Net(nn.Module):
    """A digital layer, signs, a convolution with padding and stride, and a layer that stays digital."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.sign = Conv2d(1, 2, 3), SignActivation()
        self.conv = Conv2d(2, 3, 3, "sign", stride=2, padding=1)
        self.last = Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.conv(self.sign(self.first(x))).flatten(1))


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return Net().eval()


DIGITAL = {"policy": {"float": "digital"}}


def test_a_convolution_counts_positions_and_padding_drives_nothing(net: Net) -> None:
    """A 4 x 4 map with a padding of 1 and a stride of 2: 4 positions of 18 inputs, of which 10 or 20 are padding."""
    x = torch.randn(5, 1, 6, 6)
    analog = imc.map_model(net, chip(tile={"rows": 64, "cols": 8}, **DIGITAL), chips=2)
    first, conv, last = count_actions(analog, x)
    assert [each.layer for each in (first, conv, last)] == ["first", "conv", "last"]
    inside = 2 * (2 * 2 + 2 * 3 * 2 + 3 * 3)  # channels x entries of the map in the windows of the four positions
    assert conv.actions[0].vectors == 4
    assert conv.actions[0].lines_driven == inside == conv.actions[0].squared_drive
    assert conv.actions[0].operations == 2 * 4 * 18 * 3
    assert first.actions[0].multiply_adds == 16 * 9 * 2
    assert last.actions[1].multiply_adds == 12 * 4
    assert analog._reads == 0  # counting is no read of the model


@pytest.mark.parametrize("returns", [True, False])
def test_padding_is_an_input_of_zero(net: Net, returns: bool) -> None:
    """TNN III drives a line where x = 0 in its first pass, so that padding drives it too."""
    lines = {"capacitance_F": 1e-15, "swing_V": 1.0, "returns": returns}
    spec = chip(encoding={"kind": "tnn_iii"}, tile={"rows": 64, "cols": 8}, cost={"lines": lines}, **DIGITAL)
    conv = count_actions(imc.map_model(net, spec), torch.randn(3, 1, 6, 6))[1].actions[0]
    inside = 2 * (2 * 2 + 2 * 3 * 2 + 3 * 3)
    positive = conv.lines_driven - (4 * 18 - inside)
    assert 0 < positive < inside
    assert conv.squared_drive == conv.lines_driven
    assert (conv.lines_charged == conv.lines_driven) == returns


def test_copies_of_tiles_share_the_positions(net: Net) -> None:
    spec = chip(tile={"rows": 64, "cols": 8}, cost={"replicas": {"conv": 3}}, **DIGITAL)
    conv = count_actions(imc.map_model(net, spec), torch.randn(2, 1, 6, 6))[1].actions[0]
    assert (conv.vectors, conv.pulses_in_sequence) == (4, 2)


def test_a_network_of_any_modules_counts_as_one_of_layers(net: Net) -> None:
    """The products of torch calls are the same actions as those of layers with the same weights."""

    class Foreign(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.conv, self.last = nn.Conv2d(1, 2, 3), nn.Conv2d(2, 3, 3, 1, 1), nn.Linear(12, 4)

        def forward(self, x: Tensor) -> Tensor:
            signs = torch.where(self.first(x) >= 0, 1.0, -1.0)
            return self.last(nn.functional.conv2d(signs, self.conv.weight, stride=2, padding=1).flatten(1))

    foreign = Foreign().eval()
    with torch.no_grad():
        for name in ("first", "last"):
            getattr(foreign, name).load_state_dict(getattr(net, name).state_dict())
        foreign.conv.weight.copy_(net.conv.weight_operand())
    x = torch.randn(4, 1, 6, 6)
    spec = chip(tile={"rows": 64, "cols": 8}, **DIGITAL)
    own = count_actions(imc.map_model(net, spec), x)
    other = count_actions(imc.map_model(foreign, spec, inputs=x), x)
    (conv,) = [each for each in other if each.layout is not None]
    assert conv.actions == own[1].actions
    assert conv.siemens == pytest.approx(own[1].siemens)
    rest = sum(each.actions[0].multiply_adds for each in other)
    assert rest == sum(each.actions[0].multiply_adds for each in own)


def test_sparse_inputs_take_their_spikes() -> None:
    weights, spikes = torch.ones(3, 6), torch.zeros(4, 6)
    assert count(weights, spikes, chip()).siemens == (0.0,)
    spikes[1, 2] = spikes[3, 0] = 1.0
    counted = count(weights, spikes, chip())
    assert counted.actions[0].lines_driven == 2
    assert counted.siemens == (pytest.approx(2 * 3 * 110e-6),)


VERIFIED = {"programming": {"kind": "relative", "sigma": 0.2}, "verify": {"tolerance": 0.1, "max_pulses": 9}}


@pytest.mark.parametrize("device", [{}, VERIFIED])
def test_a_key_memory_counts_searches_and_writes(device: dict[str, Any]) -> None:
    spec = chip(device=CELLS["device"] | device | {"time": {"t_s": 25.0, "refresh_s": 10.0}})
    memory = imc.AssociativeMemory(spec, dim=6, chips=3)
    memory.write(torch.randn(5, 6).sign(), torch.arange(5))
    counted = count_search(memory, torch.randn(7, 6).sign())
    assert [each.vectors for each in counted.actions] == [1, 1, 1]
    assert [each.conversions for each in counted.actions] == [5 * 1, 5, 5]
    assert [each.cells for each in counted.programming] == [2 * 5 * 6] * 3
    assert [each.pulses for each in counted.programming] == memory.write_pulses().tolist()
    verified = [each.pulses if device else 0 for each in counted.programming]
    assert [each.verify_reads for each in counted.programming] == verified
    assert min(each.pulses for each in counted.programming) >= 3 * 60  # written, and two refreshes


def test_refreshes_of_read_disturb_rewrite_the_cells_in_lrs() -> None:
    """Every column pair has one cell in LRS, 30 of 60 cells."""
    disturb = {"reads": 10**6, "refresh": {"kind": "cells", "tolerance": 0.05}}
    spec = chip(device=CELLS["device"] | {"disturb": disturb, "time": {"t_s": 25.0, "refresh_s": 10.0}})
    refreshes = spec.device.wear.refreshes
    assert refreshes > 1
    memory = imc.AssociativeMemory(spec, dim=6)
    memory.write(torch.randn(5, 6).sign(), torch.arange(5))
    pulses = 3 * 60 + refreshes * 30
    assert count_search(memory, torch.ones(1, 6)).programming[0].pulses == pulses == int(memory.write_pulses())


def test_keys_of_each_chip_are_its_own() -> None:
    memory = imc.AssociativeMemory(chip(encoding={"kind": "unipolar"}), dim=4, chips=2, form="binary")
    keys = torch.tensor([[[1.0, 1, 1, 1]], [[-1.0, -1, -1, 1]]])
    memory.write(keys, torch.arange(1))
    counted = count_search(memory, torch.ones(1, 4))
    assert counted.siemens == (pytest.approx(4 * 100e-6), pytest.approx(100e-6 + 3 * 10e-6))


@pytest.mark.parametrize(
    ("change", "siemens"),
    [
        (lambda spec: spec.replace("draws", "pairs"), 220e-6),
        (lambda spec: spec.replace("device.time", {"t_s": 10.0, "drift": {"nu": 0.1, "t0_s": 1.0}}), 220e-6 * 10**-0.1),
        (lambda spec: spec.replace("wires", {"kind": "nodal", "r_source_ohm": 1e3}), 220e-6 / 1.22),
    ],
)  # fmt: skip
def test_conductances_are_those_of_aged_cells_and_wires(change: Callable[[Chip], Chip], siemens: float) -> None:
    spec = change(chip(device=CELLS["device"] | {"programming": {"kind": "relative", "sigma": 1e-9}}))
    counted = count(torch.ones(2, 1), torch.ones(1, 1), spec)
    assert counted.siemens == (pytest.approx(siemens, rel=1e-3),)


def test_counting_changes_no_result_and_depends_on_no_batch(net: Net) -> None:
    noisy = CELLS["device"] | {"read": {"sigma": 0.1}, "programming": {"kind": "relative", "sigma": 0.1}}
    spec = chip(device=noisy, tile={"rows": 64, "cols": 8}, **DIGITAL)
    x = torch.randn(6, 1, 6, 6)
    plain, counted = (imc.map_model(net, spec, chips=2, seed=3) for _ in range(2))
    whole = count_actions(counted, x)[1]
    assert torch.equal(plain(x), counted(x))
    each = [count_actions(counted, part)[1] for part in x.split(2)]
    for chip_number in range(2):
        mean = sum((part.actions[chip_number] for part in each), Actions())
        assert whole.actions[chip_number].lines_driven == pytest.approx(mean.lines_driven / 3)
        assert whole.siemens[chip_number] == pytest.approx(sum(part.siemens[chip_number] for part in each) / 3)


def test_counting_needs_inputs_and_the_native_backend(net: Net) -> None:
    analog = imc.map_model(net, chip(tile={"rows": 64, "cols": 8}, **DIGITAL))
    with pytest.raises(InputError, match="no samples"):
        count_actions(analog, torch.zeros(0, 1, 6, 6))
    with pytest.raises(InputError, match="Call write first"):
        count_search(imc.AssociativeMemory(chip(), dim=4), torch.ones(1, 4))


def test_actions_add_up() -> None:
    one = Actions(**{each.name: 1.0 + n for n, each in enumerate(dataclasses.fields(Actions))})
    assert (one + one).values() == tuple(2 * value for value in one.values())
    assert Counted("layer", (one,) * 7, (0.0,) * 7).mean == one
    assert one.bits == one.bits_in + one.bits_out
