"""Evaluations of one small network: attacked queries, accuracies, confusion, embeddings, ADC inputs, functions."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from imc_sim.config import build
from imc_sim.evaluate import (
    ClassificationData,
    ClassificationTask,
    FewShotData,
    FewShotTask,
    build_task,
    check_order,
    class_accuracy,
    configured,
    confusion,
    converter_inputs,
    embedding,
    evaluate_chips,
    few_shot_accuracy,
    last_hidden,
    normalised,
    task_identity,
    with_size,
)  # fmt: skip
from imc_sim.evaluate._accuracy import Accuracy
from imc_sim.evaluate._attacked_queries import Target, attack_queries, pixel_space
from imc_sim.evaluate._costs import sampled_task, some
from imc_sim.evaluate._embedding import _nearest, turned
from imc_sim.evaluate._episodes import features_of
from imc_sim.evaluate._firing import _accuracies
from imc_sim.evaluate._identity import data_of_task, training_split
from imc_sim.evaluate._run import _runs
from imc_sim.evaluate.attacks.steps import PixelSpace, fgsm, gradient_of, pgd
from imc_sim.nn import Linear
from tests.recorded.cases_array import CELLS, NOISE, chip
from tests.recorded.made import parts, real, tried
from tests.recorded.short import short

MODEL = "batmann_small_xnor"
TASK: dict[str, Any] = {
    "dataset": "glyphs", "split": "test", "classes": 6, "instances": 8, "way": 3, "shot": 2, "queries": 2,
    "episodes": 4, "rotations": False, "seed": 3,
}  # fmt: skip
AUTO = {"kind": "auto", "bits": 4, "range": "calibrated"}


class Smooth(nn.Module):
    """An encoder whose gradients do not hang on ties."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = real(20 * 20, 7) * 0.1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x.flatten(1) @ self.matrix + 0.1)


def record_attacks() -> dict[str, Any]:
    """Steps of attacks, and attacked queries and accuracies by every setting."""
    found: dict[str, Any] = {}
    pixels, sign = real(3, 1, 4, 4).abs().double().clamp(0, 1), real(3, 1, 4, 4, seed=1).sign()
    found["fgsm"] = [fgsm(pixels, sign, epsilon) for epsilon in (0.0, 0.1, 0.9)]
    gradient = gradient_of(lambda x: ((x - 0.3) ** 2).sum())
    for steps, step, start in ((1, 0.1, None), (3, 0.05, None), (4, 0.2, real(3, 1, 4, 4, seed=2).clamp(-1, 1))):
        found[f"pgd {steps}, {step}"] = pgd(pixels, gradient, 0.1, steps, step, start)
    space = PixelSpace(0.9, 0.25, 255)
    found["space"] = [space.pixels(real(2, 3)), space.images(pixels), PixelSpace(0.9, 0.25, 0).pixels(real(2, 3))]
    task = build(FewShotTask, TASK | {"size": 20}, "task")
    data = FewShotData.load(task)
    network = Smooth()
    found["episodes"] = [data.images, data.support, data.query, data.classes, data.supports]
    settings: list[dict[str, Any]] = [
        {"kind": "fgsm", "epsilon": 0.2},
        {"kind": "fgsm", "epsilon": 0.2, "loss": "memory"},
        {"kind": "fgsm", "epsilon": 0.5, "space": "normalised"},
        {"kind": "fgsm", "epsilon": 0.0, "space": "normalised"},
        {"kind": "fgsm", "epsilon": 0.0},
        {"kind": "pgd", "epsilon": 0.1, "steps": 3},
        {"kind": "pgd", "epsilon": 0.1, "steps": 2, "step": 0.03, "random_start": False},
        {"kind": "pgd", "epsilon": 0.2, "steps": 2, "seed": 5, "loss": "memory"},
    ]
    others: list[dict[str, Any]] = [{}, {"keys": "float", "similarity": "cosine", "sharpening": "softabs"}]
    others += [{"threshold": "support_mean", "prototypes": "mean", "batch": 5}, {"scaling": "unit", "dim": 5}]
    for attack, other in itertools.product(settings, others):
        made = tried(lambda a=attack, o=other: build(FewShotTask, TASK | {"size": 20, "attack": a} | o, "t").kind)
        if made != "few_shot":
            found[f"{attack} {other}"] = made
            continue
        task = build(FewShotTask, TASK | {"size": 20, "attack": attack} | other, "t")
        images = FewShotData.load(task)
        queries = attack_queries(images, task, Target(network, features_of(network, images.images, 9)))
        accuracy = few_shot_accuracy(network, task)
        found[f"{attack} {other}"] = [short(queries), accuracy.values.tolist(), accuracy.total, task.attack.is_ideal]  # type: ignore[union-attr]
    found["unit"] = parts(pixel_space(build(FewShotTask, TASK | {"scaling": "unit"}, "t")))
    found["normalised"] = normalised(torch.tensor([[1.0, 2.0, 4.0], [3.0, 3.0, 3.0]]))
    layers = nn.Sequential(Linear(4, 3, "float"), nn.Tanh(), Linear(3, 2, "float")).requires_grad_(False)
    for k, parameter in enumerate(layers.parameters()):
        parameter.copy_(real(*parameter.shape, seed=k))
    found["last hidden"] = [last_hidden(layers, real(5, 4)), tried(last_hidden, nn.Tanh(), real(2, 4))]
    return short(found)


