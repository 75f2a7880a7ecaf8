"""Checkpoints by time and the training queue: a run stopped anywhere gives the weights of an uninterrupted one."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from imc_sim import InputError
from imc_sim.cli import main
from imc_sim.config import build, write_yaml
from imc_sim.nn.networks import BatmannController, BinaryNin
from imc_sim.nn.store import load_model
from imc_sim.train import (
    ClassificationRecipe,
    ClassificationTrainer,
    EpisodicRecipe,
    EpisodicTrainer,
    Queue,
    QueueEntry,
    load_queue,
    run_queue,
)
from imc_sim.train import _checkpoint as checkpoint
from tests.warm import started_python

CLASSES = ClassificationRecipe(
    dataset="digits", size=8, images=200, validation=100, batch=50, epochs=2, augment="flip_crop", learning_rate=2e-3,
    precision="bfloat16", memory="channels",
)  # fmt: skip
EPISODES = EpisodicRecipe(
    dataset="glyphs", split="train", validation_split="test", way=3, episodes=6, precision="float32", validate_every=4,
    validation_episodes=4, variation=None,
)  # fmt: skip
CARD = {
    "name": "tiny", "summary": "digits", "arch": {"name": "bnn_mlp", "args": {"inputs": 64, "hidden": [8]}},
    "recipe": {
        "kind": "classification", "dataset": "digits", "epochs": 3, "batch": 50, "images": 200, "validation": 100,
        "measure": [{"task": {"kind": "classification", "dataset": "digits", "images": 50}}],
    },
}  # fmt: skip
#: the second, and the one that starts from it, fail when they are trained, not before
QUEUE = {
    "name": "some",
    "entries": [
        {"name": "first", "model": "tiny"},
        {"name": "broken", "model": "tiny", "set": {"recipe.validation": 10**6}},
        {"name": "lost", "model": "tiny", "start_from": "broken"},
        {"name": "second", "model": "tiny", "set": {"recipe.seed": 1}, "start_from": "first"},
    ],
}  # fmt: skip


def trainer(kind: str, folder: Path) -> ClassificationTrainer | EpisodicTrainer:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if kind == "classes":
            return ClassificationTrainer(BinaryNin(width=0.05, channels_in=1, size=8), CLASSES, folder)
        return EpisodicTrainer(BatmannController("rbnn", width=4, dim=16), EPISODES, folder)


def equal(a: nn.Module, b: nn.Module) -> bool:
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


@pytest.mark.parametrize("kind", ["classes", "episodes"])
def test_a_run_stopped_within_an_epoch_and_resumed_is_the_same_to_the_bit(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = trainer(kind, tmp_path / "whole")
    log = whole.run()
    monkeypatch.setattr(checkpoint, "SAVE_EVERY_S", 0.0)
    for stops in ((1,), (1, 2), (3,), (2, 5)):
        folder = tmp_path / str(stops)
        for last in stops:
            with pytest.raises(KeyboardInterrupt):
                trainer(kind, folder).run(resume=True, progress=_stop(last))
        again: list[int] = []
        resumed = trainer(kind, folder)
        assert resumed.run(resume=True, progress=lambda done, total, row, again=again: again.append(done)) == log
        assert again[0] == stops[-1] + 1, "finished steps are repeated"
        assert equal(whole.model, resumed.model)


def _stop(last: int) -> Any:
    def stop(done: int, total: int, row: dict[str, float]) -> None:
        if done == last:
            raise KeyboardInterrupt

    return stop


def test_the_state_is_saved_by_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: now[0])
    timer = checkpoint.SaveTimer()
    found = []
    for second in range(0, 1300, 100):
        now[0] = float(second)
        found.append(timer.due())
    assert [100 * k for k, due in enumerate(found) if due] == [300, 600, 900, 1200]


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Queue:
    (tmp_path / "models" / "tiny").mkdir(parents=True)
    (tmp_path / "models" / "tiny" / "model.yaml").write_text(write_yaml(CARD))
    (tmp_path / "studies" / "queues").mkdir(parents=True)
    (tmp_path / "studies" / "queues" / "some.yaml").write_text(write_yaml(QUEUE))
    monkeypatch.chdir(tmp_path)
    return load_queue("some")


def test_a_failed_entry_stops_only_those_that_need_it(queue: Queue, tmp_path: Path) -> None:
    rows = list(run_queue(queue, tmp_path / "out"))
    assert [(row.entry, row.state) for row in rows] == [
        ("first", "done"), ("broken", "failed"), ("lost", "waiting"), ("second", "done"),
    ]  # fmt: skip
    assert "Set fewer validation images" in rows[1].error
    second = load_model(tmp_path / "out" / "second")
    assert second.card.recipe["start_from"] == str(tmp_path / "out" / "first")  # type: ignore[union-attr]
    assert len(second.card.measured) == 1  # type: ignore[union-attr]
    alone = queue.model_copy(update={"entries": (QueueEntry(name="second", model="tiny", set={"recipe.seed": 1}),)})
    list(run_queue(alone, tmp_path / "alone"))
    assert not equal(second, load_model(tmp_path / "alone" / "second"))
    requested: list[str] = []

    def progress(number: int, entry: QueueEntry, folder: Path) -> Any:
        requested.append(entry.name)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):  # finished entries are not trained again, failed ones are
        list(run_queue(queue, tmp_path / "out", progress=progress))
    assert requested == ["broken"]
    changed = QueueEntry(name="first", model="tiny", set={"recipe.epochs": 1})
    (row,) = run_queue(queue.model_copy(update={"entries": (changed,)}), tmp_path / "out")
    assert row.state == "failed"
    assert "move this one away" in row.error


def test_the_command_continues_after_kill_9(queue: Queue, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--queue", "some", "--out", "whole", "--quiet"]) == 1
    printed = capsys.readouterr()
    assert printed.out.split() == ["whole/first", "whole/second"]
    curve = (tmp_path / "whole" / "first" / "training.csv").read_text().splitlines()
    assert len(curve) == 1 + 3, "a curve without the last epoch"
    assert "some, broken: failed: recipe.validation" in printed.err
    assert "2 of 4 entries are not trained" in printed.err
    slow = (
        "import sys, time\nfrom imc_sim.train import _classification as c\nfrom imc_sim.cli import main\n"
        "step = c.ClassificationTrainer._step\n"
        "c.ClassificationTrainer._step = lambda *a: (time.sleep(0.3), step(*a))[1]\n"
        "main(['train', '--queue', 'some', '--out', 'parts', '--quiet'])"
    )
    wanted = tmp_path / "parts" / "first" / "checkpoint.pt"
    limit = time.monotonic() + 120
    with started_python("-c", slow, cwd=tmp_path) as child:  # it is killed at the end
        while not wanted.exists() and child.is_alive() and time.monotonic() < limit:
            time.sleep(0.02)
    assert wanted.exists()
    assert not (tmp_path / "parts" / "first" / "model.yaml").exists(), "the training ended before it was killed"
    assert main(["train", "--queue", "some", "--out", "parts", "--quiet"]) == 1
    for name in ("first", "second"):
        cards = [load_model(tmp_path / out / name) for out in ("whole", "parts")]
        assert equal(*cards)
        assert cards[0].card.curve == cards[1].card.curve  # type: ignore[union-attr]
    lines = [json.loads(line) for line in (tmp_path / "parts" / "queue.jsonl").read_text().splitlines()]
    assert [(line["entry"], line["state"]) for line in lines] == [
        ("first", "done"), ("broken", "failed"), ("second", "done"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("entries", "match"),
    [
        ([{"name": "a", "model": "tiny"}, {"name": "a", "model": "tiny"}], "different names"),
        ([{"name": "a", "model": "tiny", "start_from": "b"}, {"name": "b", "model": "tiny"}], "an entry before it"),
    ],
)
def test_queues_that_cannot_be_trained_are_refused(entries: list[Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        build(Queue, {"name": "some", "entries": entries}, "queue")


@pytest.mark.parametrize("setting", [{"recipe.epochs": 0}, {"recipe.epoch": 1}, {"chip.tile.rows": 4}])
def test_a_wrong_setting_is_found_before_anything_is_trained(
    queue: Queue, tmp_path: Path, setting: dict[str, Any]
) -> None:
    wrong = queue.entries[3].model_copy(update={"set": setting})
    with pytest.raises(InputError, match="entry 'second'"):
        list(run_queue(queue.model_copy(update={"entries": (queue.entries[0], wrong)}), tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("words", [["tiny", "--queue", "some"], [], ["--queue", "some", "--set", "recipe.epochs=1"]])
def test_either_a_model_or_a_queue_is_trained(
    queue: Queue, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *words]) == 2
    assert "imc-sim train" in capsys.readouterr().err
