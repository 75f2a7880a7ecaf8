"""Each step, epoch, phase and checkpoint of training has its own settings, rows and addresses of random numbers.

Expected values are formulas of the publications, or golden values of integer random streams.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from imc_sim import CheckpointError, InputError
from imc_sim._rng import Stream
from imc_sim.data import CharacterPool, EpisodeShape, sample_episodes
from imc_sim.nn import Linear
from imc_sim.nn.networks import BnnMlp, Ensemble
from imc_sim.train import (
    Cells,
    ClassificationRecipe,
    ClassificationTrainer,
    ContinualRecipe,
    ContinualTask,
    ContinualTrainer,
    EnsembleRecipe,
    EnsembleTrainer,
    EpisodicTrainer,
    FlippedBin,
    MetaplasticAdam,
    QuadraticTask,
    ScoreFunction,
    _continual,
    _ensemble,
    _episodic,
    _hidden,
    _optimizer,
    boost,
    draw_rows,
    effective_size,
    metaplastic_groups,
    sign_switch,
    training_episode,
)
from imc_sim.train._boosting import _uniform
from imc_sim.train._checkpoint import SaveTimer
from imc_sim.train._consolidation import _shuffled
from imc_sim.train._episodic import episode_loss
from imc_sim.train._optimizer import OptimizerSettings, optimizer_of, update
from imc_sim.train._probes import _sampled
from tests.exact.networks import seeded
from tests.exact.test_train import RECIPE as EPISODIC
from tests.exact.test_train import controller

DIGITS = ClassificationRecipe(
    dataset="digits", validation=10, images=100, epochs=2, batch=40, optimizer="sgd", warm_up=0, schedule="constant",
    learning_rate=1e-3, seed=5,
)  # fmt: skip
TASKS = tuple(ContinualTask(permutation=n) for n in range(2))
CONTINUAL = ContinualRecipe(dataset="digits", tasks=TASKS, epochs=1, batch=50, validation=10, images=100, seed=5)


def linear() -> nn.Module:
    return seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 10)))


def mlp() -> BnnMlp:
    return seeded(BnnMlp, 64, (10,), 10)


# -- the optimizer ------------------------------------------------------------------------------------------


def test_learning_rates_of_every_schedule() -> None:
    cosine = OptimizerSettings(learning_rate=2.0, warm_up=4)
    rates = [cosine.rate_at(step, 8) for step in (0, 3, 4, 7)]
    half = [1 + math.cos(math.pi * step / 8) for step in (0, 3, 4, 7)]
    assert rates == pytest.approx([half[0] / 4, half[1], half[2], half[3]])
    constant = cosine.model_copy(update={"schedule": "constant"})
    assert [constant.rate_at(step, 8) for step in (0, 1, 3, 7)] == pytest.approx([0.5, 1, 2, 2])
    assert cosine.model_copy(update={"warm_up": 0}).rate_at(0, 8) == 2.0


@pytest.mark.parametrize(("kind", "more"), [("adam", {}), ("sgd", {"momentum": 0.4})])
def test_an_optimizer_has_the_settings_of_its_recipe(kind: str, more: dict[str, float]) -> None:
    settings = OptimizerSettings(optimizer=kind, weight_decay=0.25, learning_rate=0.5, **more)  # type: ignore[arg-type]
    made = optimizer_of(nn.Linear(2, 2), settings)
    (group,) = made.param_groups
    assert (group["lr"], group["weight_decay"], group.get("momentum")) == (0.5, 0.25, more.get("momentum"))


def test_a_step_follows_the_gradient_of_the_present_loss() -> None:
    w = nn.Parameter(torch.tensor([1.0]))
    optimizer = torch.optim.SGD([w], 0.5)
    for _ in range(2):
        update(optimizer, w.sum(), "here")
    assert float(w.detach()) == 0.0
    for wrong in (math.inf, math.nan):
        with pytest.raises(CheckpointError, match="a finite loss"):
            update(optimizer, (w + wrong).sum(), "here")


def test_the_baseline_is_the_mean_of_the_past() -> None:
    score, losses = torch.ones(2), [torch.tensor([1.0, 3.0]), torch.tensor([5.0, 7.0])]
    found = ScoreFunction(0.75)
    assert float(found.added(losses[0], score)) == 2.0, "the first loss is its own baseline"
    assert found.mean == 2.0
    assert float(found.added(losses[1], score)) == 6 + (6 - 2)
    assert found.mean == 0.75 * 2 + 0.25 * 6
    none = ScoreFunction(1.0)
    assert float(none.added(losses[0], score)) == 2 + 2, "no baseline"
    assert (float(none.added(losses[1], None)), none.mean) == (6.0, 0.0)


def test_metaplastic_groups_hold_every_parameter() -> None:
    model = mlp()
    groups = metaplastic_groups(model, (1.0, 2.0))
    assert [group["m"] for group in groups] == [1.0, 2.0, 0.0]
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    for strengths in ((1.0,), (1.0, 2.0, 3.0)):
        with pytest.raises(InputError, match="one per product layer"):
            metaplastic_groups(model, strengths)
    with pytest.raises(InputError, match="below 1"):
        MetaplasticAdam(model.parameters(), betas=(0.9, 1.0))


def test_vectors_are_not_metaplastic_and_decay_is_added_to_the_gradient() -> None:
    """Adam from zero moments steps by -lr sign(g + decay w), damped by 1 - tanh^2(m w) where w has two axes."""
    damped = 1 - math.tanh(2.0 * 0.5) ** 2
    for shape, factor in (((1, 1), damped), ((1,), 1.0)):
        w = nn.Parameter(torch.full(shape, 0.5))
        w.grad = torch.full(shape, -0.1)
        MetaplasticAdam([w], lr=0.01, m=2.0, weight_decay=0.5, eps=1e-30).step()
        assert float(w.detach()) == pytest.approx(0.5 - 0.01 * factor, rel=1e-5), "decay turns the gradient"


# -- epochs of a classifier ---------------------------------------------------------------------------------


def test_rows_of_training_and_validation_are_those_of_the_seed(tmp_path: Path) -> None:
    """Golden values: another split or order would change every trained network."""
    trainer = ClassificationTrainer(linear(), DIGITS, tmp_path)
    data = trainer._data
    assert (len(data.train), len(data.validation)) == (100, 10)
    assert not set(data.train) & set(data.validation)
    assert data.validation[:4].tolist() == GOLDEN["validation"]
    assert data.train[:4].tolist() == GOLDEN["train"]
    assert [trainer._permutation(epoch)[:4].tolist() for epoch in (0, 1)] == GOLDEN["orders"]
    with pytest.raises(InputError, match="fewer validation images"):
        ClassificationTrainer(linear(), DIGITS.model_copy(update={"validation": 1347}), tmp_path)


def test_random_numbers_of_torch_are_those_of_recipe_and_epoch(tmp_path: Path) -> None:
    trainer = ClassificationTrainer(linear(), DIGITS, tmp_path)
    before, seeds = torch.get_rng_state(), []
    for own, epoch in ((trainer, 0), (trainer, 1), (ClassificationTrainer(linear(), DIGITS, tmp_path, digest="x"), 0)):
        with own._seeded(epoch):
            seeds.append(torch.initial_seed())
    assert len(set(seeds)) == 3
    assert torch.equal(torch.get_rng_state(), before)


def test_steps_of_an_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two epochs of batches of 40, 40 and 20 images: rates, augmentation, progress and the autocast of each."""
    recipe = DIGITS.model_copy(update={"augment": "flip_crop", "precision": "bfloat16"})
    seen: dict[str, list[Any]] = {"augment": [], "rate": [], "cast": [], "done": []}
    trainer = ClassificationTrainer(linear(), recipe, tmp_path)
    monkeypatch.setattr(
        "imc_sim.train._classification.flip_crop", lambda x, *at: (seen["augment"].append((len(x), *at)), x)[1]
    )
    monkeypatch.setattr(ClassificationRecipe, "rate_at", lambda _, *at: (seen["rate"].append(at), 1e-3)[1])
    trainer.model.register_forward_hook(
        lambda m, *_: seen["cast"].append(torch.is_autocast_enabled("cpu")) if m.training else None
    )
    trainer.run(progress=lambda *now: seen["done"].append(now[:2]))
    assert seen["augment"] == [(n, 5, epoch, first) for epoch in (0, 1) for n, first in ((40, 0), (40, 40), (20, 80))]
    assert seen["rate"] == [(step, 6) for step in range(6)]
    assert seen["done"] == [(step + 1, 6) for step in range(6)]
    assert seen["cast"] == [True] * 6


