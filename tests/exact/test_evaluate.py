"""Few-shot evaluation: the ideal chip is the digital network, chips are independent, trained cards are measured."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from imc_sim import InputError
from imc_sim.array import load_chip
from imc_sim.config import build, read_yaml, write_yaml
from imc_sim.evaluate import (
    FewShotData,
    FewShotTask,
    batch_chips,
    chips_vary,
    digital_accuracy,
    evaluate_card,
    evaluate_chips,
    few_shot_accuracy,
    weights_digest,
)
from imc_sim.evaluate._session import Session
from imc_sim.mapping import bytes_per_chip
from imc_sim.nn.networks import BatmannController
from imc_sim.nn.similarity import key_form
from imc_sim.nn.store import Arch, Measured, ModelCard, load_model, save_model

TASK = {
    "dataset": "glyphs",
    "split": "test",
    "episodes": 6,
    "queries": 2,
    "classes": 8,
    "rotations": False,
    "batch": 16,
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a small untrained controller in a folder; its accuracy is above chance."""
    folder = tmp_path_factory.mktemp("models") / "small"
    args = {"kind": "xnor", "width": 12, "dim": 64, "bias_init": 0.0}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = BatmannController(**args)
    measured = Measured(task=build(FewShotTask, TASK, "t").to_dict(), accuracy=0.5, interval=(0.4, 0.6))
    card = ModelCard(name="small", summary="test", arch=Arch(name="batmann", args=args), measured=(measured,))
    save_model(folder, network, card)
    return str(folder)


def chip(**paths: object) -> dict[str, object]:
    c = load_chip("rram_hfo2_1t1r")
    for path, value in paths.items():
        c = c.replace(path.replace("__", "."), value)
    return c.to_dict()


@pytest.mark.parametrize("policy", [{}, {"memory": "digital"}, {"layers": {"*": "digital"}}])
@pytest.mark.parametrize("encoding", ["differential", "bnn_v"])
def test_ideal_chip_scores_as_the_digital_network(model: str, policy: dict[str, object], encoding: str) -> None:
    ideal = load_chip("ideal").to_dict()
    spec = ideal | {"policy": ideal["policy"] | policy, "encoding": {"kind": encoding}}
    baseline = evaluate_chips(model, None, TASK, [], 0)
    assert [(r.chip, r.total) for r in baseline] == [(-1, 6 * 5 * 2)]
    results = evaluate_chips(model, spec, TASK, [0, 1], 0)
    assert [r.correct for r in results] == [baseline[0].correct] * 2


def test_a_chip_scores_the_same_with_any_other_chips(model: str) -> None:
    spec = chip(device__programming__sigma=0.5, device__read__sigma=0.1)
    together = evaluate_chips(model, spec, TASK, range(4), 3)
    apart = evaluate_chips(model, spec, TASK, [3, 0], 3) + evaluate_chips(model, spec, TASK, [1, 2], 3)
    assert {r.chip: r.correct for r in together} == {r.chip: r.correct for r in apart}
    assert len({r.correct for r in together}) > 1


def test_each_part_of_the_policy_depends_on_its_own_cells_only(model: str) -> None:
    """A large device variation changes exactly what is on crossbars; the glob * maps every layer and no memory."""
    digital = evaluate_chips(model, None, TASK, [], 0)[0].correct

    def scores(**policy: object) -> list[int]:
        spec = chip(device__programming__sigma=1.0, device__programming__sigma_hrs=None)
        return [r.correct for r in evaluate_chips(model, spec | {"policy": spec["policy"] | policy}, TASK, range(6), 3)]  # type: ignore[operator]

    memory, layers, both = scores(layers={"*": "digital"}), scores(memory="digital"), scores()
    assert all(len(set(s)) > 1 for s in (memory, layers, both))
    assert len({tuple(s) for s in (memory, layers, both)}) == 3
    assert scores(layers={"*": "digital"}, memory="digital") == [digital] * 6


def test_stored_digital_results_give_the_interval_over_episodes(model: str) -> None:
    """Queries of one episode share their keys, so they are not independent: 6 episodes, not 60 queries."""
    (result,), accuracy = evaluate_chips(model, None, TASK, [], 0), digital_accuracy(model, TASK)
    assert result.sample is not None
    assert (result.sample.of, result.sample.count) == ("episodes", 6)
    low, high = accuracy.interval()
    assert result.sample.interval(result.accuracy) == pytest.approx((low, high))
    assert low < result.sample.interval(result.accuracy, 0.5)[0] < result.accuracy
    assert evaluate_chips(model, None, TASK | {"episodes": 1}, [], 0)[0].sample is None, (
        "one episode has no standard deviation"
    )
    assert evaluate_chips(model, chip(), TASK, [0], 0)[0].sample is None


