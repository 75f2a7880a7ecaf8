"""Parts of an evaluation alone: tasks, identities, checks, caches, calibration and cards, on small stand-ins."""

from __future__ import annotations

import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from imc_sim import InputError
from imc_sim._stats import Sample
from imc_sim.array import load_chip
from imc_sim.config import NATIVE, as_engine, build
from imc_sim.data import CharacterPool, LabelledImages
from imc_sim.evaluate import (
    Accuracy,
    ChipResult,
    ClassificationTask,
    FewShotTask,
    FunctionTask,
    Session,
    _calibration,
    _card,
    _checks,
    _confusion,
    _embedding,
    _episodes,
    _features,
    _firing,
    _held_data,
    _run,
    _scoring,
    _session,
)
from imc_sim.evaluate._classification import class_accuracy, competing, configured
from imc_sim.evaluate._device import check_device, prepare_device
from imc_sim.evaluate._embedding import Embedding, EmbeddingPanel, tsne, turned
from imc_sim.evaluate._episodes import FewShotData
from imc_sim.evaluate._global_random import seeded
from imc_sim.evaluate._identity import data_of_task, features_digest, network_key, training_split, weights_digest
from imc_sim.evaluate._labelled import ClassificationData, drawn_rows
from imc_sim.evaluate._read_out import accuracy_of, check_read_out
from imc_sim.evaluate._read_outs import check_order
from imc_sim.evaluate._sampled_chips import Calibration, SampledChips
from imc_sim.evaluate._tasks import build_task, counted, few_shot, task_identity, with_size
from imc_sim.evaluate.attacks import Fgsm, Pgd
from imc_sim.nn import Linear
from imc_sim.nn.networks import BatmannController
from imc_sim.nn.store import Arch, ModelCard, save_model
from tests.exact.networks import seeded as sampled

SMALL = {"dataset": "glyphs", "split": "test", "rotations": False, "size": 32}


# -- tasks --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("similarity", ["cosine", "dot", "l2"])
@pytest.mark.parametrize("sharpening", ["softabs", "softabs_exp", "softmax", "none", "abs"])
@pytest.mark.parametrize("floating", [True, False])
def test_read_outs_that_lose_the_order_are_refused(similarity: str, sharpening: str, floating: bool) -> None:
    """Even functions choose the farthest key by l2; softabs is flat outside [-1, 1], where float products lie."""
    even, bounded = sharpening in ("softabs", "softabs_exp", "abs"), sharpening in ("softabs", "softabs_exp")
    if (similarity == "l2" and even) or (similarity == "dot" and floating and bounded):
        with pytest.raises(ValueError, match="sharpening softmax or none"):
            check_order(similarity, sharpening, float_forms=floating)
    else:
        check_order(similarity, sharpening, float_forms=floating)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"prototypes": "majority", "keys": "float"}, "majority"), ({"passes": "episodes", "batch": 26}, "batch 25"),
        ({"passes": "episodes", "batch": 25, "attack": {"kind": "fgsm"}}, "passes distinct"),
        ({"query_form": "float", "sharpening": "softabs"}, "softmax or none"),
        ({"attack": {"kind": "pgd", "transfer": "chip"}}, "through: analog"),
        ({"kind": "classification", "scaling": "whitened", "pad": 40}, "whitened"),
        ({"kind": "odd"}, "few_shot, classification, function"),
    ],
)  # fmt: skip
def test_tasks_that_contradict_themselves_are_refused(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        build_task(changes, "task")


def test_tasks_that_are_possible_are_built() -> None:
    assert build_task({"passes": "episodes", "batch": 50}, "task").batch == 50  # type: ignore[union-attr]
    published = build_task({"attack": {"kind": "fgsm", "space": "normalised"}, "keys": "binary"}, "task")
    assert isinstance(published, FewShotTask)
    assert (published.read_out.keys, published.read_out.query_form) == ("float", "binary")
    chances = [{"way": 8}, {"kind": "classification", "dataset": "digits"},
               {"kind": "classification", "dataset": "digits", "classes": [1, 2]}]  # fmt: skip
    assert [build_task(each, "task").chance for each in chances] == [1 / 8, 0.1, 0.5]
    sized = [
        with_size(build(FewShotTask, {"size": s}, "t"), own).size for s, own in ((None, 28), (20, 28), (None, "x"))
    ]
    assert sized == [28, 20, None]
    function = FunctionTask(call="/f.py:g")
    for only in (counted, few_shot):
        with pytest.raises(InputError, match="for this"):
            only(function, "this")
    with pytest.raises(InputError, match="few_shot, for this"):
        few_shot(ClassificationTask(), "this")


@pytest.mark.parametrize(
    ("attack", "ideal", "on_chips"),
    [
        (Fgsm(epsilon=0.0), True, False), (Fgsm(epsilon=0.0, space="normalised"), False, False), (Fgsm(), False, False),
        (Fgsm(through="analog"), False, True), (Fgsm(epsilon=0.0, through="analog"), True, False),
        (Fgsm(epsilon=0.0, through="analog", transfer="digital"), True, True),
        (Fgsm(epsilon=0.0, through="analog", transfer="chip"), True, False), (Pgd(epsilon=0.0), True, False),
    ],
)  # fmt: skip
def test_attacks_know_what_they_change(attack: Any, ideal: bool, on_chips: bool) -> None:
    assert (attack.is_ideal, attack.made_on_chips) == (ideal, on_chips)
    assert Pgd().random_start


def test_later_settings_act_on_an_identity_where_they_differ() -> None:
    for base, changes in (
        (FewShotTask(), {"threshold": "support_mean", "dim": 9, "size": 20, "scaling": "unit", "passes": "episodes"}),
        (ClassificationTask(), {"stage": 1, "steps": 2, "outputs": "task", "offset": 3, "statistics": "batch"}),
    ):
        plain = task_identity(base.to_dict())
        assert not set(changes) & set(plain)
        for key, value in changes.items():
            assert task_identity(base.to_dict() | {key: value}) != plain, key
    own = [task_identity(ClassificationTask(dataset=f"{place}/a.npz").to_dict())["dataset"] for place in ("/x", "/y")]
    assert own == ["arrays", "arrays"]


# -- identities ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("split", "training"),
    [
        ("evaluation", "background"), ("pooled_test", "pooled_train"), ("pooled_validation", "pooled_fit"),
        ("test", "train"), ("train", "train"), ("background", "background"), ("evaluation_test", "evaluation_train"),
        ("pooled_test_train", "pooled_test_train"), ("pooled_fit_test", "pooled_fit_train"),
    ],
)  # fmt: skip
def test_networks_are_calibrated_on_training_splits(split: str, training: str) -> None:
    assert training_split(split) == training