@pytest.mark.parametrize(
    ("device", "precision", "units", "reports"),
    [
        ("cpu", "bfloat16", False, 1), ("cpu", "bfloat16", True, 0), ("cpu", "float32", False, 0),
        ("cuda", "bfloat16", False, 0),
    ],
)  # fmt: skip
def test_an_emulated_precision_is_reported_once(
    device: str, precision: Any, units: bool, reports: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: units, raising=False)
    monkeypatch.setattr(torch, "autocast", lambda *found, enabled: (*found, enabled))
    _optimizer._warn_without_units.cache_clear()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        contexts = {_optimizer.mixed_precision(device, precision) for _ in range(2)}
    assert contexts == {(device, torch.bfloat16, precision == "bfloat16")}
    assert [w.category.__name__ for w in caught] == ["SlowPrecisionWarning"] * reports


def test_the_best_epoch_is_a_copy_and_the_first_of_equal_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter([3.0, 2.0, 2.0, 5.0])
    trainer = ClassificationTrainer(linear(), DIGITS.model_copy(update={"epochs": 4, "keep": "best"}), tmp_path)
    states: list[dict[str, torch.Tensor]] = []
    validate = trainer._validate

    def shown(done: int, loss: float) -> None:
        validate(done, loss)
        states.append(copy.deepcopy(trainer.model.state_dict()))

    monkeypatch.setattr(trainer, "_validate", shown)
    own = trainer._losses
    monkeypatch.setattr(
        trainer, "_losses", lambda *a: own(*a) if trainer.model.training else torch.tensor([next(losses)])
    )
    trainer.run()
    assert torch.equal(trainer.model.state_dict()["1.weight"], states[1]["1.weight"])
    assert not torch.equal(states[1]["1.weight"], states[2]["1.weight"])