def record_chips() -> dict[str, Any]:
    """Accuracies, ranges, confusion and ADC inputs of a trained network on chips, clean and attacked."""
    found: dict[str, Any] = {}
    plain = chip(device=CELLS, policy={"int8": "digital"}).to_dict()
    noisy = chip(device=CELLS | {"read": NOISE}, converter=AUTO, policy={"int8": "digital"}).to_dict()
    digital = noisy | {"policy": noisy["policy"] | {"memory": "digital"}}
    through = {"kind": "fgsm", "epsilon": 0.3, "through": "analog"}
    cases: dict[str, tuple[Any, dict[str, Any]]] = {
        "digital": (None, {}),
        "cells": (plain, {"keys": "binary"}),
        "calibrated": (noisy, {"threshold": "support_mean"}),
        "digital memory": (digital, {"similarity": "cosine", "keys": "float", "prototypes": "mean"}),
        "attacked": (plain, {"attack": {"kind": "fgsm", "epsilon": 0.3}}),
        "through the chip": (plain, {"attack": through}),
        "through its memory": (
            noisy, {"attack": {"kind": "pgd", "epsilon": 0.2, "steps": 2, "through": "analog", "loss": "memory"}},
        ),
        "to the digital": (plain, {"attack": through | {"transfer": "digital"}}),
        "to another": (plain, {"attack": through | {"transfer": "chip"}}),
    }  # fmt: skip
    for name, (spec, settings) in cases.items():
        results = evaluate_chips(MODEL, spec, TASK | settings, [] if spec is None else [1, 2, 5], 4)
        found[name] = [
            [r.chip, r.correct, r.total, sorted(r.ranges), sorted(r.rows_on or {}), r.cost is None] for r in results
        ]
    for name, spec in (("digital", None), ("cells", plain), ("calibrated", noisy)):
        done: list[Any] = []
        seen = confusion(MODEL, spec, TASK, 5, 2, lambda *each, to=done: to.append(each))
        found[f"confusion, {name}"] = [seen.counts, seen.offered, seen.what, seen.chips, done]
    many = confusion(MODEL, None, TASK | {"classes": 45, "episodes": 3})
    found["confusion of places"] = [many.counts.tolist(), many.what]
    for name, spec in (("ideal ADC", plain), ("calibrated", noisy)):
        found[f"ADC inputs, {name}"] = [
            [each.layer, int(each.counts.sum()), short(each.edges_A), each.levels and each.levels.count]
            for each in converter_inputs(MODEL, spec, TASK, 2, 7)
        ]
    found["refused"] = [
        tried(confusion, MODEL, plain, TASK | {"attack": {"kind": "fgsm", "through": "analog"}}),
        tried(converter_inputs, MODEL, chip(policy={"memory": "digital", "binary": "digital"}).to_dict(), TASK),
        tried(evaluate_chips, MODEL, plain, TASK, [], 0),
        tried(evaluate_chips, MODEL, plain, TASK, [-1], 0),
        tried(evaluate_chips, MODEL, plain, TASK | {"classes": 5000}, [0], 0),
    ]
    found["runs"] = [
        [list(each) for each in _runs(numbers, longest)]
        for numbers, longest in (([0, 1, 2, 3], 3), ([4, 2, 3], 8), ([1, 3], 8), ([0, 1], 1))
    ]
    return short(found)


