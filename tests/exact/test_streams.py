"""Golden values of every random stream: stored results can be repeated only as long as these numbers stay.

The raw words are compared to the bit, what is made of them to 1e-4, which the tails of a law may move. A change of a
number here changes every result that was ever stored: raise the schema of results instead of adapting the number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from imc_sim._rng import Stream
from imc_sim.array import Chip, Crossbar
from imc_sim.array._telegraph import Traps
from imc_sim.config import build
from imc_sim.data import EpisodeShape, pixel_order, sample_episodes
from imc_sim.evaluate._labelled import drawn_rows
from imc_sim.evaluate._memory_keys import projected
from imc_sim.nn import BinaryActivation
from imc_sim.nn.neurons import Draws, draw_neurons
from imc_sim.train._augment import flip_crop
from imc_sim.train._boosting import bagged_rows, shuffled
from imc_sim.train._cells import CellArray, Cells

#: seed, layer, stage, chip, epoch, block -> the first words, and the first uniform and normal number
WORDS = [
    ((0, "crossbar", "programming", 0, 0, 0), [59776, 48318, 44117, 57388], 0.7372881174087524, 1.35392),
    ((1, "crossbar", "programming", 0, 0, 0), [52341, 48713, 54941, 285], 0.7433135509490967, 0.83688),
    ((0, "conv1", "programming", 0, 0, 0), [21296, 30354, 38757, 29569], 0.46317026019096375, -0.45388),
    ((0, "crossbar", "read", 0, 0, 0), [10125, 35882, 51097, 16856], 0.547518253326416, -1.01732),
    ((0, "crossbar", "programming", 7, 0, 0), [43919, 60654, 42633, 64762], 0.9255168437957764, 0.44036),
    ((0, "crossbar", "programming", 0, 3, 0), [34313, 63412, 30211, 36775], 0.9675983190536499, 0.05915),
    ((0, "crossbar", "programming", 0, 0, 5), [49159, 35617, 42491, 15576], 0.5434837341308594, 0.67486),
    (
        (12345, "features.3", "drift", 2**32 + 4, 2**32 + 1, 2**40),
        [64574, 829, 46333, 42294],
        0.012664586305618286,
        2.17887,
    ),
]


@pytest.mark.parametrize(("address", "words", "uniform", "normal"), WORDS, ids=lambda value: str(value))
def test_words_of_an_address(address: tuple[Any, ...], words: list[int], uniform: float, normal: float) -> None:
    stream, place = Stream(*address[:3]), address[3:]
    assert stream.words(4, *place).tolist() == words
    assert stream.uniform(2, *place).tolist()[0] == uniform
    assert float(stream.normal(2, *place)[0]) == pytest.approx(normal, rel=1e-4)


def test_uniform_numbers_are_above_0_and_below_1(monkeypatch: pytest.MonkeyPatch) -> None:
    for word, wanted in ((0, 2.0**-25), (0xFFFF, 1 - 2.0**-24)):
        monkeypatch.setattr(Stream, "words", lambda *_, word=word: np.full(4, word, np.uint16))
        assert Stream(0, "", "").uniform(2, 0).tolist() == [wanted] * 2


# -- what the package samples with them ----------------------------------------------------------------------

LAW = {"kind": "relative", "sigma": 0.3}
AT = {"seed": 11, "layer": "conv", "epoch": 2}


def cells(**device: Any) -> Crossbar:
    """Program chip 4 of chips 3 and 4: 2 x 3 weights in differential pairs, on tiles of 2 x 2 cells."""
    device = {"g_lrs_S": 1e-4, "g_hrs_S": 1e-5, **device}
    spec = build(Chip, {"device": device, "tile": {"rows": 2, "cols": 2}}, "chip")
    return Crossbar.program(torch.tensor([[1.0, -1, 1], [-1, -1, 1]]), spec, chips=range(3, 5), **AT)


def conductances(**device: Any) -> list[float]:
    """Return those of the six cells of the second output, in uS."""
    device = {"g_lrs_S": 1e-4, "g_hrs_S": 1e-5, **device}
    return (cells(**device).plan.siemens(cells(**device).cells(1))[1].flatten() * 1e6).tolist()


def noise(**read: Any) -> list[float]:
    """Return two outputs of the third read of chip 4, less those without noise."""
    x = torch.ones(4, 3)
    return (cells(read=read).mvm(x) - cells().mvm(x))[1, 2].tolist()


DEVICES: list[tuple[str, dict[str, Any], Sequence[float]]] = [
    ("programming", {"programming": LAW}, [5.85431, 14.7117, 110.411, 61.6621, 148.497, 5.26013]),
    (
        "programming again",
        {"programming": LAW, "time": {"t_s": 25.0, "refresh_s": 10.0}},
        [19.5006, 7.18601, 101.184, 41.565, 110.465, 9.09278],
    ),
    ("stuck", {"faults": {"stuck_lrs": 0.3, "stuck_hrs": 0.3}}, [10, 10, 10, 10, 100, 100]),
    ("dead", {"faults": {"cell_yield": 0.5}}, [0, 10, 100, 100, 0, 0]),
    ("failure", {"faults": {"failure": 0.5}}, [10, 10, 100, 100, 100, 10]),
    ("undefined", {"faults": {"failure": 0.5, "failure_state": "undefined"}}, [10, 10, 100, 100, 100, 15.1354]),
    (
        "relaxation",
        {"time": {"t_s": 10.0, "relaxation": {"kind": "logarithmic", "sigma_S": 1e-6}}},
        [9.87789, 12.1557, 101.173, 99.5292, 101.318, 11.3139],
    ),
    (
        "relaxation by state",
        {
            "time": {
                "t_s": 10.0,
                "relaxation": {
                    "kind": "by_state",
                    "states_S": [1e-5, 1e-4],
                    "tail": [0.0, 0.5],
                    "sigma_S": 1e-6,
                    "shift_S": [0.0, -1e-6],
                },
            }
        },
        [9.87789, 12.1557, 99.1872, 97.1103, 98.0958, 11.3139],
    ),
    (
        "drift",
        {"time": {"t_s": 1e3, "drift": {"nu": 0.05, "nu_std": 0.02}}},
        [7.75369, 7.4195, 69.7553, 69.802, 74.9588, 8.38959],
    ),
    (
        "cycle to cycle",
        {
            "programming": LAW,
            "cycle_to_cycle": {"share": 0.5, "correlation": 0.3},
            "time": {"t_s": 25.0, "refresh_s": 10.0},
        },
        [8.10791, 9.63264, 94.4615, 141.294, 153.829, 11.669],
    ),
    (
        "worn out",
        {"endurance": {"cycles": 1e6, "life_cycles": 1e6, "failed_at": "lrs"}},
        [10.0, 10.0, 100.0, 100.0, 100.0, 100.0],
    ),
    (
        "closed window",
        {"endurance": {"cycles": 1e6, "lrs_exponent": -0.02, "hrs_exponent": 0.05}},
        [19.9526, 19.9526, 75.8578, 75.8578, 75.8578, 19.9526],
    ),
    ("chip to chip", {"correlated": {"chip": 0.2}}, [9.69347, 9.69347, 96.9347, 96.9347, 96.9347, 9.69347]),
    ("gradient", {"correlated": {"gradient": 0.2}}, [10.7034, 9.92739, 104.142, 100.726, 92.9663, 9.42688]),
]


@pytest.mark.parametrize(("device", "wanted"), [case[1:] for case in DEVICES], ids=[case[0] for case in DEVICES])
def test_cells_of_every_effect_have_their_golden_values(device: dict[str, Any], wanted: Sequence[float]) -> None:
    assert conductances(**device) == pytest.approx(wanted, rel=1e-4)


DRAWS: list[tuple[str, Callable[[], Sequence[float]], Sequence[float]]] = [
    ("read noise", lambda: noise(sigma=0.1), [-0.0817676, 0.0238791]),
    ("traps", lambda: noise(telegraph={"probability": 0.5, "amplitude": 0.2, "spread": 0.3}), [0.059652, -0.220224]),
    ("pulses", lambda: _pulses(), [4, 8, 13, 3, 2, 9]),
    ("pairs", lambda: _pairs(), [0.62915, -1.41162, 1.67383]),
    ("neurons", lambda: _neurons(3), [1, 0, 0, 0, 1, 0, 1, 1]),
    ("digital neurons", lambda: _neurons(-1), [1, 0, 0, 0, 0, 0, 1, 0]),
    ("cells, rounding", lambda: _trained(levels=101), [0.04, 0.02, 0.04, 0.04]),
    ("cells, pulses", lambda: _trained(noise=0.5), [0.0140667, 0.0288871, 0.0233358, 0.020323]),
    ("cells, speeds", lambda: _trained(spread=0.5), [0.0314628, 0.0358543, 0.0169225, 0.0233699]),
    (
        "augment",
        lambda: flip_crop(torch.arange(64.0).reshape(1, 1, 8, 8), 5, 2, 3)[0, 0, 4].tolist(),
        [0, 0, 0, 8, 9, 10, 11, 12],
    ),
    ("episodes", lambda: _episodes(), [12, 4, 3, 0, 5, 0, 3, 3, 4, 0]),
    ("images", lambda: drawn_rows(1000, 4, 5).tolist(), [196, 360, 395, 623]),
    ("projection", lambda: projected(torch.ones(1, 3), 2, 5)[0].tolist(), [-0.618242, -0.385877]),
    ("pixels", lambda: pixel_order(64, 5)[:4].tolist(), [34, 28, 18, 5]),
    ("bagging", lambda: bagged_rows(9, 5, 2).tolist(), [3, 6, 4, 3, 0, 6, 1, 8, 4]),
    ("order of a member", lambda: shuffled(np.arange(9), 5, 3, 2).tolist(), [8, 0, 3, 6, 7, 2, 1, 4, 5]),
]


@pytest.mark.parametrize(("draw", "wanted"), [case[1:] for case in DRAWS], ids=[case[0] for case in DRAWS])
def test_other_samples_have_their_golden_values(draw: Callable[[], Sequence[float]], wanted: Sequence[float]) -> None:
    assert draw() == pytest.approx(wanted, rel=1e-4)


def _pulses() -> list[float]:
    verify = {"tolerance": 0.05, "max_pulses": 30}
    return cells(programming=LAW, verify=verify).pulses(1)[1].flatten().tolist()


def _pairs() -> list[float]:
    device = {"g_lrs_S": 1e-4, "g_hrs_S": 1e-5, "programming": LAW}
    spec = build(Chip, {"device": device, "draws": "pairs"}, "chip")
    return Crossbar.program(torch.tensor([[1.0, -1, 1]]), spec, chips=range(3, 5), **AT).ideal.matrix(1)[0].tolist()


def _neurons(chip: int) -> list[float]:
    """Tell which of 8 neurons with probability 1/2 fire for image 6."""
    neuron = BinaryActivation(stochastic=True).eval()
    draw_neurons([("act", neuron)], Draws(11, chip, first=6))
    return neuron(torch.zeros(1, 8))[0].tolist()


def _trained(**effects: Any) -> list[float]:
    """Return four weights after a second step of 0.013, in the third phase."""
    from imc_sim.nn import Linear

    layer = Linear(4, 1, "latent", bias=False)
    layer.weight.data = torch.zeros(1, 4)
    model, optimizer = torch.nn.Sequential(layer), torch.optim.SGD(layer.parameters(), 1.0)
    array = CellArray(model, Cells(**effects), 11)
    array.phase = 2
    array.attach(optimizer)
    for _ in range(2):
        layer.weight.grad = torch.full((1, 4), -0.013)
        optimizer.step()
    return layer.weight.detach()[0].tolist()


def _episodes() -> list[int]:
    e = sample_episodes((20, 6), EpisodeShape(way=3, shot=1, queries=1), range(7, 8), seed=5, rotations=True)
    return [*e.classes[0].tolist(), *e.support.flatten().tolist(), *e.query.flatten().tolist(), int(e.rotation[0])]


@pytest.mark.parametrize(("traps", "per_read", "occupancy"), [(1, 1, 0.5), (5, 3, 0.1), (32, 7, 0.9), (13, 1, 1.0)])
def test_compiled_traps_have_the_bits_of_the_other_path(traps: int, per_read: int, occupancy: float) -> None:
    """Several reads and terms; neither the number of traps nor that of sums has to fill a Philox block."""
    pytest.importorskip("numba")
    generator = torch.Generator().manual_seed(traps)
    places = torch.randint(0, 9, (11, 2, traps), generator=generator)
    steps = torch.randn(3, 11, 2, 3, traps, generator=generator)
    tile = Traps(places, steps, occupancy, torch.tensor([10] * 10))
    x = torch.randn(4 * per_read, 9, generator=generator)
    arguments = x, Stream(3, "l", "telegraph"), (2, 1, 5), per_read
    assert torch.equal(tile._compiled_changes(*arguments), tile._changes(*arguments))
    u = torch.zeros(len(x), 60)
    tile.add_to(u, *arguments)
    change = tile._changes(*arguments)
    assert torch.equal(u, (change[:, :10] - change[:, 10:]).flatten(1))