def test_inference_samples_neurons_by_the_place_of_an_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Any] = []
    monkeypatch.setattr("imc_sim.train._classification._BATCH", 4)
    monkeypatch.setattr("imc_sim.train._classification.draw_neurons", lambda _, draws: found.append(draws))
    trainer = ClassificationTrainer(linear(), DIGITS, tmp_path)
    trainer.logits(trainer._data.validation)
    assert [(draws.seed, draws.chip, draws.first) for draws in found] == [(5, 0, 0), (5, 0, 4), (5, 0, 8)]


# -- episodes -----------------------------------------------------------------------------------------------


def test_rows_of_an_episodic_log_are_means_since_the_row_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Validated every 4 of 10 episodes and at the end; a run that resumes in between has the same rows."""
    recipe = EPISODIC.model_copy(update={"episodes": 10, "validate_every": 4})
    monkeypatch.setattr(EpisodicTrainer, "_step", lambda self, episode: float(episode))
    tasks: list[Any] = []

    def accuracy(model: nn.Module, task: Any) -> Any:
        tasks.append((task, model.training))
        return SimpleNamespace(mean=0.5)

    monkeypatch.setattr(_episodic, "few_shot_accuracy", accuracy)
    trainer = EpisodicTrainer(controller(), recipe, tmp_path / "a")
    modes: list[bool] = []
    log = trainer.run(progress=lambda *_: modes.append(trainer.model.training))
    assert [(row["episode"], row["loss"]) for row in log] == [(4, 1.5), (8, 5.5), (10, 8.5)]
    assert all(modes), "training goes on after a validation"
    assert not trainer.model.training
    task, training = tasks[0]
    assert not training
    assert (task.queries, task.similarity, task.keys, task.sharpening, task.seed) == (4, "cosine", "float", "none", 806)
    assert (task.episodes, task.split, task.rotations, task.scaling, task.size) == (4, "test", True, "standard", 32)
    assert (tmp_path / "a" / "checkpoint.pt").exists()

    monkeypatch.setattr(SaveTimer, "due", lambda _: True)

    def halt(done: int, *_: Any) -> None:
        if done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        EpisodicTrainer(controller(), recipe, tmp_path / "b").run(progress=halt)
    assert EpisodicTrainer(controller(), recipe, tmp_path / "b").run(resume=True) == log


@pytest.mark.parametrize(("similarity", "wanted"), [("cosine", "cosine"), ("dot", "cosine"), ("l2", "l2")])
def test_validation_compares_as_the_training(
    similarity: str, wanted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks: list[Any] = []
    monkeypatch.setattr(
        _episodic, "few_shot_accuracy", lambda _, task: (tasks.append(task), SimpleNamespace(mean=0))[1]
    )
    changes = {"similarity": similarity, "read_out": "attention", "rotations": False, "scaling": "unit", "seed": 3}
    trainer = EpisodicTrainer(controller(), EPISODIC.model_copy(update=changes), tmp_path)
    trainer._losses = [1.0]
    trainer._validate(1)
    (task,) = tasks
    assert (task.similarity, task.rotations, task.scaling, task.seed) == (wanted, False, "unit", 3)


def test_what_grows_with_the_episodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = EPISODIC.model_copy(update={"rotate_every": 4, "validate_every": 6})
    seen: dict[str, list[Any]] = {"anneal": [], "rotate": [], "first": []}
    monkeypatch.setattr(_episodic, "anneal", lambda _, share: seen["anneal"].append(share))
    monkeypatch.setattr(_episodic, "improve_rotations", lambda _: seen["rotate"].append(len(seen["anneal"]) - 1))
    monkeypatch.setattr(_episodic, "draw_neurons", lambda _, draws: seen["first"].append((draws.seed, draws.first)))
    monkeypatch.setattr(EpisodicTrainer, "_validate", lambda *_: None)
    EpisodicTrainer(controller(), recipe, tmp_path).run()
    assert seen["anneal"] == pytest.approx([n / 6 for n in range(6)])
    assert seen["rotate"] == [0, 4]
    assert seen["first"] == [(806, 10 * n) for n in range(6)], "5 supports and 5 queries an episode"


def test_each_episode_is_on_the_chip_of_its_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from imc_sim.train import _variation

    recipe = EPISODIC.model_copy(update={"variation": _variation.Variation(chip="rram_hfo2_1t1r"), "episodes": 2})
    numbers: list[Any] = []
    program = _variation.Crossbar.program
    monkeypatch.setattr(
        _variation.Crossbar, "program",
        lambda w, chip, chips, seed, layer, **more: (numbers.append((chips, seed)), program(w, chip, chips, seed, layer, **more))[1],  # noqa: E501
    )  # fmt: skip
    monkeypatch.setattr(EpisodicTrainer, "_validate", lambda *_: None)
    trainer = EpisodicTrainer(controller(), recipe, tmp_path)
    trainer.run()
    assert {chips for chips, seed in numbers if seed == 806} == {range(1), range(1, 2)}
    assert all(getattr(module, "disturb", None) is None for module in trainer.model.modules()), "removed at the end"


def test_settings_of_a_disturbing_chip_are_its_own() -> None:
    from imc_sim.train._variation import Variation

    chip = Variation(
        chip="rram_hfo2_1t1r",
        set={"device.programming.sigma": 0.25, "converter.kind": "auto", "inputs": {"kind": "levels", "bits": 4}},
    ).resolved()
    assert chip.device.programming.sigma == 0.25  # type: ignore[attr-defined]
    assert (chip.converter.is_ideal, chip.inputs.kind) == (True, "ideal")


def numbered_pool(classes: int, instances: int) -> CharacterPool:
    """Return images of 2 x 2 pixels: class, instance, and a mark at the top left that a turn moves."""
    images = np.zeros((classes, instances, 2, 2), np.uint8)
    images[:, :, 0, 0] = 255
    images[:, :, 0, 1] = np.arange(classes)[:, None]
    images[:, :, 1, 0] = np.arange(instances)
    return CharacterPool("own", "train", images, tuple(map(str, range(classes))), 0.0, 1 / 255)


def test_an_episode_has_one_turn_and_one_character_per_class() -> None:
    """Read back from the pixels: quarter turn, character and instance of every image."""
    pool = numbered_pool(3, 9)
    recipe = EPISODIC.model_copy(update={"way": 10, "shot": 2, "queries": 3, "split": "train"})
    images, labels = training_episode(pool, recipe, 4)
    found = []
    for image in images[:, 0]:
        turn = next(k for k in range(4) if float(torch.rot90(image, -k)[0, 0]) == 255 and _instance(image, k) < 9)
        upright = torch.rot90(image, -turn)
        found.append((turn, int(upright[0, 1]), int(upright[1, 0])))
    assert labels.tolist() == [k for k in range(10) for _ in range(2)] + [k for k in range(10) for _ in range(3)]
    for label in range(10):
        own = [found[k] for k in np.flatnonzero(labels.numpy() == label)]
        assert len({each[:2] for each in own}) == 1
        assert len({each[2] for each in own}) == 5, "supports and queries share no image"
    kinds = [found[2 * label][:2] for label in range(10)]
    assert len(set(kinds)) == 10
    assert [4 * character + turn for turn, character in kinds[:4]] == GOLDEN["episode"]
    plain, _ = training_episode(pool, recipe.model_copy(update={"rotations": False, "way": 3}), 4)
    assert (plain[:, 0, 0, 0] == 255).all(), "nothing is turned"
    turned, shape = recipe.model_copy(update={"rotations_as_classes": False, "way": 3}), EpisodeShape(3, 2, 3)
    turns = sample_episodes((3, 9), shape, 9, turned.seed, rotations=True).rotation.tolist()
    assert set(turns) == {0, 1, 2, 3}
    for episode, turn in enumerate(turns):
        one, _ = training_episode(pool, turned, episode)
        corners = {int(image.flatten().argmax()) for image in one[:, 0]}
        assert corners == {[0, 2, 3, 1][turn]}, "one turn for all, counter-clockwise"


def _instance(image: torch.Tensor, turn: int) -> float:
    return float(torch.rot90(image, -turn)[1, 0])


def test_losses_of_each_read_out() -> None:
    """By hand, from the similarities of two queries with two supports of each of two classes."""
    recipe = EPISODIC.model_copy(update={"way": 2, "shot": 2, "similarity": "dot", "read_out": "attention"})
    features = torch.tensor([[1.0, 0], [0, 1], [1, 1], [2, 0], [1, 0], [0, 2]])
    labels = torch.tensor([0, 0, 1, 1, 0, 1])
    s = features[4:] @ features[:4].T / 2  # over the dimension
    attention = torch.softmax(s, 1)
    wanted = -(torch.log(attention[0, :2].sum()) + torch.log(attention[1, 2:].sum())) / 2
    assert float(episode_loss(features, labels, recipe)) == pytest.approx(float(wanted), rel=1e-6)
    means = torch.tensor([[0.5, 0.5], [1.5, 0.5]])
    logits = features[4:] @ means.T / 2
    wanted = nn.functional.cross_entropy(logits, torch.tensor([0, 1]))
    prototypes = recipe.model_copy(update={"read_out": "prototypes"})
    assert float(episode_loss(features, labels, prototypes)) == pytest.approx(float(wanted), rel=1e-6)


# -- ensembles ----------------------------------------------------------------------------------------------

ENSEMBLE = EnsembleRecipe(
    dataset="digits", validation=50, images=60, epochs=1, batch=30, learning_rate=1e-3, warm_up=0, seed=5, rule="A"
)
MEMBERS = {"arch": "binact", "args": {"layout": "1a", "size": 8, "binary": [1, 2]}, "members": 2}


def test_members_have_their_own_rows_order_and_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ensemble = seeded(Ensemble, **MEMBERS)
    calls: list[tuple[str, tuple[Any, ...]]] = []
    for name in ("draw_rows", "shuffled", "bagged_rows"):
        own = getattr(_ensemble, name)
        monkeypatch.setattr(_ensemble, name, lambda *a, n=name, own=own: (calls.append((n, a[1:])), own(*a))[1])
    boosted = EnsembleTrainer(ensemble, ENSEMBLE, tmp_path / "a")
    weights = np.arange(60.0)
    boosted._weights = weights
    order = boosted._order(1)
    boosted._weights = np.ones(60)
    rows = order(3)
    assert calls == [("draw_rows", (60, 5, 3, 1))]
    assert (rows == boosted._data.train[draw_rows(weights, 60, 5, 3, 1)]).all(), "the weights when the member began"
    calls.clear()
    EnsembleTrainer(ensemble, ENSEMBLE.model_copy(update={"rule": "bagging"}), tmp_path / "b")._order(1)(3)
    assert calls == [("bagged_rows", (5, 1)), ("shuffled", (5, 3, 1))]
    digests: list[str] = []
    monkeypatch.setattr(
        _ensemble,
        "ClassificationTrainer",
        lambda *a: (digests.append(a[6]), SimpleNamespace(run=lambda *_: [{"loss": 0}]))[1],
    )
    monkeypatch.setattr(EnsembleTrainer, "_judge", lambda *_: None)
    EnsembleTrainer(ensemble, ENSEMBLE, tmp_path / "c").run()
    assert len(set(digests)) == 2, "a checkpoint of one member does not continue another"


def test_a_member_is_judged_on_validation_and_training_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Votes, errors and weights by hand: 7 classes, of which the network of 3 labels misses a fifth."""
    recipe = ENSEMBLE.model_copy(update={"rule": "D"})
    trainer = EnsembleTrainer(seeded(Ensemble, **MEMBERS), recipe, tmp_path)
    labels = torch.tensor([0, 1, 2, 2])
    logits = [torch.eye(7)[[0, 1, 2, 1]].double(), torch.eye(7)[[0, 0, 2, 2]].double()]
    missed = [np.arange(60) % 5 == 0, np.arange(60) % 3 == 0]
    weights = np.full(60, 1 / 60)
    for member in (0, 1):
        model: Any = SimpleNamespace(
            logits=lambda rows, n=member: (logits[n], labels) if rows is trainer._data.validation else None,
            missed=lambda rows, n=member: missed[n] if rows is trainer._data.train else None,
        )
        trainer._judge(member, model, 0.25)
        error = weights[missed[member]].sum() / weights.sum()
        alpha, weights = boost("D", weights, missed[member], 7)
        row = trainer._log[-1]
        assert (row["member"], row["loss"]) == (member + 1, 0.25)
        assert (row["error"], row["alpha"]) == pytest.approx((error, alpha))
        assert row["accuracy"] == 0.75
        np.testing.assert_allclose(trainer._weights, weights)
    assert trainer._log[0]["ensemble"] == 0.75, "the members after it do not vote yet"
    trainer._save(1)
    resumed = EnsembleTrainer(seeded(Ensemble, **MEMBERS), recipe, tmp_path)
    resumed._begin(True)
    np.testing.assert_array_equal(resumed._weights, weights)
    assert [t.tolist() for t in resumed._logits] == [t.tolist() for t in logits]
    assert resumed._ensemble.votes.tolist() == trainer._ensemble.votes.tolist()


