"""Details of evaluations: what caches identify data by, which samples an image gets, what calibration may not see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from imc_sim.analog import AssociativeMemory
from imc_sim.array import Chip, Crossbar, load_chip
from imc_sim.config import build
from imc_sim.evaluate import (
    ChipResult,
    ClassificationTask,
    FewShotTask,
    Pgd,
    Session,
    _card,
    _few_shot,
    _sampled_chips,
    features_of,
)
from imc_sim.evaluate._attacked_queries import attacked_episodes, attacked_features
from imc_sim.evaluate._calibration import calibration_keys
from imc_sim.evaluate._converter_inputs import _Probe
from imc_sim.evaluate._sensitivity import LayerAccuracy
from imc_sim.evaluate._session import episodes_key, features_key, images_key
from imc_sim.mapping import map_model
from imc_sim.nn import BinaryActivation, Linear
from imc_sim.nn.networks import BatmannController
from imc_sim.nn.store import Arch, ModelCard, save_model

EFFECTS = {
    "programming": {"kind": "relative", "sigma": 0.5},
    "read": {"sigma": 0.2, "nonlinearity_per_V": 0.0},
    "correlated": {"chip": 0.2},
    "time": {"t_s": 1e4, "drift": {"nu": 0.1, "nu_std": 0.05}},
}


def chip(effects: bool = False, **more: Any) -> Chip:
    device = {"g_lrs_S": 1e-4, "g_hrs_S": 1e-5, "levels": 16, **(EFFECTS if effects else {})}
    wires = {"kind": "nodal", "r_row_ohm": 5.0, "r_col_ohm": 5.0} if effects else {}
    data = {
        "device": device, "wires": wires, "tile": {"rows": 16, "cols": 16}, "policy": {"float": "crossbar"},
        "encoding": {"kind": "differential"}, "encoding_multibit": {"kind": "differential"},
    }  # fmt: skip
    return build(Chip, data | more, "chip")


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# -- what caches identify data by --------------------------------------------------------------------------

#: settings of a few-shot task that decide its images and episodes, each with another value
IMAGES = {
    "dataset": "digits", "split": "train", "way": 6, "shot": 2, "queries": 3, "episodes": 7, "classes": 9,
    "instances": 8, "seed": 1, "rotations": False, "size": 28, "scaling": "unit", "passes": "episodes",
}  # fmt: skip
READ_OUT = {
    "keys": "binary", "query_form": "float", "similarity": "cosine", "sharpening": "softmax", "prototypes": "mean",
    "threshold": "support_mean", "dim": 64, "attack": {"kind": "fgsm"},
}  # fmt: skip


def few_shot(**changes: Any) -> FewShotTask:
    return build(FewShotTask, changes, "task")


def test_cached_episodes_are_identified_by_every_setting_that_decides_them() -> None:
    known = [episodes_key(few_shot())]
    assert {*IMAGES, *READ_OUT, "batch", "kind"} == set(FewShotTask.model_fields)
    for name, value in READ_OUT.items():
        assert episodes_key(few_shot(**{name: value})) in known, name
    for name, value in IMAGES.items():
        key = episodes_key(few_shot(**{name: value}))
        assert key not in known, name
        known.append(key)
    assert features_key(few_shot(batch=10)) != features_key(few_shot())


def test_cached_images_are_identified_by_every_setting_that_decides_them() -> None:
    images = {
        "dataset": "mnist", "split": "train", "images": 7, "seed": 1, "scaling": "unit", "size": 20,
        "permutation": 3, "pad": 36, "features": "f", "classes": (0, 1), "offset": 2,
    }  # fmt: skip
    base = images_key(ClassificationTask(dataset="digits"))
    wanted = {k: v for k, v in images.items() if k in ClassificationTask.model_fields}
    assert len(wanted) >= 6
    for name, value in wanted.items():
        task = ClassificationTask.model_construct(**{**ClassificationTask(dataset="digits").__dict__, name: value})
        assert images_key(task) != base, name


#: (model, attack, key form) of calls whose kept objects must not be those of one another
CALLS = [
    (0, {"epsilon": 0.1}, "bipolar"), (1, {"epsilon": 0.1}, "bipolar"), (0, {"epsilon": 0.2}, "bipolar"),
    (0, {"epsilon": 0.1, "loss": "memory"}, "bipolar"), (0, {"epsilon": 0.1, "space": "normalised"}, "bipolar"),
    (0, {"epsilon": 0.1, "loss": "memory"}, "binary"),
]  # fmt: skip


def test_a_session_gives_what_a_fresh_one_gives(tmp_path: Path) -> None:
    """Of every model, attack and form: attacked images, features and keys that are kept from call to call."""
    args = {"kind": "xnor", "width": 4, "dim": 16, "size": 32}
    for seed in (0, 1):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            card = ModelCard(name=f"m{seed}", summary="t", arch=Arch(name="batmann", args=args))
            save_model(tmp_path / f"m{seed}", BatmannController(**args), card)
    shape = {
        "dataset": "glyphs",
        "split": "test",
        "way": 3,
        "queries": 1,
        "episodes": 2,
        "rotations": False,
        "size": 32,
    }
    calibrated = load_chip("rram_hfo2_1t1r").replace("converter", {"kind": "auto", "range": "calibrated"})

    def found(session: Session, model: int, attack: dict[str, Any], keys: str) -> list[Tensor]:
        name, task = str(tmp_path / f"m{model}"), few_shot(**shape, keys=keys, attack={"kind": "fgsm", **attack})
        known = calibration_keys(session, name, calibrated, task)
        assert known is not None
        images = attacked_episodes(session, name, task).images
        return [images, attacked_features(session, name, task), session.features(name, task), *known]

    shared = Session()
    once = [found(shared, *call) for call in CALLS]
    for call, first in zip(CALLS, once, strict=True):
        for session in (shared, Session()):
            assert all(torch.equal(a, b) for a, b in zip(found(session, *call), first, strict=True)), call
    assert len({str(each[0].tolist()) for each in once[:5]}) == 5


# -- samples -----------------------------------------------------------------------------------------------


def test_an_image_has_the_same_neurons_in_any_batch() -> None:
    network = nn.Sequential(nn.Flatten(), BinaryActivation(stochastic=True)).eval()
    images = torch.zeros(7, 1, 5, 5)
    whole = features_of(network, images, 7)
    assert torch.equal(features_of(network, images, 3), whole)
    assert len(torch.unique(whole, dim=0)) == 7


def test_neurons_on_chips_sample_by_the_seed_of_the_chips() -> None:
    network = nn.Sequential(Linear(8, 40, "float"), BinaryActivation(stochastic=True)).eval()
    found = [map_model(network, chip(), chips=2, seed=seed)(torch.zeros(1, 8)) for seed in (0, 0, 1)]
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert not torch.equal(found[0][0], found[0][1])


def test_an_attack_is_transferred_from_another_chip(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers: list[int] = []
    make = _sampled_chips.map_model

    def recorded(network: nn.Module, spec: Chip, chips: range, *args: Any, **options: Any) -> Any:
        numbers.extend(chips)
        return make(network, spec, chips, *args, **options)

    monkeypatch.setattr(_sampled_chips, "map_model", recorded)
    for transfer, count in (("chip", 2), ("none", 1)):
        numbers.clear()
        attack = {"kind": "fgsm", "through": "analog", "transfer": transfer}
        task = few_shot(dataset="glyphs", split="test", way=2, queries=1, episodes=1, rotations=False, attack=attack)
        task = task.model_copy(update={"size": 32})
        chips = _sampled_chips.SampledChips(load_chip("rram_hfo2_1t1r"), range(3, 4), 0)
        _few_shot.on_chips(Session.on("cpu"), "batmann_small_xnor", task, chips)
        assert len(set(numbers)) == count
        assert numbers[-1] == 3  # the evaluated chip
        assert all(n == 3 or n >= 2**32 for n in numbers)  # no chip of a study is used to attack another


# -- calibration -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [4, 8])
def test_limits_of_layers_are_those_of_cells_without_effects(bits: int) -> None:
    network = nn.Sequential(Linear(40, 6, "float"), nn.ReLU(), Linear(6, 3, "float")).eval()
    settings = {
        "converter": {"kind": "auto", "bits": bits, "range": "calibrated"}, "inputs": {"kind": "levels", "bits": bits},
    }  # fmt: skip
    limits = [
        map_model(network, chip(on, **settings), chips=range(2, 4)).calibrate(noise(9, 40)) for on in (False, True)
    ]
    assert limits[0]
    assert limits[0] == limits[1]


@pytest.mark.parametrize("scales", [(1.0, 0.1), (0.1, 1.0)])
def test_a_layer_used_again_has_the_limits_of_its_largest_input(scales: tuple[float, float]) -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = Linear(8, 8, "float")

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(scales[0] * x) + self.layer(scales[1] * x)

    analog = map_model(Twice().eval(), chip(inputs={"kind": "levels", "bits": 6}))
    x = noise(5, 8)
    analog.calibrate(x)
    (layer,) = analog.analog_layers.values()
    assert layer.input_limit == pytest.approx(float(x.abs().max()), rel=1e-6)


def test_queries_are_limited_by_their_magnitude() -> None:
    memory = AssociativeMemory(chip(inputs={"kind": "levels", "bits": 6}), dim=12, form="float")
    queries = -noise(4, 12).abs()
    memory.calibrate(noise(3, 12, seed=1), queries)
    assert memory.input_limit == float(queries.abs().max())


@pytest.mark.parametrize("levels", [2, 16])
def test_adc_inputs_are_in_ampere(levels: int) -> None:
    spec = chip(converter={"kind": "auto", "bits": 6, "range": "max"}).replace("device.levels", levels)
    bar, x = Crossbar.program(noise(4, 12), spec), noise(6, 12, seed=1).sign()
    probe = _Probe(bar, 6, 0, ideal=False)
    probe.profile(lambda rows: x[:, rows])
    currents = bar.currents(x)
    assert probe.edges[0] == pytest.approx(float(currents.min()), rel=1e-6)
    assert probe.edges[-1] == pytest.approx(float(currents.max()), rel=1e-6)
    found = probe.result("layer").levels
    assert found is not None
    # 16 word lines at the read voltage on cells in LRS, less those in HRS
    assert found.last_A == pytest.approx(16 * 0.2 * 9e-5, rel=1e-6)


# -- numbers -----------------------------------------------------------------------------------------------


def test_a_band_holds_nine_tenths() -> None:
    low, high = LayerAccuracy("x", tuple(np.linspace(0, 1, 101)), 1.0).band()
    assert low == pytest.approx(0.05, abs=0.011)
    assert high == pytest.approx(0.95, abs=0.011)


@pytest.mark.parametrize(("settings", "wanted"), [({"steps": 10}, 0.025), ({"steps": 4}, 0.0625), ({"step": 0.3}, 0.3)])
def test_steps_of_pgd_reach_beyond_epsilon(settings: dict[str, Any], wanted: float) -> None:
    """2.5 epsilon / steps (Madry et al., 2018), unless the step is given."""
    assert Pgd(epsilon=0.1, **settings).step_size == pytest.approx(wanted, rel=1e-12)


# -- what an interval over chips is about ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "varies"),
    [
        ({}, False),
        ({"encoding.kind": "bnn_vi"}, False),
        ({"converter.kind": "auto"}, False),
        ({"device.programming.sigma": 0.1}, True),
        ({"device.faults.stuck_hrs": 0.1}, True),
        ({"device.read.sigma": 0.1}, True),
        ({"device.read.bandwidth_Hz": 1e6}, True),
        ({"device.time": {"t_s": 10.0, "drift": {"nu": 0.1, "nu_std": 0.05}}}, True),
    ],
)
def test_an_accuracy_is_exact_where_no_chip_and_no_read_differs(
    settings: dict[str, Any], varies: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equal scores of chips that do not differ have no interval; those of chips that do differ say little."""
    spec = load_chip("ideal")
    for path, value in settings.items():
        spec = spec.replace(path, value)
    monkeypatch.setattr(_card, "evaluate_chips", lambda *_, **__: [ChipResult(n, 9, 10, 0.0) for n in range(4)])
    row = _card._on_chips("batmann_small_xnor", {}, spec, 4, 0, None)
    assert row.accuracy == 0.9
    assert (row.low < 0.9 < row.high) is varies
    assert (row.low == 0.9 == row.high) is not varies
    assert row.over == "4 chips, all equal"
