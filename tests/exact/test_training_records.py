"""Checkpoints, trained cards, digests of recipes, sweeps and queues hold what they should and refuse contradictions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from imc_sim import CheckpointError, InputError
from imc_sim.config import build, write_yaml
from imc_sim.evaluate import Accuracy
from imc_sim.nn.store import load_card
from imc_sim.train import (
    ContinualRecipe,
    ContinualTask,
    EnsembleRecipe,
    EpisodicRecipe,
    Queue,
    Trainings,
    _checkpoint,
    _recipe,
    train_model,
)
from imc_sim.train._checkpoint import SaveTimer, begin, save_checkpoint, share
from imc_sim.train._recipes import build_recipe
from imc_sim.train._sweep import points_of
from imc_sim.train._train import changed_card, curve_of
from tests.exact.test_training_steps import CONTINUAL, DIGITS

ENSEMBLE = EnsembleRecipe(
    dataset="digits", validation=50, images=60, epochs=1, batch=30, learning_rate=1e-3, warm_up=0, seed=5, rule="A"
)
# -- checkpoints and cards ----------------------------------------------------------------------------------


def test_a_checkpoint_is_due_every_five_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _checkpoint.SAVE_EVERY_S == 300.0
    now = [0.0]
    monkeypatch.setattr(_checkpoint.time, "monotonic", lambda: now[0])
    timer, found = SaveTimer(), []
    for second in (299, 300, 301, 599, 600):
        now[0] = float(second)
        found.append(timer.due())
    assert found == [False, True, False, False, True]


def test_a_checkpoint_holds_log_and_state_and_belongs_to_its_recipe(tmp_path: Path) -> None:
    rows = [{"epoch": 1, "loss": 0.5}]
    save_checkpoint(tmp_path, "a", rows, {"epoch": 1})
    assert json.loads((tmp_path / "training.jsonl").read_text()) == rows[0]
    log: list[dict[str, float]] = []
    state = begin(tmp_path, "a", True, log)
    assert state is not None
    assert (state["epoch"], log) == (1, rows)
    with pytest.raises(InputError, match="--resume"):
        begin(tmp_path, "a", False, [])
    with pytest.raises(CheckpointError):
        begin(tmp_path, "b", True, [])
    assert begin(tmp_path / "none", "a", False, []) is None


def test_progress_of_a_part_counts_the_whole() -> None:
    seen: list[Any] = []
    log: list[dict[str, float]] = []
    shown = share(lambda *now: seen.append(now), 2, 5, log)
    assert shown is not None
    shown(3, 10, {"own": 1.0})
    log.append({"whole": 2.0})
    shown(4, 10, {})
    assert seen == [(23, 50, {}), (24, 50, {"whole": 2.0})]
    assert share(None, 0, 1, []) is None


CARD: dict[str, Any] = {
    "name": "tiny", "summary": "digits", "arch": {"name": "bnn_mlp", "args": {"inputs": 64, "hidden": [8]}},
    "recipe": {
        "kind": "classification", "dataset": "digits", "epochs": 1, "batch": 50, "images": 100, "validation": 10,
        "measure": [{"task": {"kind": "classification", "dataset": "digits", "images": 50},
                     "published": 0.75, "note": "n"}],
    },
}  # fmt: skip


@pytest.fixture
def card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "models" / "tiny").mkdir(parents=True)
    (tmp_path / "models" / "tiny" / "model.yaml").write_text(write_yaml(CARD))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_trained_card_tells_how_it_was_made(card: Path) -> None:
    before = torch.get_rng_state()
    folder = train_model("tiny", settings=["recipe.seed=3"])
    assert torch.equal(torch.get_rng_state(), before), "the global generator is unchanged"
    made, _ = load_card(folder)
    assert folder == Path("runs/tiny")
    assert made.command == "imc-sim train tiny --set recipe.seed=3"
    assert (made.epochs, made.episodes) == (1, None)
    (measured,) = made.measured
    assert (measured.published, measured.note) == (0.75, "n")
    row = json.loads((folder / "training.jsonl").read_text())
    assert made.curve["loss"] == (float(f"{row['loss']:.5g}"),)
    assert made.curve["epoch"] == (1,)
    again = train_model("tiny", card / "b", settings=["recipe.seed=3"])
    other = train_model("tiny", card / "c", settings=["recipe.seed=4"])
    sums = [load_card(each)[0].weights for each in (folder, again, other)]
    assert sums[0] == sums[1] != sums[2]
    start = train_model("tiny", card / "d", settings=["recipe.seed=3", f"recipe.start_from={card / 'c'}"])
    assert load_card(start)[0].weights not in sums


def test_curves_are_rounded_and_settings_are_of_recipe_and_arguments(card: Path) -> None:
    assert curve_of([{"epoch": 1, "loss": 0.123456789}, {"epoch": 2, "loss": 12345.678}]) == {
        "epoch": (1, 2), "loss": (0.12346, 12346.0),
    }  # fmt: skip
    loaded = load_card("tiny")[0]
    for path in ("name", "arch.name", "summary"):
        with pytest.raises(InputError, match=r"recipe\.… or arch\.args\.…"):
            changed_card(loaded, [(path, "x")], "--set")
    assert changed_card(loaded, [("recipe.seed", 4)], "x").recipe["seed"] == 4


def test_recipes_without_a_kind_are_episodic() -> None:
    assert build_recipe({}, "x").kind == "episodic"
    assert build_recipe({"kind": "ensemble"}, "x").kind == "ensemble"
    with pytest.raises(InputError, match="Did you mean 'continual'"):
        build_recipe({"kind": "continuall"}, "x")


@pytest.mark.parametrize(
    ("recipe", "same", "other"),
    [
        (EpisodicRecipe(), {"measure": ()}, {"seed": 1}),
        (DIGITS, {"memory": "images"}, {"memory": "channels"}),
        (CONTINUAL, {"features": None}, {"subsets": 2}),
        (ENSEMBLE, {"augment": "none"}, {"start": "independent"}),
    ],
)
def test_the_digest_of_a_recipe_is_of_what_determines_weights(recipe: Any, same: Any, other: Any) -> None:
    assert recipe.model_copy(update=same).training_digest() == recipe.training_digest()
    assert recipe.model_copy(update=other).training_digest() != recipe.training_digest()


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"optimizer": "sgd", "m": 1.0}, "optimizer adam"),
        ({"interleaved": True, "method": "ewc"}, "method none"),
        ({"m": -1.0}, "0 or more"),
        ({"features": "net"}, "no permutation"),
        ({"features": "net", "tasks": [{}], "memory": "channels"}, "memory images"),
    ],
)
def test_recipes_that_contradict_themselves_are_refused(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        build(ContinualRecipe, CONTINUAL.to_dict() | changes, "recipe")


@pytest.mark.parametrize(
    ("recipe", "data"),
    [
        (EpisodicRecipe(dataset="a", split="b", validation_split="c"), {("a", "b"), ("a", "c")}),
        (DIGITS, {("digits", "train")}),
        (
            CONTINUAL.model_copy(update={"tasks": (ContinualTask(dataset="a"), ContinualTask(split="b"))}),
            {("a", "train"), ("digits", "b")},
        ),
    ],
)
def test_weights_follow_from_every_split_that_training_reads(
    recipe: Any, data: set[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The best weights are kept by the validation split, so that its content is part of the digest too."""
    assert recipe._data() == data
    read: list[str] = []
    found: dict[str, str] = {}
    monkeypatch.setattr(_recipe, "data_parts", lambda name, split: (f"{name} {split}",))
    monkeypatch.setattr(_recipe, "digests_of", lambda parts: (read.extend(parts), {})[1])
    monkeypatch.setattr(_recipe, "foreign_digests", lambda _: found)
    plain = recipe.training_digest()
    assert sorted(read) == sorted(f"{name} {split}" for name, split in data)
    found["a b"] = "1"
    first = recipe.training_digest()
    found["a b"] = "2"
    assert len({plain, first, recipe.training_digest()}) == 3