def test_boosting_samples_with_53_bits() -> None:
    """Golden values; more than 24 bits, and uniform numbers below the last end."""
    numbers = _uniform(Stream(5, "boosting", "rows"), 3, 2, 1)
    assert (numbers * 2**53 % 2**20 != 0).all()
    assert draw_rows(np.ones(1000), 4, 5, 1, 2).tolist() == GOLDEN["boosted"]
    assert draw_rows(np.array([3.0, 0.0, 1.0]), 50, 5, 1, 2).max() == 2
    assert effective_size(np.array([1.0, 1.0, 2.0])) == pytest.approx(16 / 6)


# -- continual training -------------------------------------------------------------------------------------


def test_phases_have_their_own_order_digest_and_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = CONTINUAL.model_copy(update={"subsets": 2, "cells": Cells(noise=0.1), "method": "ewc"})
    assert recipe.phases == ((0, 0), (0, 1), (1, 0), (1, 1))
    assert recipe.model_copy(update={"interleaved": True, "method": "none"}).phases == ((0, 0), (0, 1))
    orders, finished, seen = [], [], []
    trainer = ContinualTrainer(mlp(), recipe, tmp_path)
    made = _continual.ClassificationTrainer

    def watched(*a: Any) -> Any:
        seen.append((trainer._cells.phase, a[6]))  # type: ignore[union-attr]
        return made(*a)

    monkeypatch.setattr(_continual, "ClassificationTrainer", watched)
    shuffled = _continual.shuffled
    monkeypatch.setattr(_continual, "shuffled", lambda *a: (orders.append(a[1:]), shuffled(*a))[1])
    monkeypatch.setattr(
        trainer._hold, "finish", lambda _, task, data, *more: finished.append((task, len(data.train), *more))
    )
    trainer.run()
    assert orders == [(5, 0, phase) for phase in range(4)]
    assert [phase for phase, _ in seen] == [0, 1, 2, 3]
    assert len({digest for _, digest in seen}) == 4
    assert finished == [(0, 100, 5000, "cpu"), (1, 100, 5000, "cpu")], "at the end of a task, with all of its images"
    assert not list(tmp_path.glob("phase*/checkpoint.pt")), "the checkpoint of the whole run includes them"