def record_tasks() -> dict[str, Any]:
    """Identities, defaults and refusals of tasks; data that they read; intervals of accuracies."""
    found: dict[str, Any] = {}
    settings: list[dict[str, Any]] = [
        {}, {"threshold": "support_mean"}, {"dim": 4}, {"dataset": "mnist", "kind": "classification"},
        {"kind": "classification", "classes": [3, 1], "offset": 2, "outputs": "task", "vote": "hard"},
        {"kind": "classification", "dataset": "digits", "labels": "own", "classes": [3, 1], "steps": 3, "stage": 2},
    ]  # fmt: skip
    for each in settings:
        task = build_task(each, "task").to_dict()
        found[str(each)] = [task_identity(task), [list(data_of_task(task, c)) for c in (False, True)],
                            build_task(each, "task").chance]  # fmt: skip
    wrong: list[dict[str, Any]] = [
        {"kind": "few_shots"}, {"way": 1}, {"way": 30000}, {"prototypes": "majority", "keys": "float"},
        {"similarity": "l2", "sharpening": "softabs"}, {"passes": "episodes", "batch": 7},
        {"passes": "episodes", "batch": 25, "attack": {"kind": "fgsm"}}, {"attack": {"kind": "cw"}},
        {"attack": {"kind": "fgsm", "transfer": "chip"}}, {"attack": {"kind": "pgd", "step": 0.0}}, {"images": 3},
        {"kind": "classification", "scaling": "whitened", "pad": 3}, {"kind": "classification", "images": 1},
        {"kind": "function", "call": "f"}, {"kind": "function", "call": "f.py:g", "better": "more"},
    ]  # fmt: skip
    found["refused"] = [tried(lambda e=each: build_task(e, "here").kind) for each in wrong]
    for similarity, sharpening, floats in itertools.product(
        ("cosine", "dot", "l2"), ("softabs", "softabs_exp", "softmax", "none"), (False, True)
    ):
        found[f"{similarity} {sharpening} {floats}"] = tried(check_order, similarity, sharpening, float_forms=floats)
    splits = ("evaluation", "test", "pooled_test", "pooled_validation", "whole_test", "train", "other", "whole_other")
    found["training splits"] = [training_split(split) for split in splits]
    task = build(FewShotTask, {"episodes": 40, "way": 6, "shot": 2}, "t")
    found["sized"] = [with_size(task, 20).size, with_size(task, None).size, with_size(with_size(task, 9), 20).size]
    sampled = [sampled_task(task), sampled_task(build(ClassificationTask, {"images": 300}, "t"))]
    found["sampled"] = [{k: each.get(k) for k in ("episodes", "images", "attack", "seed")} for each in sampled]
    found["some"] = [some(*each).tolist() for each in ((10, 3), (3, 10), (7, 7))]
    values = np.array([0.5, 1.0, 0.75, 0.25])
    found["accuracies"] = [
        [a.mean, a.correct, list(a.interval()), list(a.interval(0.8))]
        for a in (Accuracy(values, 80, "episodes"), Accuracy(values[:1], 4, "images"),
                  Accuracy(np.ones(5), 5, "images"), Accuracy((values > 0.4).astype(float), 4, "images", 0.5))
    ]  # fmt: skip
    right = torch.tensor(np.random.default_rng(3).integers(0, 2, (4, 6, 5))).double()
    found["steps"] = parts(list(_accuracies(right)))
    return found