def test_settings_that_share_their_weights_share_their_features(model: str, tmp_path: Path) -> None:
    """They are computed once for all; other weights, or the same in another architecture, are another network."""
    twin, other = (tmp_path / name for name in ("twin", "other"))
    shutil.copytree(model, twin)
    card = read_yaml(twin / "model.yaml")
    (twin / "model.yaml").write_text(write_yaml(card | {"name": "twin"}))
    shutil.copytree(model, other)
    arch = card["arch"] | {"args": card["arch"]["args"] | {"bias_init": 1.0}}
    (other / "model.yaml").write_text(write_yaml(card | {"name": "other", "arch": arch}))
    session, task = Session(), build(FewShotTask, TASK, "t")
    found = [session.features(name, task) for name in (model, str(twin), str(other))]
    assert found[0] is found[1]
    assert found[0] is not found[2]


def test_batch_size_changes_no_score(model: str) -> None:
    spec = chip(device__programming__sigma=0.3, device__read__sigma=0.1)
    scores = [[r.correct for r in evaluate_chips(model, spec, TASK | {"batch": b}, range(2), 1)] for b in (3, 50)]
    assert scores[0] == scores[1]


def test_the_read_out_is_one_episode_at_a_time(model: str) -> None:
    """The vectorised score equals a loop over episodes, keys and queries."""
    from imc_sim.nn.store import load_model

    task = build(FewShotTask, TASK | {"keys": "bipolar", "shot": 2}, "t")
    network, data = load_model(model), FewShotData.load(task)
    with torch.no_grad():
        signs = key_form(network(data.images), "bipolar")
    right = 0
    for support, query in zip(data.support, data.query, strict=True):
        keys = signs[torch.from_numpy(support)].sum(1)
        for label, row in enumerate(query):
            right += int(((signs[torch.from_numpy(row)] @ keys.T).argmax(1) == label).sum())
    assert few_shot_accuracy(network, task).correct == right


def test_episodes_of_one_task_share_their_images() -> None:
    task = build(FewShotTask, TASK, "t")
    data = FewShotData.load(task)
    assert data.support.shape == (6, 5, 1)
    assert data.query.shape == (6, 5, 2)
    assert len(data.images) <= 8 * 20


def test_the_result_of_a_card_is_measured_again(model: str) -> None:
    rows = evaluate_card(model, chip="ideal", chips=2)
    digital = digital_accuracy(model, build(FewShotTask, TASK, "t").to_dict())
    assert rows[0].accuracy == digital.mean
    assert rows[0].stated == 0.5
    assert rows[0].low <= rows[0].accuracy <= rows[0].high
    assert (rows[1].over, rows[1].accuracy) == ("2 chips, all equal", pytest.approx(digital.mean))
    assert rows[1].low == rows[1].high


@pytest.mark.parametrize(
    ("name", "setting", "vary"),
    [
        ("binact_mnist_det_first_st", {}, False),
        ("binact_mnist_stoch_first_st", {}, True),
        ("binact_mnist_det_first_st", {"wires": {"kind": "nodal", "r_row_ohm": 1.0}}, False),
        ("binact_mnist_det_first_st", {"device.read.sigma": 0.1}, True),
        ("binact_mnist_det_first_st", {"device.programming.sigma": 0.1}, True),
    ],
)
def test_chips_vary_by_cells_reads_and_neurons(name: str, setting: dict[str, Any], vary: bool) -> None:
    chip = load_chip("ideal")
    for path, value in setting.items():
        chip = chip.replace(path, value)
    assert chips_vary(name, chip) is vary


def test_settings_change_the_tasks_of_the_card_and_rows_state_them(model: str) -> None:
    task = build(FewShotTask, TASK | {"scaling": "unit"}, "t").to_dict()
    (row,) = evaluate_card(model, changes={"scaling": "unit"})
    assert row.accuracy == digital_accuracy(model, task).mean
    assert row.stated is None
    assert "scaling unit" in row.task
    assert row.task.startswith(f"{TASK['dataset']} {TASK['split']}, 5-way 1-shot")
    with pytest.raises(InputError, match="--set"):
        evaluate_card(model, changes={"scalin": "unit"})


def test_the_memory_limit_sets_the_chips_per_batch(model: str) -> None:
    per_chip = bytes_per_chip(load_model(model), load_chip(chip()))
    assert per_chip >= 4 * (12 * 12 * (25 + 9 + 9))  # differential conductances alone
    assert batch_chips(model, chip(), 10 * per_chip) == 10
    assert batch_chips(model, chip(), 10 * per_chip - 1) == 9
    assert batch_chips(model, chip(), 1) == 1


def test_the_digest_is_that_of_the_file(model: str) -> None:
    import hashlib

    assert weights_digest(model) == hashlib.sha256((Path(model) / "weights.safetensors").read_bytes()).hexdigest()


def test_bad_tasks_are_refused() -> None:
    with pytest.raises(InputError, match="Did you mean 'episodes'"):
        build(FewShotTask, {"episode": 3}, "task")
    with pytest.raises(InputError, match=r"shot \+ query_pool <= instances"):
        FewShotData.load(build(FewShotTask, TASK | {"shot": 19}, "task"))
    with pytest.raises(InputError, match=r"task\.classes"):
        FewShotData.load(build(FewShotTask, TASK | {"classes": 5000}, "task"))
