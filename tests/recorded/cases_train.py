"""Training: recipes, rates, losses, weights and logs of a few steps, boosting, cells and metaplastic optimizers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from imc_sim.config import build
from imc_sim.data import LabelledImages, load_pool
from imc_sim.nn import Linear
from imc_sim.train import (
    BOOSTING_RULES,
    CellArray,
    Cells,
    ClassificationTrainer,
    Hold,
    MetaplasticAdam,
    TrainingSet,
    bagged_rows,
    boost,
    build_recipe,
    draw_rows,
    effective_size,
    episode_loss,
    f_meta,
    fisher,
    metaplastic_groups,
    shuffled,
    start_weights,
    training_episode,
    weighted_error,
)  # fmt: skip
from imc_sim.train._checkpoint import share
from imc_sim.train._consolidation import _shuffled, _squares
from imc_sim.train._optimizer import OptimizerSettings, optimizer_of
from imc_sim.train._score import ScoreFunction
from tests.recorded.cases_sites import made, outputs_of
from tests.recorded.made import folder, real, tried, whole

RECIPE: dict[str, Any] = {
    "kind": "classification",
    "dataset": "digits",
    "split": "train",
    "epochs": 3,
    "batch": 7,
    "validation": 9,
    "images": 20,
    "seed": 3,
    "learning_rate": 0.05,
    "warm_up": 4,
}


def record_boosting() -> dict[str, Any]:
    """Weights, votes and errors of each rule, and the rows that are sampled."""
    weights = np.array([0.1, 0.3, 0.2, 0.25, 0.15])
    flags = {"some": [0, 1, 0, 1, 0], "none": [0] * 5, "all": [1] * 5, "one": [1, 0, 0, 0, 0]}
    found: dict[str, Any] = {"start": start_weights(3), "size": [effective_size(weights), effective_size(np.ones(4))]}
    for rule in BOOSTING_RULES:
        for name, missed in flags.items():
            found[f"{rule}, {name}"] = [
                [b.alpha, b.weights.tolist()]
                for b in (boost(rule, weights, np.array(missed, bool), 4, own) for own in (False, True))
            ]
    found["errors"] = [weighted_error(weights, np.array(each, bool)) for each in flags.values()]
    found["rows"] = (
        [draw_rows(weights, 12, 3, e, m).tolist() for e, m in ((0, 0), (1, 0), (0, 2))]
        + [bagged_rows(9, 3, m).tolist() for m in (0, 1)]
        + [shuffled(np.arange(5), 3, 1, m).tolist() for m in (0, 1)]
    )
    flag = np.array([True, False])
    found["refused"] = [
        tried(boost, "E", np.ones(2), flag),
        tried(boost, "A", np.ones(2), flag, 1),
        tried(boost, "A", np.ones(3), flag),
        tried(boost, "A", -np.ones(2), flag),
        tried(start_weights, 0),
    ]
    return found


def record_rates() -> dict[str, Any]:
    """Learning rates along training, optimizers, running baselines, and the share of progress."""
    found: dict[str, Any] = {}
    for name, settings in {
        "cosine": {"warm_up": 3},
        "constant": {"schedule": "constant", "warm_up": 4},
        "no warm-up": {"warm_up": 0, "learning_rate": 0.2},
    }.items():
        rates = build(OptimizerSettings, settings, "here")
        found[name] = [rates.rate_at(step, 6) for step in range(6)]
    for name, settings in {
        "adam": {"weight_decay": 0.1},
        "sgd": {"optimizer": "sgd", "momentum": 0.5, "weight_decay": 0.1, "learning_rate": 0.1},
    }.items():
        layer = made(nn.Linear(3, 2))
        optimizer = optimizer_of(layer, build(OptimizerSettings, settings, "here"))
        for step in range(3):
            optimizer.zero_grad()
            layer(real(4, 3, seed=step)).square().sum().backward()
            optimizer.step()
        found[name] = outputs_of(list(layer.parameters()))
    shown: list[Any] = []
    progress = share(lambda done, total, row: shown.append([done, total, row]), 1, 3, [{"a": 1.0}])
    assert progress is not None
    progress(2, 5, {"a": 9.0})
    found["share"] = [shown, share(None, 0, 1, [])]
    score = ScoreFunction(0.75)
    found["score"] = [tried(lambda: outputs_of(score.added(torch.tensor([1.0, 2.0]), None)))]
    return found


def record_metaplastic() -> dict[str, Any]:
    """Steps of the metaplastic optimizer, of cells that store weights, and of penalties that hold them."""
    found: dict[str, Any] = {"f": f_meta(torch.tensor([-2.0, -0.5, 0.0, 0.5]), 1.3)}
    for m, decay in ((0.0, 0.0), (1.5, 0.0), ((0.5, 2.0), 0.1)):
        net = made(nn.Sequential(Linear(4, 3, "latent"), nn.ReLU(), Linear(3, 2, "latent")))
        optimizer = MetaplasticAdam(metaplastic_groups(net, m), lr=0.05, weight_decay=decay, betas=(0.8, 0.95))
        for step in range(4):
            optimizer.zero_grad()
            net(real(5, 4, seed=step)).square().sum().backward()
            optimizer.step()
        found[f"m {m}, decay {decay}"] = outputs_of(list(net.parameters()))
    found["refused"] = [
        tried(metaplastic_groups, net, [1.0]),
        *(
            tried(lambda o=options: str(MetaplasticAdam([torch.nn.Parameter(torch.ones(1))], **o)))
            for options in ({"lr": -1.0}, {"m": -1.0}, {"eps": 0.0}, {"betas": (0.9, 1.0)}, {"weight_decay": -1.0})
        ),
    ]
    kinds: dict[str, dict[str, Any]] = {
        "ideal": {},
        "levels": {"levels": 5, "window": 0.5},
        "curved": {"nonlinearity": 3.0, "asymmetry": 0.2},
        "spread": {"spread": 0.3, "noise": 0.2},
        "all": {
            "levels": 9,
            "nonlinearity": -2.0,
            "metaplasticity": 1.5,
            "asymmetry": -0.3,
            "spread": 0.2,
            "noise": 0.1,
            "window": 0.8,
        },
    }
    for name, settings in kinds.items():
        net = made(nn.Sequential(Linear(4, 3, "latent"), Linear(3, 2, "latent")))
        cells = CellArray(net, build(Cells, settings, "cells"), 5)
        cells.program()
        programmed = outputs_of(list(net.parameters()))
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        cells.attach(optimizer)
        for step in range(3):
            cells.phase = step // 2
            optimizer.zero_grad()
            net(real(5, 4, seed=step)).square().sum().backward()
            optimizer.step()
        found[f"cells, {name}"] = [
            build(Cells, settings, "cells").is_ideal,
            programmed[0],
            outputs_of(list(net.parameters())),
        ]
    return found


def record_penalties() -> dict[str, Any]:
    """Importance of weights and the pull of each method."""
    found: dict[str, Any] = {}
    source = LabelledImages(
        "digits", "train", whole(12, 2, 2, low=0, high=256).numpy().astype(np.uint8), np.arange(12) % 3, tuple("abc")
    )
    recipe: Any = build_recipe({**RECIPE, "scaling": "unit"}, "recipe")
    data = TrainingSet(source, np.arange(10), np.arange(10, 12), recipe)
    for method in ("ewc", "random", "si"):
        net = made(nn.Sequential(nn.Flatten(), Linear(4, 5, "latent"), nn.ReLU(), Linear(5, 3, "latent")))
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        hold = Hold(net, method, 7.0, 3)
        hold.attach(optimizer)
        for task in range(2):
            for step in range(2):
                optimizer.zero_grad()
                nn.functional.cross_entropy(
                    net(real(6, 1, 2, 2, seed=10 * task + step)), torch.arange(6) % 3
                ).backward()
                optimizer.step()
            hold.finish(optimizer, task, data, 8, "cpu")
        found[method] = [outputs_of(list(hold.state["sums"].values())), outputs_of(list(net.parameters()))]
    found["fisher"] = outputs_of(fisher(net, data.batches(data.train, 4, "cpu")))
    found["shuffled"] = [_shuffled(torch.arange(6.0).reshape(2, 3), 3, "a", task).tolist() for task in (0, 1)]
    found["squares"] = outputs_of(_squares(Linear(4, 3, "latent"), real(5, 4), real(5, 3)))
    return found


def record_trained_networks() -> dict[str, Any]:
    """Logs and weights of a few epochs, the parts of a set, and losses of episodes."""
    found: dict[str, Any] = {}
    variants: dict[str, dict[str, Any]] = {
        "plain": {},
        "last, sgd": {"keep": "last", "optimizer": "sgd", "schedule": "constant"},
        "unit": {"scaling": "unit", "weight_decay": 0.1},
    }
    for name, change in variants.items():
        recipe: Any = build_recipe(RECIPE | change, "recipe")
        data = TrainingSet.load(recipe, None)
        net = made(nn.Sequential(nn.Flatten(), Linear(64, 6, "latent"), nn.ReLU(), Linear(6, 10, "latent")))
        with folder() as at:
            steps: list[Any] = []
            log = ClassificationTrainer(net, recipe, Path(at), data=data).run(
                progress=lambda done, total, row, to=steps: to.append([done, total, len(row)])
            )
        found[name] = [
            log,
            outputs_of(list(net.parameters())),
            [steps[0], steps[-1], len(steps)],
            data.train.tolist(),
            data.validation.tolist(),
        ]
    found["digest"] = build_recipe(RECIPE, "recipe").training_digest()
    many: Any = build_recipe(RECIPE | {"validation": 10**5}, "recipe")
    found["too many"] = tried(lambda: ClassificationTrainer(nn.Linear(3, 2), many, Path()).run())
    episodic: dict[str, Any] = {
        "kind": "episodic",
        "dataset": "glyphs",
        "split": "train",
        "episodes": 4,
        "way": 3,
        "shot": 2,
        "queries": 2,
        "size": 20,
        "seed": 2,
    }
    pool = load_pool("glyphs", "train", 20)
    features = real(12, 8)
    options: list[dict[str, Any]] = [
        {},
        {"rotations": False},
        {"rotations_as_classes": False},
        {"read_out": "prototypes"},
        {"similarity": "dot"},
        {"keys": "bipolar"},
        {"similarity": "l2", "sharpening": "none"},
    ]
    for change in options:
        recipe = tried(lambda c=change: build_recipe(episodic | c, "recipe").to_dict())
        if isinstance(recipe, str):
            found[str(change)] = recipe
            continue
        made_recipe: Any = build_recipe(episodic | change, "recipe")
        images, labels = training_episode(pool, made_recipe, 3)
        loss = episode_loss(features, labels, made_recipe)
        found[str(change)] = [images, labels.tolist(), outputs_of(loss)]
    wrong: list[dict[str, Any]] = [
        {"kind": "x"},
        {"epochs": 0},
        {"optimizer": "adamw"},
        {"batchs": 3},
        {"split": "none"},
        {"kind": "continual"},
        {"kind": "continual", "tasks": [{}], "m": 1.0, "optimizer": "sgd"},
        {"kind": "continual", "tasks": [{}], "interleaved": True, "method": "ewc"},
    ]
    found["refused"] = [tried(lambda c=change: build_recipe(RECIPE | c, "recipe").kind) for change in wrong]
    continual: Any = build_recipe(
        {"kind": "continual", "dataset": "digits", "tasks": [{}, {"permutation": 2}], "subsets": 3, "m": [0.5, 1.0]},
        "recipe",
    )
    found["phases"] = [list(continual.phases), list(continual.strengths), continual.training_digest()]
    return found
