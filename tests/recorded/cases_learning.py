"""Training of tasks one after the other, of ensembles, sweeps and queues, and the evaluation of what they train."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from imc_sim.config import build, write_yaml
from imc_sim.evaluate import ClassificationTask, class_accuracy, configured, evaluate_chips, measure_firing
from imc_sim.nn import Linear, Norm, product_layers
from imc_sim.nn.networks import (
    BitNet,
    BnnMlp,
    ContinualNet,
    Ensemble,
    answers_by_step,
    dense_word_lines,
    firing_rates,
    products_per_step,
    word_line_activations,
)
from imc_sim.nn.store import Arch, ModelCard, save_model
from imc_sim.runs import read_rows
from imc_sim.runs._executors import InlineExecutor
from imc_sim.train import (
    ContinualTrainer,
    EnsembleTrainer,
    Trainings,
    _sweep,
    build_recipe,
    load_norms,
    run_trainings,
    sign_switch,
    sweep_status,
)  # fmt: skip
from imc_sim.train._continual import calibrated_norms
from tests.recorded.cases_array import CELLS, chip
from tests.recorded.cases_cli import content_left_out
from tests.recorded.cases_sites import made
from tests.recorded.made import folder, parts, real, tried, warned, without
from tests.recorded.short import short

SHAPE: dict[str, Any] = {"inputs": 64, "hidden": [6], "classes": 10}
RECIPE: dict[str, Any] = {
    "kind": "continual", "dataset": "digits", "tasks": [{}, {"permutation": 2}], "epochs": 1, "batch": 16,
    "images": 40, "validation": 15, "test_batch": 100, "learning_rate": 0.05, "weight_decay": 0.01, "seed": 3,
}  # fmt: skip
MEMBERS: dict[str, Any] = {"arch": "bnn_mlp", "args": SHAPE, "members": 3}


#: without Adam, whose steps hang on the rounding of gradients that are zero, as before the last norm of `bnn_mlp`
SLOW = {"optimizer": "sgd", "learning_rate": 0.2}


def classifier() -> nn.Module:
    """Return a network without a norm after its last product."""
    layers = nn.Flatten(), Linear(64, 6, "latent"), Norm(6), nn.ReLU(), Linear(6, 10, "latent")
    return made(nn.Sequential(*layers))


def state_of(network: nn.Module) -> list[Any]:
    return [value for name, value in network.state_dict().items() if "batches" not in name]


def record_continual() -> dict[str, Any]:
    """Logs, weights, norms and files of training on two tasks, in each way of keeping the first."""
    found: dict[str, Any] = {}
    ways: dict[str, dict[str, Any]] = {
        "plain": {},
        "one set of norms, metaplastic": {"scenario": "domain", "m": [2.0, 0.5], "warm_up": 2},
        "ewc": {"method": "ewc", "penalty": 300.0, "fisher_images": 20, "test_split": None, "epochs": 2},
        "random": {"method": "random", "fisher_images": 20},
        "si": {"method": "si", "penalty": 0.3, "optimizer": "sgd", "momentum": 0.5},
        "together": {"interleaved": True, "keep": "best", "epochs": 2},
        "in parts": {"subsets": 2, "fresh_optimizer": False, "images": 37},
        "cells": {"cells": {"levels": 33, "nonlinearity": 1.5, "spread": 0.2, "noise": 0.1, "window": 0.6}},
        "classes": {"tasks": [{"classes": [3, 1], "images": 12}, {"classes": [5, 8, 7], "labels": "own"}]},
    }  # fmt: skip
    for name, change in ways.items():
        recipe: Any = build_recipe(RECIPE | change, "recipe")
        network = classifier()
        with folder() as at:
            steps: list[tuple[int, int]] = []
            trainer = ContinualTrainer(network, recipe, at)
            log = trainer.run(progress=lambda done, total, row, to=steps: to.append((done, total)))
            files = sorted(path.name for path in at.rglob("*"))
            kept = tried(lambda a=at: [state_of_norms(each) for each in load_norms(a)])
            kept = kept if not isinstance(kept, str) else without(kept, at)
        fitted = calibrated_norms(copy.deepcopy(network), recipe, trainer.norms, images=25)
        found[name] = [log, state_of(network), kept, [state_of_norms(each) for each in fitted], steps[-1], files]
    with folder() as at:
        past = made(ContinualNet("bnn_mlp", SHAPE, 2))
        ContinualTrainer(past, recipe_with(SLOW), at).run()
        images = real(30, 1, 8, 8)
        with torch.no_grad():
            found["stages"] = [
                past.at(stage, head, how)(images)  # type: ignore[operator]
                for stage in (1, 2, None) for head in (1, 2, None) for how in ("running", "batch")
            ]  # fmt: skip
        refused: list[tuple[dict[str, Any], int]] = [({}, 3), ({"interleaved": True}, 2), ({"scenario": "domain"}, 2)]
        found["refused"] = [
            tried(lambda c=c, n=n: len(ContinualTrainer(ContinualNet("bnn_mlp", SHAPE, n), recipe_with(c), at).norms))
            for c, n in refused
        ]
        again = ContinualTrainer(made(ContinualNet("bnn_mlp", SHAPE, 2)), recipe_with(SLOW), at)
        found["in the folder"] = [without(str(tried(again.run)), at), without(str(tried(load_norms, at / "x")), at)]
        found["resumed"] = again.run(resume=True)
        found["outputs"] = [
            tried(ContinualTrainer(made(BnnMlp(64, [6], 9)), recipe_with({}), at / "y").run),
            tried(ContinualTrainer(made(BnnMlp(**SHAPE)), recipe_with({"subsets": 50}), at / "z").run),
        ]
    return short(found)


def recipe_with(change: Mapping[str, Any]) -> Any:
    return build_recipe(RECIPE | dict(change), "recipe")


def state_of_norms(state: Mapping[str, Tensor]) -> list[Any]:
    return [[name, value] for name, value in state.items() if "batches" not in name]


def record_ensembles() -> dict[str, Any]:
    """Logs, votes and weights of ensembles by each rule; their votes, and members that are left out."""
    found: dict[str, Any] = {}
    recipe = {"kind": "ensemble", "dataset": "digits", "split": "train", "epochs": 1, "batch": 16, "images": 50,
              "validation": 20, "seed": 3, "keep": "last", **SLOW}  # fmt: skip
    network = Ensemble(**MEMBERS)
    for name, change in {
        "bagging": {}, "A, apart": {"rule": "A", "start": "independent"}, "B": {"rule": "B"},
        "C": {"rule": "C", "momentum": 0.5}, "D": {"rule": "D", "classes": [0, 1, 2]},
    }.items():  # fmt: skip
        made(network).load_state_dict({"votes": torch.ones(3)}, strict=False)
        with folder() as at:
            log = EnsembleTrainer(network, build_recipe(recipe | change, "recipe"), at).run()  # type: ignore[arg-type]
            files = sorted(path.name for path in at.rglob("*"))
        found[name] = [log, state_of(network), files]
    task = {"dataset": "digits", "split": "test", "images": 200, "batch": 64}
    network.load_state_dict({"votes": torch.tensor([0.5, -0.25, 1.0])}, strict=False)
    chips = chip(device=CELLS, policy={"binary": "crossbar"}).to_dict()
    with folder() as at:
        found["one network"] = tried(lambda: EnsembleTrainer(made(BnnMlp(**SHAPE)), recipe_with({}), at))
        save_model(at / "m", network, card("ensemble", MEMBERS))

        def accuracies(settings: dict[str, Any]) -> list[Any]:
            on_chips = [r.correct for r in evaluate_chips(str(at / "m"), chips, settings, [0, 2], 1)]
            digital = accuracy_of(network, settings)
            return [digital.correct, digital.loss, *on_chips]

        for kind in ("logits", "hard", "softmax", "log_softmax", None):
            for members in (None, 2, 4):
                own = task | {"kind": "classification", "vote": kind, "members": members}
                found[f"{kind}, {members}"] = tried(accuracies, own)
    return short(found)


def accuracy_of(network: nn.Module, settings: Mapping[str, Any]) -> Any:
    task = build(ClassificationTask, dict(settings), "task")
    return class_accuracy(configured(network, task), task)


def card(arch: str, args: Mapping[str, Any], **more: Any) -> ModelCard:
    return ModelCard(name="m", summary="s", arch=Arch(name=arch, args=dict(args)), **more)


def record_spikes() -> dict[str, Any]:
    """Spike statistics, answers and accuracies of a spiking network by its steps, and of two ways to pool."""
    found: dict[str, Any] = {}
    images = real(6, 1, 8, 8).abs() / 2
    ways: dict[str, dict[str, Any]] = {
        "published": {}, "other pooling": {"version": "6_v101", "reread": True}, "two channels": {"channels_in": 2},
        "without the first step": {"select_first": False, "tie_break": "residual", "steps": 7},
        "events": {"events": True, "steps": 3}, "clamp": {"activation": "clamp"}, "relu": {"activation": "relu"},
    }  # fmt: skip
    for name, change in ways.items():
        args = {"scale": 1 / 16, "size": 8, "channels_in": 1, "classes": 10, "steps": 5} | change
        network = spiking(args)
        x = images.expand(6, args["channels_in"], 8, 8)
        with torch.no_grad():
            found[name] = [network(x), parts(firing_rates(network, x)), word_line_activations(network, x)]
        found[name] += [dense_word_lines(network), products_per_step(network)]
        found[name] += [tried(lambda n=network, x=x: parts(answers_by_step(n, x)))]
    args = {"scale": 1 / 16, "size": 8, "channels_in": 1, "classes": 10, "steps": 6}
    with folder() as at:
        save_model(at / "m", spiking(args), card("bitnet", args))
        save_model(at / "n", made(BnnMlp(**SHAPE)), card("bnn_mlp", SHAPE))
        task = {"kind": "classification", "dataset": "digits", "split": "test", "images": 70, "batch": 32}
        for change in ({}, {"steps": 9}, {"classes": [1, 4]}, {"outputs": "task"}, {"kind": "few_shot", "way": 3}):
            found[str(change)] = tried(
                lambda c=change: measure_firing(str(at / "m"), task | c).to_dict() | {"model": ""}
            )
        found["refused"] = without(str(tried(measure_firing, str(at / "n"), task)), at)
        digital = {steps: accuracy_of(spiking(args), task | {"steps": steps}).correct for steps in (1, 3, 8)}
        cells = {"levels": "continuous", "programming": {"kind": "relative", "sigma": 0.1}}
        on_chips = chip(
            device=CELLS | cells, policy={"float": "crossbar"}, encoding_multibit={"kind": "offset"}
        ).to_dict()
        found["steps"] = [digital, tried(lambda: [
            r.correct for r in evaluate_chips(str(at / "m"), on_chips, task | {"steps": 3}, [0, 2], 1)
        ])]  # fmt: skip
    return short(found)


def spiking(args: Mapping[str, Any]) -> BitNet:
    network = made(BitNet(**args))
    assert isinstance(network, BitNet)
    return network


def record_flipped_signs() -> dict[str, Any]:
    """Losses where signs of weights of each magnitude are flipped."""
    network = made(BnnMlp(**SHAPE))
    batches = [(real(20, 1, 8, 8, seed=k), torch.arange(20) % 10) for k in range(2)]
    first = next(name for name, each in network.named_modules() if each is product_layers(network)[0])
    found: dict[str, Any] = {
        str(settings): parts(sign_switch(network, first, batches, **settings))
        for settings in ({"flips": 3, "bins": 4, "draws": 3}, {"flips": 60, "bins": 3, "draws": 1, "seed": 2})
    }
    found["refused"] = [tried(sign_switch, network, name, batches, 3) for name in ("", "norm.0")]
    return short(found)


def record_training_sweeps() -> dict[str, Any]:
    """Rows of a training sweep, and sweeps that are refused."""
    sweep: dict[str, Any] = {
        "name": "swept", "model": "m", "set": {"recipe.epochs": 1}, "seeds": [4],
        "panels": [{"path": "recipe.learning_rate", "values": [0.1, 0.3], "label": "rate"},
                   {"path": "arch.args.hidden", "values": [[3], [6]], "labels": ["few", "many"]}],
        "cases": [{"name": "plain"}, {"name": "parts", "set": {"recipe.subsets": 2}}],
    }  # fmt: skip
    found: dict[str, Any] = {}
    with folder() as at:
        (at / "m").mkdir()
        recipe = RECIPE | SLOW | {"tasks": [{}], "images": 20}
        (at / "m" / "model.yaml").write_text(write_yaml(card("bnn_mlp", SHAPE, recipe=recipe).to_dict()))
        rows = run_trainings(build(Trainings, sweep | {"model": "./m"}, "s"), at / "out")
        found["rows"] = [[*map(str, list(row.values())[:4]), row["row"]] for row in rows]
        found["files"] = sorted(path.name for path in (at / "out").iterdir())
        for change in (
            {"measure": "task2"}, {"set": {"chip": 1}}, {"model": "none"}, {"seeds": []},
            {"panels": [{"path": "recipe.m", "values": [1.0], "labels": ["a", "b"]}]},
            {"panels": [{"path": "recipe.k", "values": [1.0]}]}, {"cases": [{"name": "a", "set": {"x": 1}}]},
        ):  # fmt: skip
            made_of = sweep | {"model": "./m"} | change
            text = tried(lambda s=made_of: len(run_trainings(build(Trainings, s, "s"), at / "o")))
            found[str(change)] = content_left_out(without(str(text), at))
    return short(found)


class Wide(InlineExecutor):  # type: ignore[misc]  # final, which nothing enforces
    """An executor that says that it runs two calls at a time."""

    width = 2


def record_rows_of_training_sweeps() -> dict[str, Any]:
    """Stored rows, messages and what is trained again where runs of a sweep fail or run out of memory."""
    found: dict[str, Any] = {}
    rates = [0.1, 0.2, 0.3, 0.4]
    sweep = {"name": "swept", "seeds": [4, 5], "panels": [{"path": "recipe.learning_rate", "values": rates}]}
    ran: list[Any] = []
    told: list[str] = []

    def describe(text: str) -> Any:
        told.append(text)

    def trained(point: Any, folder: Any, device: str, progress: Any) -> Any:
        rate, seed = point.recipe.learning_rate, point.recipe.seed
        ran.append([rate, seed, len(folder.name), device, progress is None])
        if rate == 0.2 and seed == 4:
            raise ValueError("a bad rate")
        if rate == 0.3 and seed == 5:
            raise MemoryError("too little")
        folder.mkdir(parents=True)
        return {"epoch": 1.0, "mean": rate + seed}, 2.5

    with folder() as at, mock.patch.object(_sweep, "_train", trained), warned() as texts:
        (at / "m").mkdir()
        recipe = RECIPE | SLOW | {"tasks": [{}], "images": 20}
        (at / "m" / "model.yaml").write_text(write_yaml(card("bnn_mlp", SHAPE, recipe=recipe).to_dict()))
        swept = build(Trainings, sweep | {"model": "./m"}, "s")
        calls: dict[str, dict[str, Any]] = {"first": {}, "second": {}, "again": {"retry_failed": True}}
        for name, options in calls.items():
            ran.clear()
            rows = run_trainings(swept, at / "out", progress=describe, **options)
            stored = read_rows(at / "out" / _sweep.ROWS, _sweep.RULES).rows
            found[name] = [[list(row.values()) for row in rows], copy.deepcopy(ran), [
                [row["state"], row.get("row"), row.get("error"), row["meta"]["seconds"], len(row["meta"])]
                for row in stored.values()
            ], sorted(path.name for path in (at / "out").iterdir()), list(told)]  # fmt: skip
            told.clear()
            status = sweep_status(at / "out").to_dict()
            found[f"{name}, status"] = {k: v for k, v in status.items() if k not in ("folder", "rate_per_s", "eta_s")}
        steps: list[Any] = []
        with mock.patch.object(_sweep, "make_executor", return_value=Wide()):
            rows = run_trainings(swept, at / "wide", progress=lambda text: lambda *each: steps.append((text, *each)))
        found["wide"] = [sorted(str(row["row"]) for row in rows), steps]
    found["warned"] = texts
    rows = [{"state": "failed"}, {"state": "failed", "error": "e"}, {"state": "done"}, {"state": "done", "row": {}},
            {"state": "done", "row": {"a": "b"}}, {"state": "x", "row": {"a": 1}},
            {"state": "done", "row": {"a": 1.5}}]  # fmt: skip
    found["faults"] = [_sweep._fault(row) for row in rows]
    found["complete"] = _sweep.RULES.complete({"row": {}})
    return found