def test_parts_of_tasks_are_those_of_the_seed() -> None:
    recipe = CONTINUAL.model_copy(update={"subsets": 2})
    found = [_continual._training_set(recipe, task, 1).train for task in (0, 1)]
    assert [rows[:4].tolist() for rows in found] == GOLDEN["parts"]
    assert all((np.diff(rows) > 0).all() for rows in found)


def test_tasks_can_have_their_own_images_and_tests() -> None:
    own = ContinualTask(permutation=0, images=30, test_split="train")
    recipe = CONTINUAL.model_copy(update={"tasks": (own, TASKS[1])})
    assert [len(_continual.training_images(recipe, n).train) for n in (0, 1)] == [30, 100]
    assert [len(_continual._test_set(task, recipe).train) for task in recipe.tasks] == [1347, 450]
    kept = recipe.model_copy(update={"test_split": None})
    other = _continual._test_set(TASKS[1], kept)
    assert len(other.train) == 10
    assert not set(other.train) & set(_continual.training_images(kept, 1).train)
    together = _continual._joined(recipe)
    assert (len(together.train), len(together.validation), len(together.source.labels)) == (130, 20, 2 * 1347)
    assert int(together.train[30:].min()) >= 1347, "rows of the second task come after those of the first"
    (first, second) = (_continual.training_images(recipe, n) for n in (0, 1))
    assert (together.source.images[together.train[30:]] == second.source.images[second.train]).all()
    assert (together.source.labels[together.validation[:10]] == first.source.labels[first.validation]).all()
    mixed = recipe.model_copy(update={"tasks": (ContinualTask(dataset="digits"), ContinualTask(dataset="digits"))})
    assert len(_continual._joined(mixed.model_copy(update={"scaling": "standard"})).train) == 200


