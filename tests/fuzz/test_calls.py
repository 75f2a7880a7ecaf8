"""Bad arguments of functions in Python: one error that names the parameter, before anything is computed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import pytest
import torch

import imc_sim as imc
from imc_sim import InputError, data, device, evaluate, study, train
from imc_sim._rng import Stream
from imc_sim.cost import macro_cost
from imc_sim.nn import Linear
from tests.fuzz.harness import examine_all, limits

SEEDS: list[Any] = [-1, 1.5, "1", None, True, float("nan"), float("inf"), -(10**30), np.int64(-3), [0], torch.ones(2)]
COUNTS: list[Any] = [0, -1, 1.5, "2", None, True, [], [0], float("nan"), -(10**400)]
CHIPS: list[Any] = [*COUNTS, range(0), range(-2, 2), range(3, 1), 10**9, range(10**9), 10**40, range(2**70)]
NUMBERS: list[Any] = [[], [-1], [0, -1], [1.5], ["a"], "ab", 0, None, range(0), [10**30], [None]]
HUGE: list[Any] = [10**9, 10**40, range(10**9), range(2**70)]
INDICES: list[Any] = [-1, 2, 1.5, None, "0", 10**40]
CHANCES: list[Any] = [-1, 1.5, None, "a", -(10**400)]
MODEL = "batmann_small_xnor"
TASK = {"dataset": "glyphs", "split": "test", "episodes": 2}
STUDY = {"name": "s", "model": MODEL, "chip": "ideal", "chips": {"min": 2}, "task": TASK}
MIRRORS: list[Any] = [
    "http://[", "http://", "https:///x", "http://:80", "http://h:99999", "http://h:x", "http://h:0", "http://h/a b",
    "http://h/\0", "http://h/\n", "http://\udcff", "http://" + "a" * 300, "http://..", "http://a..b", "file:x", "ftp://x",
    "http:x", "", " ", "//x", "http://h:-1", "http://h:\u0663", "data:,x", "file:///dev/zero", "http://127.0.0.1:1", 5,
    b"http://x",
]  # fmt: skip
WEIGHTS = torch.ones(4, 4)


def _memory(keys: Any = None, labels: Any = None, queries: Any = None, **settings: Any) -> object:
    """Write keys to a key memory and search it."""
    memory = imc.AssociativeMemory(CHIP, **{"dim": 4, **settings})
    memory.write(torch.ones(2, 4) if keys is None else keys, torch.arange(2) if labels is None else labels)
    return memory.similarity(torch.ones(1, 4) if queries is None else queries)


@torch.no_grad()
def _signed(layer: torch.nn.Linear) -> torch.nn.Linear:
    """Return a layer with weights of +-1."""
    layer.weight.sign_()
    return layer


CHIP = imc.load_chip("rram_hfo2_1t1r")
CELLS = CHIP.device
NAN = torch.full((2, 4), float("nan"))
#: function -> a call of it, and bad values by parameter
CALLS: dict[str, tuple[Callable[..., object], dict[str, list[Any]]]] = {
    "Crossbar.program": (
        lambda **bad: imc.Crossbar.program(WEIGHTS, CHIP, **bad).mvm(torch.ones(1, 4)),
        {"seed": SEEDS, "chips": CHIPS, "epoch": CHANCES, "layer": [None, 5], "encoding": ["offset", 5],
         "unit_inputs": [None, 1, "no"]},
    ),
    "Crossbar.program of many chips": (
        lambda **bad: imc.Crossbar.program(torch.ones(1000, 1000), CHIP, **bad), {"chips": [10**6]},
    ),
    "Crossbar.rounding": (lambda **bad: CROSSBAR.rounding(**bad), {"index": INDICES}),
    "Crossbar.gating": (lambda **bad: CROSSBAR.gating(**bad), {"index": INDICES}),
    "line_conductance": (lambda **bad: imc.array.line_conductance(CROSSBAR, **bad), {"index": INDICES}),
    "Crossbar.set_limits": (
        lambda **bad: CROSSBAR.set_limits(**{"low": 0.0, "high": 1.0, **bad}),
        {"low": [1.0, 2, None, "0", float("nan"), -float("inf")], "high": [0.0, None, "1", float("inf")]},
    ),
    "Crossbar.set_input_limit": (
        lambda **bad: CROSSBAR.set_input_limit(**bad), {"limit": [0, -1, None, "1", float("nan"), float("inf")]},
    ),
    "effective_conductance": (
        lambda **bad: imc.array.effective_conductance(**{"G": torch.ones(2, 2) * 1e-5, **bad}),
        {"G": [None, "a", np.array([None]), np.array(["a"]), torch.ones(2), NAN, -torch.ones(2, 2)],
         "r_row_ohm": [None, "1", -1, float("nan"), 1e400, torch.ones(2)], "drive": ["x", None]},
    ),
    "Crossbar.from_conductance": (
        lambda **bad: imc.Crossbar.from_conductance(torch.ones(1, 1, 128, 128) * 1e-5, WEIGHTS, CHIP, **bad),
        {"seed": SEEDS, "chips": [chips for chips in CHIPS if chips is not None]},
    ),
    "AssociativeMemory": (_memory, {"seed": SEEDS, "chips": CHIPS, "dim": COUNTS}),
    "AssociativeMemory.write": (
        _memory,
        {
            "keys": [torch.ones(0, 4), torch.ones(2, 0), torch.ones(4), torch.ones(3, 2, 4), NAN, [[1]]],
            "labels": [torch.ones(0), torch.tensor([0, -1]), torch.tensor([0.5, 1]), torch.tensor([0, 10**9]), [0, 1]],
            "queries": [torch.ones(1, 3), torch.ones(4), NAN, [1]],
        },
    ),
    "map_model": (
        lambda **bad: imc.map_model(torch.nn.Linear(4, 3), CHIP, inputs=torch.randn(9, 4), **bad),
        {"seed": SEEDS, "chips": CHIPS, "memory_limit_bytes": [*COUNTS, "2 GB"], "engine": ["x", 5],
         "conductances": [5, float("nan"), range(10**9), torch.ones(2), "none.npz"]},
    ),
    "AnalogModel": (
        lambda **bad: CONTROLLER(**bad),
        {"x": [None, "a", torch.ones(4), torch.ones(2, 5), torch.ones(1, 32, 32), torch.ones(1, 3, 32, 32),
               torch.ones(1, 1, 64, 64), torch.ones(1, 1, 5, 32)]},
    ),
    "AnalogModel of layers": (
        lambda **bad: LAYERS(**bad), {"x": [torch.ones(8), torch.ones(2, 5), torch.ones(2, 1, 6), torch.ones(2, 1)]},
    ),
    "AnalogModel of any network": (
        lambda **bad: ANY(**bad),
        {"input": [torch.ones(2, 5), torch.ones(2, 1, 3), torch.ones(2)], "other": [torch.ones(2, 8)]},
    ),
    "AnalogModel.on_chip": (lambda x: CONTROLLER.on_chip(0, x), {"x": [torch.ones(2, 5), torch.ones(1, 1, 64, 64)]}),
    "AnalogModel.calibrate": (lambda x: CONTROLLER.calibrate(x), {"x": [torch.ones(2, 5), torch.ones(1, 1, 64, 64)]}),
    "a network of images": (lambda x: IMAGES(x), {"x": [torch.ones(1, 784), torch.ones(1, 3, 28, 28)]}),
    "last_hidden": (
        lambda images: evaluate.last_hidden(IMAGES, images), {"images": [torch.ones(1, 3), torch.ones(1, 3, 28, 28)]},
    ),
    "Chip.replace": (
        lambda **bad: CHIP.replace(**{"path": "device.programming.sigma", "value": 0.1, **bad}),
        {"path": [None, 5, [], {}, "", "x.y"], "value": [None, "a", -1, [], object()]},
    ),
    "Tile": (lambda **bad: imc.array.Tile(**bad), {"rows": [0, None, "a", 1.5, 10**30], "x": [1]}),
    "macro_cost": (
        lambda **bad: macro_cost("rram_neurram_core", **bad),
        {"seed": [*SEEDS, 10**30], "vectors": COUNTS, "inputs": ["x", None]},
    ),
    "make_glyphs": (
        lambda **bad: data.make_glyphs(**{"indices": range(1), "size": 20, **bad}),
        {"seed": SEEDS, "size": [*COUNTS, 10**6], "indices": [range(-1, 1), None, 1]},
    ),
    "sample_episodes": (
        lambda **bad: data.sample_episodes(
            **{"pool_shape": (10, 5), "shape": data.EpisodeShape(2, 1, 1), "episodes": 2, "seed": 0, **bad}
        ),
        {"seed": SEEDS, "episodes": [0, -1, 1.5, None, range(0), range(-1, 2), *HUGE],
         "pool_shape": [None, "ab", 5, (10,), (10, None), ("a", 5), (10, 1)], "shape": [None, (2, 1, 1)],
         "rotations": [None, "no"]},
    ),
    "EpisodeShape": (
        lambda **bad: data.EpisodeShape(**{"way": 2, "shot": 1, "queries": 1, **bad}),
        {"way": [*COUNTS, 1, 10**40], "shot": COUNTS, "queries": COUNTS, "query_pool": [0, -1, 1.5, "2", True]},
    ),
    "load_pool": (
        lambda **bad: data.load_pool(**{"name": "glyphs", "split": "test", **bad}),
        {"name": [None, 5, "x"], "split": [None, 5, "x"], "size": [0, -1, 1.5, "a", 10**9], "root": ["x", 5]},
    ),
    "gather_images": (
        lambda **bad: data.gather_images(**{"pool": POOL, "triples": np.zeros((2, 3), int), **bad}),
        {"pool": [None, 5], "scaling": [None, "x"],
         "triples": [None, "a", 5, np.zeros(3, int), np.zeros((2, 2), int), np.zeros((2, 3)), np.full((1, 3), -1),
                     np.full((1, 3), 10**6)]},
    ),
    "sample_cells": (
        lambda **bad: device.sample_cells(**{"device": CELLS, "level": 1, "count": 3, **bad}),
        {"device": [None, "x", 5], "seed": SEEDS, "level": [-1, 10**6, 1.5, None, CELLS.levels],
         "count": [*COUNTS, 10**12], "chip": CHANCES},
    ),
    "Device.program": (
        lambda **bad: CELLS.program(**{"target": torch.ones(3), "seed": 0, **bad}),
        {"seed": SEEDS, "chip": CHANCES, "epoch": CHANCES, "target": [None, -torch.ones(1), NAN, torch.tensor([2.0])]},
    ),
    "read_table": (
        lambda **bad: device.read_table(**bad), {"data": [None, -1, 5.0, object(), torch.ones(2), "no.csv"]},
    ),
    "device.sweep": (
        lambda **bad: device.sweep(
            **{"model": device.VTEAM(), "amplitude_V": 1.0, "period_s": 1.0, "samples": 9, **bad}
        ),
        {"model": [None, "vteam"], "amplitude_V": [0, None, "1", float("nan"), 10**40], "period_s": [0, -1, 10**40],
         "cycles": [*COUNTS, 10**9], "samples": [*COUNTS, 10**9], "compliance_A": [0, -1, "1", float("nan")]},
    ),
    "evaluate_chips": (
        lambda **bad: evaluate.evaluate_chips(
            **{"model": MODEL, "chip": CHIP.to_dict(), "task": TASK, "chips": [0], "seed": 0, **bad}
        ),
        {
            "seed": SEEDS, "chips": NUMBERS, "device": ["x", None, "cuda:9", "cuda:x"], "engine": ["x", 5],
            "task": [None, [], "x", {**TASK, "seed": -1}, {**TASK, "episodes": 0}, {**TASK, "way": 10**6}],
            "model": ["x", None], "chip": [5, "x", {"encoding": 5}],
        },
    ),
    "chip_costs": (
        lambda **bad: evaluate.chip_costs(
            **{"model": MODEL, "chip": COSTED.to_dict(), "task": TASK, "chips": [0], "seed": 0, **bad}
        ),
        {"seed": SEEDS, "chips": NUMBERS},
    ),
    "confusion": (lambda **bad: evaluate.confusion(MODEL, CHIP, TASK, **bad), {"seed": SEEDS, "chips": CHIPS}),
    "converter_inputs": (
        lambda **bad: evaluate.converter_inputs(MODEL, CHIP, TASK, **bad),
        {"seed": SEEDS, "number": [-1, None, 1.5]},
    ),
    "cost_for_card": (
        lambda **bad: evaluate.cost_for_card(MODEL, COSTED, **bad),
        {"seed": SEEDS, "chips": CHIPS, "images": [0, -1, 1.5, "a"]},
    ),
    "embedding": (
        lambda **bad: evaluate.embedding(MODEL, CHIP, TASK, **{"classes": 2, "instances": 4, "perplexity": 2.0, **bad}),
        {"seed": SEEDS, "classes": COUNTS, "instances": COUNTS, "number": [-1, None],
         "perplexity": [0, -1, float("nan"), 1e9, None]},
    ),
    "embedding_grid": (
        lambda **bad: evaluate.embedding_grid(
            **{"panels": [evaluate.EmbeddingPanel("a", "b", MODEL, TASK)], "classes": 2, "instances": 4,
               "perplexity": 2.0, **bad}
        ),
        {"seed": [*SEEDS, 10**30], "perplexity": [0, -1], "panels": [None, [], 5, "a", [None], [5]]},
    ),
    "evaluate_card": (
        lambda **bad: evaluate.evaluate_card(MODEL, CHIP, **bad),
        {"seed": SEEDS, "chips": [0, -1, 1.5, "2", True, 10**9], "episodes": [0, -1, 1.5, "a"]},
    ),
    "layer_sensitivity": (
        lambda **bad: evaluate.layer_sensitivity(MODEL, CHIP, TASK, **bad),
        {"seed": SEEDS, "chips": CHIPS},
    ),
    "map_for_card": (lambda **bad: evaluate.map_for_card(MODEL, CHIP, **bad), {"chips": [0, -1, 1.5, "a"]}),
    "memory_use": (
        lambda **bad: evaluate.memory_use(MODEL, CHIP.to_dict(), TASK, **bad), {"chips": [-1, None, 1.5]},
    ),
    "few_shot_accuracy": (
        lambda **bad: evaluate.few_shot_accuracy(**{"model": torch.nn.Flatten(), "task": TASK, **bad}),
        {"task": [None, {}, TASK, 5]},
    ),
    "digital_accuracy": (
        lambda **bad: evaluate.digital_accuracy(**{"model": MODEL, "task": TASK, **bad}),
        {"device": ["x", "cuda:9"], "task": [None, 5]},
    ),
    "run": (
        lambda **bad: study.run(**{"study": STUDY, "out": FOLDER / "run", **bad}),
        {"workers": [0, -1, 1.5, "a"], "batch": COUNTS, "executor": ["x", None], "device": ["x", None],
         "scheduler": ["x", "http://["], "study": [None, 5, [], {}, "x"]},
    ),
    "run with processes": (
        lambda **bad: study.run(STUDY, FOLDER / "run", "process", **bad), {"workers": [0, -1, 1.5, "a"]},
    ),
    "dry_run": (
        lambda **bad: study.dry_run(STUDY, **bad),
        {"workers": COUNTS, "batch": COUNTS, "probes": COUNTS, "budget_s": [-1, float("nan"), None], "device": ["x"]},
    ),
    "sweep": (
        lambda **bad: study.sweep(
            **{"network": torch.nn.Linear(4, 3), "chip": CHIP, "axes": {}, "score": lambda n, chip: 1.0,
               "inputs": torch.randn(6, 4), "out": FOLDER / "sweep", "progress": False, "chips": 2, **bad}
        ),
        {"seed": SEEDS, "chips": COUNTS, "workers": [0, -1, 1.5, "a", True], "metric": [None, 5], "better": ["x"],
         "axes": [None, {"x": [1]}, {"device.programming.sigma": []}, {"device.programming.sigma": 5}, {5: [1]}],
         "score": [None, 5], "network": [None, "x", torch.ones(2)], "out": [5, object()]},
    ),
    "study_embeddings": (
        lambda **bad: study.study_embeddings("quickstart", **bad), {"seed": SEEDS, "classes": [0, -1, None]},
    ),
    "make_executor": (lambda **bad: study.make_executor("process", **bad), {"workers": [0, -1, 1.5, "a", True, 10**9]}),
    "fetch": (lambda **bad: data.fetch("mnist", FOLDER, **bad), {"mirror": MIRRORS}),
    "pixel_order": (
        lambda **bad: data.pixel_order(**{"count": 3, "seed": 0, **bad}),
        {"seed": SEEDS, "count": [-1, None, 1.5, 10**9]},
    ),
    "QuadraticTask.random": (
        lambda **bad: train.QuadraticTask.random(**{"eigenvalues": [1.0, 2.0], "seed": 0, **bad}),
        {"seed": SEEDS, "eigenvalues": [[], [-1.0], [0.0], [float("nan")], None]},
    ),
    "draw_rows": (
        lambda **bad: train.draw_rows(**{"weights": np.ones(3), "count": 3, "seed": 0, "epoch": 0, "member": 0, **bad}),
        {"seed": SEEDS, "count": COUNTS, "weights": [np.zeros(0), np.zeros(3), -np.ones(3)]},
    ),
    "bagged_rows": (
        lambda **bad: train.bagged_rows(**{"count": 3, "seed": 0, "member": 0, **bad}),
        {"seed": SEEDS, "count": COUNTS},
    ),
}  # fmt: skip
COSTED = imc.load_chip("rram_neurram_core")
CONTROLLER = imc.map_model(imc.load_model(MODEL), CHIP)
IMAGES = imc.load_model("bnn_mnist")
LAYERS = imc.map_model(torch.nn.Sequential(Linear(8, 4, "xnor"), Linear(4, 3, "xnor")).eval(), CHIP)
ANY = imc.map_model(_signed(torch.nn.Linear(8, 4)), CHIP, inputs=2 * torch.eye(8)[:2] - 1)
CROSSBAR = imc.Crossbar.program(WEIGHTS, CHIP, chips=2)
POOL = data.load_pool("glyphs", "test")
FOLDER = Path()


@pytest.mark.parametrize("name", CALLS)
def test_every_bad_argument_is_one_error(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "FOLDER", tmp_path)
    call, bad = CALLS[name]

    def broken(argument: tuple[str, Any]) -> str | None:
        with limits() as over:
            try:
                call(**dict([argument]))
            except InputError as error:
                fault = f"more than one line: {error}" if "\n" in str(error) else None
            except BaseException as error:
                fault = f"{type(error).__name__}: {error}"[:300]
            else:
                fault = "taken"
        return fault or over()

    examine_all(f"arguments of {name}", [(key, value) for key, values in bad.items() for value in values], broken)


def _functions() -> dict[str, Any]:
    """Return the public functions and methods that check types by their annotations."""
    modules = [getattr(imc, name) for name in imc.__all__ if isinstance(getattr(imc, name), ModuleType)]
    public = [getattr(module, name) for module in modules for name in dir(module) if name[0] != "_"]
    held = [vars(each).values() if isinstance(each, type) else [each] for each in public]
    found = [getattr(each, "__func__", each) for some in held for each in some]
    checked = [each for each in found if isinstance(each, FunctionType) and "kinds" in vars(each)]
    return {f"{each.__module__}.{each.__qualname__}": each for each in checked}


FUNCTIONS = _functions()


def test_most_public_functions_check_types() -> None:
    assert len(FUNCTIONS) > 80


@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_argument_of_another_type_is_one_error(name: str) -> None:
    function = FUNCTIONS[name]

    def broken(parameter: str) -> str | None:
        try:
            function(**{parameter: object()})
        except InputError as error:
            return None if parameter in error.where and "\n" not in str(error) else str(error)
        except Exception as error:
            return f"{type(error).__name__}: {error}"[:300]
        return "taken"

    examine_all(f"types of {name}", list(function.kinds()), broken)


def test_true_is_no_seed_after_an_equal_one() -> None:
    Stream(1, "layer", "stage").order(3)
    with pytest.raises(InputError, match="seed: got True"):
        Stream(True, "layer", "stage").order(3)