LATER = {
    "optimizer": "sgd", "momentum": 0.5, "weight_decay": 0.1, "schedule": "constant", "size": 20, "scaling": "unit",
    "slope_growth": 2.0, "baseline": 0.5, "rotations": False, "similarity": "l2", "rotate_every": 3,
    "read_out": "prototypes", "slope_every": 7, "keys": "binary", "way": 9, "shot": 2, "queries": 3,
    "rotations_as_classes": False, "episodes": 5, "precision": "float32", "validate_every": 4, "loss": "rate",
    "augment": "flip_crop", "memory": "channels", "keep": "last", "epochs": 3, "images": 50, "validation": 7,
    "pad": 12, "permutation": 2, "offset": 4, "classes": (1, 2), "seed": 4, "learning_rate": 0.1, "warm_up": 3,
}  # fmt: skip


@pytest.mark.parametrize("recipe", [EpisodicRecipe(read_out="attention"), DIGITS], ids=["episodic", "classification"])
def test_every_setting_of_a_recipe_is_part_of_its_digest(recipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_recipe, "digests_of", lambda _: {})  # the data are read for every digest
    known = [recipe.training_digest()]
    for key, value in LATER.items():
        if key in type(recipe).model_fields and getattr(recipe, key) != value:
            known.append(recipe.model_copy(update={key: value}).training_digest())
    assert len(set(known)) == len(known) > 20