def test_sets_of_several_names_are_joined_in_unit_scaling_only(monkeypatch: pytest.MonkeyPatch) -> None:
    images = _continual._images

    def named(recipe: ContinualRecipe, task: ContinualTask, split: str) -> Any:
        return dataclasses.replace(images(recipe, task, split), name=f"digits{task.permutation}")

    monkeypatch.setattr(_continual, "_images", named)
    assert len(_continual._joined(CONTINUAL).train) == 200
    with pytest.raises(InputError, match="Set scaling: unit"):
        _continual._joined(CONTINUAL.model_copy(update={"scaling": "standard"}))


def test_accuracies_are_measured_with_the_norms_of_each_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = ContinualTrainer(mlp(), CONTINUAL, tmp_path)
    loaded: list[Any] = []
    monkeypatch.setattr(_continual, "norm_state", lambda _: "now")
    monkeypatch.setattr(_continual, "load_norm_state", lambda _, state: loaded.append(state))
    found = iter([0.25, 0.75] * 2)
    monkeypatch.setattr(_continual, "_accuracy", lambda *_: next(found))
    trainer.norms = ["first"]  # type: ignore[list-item]
    trainer._judge(0, 0, {"loss": 1.0, "accuracy": 0.5})
    assert loaded == ["first", "now", "now"], "a task not learned yet has the present norms, which are restored"
    trainer._judge(1, 0, {"loss": 1.0, "accuracy": 0.5})
    assert [row["mean"] for row in trainer._log] == [0.25, 0.5], "over the tasks learned so far"
    assert trainer._log[1] == {
        "task": 2,
        "part": 1,
        "loss": 1.0,
        "accuracy": 0.5,
        "task1": 0.25,
        "task2": 0.75,
        "mean": 0.5,
    }