def record_classification() -> dict[str, Any]:
    """Accuracies and losses of a classifier by its data and outputs, and settings that it refuses."""
    found: dict[str, Any] = {}
    network = nn.Sequential(nn.Flatten(), Linear(64, 12, "float")).requires_grad_(False)
    for k, parameter in enumerate(network.parameters()):
        parameter.copy_(real(*parameter.shape, seed=k))
    settings: list[dict[str, Any]] = [
        {}, {"images": 31, "seed": 2}, {"classes": [3, 1, 7]}, {"classes": [3, 1, 7], "outputs": "task"},
        {"classes": [3, 1], "labels": "own", "outputs": "task"}, {"offset": 2}, {"offset": 3}, {"scaling": "unit"},
        {"permutation": 4, "batch": 7}, {"images": 5000}, {"steps": 2}, {"vote": "hard"}, {"members": 2}, {"stage": 1},
        {"head": 2}, {"statistics": "batch"},
    ]  # fmt: skip
    for each in settings:

        def measured(e: dict[str, Any] = each) -> list[Any]:
            task = build(ClassificationTask, {"dataset": "digits", "split": "test"} | e, "task")
            a = class_accuracy(configured(network, task), task)
            return [a.correct, a.total, a.loss, ClassificationData.load(task).some(3, task.seed)]

        found[str(each)] = tried(measured)
    return short(found)


def record_embedding() -> dict[str, Any]:
    """Nearest neighbours and rotations of embedded features, and the panels of a chip."""
    features, among = real(9, 3).double().numpy(), real(9, 3, seed=1).double().numpy()
    classes = np.arange(9) // 3
    found: dict[str, Any] = {"nearest": [_nearest(features, features, classes), _nearest(features, among, classes)]}
    found["turned"] = [turned(features[:, :2], among[:, :2]), turned(features[:, :2], -features[:, :2])]
    panels = embedding(
        MODEL, chip(device=CELLS, policy={"int8": "digital"}).to_dict(),
        TASK | {"attack": {"kind": "fgsm", "epsilon": 0.3}}, 4, 6, 2, 3, 5.0,
    )  # fmt: skip
    found["panels"] = [
        [p.row, p.column, list(p.points.shape), p.classes.tolist(), p.nearest, p.nearest_clean] for p in panels
    ]
    found["refused"] = [
        tried(embedding, MODEL, chip().to_dict(), TASK, 2, 3),
        tried(embedding, MODEL, chip().to_dict(), {"kind": "classification"}),
    ]
    return short(found)


def record_functions() -> dict[str, Any]:
    """Scores of functions of the user, digital and on chips, and what they may not return."""
    from tests.recorded.made import folder, without

    found: dict[str, Any] = {}
    with folder() as at:
        returns = {
            "one": "float(model(x).sum())", "several": "{'score': 1.5, 'b': chip or -1}", "nan": "float('nan')",
            "text": "'x'", "empty": "{}", "other": "{'b': 1.0}", "raises": "1 / 0", "of_python": "random.random()",
            "seeded": "float(torch.rand(1)) + float(numpy.random.rand())",
        }  # fmt: skip
        code = "import random, numpy, torch\nx = torch.linspace(-1, 1, 3 * 32 * 32).reshape(3, 1, 32, 32)\n"
        code += "".join(f"def {name}(model, chip):\n    return {each}\n" for name, each in returns.items())
        code += "def inputs():\n    return x\ndef whole():\n    return x.long()\n"
        Path("f.py").write_text(code)
        for name, spec in itertools.product(
            [*returns, "absent"], (None, chip(device=CELLS, policy={"int8": "digital"}).to_dict())
        ):
            task = {"kind": "function", "call": f"{at / 'f.py'}:{name}", "seed": 5}
            scores = tried(
                lambda t=task, s=spec: [
                    [r.chip, r.scores] for r in evaluate_chips(MODEL, s, t, [] if s is None else [1, 4], 2)
                ]
            )
            found[f"{name}, {'digital' if spec is None else 'chips'}"] = (
                scores if not isinstance(scores, str) else without(scores, at)
            )
        calibrated = chip(converter=AUTO, policy={"int8": "digital"}).to_dict()
        for inputs in (None, "inputs", "whole", "absent"):
            task = {"kind": "function", "call": f"{at / 'f.py'}:one"} | (
                {"inputs": f"{at / 'f.py'}:{inputs}"} if inputs else {}
            )
            scores = tried(lambda t=task: [sorted(evaluate_chips(MODEL, calibrated, t, [0], 2)[0].ranges)])
            found[f"calibrated, {inputs}"] = scores if not isinstance(scores, str) else without(scores, at)
    return short(found)