def test_a_task_reads_training_data_where_it_needs_them() -> None:
    task = {"dataset": "mnist", "split": "test"}
    assert data_of_task(task, False) == ("mnist test",)
    both = ("mnist test", "mnist train")
    assert data_of_task(task, True) == data_of_task(task | {"scaling": "whitened"}, False) == both
    assert data_of_task({"kind": "function"}, True) == ()


def controller(folder: Path, name: str, **args: Any) -> str:
    args = {"kind": "xnor", "width": 4, "dim": 16, "size": 32} | args
    card = ModelCard(name=name, summary="t", arch=Arch(name="batmann", args=args))
    save_model(folder / name, sampled(BatmannController, **args), card)
    return str(folder / name)


def test_networks_of_other_weights_or_arguments_have_other_digests(tmp_path: Path) -> None:
    names = [controller(tmp_path, "a"), controller(tmp_path, "b", dim=24)]
    same = tmp_path / "c"
    same.mkdir()
    for file in (tmp_path / "a").iterdir():
        text = file.read_bytes()
        (same / file.name).write_bytes(text.replace(b"size: 32", b"size: 28").replace(b"name: a\n", b"name: c\n"))
    names.append(str(same))
    assert weights_digest(names[0]) == weights_digest(names[2])
    assert len({features_digest(name) for name in names}) == len({network_key(name) for name in names}) == 3


# -- data in memory -----------------------------------------------------------------------------------------


def test_data_that_changed_are_forgotten_and_checked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    states, digests = {"a": "1", "b": "1"}, {"a": "A", "b": "B"}
    calls: list[str] = []
    for name in ("_READ", "_CHECKED"):
        monkeypatch.setattr(_held_data, name, {})
    monkeypatch.setattr(_held_data, "_FORGET", [lambda: calls.append("forget")])
    monkeypatch.setattr(_held_data, "data_state", lambda part: states[part])
    monkeypatch.setattr(_held_data, "data_digest", lambda part: (calls.append(part), digests[part])[1])
    known = dict(digests)
    for _ in range(2):
        with _held_data.holding(known):
            states["a"] = "1"
    assert calls == ["a", "b"], "read once"
    states["a"] = "2"
    with _held_data.holding(known):
        states["b"] = "2"
        _held_data.refresh_data(["b"])
        assert calls[2:] == ["forget", "a"], "not checked again within the block"
    _held_data.refresh_data(["b"])
    assert calls[4:] == ["forget"]
    digests["a"], states["a"] = "X", "3"
    with pytest.raises(InputError, match="content X; allowed: A"), _held_data.holding(known):
        pass
    digests["a"] = "A"
    with pytest.raises(InputError, match="content A; allowed: Y"), _held_data.holding({"a": "Y"}):
        pass


def test_a_session_keeps_the_latest_objects_of_each_kind() -> None:
    session = Session()
    for key in range(4):
        session.keep("few", key, str(key))
    assert session.kept("few", 0) == "0"  # now the latest
    session.keep("few", 4, "4")
    assert [session.kept("few", key) for key in range(5)] == ["0", None, "2", "3", "4"]
    for key in range(9):
        session.keep("model", key, key)
    assert session.kept("model", 0) is None
    assert session.kept("model", 1) == 1
    session.keep("function", 1, "f")
    session.forget()
    assert (session.kept("few", 4), session.kept("model", 8), session.kept("function", 1)) == (None, 8, "f")
    session.forget(models=True)
    assert session.kept("model", 8) is None
    made: list[int] = []
    assert [session.once("k", 1, lambda: (made.append(1), "x")[1]) for _ in range(2)] == ["x", "x"]
    assert made == [1]
    assert Session.on("cpu") is Session.on("cpu")