def test_an_optimizer_of_continual_training_has_its_settings(tmp_path: Path) -> None:
    recipe = CONTINUAL.model_copy(update={"m": (1.0, 2.0), "weight_decay": 0.25, "learning_rate": 0.5})
    made = ContinualTrainer(mlp(), recipe, tmp_path)._optimizer
    assert [(g["m"], g["lr"], g["weight_decay"]) for g in made.param_groups] == [
        (m, 0.5, 0.25) for m in (1.0, 2.0, 0.0)
    ]
    assert (
        type(ContinualTrainer(mlp(), CONTINUAL.model_copy(update={"optimizer": "sgd"}), tmp_path)._optimizer)
        is torch.optim.SGD
    )


def test_random_importance_is_shuffled_for_every_task() -> None:
    importance = torch.arange(50.0).reshape(5, 10)
    found = [_shuffled(importance, *at) for at in ((5, "a", 0), (5, "a", 1), (5, "b", 0), (6, "a", 0))]
    assert all(sorted(each.flatten().tolist()) == list(range(50)) for each in found)
    assert len({str(each) for each in found}) == 4


# -- probes of latent weights -------------------------------------------------------------------------------


def test_flipped_weights_are_sampled_by_seed_bin_and_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    stream, members = Stream(5, "fc", "flips"), torch.arange(100, 160)
    assert sorted(_sampled(members, 3, stream, 2, 1).tolist()) == GOLDEN["flips"]
    layer = Linear(5, 4, "latent", bias=False)
    layer.weight.data = torch.tensor([(k + 1) / 32 * (-1) ** k for k in range(20)]).reshape(4, 5)
    model, kept = nn.Sequential(layer), layer.weight.detach().clone()
    x = torch.tensor([[1.0, -1, 1, 1, -1], [1, 1, -1, 1, 1], [-1, 1, 1, 1, 1]])
    batches = [(x[:2], torch.tensor([0, 1])), (x[2:], torch.tensor([3]))]
    found = sign_switch(model, "0", batches, flips=5, bins=4, draws=2, seed=5)
    assert torch.equal(layer.weight, kept), "left unchanged"
    assert [each.candidates for each in found] == [5, 5, 6], "bins with fewer weights are left out"
    assert found[0].magnitude == pytest.approx(np.mean([5, 6, 7, 8, 9]) / 20)
    flipped = kept.clone().flatten()
    flipped[4:9] *= -1

    def loss(w: torch.Tensor) -> float:
        logits = x.double() @ torch.where(w > 0, 1.0, -1.0).double().T
        return float(nn.functional.cross_entropy(logits, torch.tensor([0, 1, 3])))

    assert found[0].increases.tolist() == pytest.approx([(loss(flipped.reshape(4, 5)) - loss(kept)) / 5] * 2, rel=1e-6)
    assert found[2].increases[0] != found[2].increases[1], "another choice of five of six"