def test_models_that_training_starts_from_are_identified_by_content(monkeypatch: pytest.MonkeyPatch) -> None:
    contents = {"m": "1", "n": "1"}
    monkeypatch.setattr(_recipe, "weights_digest", contents.__getitem__)
    monkeypatch.setattr(_recipe, "features_digest", contents.__getitem__)
    for change in ("start_from", "features"):
        made = [DIGITS.model_copy(update={change: name}).training_digest() for name in ("m", "n")]
        contents["m"] = "2"
        made.append(DIGITS.model_copy(update={change: "m"}).training_digest())
        assert made[0] == made[1] != made[2]
        contents["m"] = "1"


def test_models_of_features_are_those_of_the_task_first() -> None:
    task = ContinualTask(features="own")
    recipe = ContinualRecipe(dataset="digits", tasks=(task, ContinualTask()), features="shared")
    assert [recipe.features_of(each) for each in recipe.tasks] == ["own", "shared"]


# -- sweeps and queues --------------------------------------------------------------------------------------

SWEEP: dict[str, Any] = {
    "name": "s", "model": "tiny", "seeds": [3], "set": {"recipe.batch": 10, "recipe.epochs": 1},
    "cases": [{"name": "a", "set": {"recipe.batch": 20}}], "panels": [{"path": "recipe.batch", "values": [30]},
                                                                    {"path": "recipe.epochs", "values": [2]}],
}  # fmt: skip


def test_panels_set_more_than_cases_and_cases_more_than_the_sweep(card: Path) -> None:
    points = list(points_of(build(Trainings, SWEEP, "sweep")))
    assert [(p.recipe.batch, p.recipe.epochs, p.recipe.seed) for p in points] == [(30, 1, 3), (20, 2, 3)]  # type: ignore[union-attr]
    wide = SWEEP | {"panels": [{"path": "arch.args.hidden", "values": [[8], [9]]}]}
    assert len({p.id for p in points_of(build(Trainings, wide, "sweep"))}) == 2, "the architecture is part of the id"


@pytest.mark.parametrize(
    ("changes", "match"),
    [({"panels": [{"path": "recipe.m", "values": [1, 2], "labels": ["a"]}]}, "one for each of the 2 values"),
     ({"set": {"name": 1}}, "paths that start with recipe")],
)  # fmt: skip
def test_sweeps_that_contradict_themselves_are_refused(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        build(Trainings, SWEEP | changes, "sweep")


@pytest.mark.parametrize(
    ("entries", "match"),
    [
        ([("a", None, {}), ("a", None, {})], "two named 'a'"),
        ([("a", "b", {}), ("b", None, {})], "an entry before it"),
        ([("a", None, {}), ("b", "a", {"recipe.start_from": "x"})], "only one of"),
    ],
)
def test_queues_that_contradict_themselves_are_refused(entries: list[Any], match: str) -> None:
    rows = [{"name": n, "model": "tiny", "start_from": start, "set": own} for n, start, own in entries]
    with pytest.raises(InputError, match=match):
        build(Queue, {"name": "q", "entries": rows}, "queue")


def test_an_accuracy_counts_its_right_answers() -> None:
    assert Accuracy(np.array([0.1, 0.2, 0.3]), 15, "episodes").correct == 3