def test_changed_training_data_are_noticed_before_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    parts: list[str] = []
    monkeypatch.setattr(_session, "refresh_data", parts.extend)
    Session.on("cpu").sized(ClassificationTask(dataset="mnist", size=28), "x")
    assert parts == ["mnist test", "mnist train"]


# -- samples ------------------------------------------------------------------------------------------------


def global_states() -> tuple[Any, ...]:
    numpy: Any = np.random.get_state()  # noqa: NPY002
    return random.getstate(), numpy[1].tolist(), torch.get_rng_state().tolist()


def test_random_numbers_of_a_function_belong_to_seed_and_chip() -> None:
    before = global_states()
    found = []
    for at in ((0, None), (0, 0), (0, 1), (1, 0)):
        with seeded(*at):
            found.append((random.random(), np.random.random(), float(torch.rand(1))))  # noqa: NPY002
    assert all(len({each[k] for each in found}) == 4 for k in range(3))
    assert global_states() == before


def test_images_are_sampled_up_to_all_of_them() -> None:
    assert drawn_rows(5, 5, 1).tolist() == [0, 1, 2, 3, 4]
    assert (np.diff(drawn_rows(100, 30, 1)) > 0).all()
    with pytest.raises(InputError, match="5 or fewer"):
        drawn_rows(5, 6, 1)


def test_episodes_use_the_classes_and_turns_of_their_task(monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.zeros((6, 7, 4, 4), np.uint8)
    images[:] = np.arange(6)[:, None, None, None]
    pool = CharacterPool("glyphs", "test", images, tuple("abcdef"), 0.0, 1 / 255)
    monkeypatch.setattr(_episodes, "load_pool", lambda *_: pool)
    task = build(FewShotTask, SMALL | {"way": 3, "episodes": 20, "classes": 4, "instances": 5}, "task")
    data = FewShotData.load(task)
    assert set(data.images.flatten().round().long().tolist()) <= {0, 1, 2, 3}
    assert data.classes is not None
    assert (data.images[torch.from_numpy(data.support[:, :, 0])][:, :, 0, 0, 0].round().numpy() == data.classes).all()
    assert len(data.images) <= 4 * 5
    repeated = FewShotData.load(task.model_copy(update={"passes": "episodes", "batch": 15}))
    assert len(repeated.images) == 20 * 3 * 5
    for name, most in (("classes", 6), ("instances", 7)):
        FewShotData.load(task.model_copy(update={name: most}))
        with pytest.raises(InputError, match=f"{most} or fewer"):
            FewShotData.load(task.model_copy(update={name: most + 1}))
    other = data.with_queries(torch.ones(data.query.size, 1, 4, 4))
    assert other.classes is data.classes
    assert torch.equal(other.images[torch.from_numpy(other.support)], data.images[torch.from_numpy(data.support)])
    assert (other.query.flatten() == len(other.supports) + np.arange(data.query.size)).all()


def test_answers_are_counted_per_episode() -> None:
    task = build(FewShotTask, {"way": 2, "queries": 2}, "task")
    data = FewShotData(torch.zeros(1), np.zeros((2, 2, 1), int), np.zeros((2, 2, 2), int), np.array([[4, 5], [5, 6]]))
    found = accuracy_of(torch.tensor([[0, 0, 1, 1], [0, 1, 1, 0]]), task, data)
    assert (found.values.tolist(), found.total, found.correct, found.of) == ([1.0, 0.5], 8, 6, "episodes")
    assert found.classes is data.classes
    wide = found.interval(0.99)
    assert wide[0] < found.interval()[0] <= found.interval()[1] <= wide[1]


def test_word_lines_are_driven_in_the_form_of_the_keys() -> None:
    chip = load_chip("ideal")
    for keys, query, wrong in (("bipolar", "binary", True), ("float", "binary", False), ("bipolar", "bipolar", False)):
        task = build(FewShotTask, {"keys": keys, "query_form": query}, "task")
        if wrong:
            with pytest.raises(InputError, match="query_form"):
                check_read_out(task, chip)
            check_read_out(task, chip.replace("policy.memory", "digital"))
        else:
            check_read_out(task, chip)


# -- calibration and chips ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "episodes"),
    [
        ({}, 20),
        ({"way": 20}, 10),
        ({"way": 100, "shot": 10, "queries": 10}, 1),
        ({"way": 50, "shot": 15}, 1),
        ({"way": 50, "shot": 15, "prototypes": "mean"}, 1),
        ({"way": 25, "shot": 4, "queries": 1}, 8),
        ({"way": 10, "shot": 19, "queries": 1}, 5),
        ({"way": 2, "shot": 1, "queries": 100}, 4),
    ],
)
def test_calibration_has_as_many_episodes_as_memory_allows(changes: dict[str, Any], episodes: int) -> None:
    """At most 20, 2,000 keys and 1,000 images; one episode at least; on other episodes of the training split."""
    attack = {"attack": {"kind": "fgsm"}, "classes": 120, "instances": 30, "seed": 3}
    task = _calibration.calibration_task(build(FewShotTask, changes | attack, "task"))
    assert (task.episodes, task.split, task.seed) == (episodes, "pooled_train", 3 + 1_000_003)
    assert (task.classes, task.instances, task.attack) == (None, None, None)
    classes = _calibration.calibration_task(ClassificationTask(images=7, seed=1))
    assert (classes.images, classes.split, classes.seed) == (None, "train", 1_000_004)