def test_the_deviation_over_random_choices_is_that_of_a_sample() -> None:
    assert FlippedBin(0.5, 9, np.array([1.0, 3.0])).deviation == pytest.approx(math.sqrt(2))
    assert FlippedBin(0.5, 9, np.array([1.0])).deviation == 0.0


def test_the_quadratic_task_is_its_formula() -> None:
    """Loss of signs and its change by one flip, of a task in two dimensions; golden optimum of a random one."""
    H, optimum = torch.tensor([[2.0, 0.5], [0.5, 1.0]]).double(), torch.tensor([1.5, -0.25]).double()
    task, w = QuadraticTask(H, optimum), torch.tensor([0.3, -0.7])
    off = torch.tensor([1.0, -1.0]).double() - optimum
    assert float(task.loss(w)) == pytest.approx(float(off @ H @ off) / 2)
    flipped = [task.loss(w * torch.tensor(s)) - task.loss(w) for s in ([-1.0, 1.0], [1.0, -1.0])]
    torch.testing.assert_close(task.flip_increases(w), torch.stack(flipped))
    path = task.path(w, 0.5, 2)
    torch.testing.assert_close(path[1], w.double() - 0.5 * H @ off)
    assert torch.equal(path[0], w.double())
    made = QuadraticTask.random([0.5, 1.0, 2.0], 5)
    torch.testing.assert_close(torch.linalg.eigvalsh(made.hessian), torch.tensor([0.5, 1.0, 2.0]).double())
    assert made.optimum.tolist() == pytest.approx(GOLDEN["optimum"], rel=1e-6)
    assert made.hessian[0].tolist() == pytest.approx(GOLDEN["hessian"], rel=1e-3)


def test_a_probe_uses_images_of_the_last_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = CONTINUAL.model_copy(update={"test_batch": 40})
    monkeypatch.setattr(_hidden, "hidden_network", lambda _: (mlp(), recipe))
    calls: list[Any] = []
    monkeypatch.setattr(
        _hidden, "sign_switch", lambda *a, **k: calls.append((a[1], [len(b[1]) for b in a[2]], a[3], k, a[2]))
    )
    _hidden.probe_folder(tmp_path, [3, 4], images=90, draws=7, seed=8)
    names = [call[0] for call in calls]
    assert [call[1:4] for call in calls] == [([30, 30, 30], n, {"draws": 7, "seed": 8}) for n in (3, 4)]
    assert len(set(names)) == 2
    last = _continual.training_images(recipe, 1)
    assert torch.equal(calls[0][4][0][0], last.batch(last.train[:30], "cpu")[0])
    with pytest.raises(InputError, match="one per layer"):
        _hidden.probe_folder(tmp_path, [3])


GOLDEN: dict[str, Any] = {
    "validation": [68, 196, 360, 395],
    "train": [3, 55, 62, 66],
    "orders": [[1255, 722, 387, 748], [636, 1110, 826, 112]],
    "boosted": [554, 228, 968, 895],
    "parts": [[3, 66, 90, 98], [3, 62, 88, 90]],
    "flips": [102, 112, 156],
    "optimum": [-3.1840541, -2.8490813, -3.1986492],
    "hessian": [1.15826, 0.44925, 0.12962],
    "episode": [7, 11, 9, 8],
}