def test_a_chip_alone_is_the_same_chip() -> None:
    chips = SampledChips(load_chip("ideal"), range(2, 5), 7, "native")
    alone = chips.alone(4)
    assert (alone.numbers, alone.seed, alone.engine, alone.chip) == (range(4, 5), 7, "native", chips.chip)
    both = Calibration({"a": (0, 1)}, {"a": [[0.5]]}).with_memory(Calibration({"memory": (0, 2)}, {"memory": [[0.25]]}))
    assert both == Calibration({"a": (0, 1), "memory": (0, 2)}, {"a": [[0.5]], "memory": [[0.25]]})


def test_chips_are_evaluated_in_runs_of_successive_numbers() -> None:
    assert _run._runs([3, 4, 5, 9, 1, 2], 2) == [range(3, 5), range(5, 6), range(9, 10), range(1, 3)]
    assert _run._runs(list(range(9)), 8) == [range(8), range(8, 9)]
    attack = {"attack": {"kind": "fgsm", "through": "analog"}}
    assert [_run._attacks_chips(build(FewShotTask, each, "t")) for each in (attack, {})] == [True, False]


def test_results_of_chips_have_their_numbers_and_calibration(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    accuracy = Accuracy(np.array([1.0, 0.5]), 8, "episodes", loss=0.25)

    class Module:
        def on_chips(self, session: Any, model: str, task: Any, chips: Any) -> Any:
            calls.append((list(chips.numbers), chips.seed, chips.engine))
            return [accuracy] * len(chips.numbers), Calibration({"a": (0, 1)}, {"a": [[0.5]]}), None

        def digital(self, *_: Any) -> Accuracy:
            return accuracy

    monkeypatch.setattr(_run, "_evaluation", lambda _: Module())
    task, chip = build_task(SMALL, "task").to_dict(), load_chip("ideal").to_dict()
    found = _run.evaluate_chips("m", chip, task, [5, 6, 2], 9, "native")
    assert [(r.chip, r.correct, r.total, r.ranges, r.rows_on) for r in found] == [
        (n, 6, 8, {"a": (0, 1)}, {"a": [[0.5]]}) for n in (5, 6, 2)
    ]  # fmt: skip
    assert calls == [([5, 6], 9, NATIVE), ([2], 9, NATIVE)]
    (digital,) = _run.evaluate_chips("m", None, task, [], 0)
    assert (digital.chip, digital.loss, digital.sample) == (-1, 0.25, accuracy.sample)
    for numbers in ([], [-1, 2]):
        with pytest.raises(InputError, match="number.* of 0 or more"):
            _run.evaluate_chips("m", chip, task, numbers, 0)
    with pytest.raises(InputError, match="seed"):
        _run.evaluate_chips("m", chip, task, [0], -1)


@pytest.mark.parametrize(("device", "engine", "match"), [("cuda:1", "native", "1 CUDA"), ("gpu", "native", "cuda:0"),
                                                        ("cuda", "memtorch", "foreign")])  # fmt: skip
def test_devices_that_are_missing_are_refused(
    device: str, engine: str, match: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for there in ("cpu", "cuda", "cuda:0"):
        check_device(there, NATIVE)
    with pytest.raises(InputError, match=match):
        check_device(device, as_engine(engine))


def test_cuda_multiplies_float32_as_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = {"allow_tf32": False, "deterministic": True, "benchmark": False}
    fake = SimpleNamespace(matmul=SimpleNamespace(allow_tf32=True))
    cudnn = SimpleNamespace(allow_tf32=True, deterministic=False, benchmark=True)
    monkeypatch.setattr(torch.backends, "cuda", fake)
    monkeypatch.setattr(torch.backends, "cudnn", cudnn)
    prepare_device("cpu")
    assert fake.matmul.allow_tf32
    prepare_device("cuda")
    assert (vars(cudnn), fake.matmul.allow_tf32) == (flags, False)


# -- classes ------------------------------------------------------------------------------------------------


def labelled(labels: list[int], classes: int) -> ClassificationData:
    images = np.arange(len(labels), dtype=np.float32)[:, None]
    source = LabelledImages("own", "test", images, np.array(labels), tuple(map(str, range(classes))))  # type: ignore[arg-type]
    return ClassificationData(source, np.arange(len(labels)), "unit")


def test_accuracy_and_loss_are_means_and_ties_go_to_the_first_class() -> None:
    logits = torch.tensor([[1.0, 1, 0], [0, 2, 2], [0, 0, 3]])
    model = sampled(nn.Embedding, 3, 3)

    class Rows(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return logits[x[:, 0].long()]

    task = ClassificationTask(dataset="digits", batch=2)
    found = class_accuracy(Rows(), task, labelled([0, 2, 2], 3))
    assert (found.values.tolist(), found.correct, found.total) == ([1, 0, 1], 2, 3)
    wanted = nn.functional.cross_entropy(logits.double(), torch.tensor([0, 2, 2]))
    assert found.loss == pytest.approx(float(wanted), rel=1e-7)
    assert isinstance(model, nn.Embedding)


def test_only_labels_of_the_task_compete_on_request() -> None:
    outputs = torch.tensor([[9.0, 1, 2, 3]])
    task = ClassificationTask(dataset="digits", classes=(1, 2), labels="own")
    assert competing(outputs, task, labelled([1], 3)) is outputs
    some = competing(outputs, task.model_copy(update={"outputs": "task"}), labelled([1], 3))
    assert some.tolist() == [[-np.inf, 1, 2, -np.inf]]
    with pytest.raises(Exception, match="not finite|NaN|infinite"):
        competing(torch.tensor([[np.nan, 1, 2, 3]]), task, labelled([1], 3))


@pytest.mark.parametrize(
    ("changes", "match"),
    [({"vote": "hard"}, "an ensemble"), ({"members": 1}, "an ensemble"),
     ({"stage": 1}, "continual"), ({"head": 1}, "continual"),
     ({"steps": 2}, "a spiking network")],
)  # fmt: skip
def test_settings_of_other_networks_are_refused(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        configured(nn.Linear(2, 2), ClassificationTask(**changes))


def test_vectors_are_centred_and_divided_by_their_variance() -> None:
    found = _features.normalised(torch.tensor([[1.0, 3.0], [5.0, 5.0], [0.0, 4.0]]))
    assert found.tolist() == [[-1, 1], [0, 0], [-0.5, 0.5]]
    layer = Linear(4, 2, "float", bias=False)
    network: Any = nn.Sequential(nn.Flatten(), nn.ReLU(), layer)
    x = torch.tensor([[[[1.0, -2], [3, -4]]]])
    assert _features.last_hidden(network, x).tolist() == [[1, 0, 3, 0]]
    with pytest.raises(InputError, match="passed 2 times"):
        _features.last_hidden(nn.Sequential(nn.Flatten(), sq := Linear(4, 4, "float"), sq), x)
    for channels, images in ((3, np.zeros((1, 2, 2), np.uint8)), (1, np.zeros((1, 2, 2, 3), np.uint8))):
        network.channels_in = channels
        data = LabelledImages("mnist", "test", images, np.zeros(1, np.int64), ("0",))
        with pytest.raises(InputError, match="channels"):
            _features._computed(network, data, "unit", "task")


def test_spike_statistics_are_means_over_images() -> None:
    """Two batches of three images and one: the share of each is that of its images."""
    network: Any = SimpleNamespace()
    rates: list[Any] = [(0.75, [SimpleNamespace(rate=1.0, zeros=0.5, active_inputs=0.25)]),
                        (0.25, [SimpleNamespace(rate=5.0, zeros=0.9, active_inputs=0.65)])]  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("imc_sim.nn.networks.dense_word_lines", lambda _: {"a": 100.0})
        patch.setattr("imc_sim.nn.networks.products_per_step", lambda _: {"a": 7})
        (row,) = _firing._layers(network, rates, [(0.75, {"a": 10.0}), (0.25, {"a": 30.0})])
    assert (row.rate, row.zeros, row.inputs, row.word_lines, row.dense, row.products) == pytest.approx(
        (2.0, 0.6, 0.35, 15.0, 100.0, 7)
    )
    right = torch.zeros(4, 6, 4, dtype=torch.float64)
    for step in range(6):
        right[0, step, : step % 4], right[1, step, :2], right[2, step, :3], right[3, step, :1] = 1, 1, 1, 1
    rows = _firing._accuracies(right)
    assert [(r.steps, r.accuracy, r.residual, r.later, r.ties) for r in rows] == [
        (1, 0.0, 0.5, None, 0.25), (2, 0.25, 0.5, 0.75, 0.25), (4, 0.75, 0.5, 0.75, 0.25), (6, 0.25, 0.5, 0.75, 0.25),
    ]  # fmt: skip
    assert (rows[1].low, rows[1].high) == Sample.over("images", right[0, 1].numpy()).interval(0.25)  # type: ignore[union-attr]


# -- checks -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "changes", "calibrated", "idle"),
    [
        (nn.Linear(2, 2), {"kind": "classification"}, False, {"batch", "seed", "attack.seed"} - {"attack.seed"}),
        (nn.Linear(2, 2), {"kind": "classification", "images": 9}, False, {"batch"}),
        (nn.Linear(2, 2), {"kind": "classification"}, True, {"batch"}),
        (nn.BatchNorm2d(2, track_running_stats=False), {"kind": "classification"}, False, {"seed"}),
        (nn.BatchNorm2d(2), {"kind": "classification"}, False, {"batch", "seed"}),
        (nn.Linear(2, 2), {}, True, {"batch"}),
        (nn.Linear(2, 2), {"passes": "episodes", "batch": 25}, True, set()),
        (nn.Linear(2, 2), {"passes": "episodes", "batch": 25}, False, {"batch"}),
        (nn.Linear(2, 2), {"attack": {"kind": "pgd"}}, False, {"batch"}),
        (nn.Linear(2, 2), {"attack": {"kind": "pgd", "random_start": False}}, False, {"batch", "attack.seed"}),
        (nn.Linear(2, 2), {"kind": "function", "call": "/f.py:g"}, False, set()),
    ],
)
def test_settings_of_a_task_that_change_no_answer(
    network: nn.Module, changes: dict[str, Any], calibrated: bool, idle: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Session, "model", lambda *_: network)
    found = _checks.idle_in_task("m", calibrated, build_task(changes, "task").to_dict())
    assert found == idle


@pytest.mark.parametrize(("limit", "chips"), [(1, 1), (99, 1), (100, 1), (250, 2)])
def test_at_least_one_chip_is_evaluated_at_a_time(limit: int, chips: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_checks, "probed", lambda *_: (None, None))
    monkeypatch.setattr(_checks.mapping, "bytes_per_chip", lambda *_: 100)
    assert _checks.batch_chips("m", load_chip("ideal").to_dict(), limit) == chips


@pytest.mark.parametrize(("message", "reason"), [("", "RuntimeError"), ("mat1\nand mat2", "mat1"), ("\n x\n", "x")])
def test_images_that_a_network_does_not_take_are_named_with_the_reason(
    message: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where torch gives no reason: an error with an empty message."""

    class Broken(nn.Module):
        size = 20

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise RuntimeError(message)

    monkeypatch.setattr(Session, "model", lambda *_: Broken())
    task = {"kind": "classification", "dataset": "digits"}
    with pytest.raises(InputError, match=rf"images of 1 x 8 x 8 for model 'm' \({reason}\); allowed: 20 pixels a side"):
        _checks.check_images("m", build_task(task | {"size": 8}, "task").to_dict())


# -- functions of users -------------------------------------------------------------------------------------


def test_a_network_on_a_chip_stays_in_eval_mode() -> None:
    one = _scoring.OneChip(nn.Dropout())  # type: ignore[arg-type]
    assert one.train() is one
    assert not any(module.training for module in one.modules())


@pytest.mark.parametrize(
    ("returned", "scores"),
    [(0.5, {"score": 0.5}), (np.float32(0.25), {"score": 0.25}), (torch.tensor([3.0]), {"score": 3.0}),
     ({"score": 1, 2: torch.tensor(4)}, {"score": 1.0, "2": 4.0})],
)  # fmt: skip
def test_scores_are_finite_numbers_by_name(returned: Any, scores: dict[str, float]) -> None:
    found = _scoring.as_result(returned, "score", "f", 3, 0.5)
    assert (found.chip, found.scores, found.score, found.seconds, found.total) == (3, scores, scores["score"], 0.5, 0)
    assert _scoring.as_result(returned, "score", "f", None, 0.5).chip == -1
    for wrong in (True, np.nan, np.inf, "1", np.zeros(2), None, {"other": 1.0}):
        with pytest.raises(InputError):
            _scoring.as_result(wrong, "score", "f", 3, 0.5)


def test_inputs_of_a_function_map_and_calibrate(monkeypatch: pytest.MonkeyPatch) -> None:
    session: Any = SimpleNamespace(model=lambda _: nn.Linear(2, 2), probe=lambda _, __, inputs: inputs, device="cpu")
    probe: Any = _scoring.probe_of(session, "m", torch.zeros(40, 2))
    assert len(probe) == 16
    assert _scoring.probe_of(session, "m", (1, 2)) == (1, 2)
    session.model = lambda _: nn.Sequential(Linear(2, 2, "float"))
    assert _scoring.probe_of(session, "m", torch.zeros(40, 2)) is None
    calibrated = load_chip("rram_hfo2_1t1r").replace("converter", {"kind": "auto", "range": "calibrated"})
    with pytest.raises(InputError, match=r"task\.inputs"):
        _scoring.calibration_inputs(session, FunctionTask(call="/f.py:g"), calibrated)
    assert _scoring.calibration_inputs(session, FunctionTask(call="/f.py:g"), load_chip("ideal")) is None
    keys: list[Any] = []
    session.once = lambda kind, key, make: (keys.append((kind, key)), torch.zeros(3))[1]
    monkeypatch.setattr(FunctionTask, "identity", lambda self: {"seed": self.seed})
    for seed in (0, 1):
        _scoring.stated_inputs(session, FunctionTask(call="/f.py:g", inputs="/f.py:h", seed=seed))
    assert len(set(keys)) == 2, "inputs are kept for the content that they were made by"
    for wrong in (torch.zeros(2, 2, dtype=torch.int64), torch.zeros(0, 2), "x"):
        monkeypatch.setattr(_scoring, "load_function", lambda *_, w=wrong: (lambda: w, "f.py"))
        with pytest.raises(InputError, match="floating-point numbers"):
            _scoring._inputs("f.py:g")


# -- figures and cards --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("classes", "what"), [(40, "class"), (41, "place in the episode")])
def test_confusions_of_many_classes_are_of_places(classes: int, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    places = np.array([[0, classes - 1], [1, 0]])
    monkeypatch.setattr(_confusion, "_classes", lambda _: places)
    monkeypatch.setattr(_confusion, "answers_of", lambda *_: np.array([[[0, 0], [1, 1]]]))
    task = build_task({"way": 2, "queries": 1, "episodes": 2}, "task").to_dict()
    found = _confusion.confusion("m", None, task)
    assert (found.what, found.counts.sum(), found.offered.sum()) == (what, 4, 8)
    if what == "class":
        assert found.counts[39, 0] == 1, "true class 39, answered 0"
        assert found.counts[1, 0] == 1
    assert found.accuracy == 0.5


def test_answers_of_chips_are_computed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    calls: list[Any] = []
    monkeypatch.setattr(_confusion, "attacked_episodes", lambda *_: None)
    monkeypatch.setattr(_confusion, "attacked_features", lambda *_: None)
    monkeypatch.setattr(_confusion, "calibration_keys", lambda *a: ("known", a[3]))
    monkeypatch.setattr(_confusion.Session, "model", lambda *_: nn.Linear(2, 2))

    def programmed(*a: Any) -> Any:
        calls.append((list(a[4].numbers), a[4].seed))
        return SimpleNamespace(analog_layers={}), None

    monkeypatch.setattr(_confusion, "programmed", programmed)
    monkeypatch.setattr(
        _confusion, "chip_answers", lambda *a: (torch.zeros(len(a[3].numbers), 1, 2), calls.append(a[4][0]))
    )
    task = build(FewShotTask, SMALL, "task")
    found = _confusion.answers_of("m", load_chip("ideal"), task, range(6), 7, lambda *now: seen.append(now))
    assert (len(found), seen) == (6, [(4, 6), (6, 6)])
    assert calls == [([0, 1, 2, 3], 7), "known", ([4, 5], 7), "known"]


def test_panels_of_a_grid_keep_their_rows_and_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    panels = [EmbeddingPanel(r, c, "m", {}) for r in ("z", "a") for c in ("x", "y")]
    monkeypatch.setattr(_embedding, "_digital", lambda panel, *_: panel)
    groups: list[list[str]] = []

    def arranged(group: Any, *_: Any) -> list[Any]:
        groups.append([p.row + p.column for p in group])
        return [Embedding(p.row, p.column, np.zeros((1, 2)), np.zeros(1, np.int64), 0, 0) for p in group]

    monkeypatch.setattr(_embedding, "_arranged", arranged)
    seen: list[Any] = []
    found = _embedding.embedding_grid(panels, progress=lambda *now: seen.append(now))
    assert [e.row + e.column for e in found] == ["zx", "zy", "ax", "ay"]
    assert groups == [["zx", "ax"], ["zy", "ay"]], "later panels of a column start from its first"
    assert seen == [(n, 4) for n in (1, 2, 3, 4)]


def test_one_episode_has_every_image_as_support_and_query(monkeypatch: pytest.MonkeyPatch) -> None:
    images = (np.arange(4)[:, None] * 10 + np.arange(6)).astype(np.uint8)[:, :, None, None] * np.ones(
        (1, 1, 2, 2), np.uint8
    )
    pool = CharacterPool("glyphs", "test", images, tuple("abcd"), 0.0, 1 / 255)
    monkeypatch.setattr(_embedding, "load_pool", lambda *_: pool)
    task = build_task(SMALL | {"classes": 3, "instances": 5}, "task").to_dict()
    evaluated, data = _embedding._as_one_episode("m", task, 10, 20, 4.0)
    assert (evaluated.way, evaluated.shot, evaluated.queries, evaluated.episodes) == (3, 5, 5, 1)
    assert data.images[:, 0, 0, 0].round().tolist() == [10 * c + i for c in range(3) for i in range(5)]
    assert (data.support == data.query).all()
    for count, fits in ((5.0, False), (4.9, True)):
        if fits:
            _embedding._as_one_episode("m", task, 10, 20, count)
        else:
            with pytest.raises(InputError, match="three times the perplexity"):
                _embedding._as_one_episode("m", task, 10, 20, count)
    monkeypatch.setattr(_embedding, "_MOST", 15)
    _embedding._as_one_episode("m", task, 10, 20, 4.0)
    monkeypatch.setattr(_embedding, "_MOST", 14)
    with pytest.raises(InputError, match=r"got 15; .*more than 12 .* at most 14"):
        _embedding._as_one_episode("m", task, 10, 20, 4.0)


def test_points_without_differences_are_refused_and_others_rotated() -> None:
    for features, match in ((np.zeros((9, 1)), "1 numbers"), (np.ones((9, 3)), "the same features")):
        with pytest.raises(InputError, match=match):
            tsne(features, 2.0, 0)
    points = np.array([[1.0, 0], [0, 2], [-3, 1]])
    turn = np.array([[0.0, 1], [-1, 0]])
    np.testing.assert_allclose(turned(points @ turn, points), points, atol=1e-12)


TASKS = [
    ({"dataset": "glyphs", "split": "test", "way": 5}, 0.75, 0.8),
    ({"dataset": "glyphs", "split": "test", "way": 9}, 0.5, None),
]


def test_tasks_of_a_card_are_changed_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = _card._changed(TASKS, {"way": 7})
    assert [(task["way"], stated, published) for task, stated, published in changed] == [(7, None, None)], "equal: once"
    kept = _card._changed(TASKS, {"shot": 2})
    assert [task["way"] for task, _, _ in kept] == [5, 9]
    other = _card._changed(TASKS, {"kind": "classification", "dataset": "digits"})
    assert [task["split"] for task, _, _ in other] == ["test"], "another kind starts from its defaults"
    monkeypatch.setattr("imc_sim.nn.store.check_code_of", lambda *_: None)  # tests/store/test_own_code.py tests it
    one = SimpleNamespace(task=TASKS[0][0], accuracy=0.75, published=0.8)
    card: Any = SimpleNamespace(measured=[one], recipe={}, name="n", arch=SimpleNamespace(name="x"))
    assert _card.stated_tasks(card, tmp_path) == [TASKS[0]]
    card.measured, card.recipe = [], {"measure": [{"task": {"way": 3}}]}
    assert _card.stated_tasks(card, tmp_path) == [({"way": 3}, None, None)]
    card.recipe = {}
    with pytest.raises(InputError, match="states no task"):
        _card.stated_tasks(card, tmp_path)
    card.arch.name = "conv4"
    assert _card.stated_tasks(card, tmp_path)[0][0]["dataset"] == "glyphs"


def test_rows_of_a_card_hold_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    classes = np.arange(24).reshape(4, 6)[:, :2] % 23
    classes = np.concatenate([classes, np.arange(40).reshape(20, 2)])
    accuracy = Accuracy(np.arange(24) / 32 + 0.265625, 96, "episodes", classes=classes)
    evaluated: list[Any] = []
    monkeypatch.setattr(_card, "digital_accuracy", lambda _, task, **__: (evaluated.append(task), accuracy)[1])
    calls: list[Any] = []
    monkeypatch.setattr(
        _card,
        "evaluate_chips",
        lambda *a, **_: (calls.append(a[3:5]), [ChipResult(n, 3 + n, 10, 0.0) for n in a[3]])[1],
    )
    monkeypatch.setattr(_card, "chips_vary", lambda *_, **__: True)
    monkeypatch.setattr(_checks, "check_images", lambda *_: None)
    monkeypatch.setattr("imc_sim.nn.store.verify_weights", lambda *_: None)
    work, seen = [7, 3, 0, 3], list[Any]()
    monkeypatch.setattr(_card, "_work", lambda _, tasks, chips: work[: (1 + (chips > 0)) * len(tasks)])
    rows = _card.evaluate_card("batmann_small_xnor", "ideal", 2, 7, progress=lambda *now: seen.append(now))
    digital, analog = rows[:2]
    assert (digital.accuracy, digital.over) == (0.625, "24 episodes")
    assert digital.stated is not None
    assert digital.classes == 40
    assert accuracy.sample is not None
    assert (digital.classes_low, digital.classes_high) == accuracy.sample.class_interval(0.625)
    assert (analog.task, analog.over, analog.stated) == ("  on ideal", "2 chips", None)
    assert calls[0] == (range(2), 7)
    assert seen == [(sum(work[:n]), sum(work)) for n in range(len(rows) + 1)]
    assert {"loss", "classes"} & set(digital.to_dict()) == {"classes"}
    assert "published" in digital.to_dict(), "empty, but of every row"
    few = _card.evaluate_card("batmann_small_xnor", episodes=5)
    assert (evaluated[-1]["episodes"], few[0].stated) == (5, None)
    changed = _card.evaluate_card("batmann_small_xnor", changes={"way": 4})
    assert (evaluated[-1]["way"], changed[0].stated) == (4, None)


def test_work_of_a_card_is_the_images_that_pass_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    passed: list[int] = []
    digital = {"keys": "float", "similarity": "cosine"}
    tasks: list[Any] = [
        (
            {"dataset": "glyphs", "split": "test", "rotations": False, "classes": 6, "instances": 10, "episodes": 3}
            | more,
            None,
            None,
        )
        for more in ({}, digital, {"episodes": 2}, {"passes": "episodes", "batch": 25})
    ]
    name, session = "batmann_small_xnor", Session("cpu")
    monkeypatch.setattr(Session, "on", lambda _: session)
    hook = session.model(name).register_forward_pre_hook(lambda _, args: passed.append(len(args[0])))
    work = _card._work(name, tasks, 0)
    assert not passed
    for (task, *_), images in zip(tasks, work, strict=True):
        passed.clear()
        _card._digital(name, task, None, None)
        assert sum(passed) == images
    hook.remove()
    assert work[1] == 0 < work[2] < work[0] < 75 == work[3]
    chips = _card._work(name, tasks[:3], 2)
    assert chips == [work[0], 2 * work[0], 0, 2 * work[0], work[2], 2 * work[2]]
    classes: Any = {"kind": "classification", "dataset": "glyphs", "split": "test", "images": 9}
    monkeypatch.setattr(session, "images", lambda task: SimpleNamespace(rows=range(task.images)))
    assert _card._work(name, [(classes, None, None)], 3) == [9, 27]


@pytest.mark.parametrize(
    ("task", "line"),
    [
        ({"dataset": "glyphs", "split": "test"}, "glyphs test, 5-way 1-shot, bipolar, dot, 1000 episodes"),
        ({"keys": "float", "query_form": "bipolar", "similarity": "cosine", "sharpening": "softmax", "dim": 9},
         "omniglot pooled_test, 5-way 1-shot, float keys, bipolar queries, cosine softmax, 1000 episodes, dim 9"),
        ({"kind": "classification", "dataset": "digits", "images": 50, "steps": 4, "vote": "hard", "offset": 1},
         "digits test, classes, 50 images, vote hard, 4 steps, offset 1"),
        ({"keys": "float", "query_form": "float"}, "omniglot pooled_test, 5-way 1-shot, float, dot, 1000 episodes"),
        ({"kind": "classification", "dataset": "digits"}, "digits test, classes, all images"),
    ],
)  # fmt: skip
def test_tasks_are_described_on_one_line(task: dict[str, Any], line: str) -> None:
    assert _card.describe(task) == line
