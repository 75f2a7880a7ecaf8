"""Every option of a command reaches the function that does the work, and nothing else does."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SHOW = ("m", "ideal", "--out", "x")
CHECKPOINT = ("import", "c.pth", "--arch", "batmann", "--out", "x")

CASES: list[tuple[str, str, dict[str, Any]]] = [
    # command line -> function, and the arguments that it must receive (defaults included)
    (
        "run quickstart", "imc_sim.study.run",
        {"out": Path("results/quickstart"), "executor": "inline", "workers": None, "scheduler": None, "device": "cpu",
         "batch": 4, "retry_failed": False},
    ),
    (
        "run quickstart --out x --workers 3 --device cuda --batch 7 --retry-failed", "imc_sim.study.run",
        {"out": Path("x"), "executor": "process", "workers": 3, "device": "cuda", "batch": 7, "retry_failed": True},
    ),
    ("run quickstart --workers 1", "imc_sim.study.run", {"executor": "inline", "workers": 1}),
    ("run quickstart --workers 3 --executor dask", "imc_sim.study.run", {"executor": "dask", "workers": 3}),
    ("run quickstart --scheduler tcp://h:1", "imc_sim.study.run", {"executor": "dask", "scheduler": "tcp://h:1"}),
    ("run quickstart --dry-run", "imc_sim.study.dry_run", {"workers": 1, "device": "cpu", "batch": 4}),
    (
        "run quickstart --dry-run --workers 3 --device cuda --batch 7", "imc_sim.study.dry_run",
        {"workers": 3, "device": "cuda", "batch": 7},
    ),
    ("evaluate m", "imc_sim.evaluate.evaluate_card",
     {"name": "m", "chip": None, "chips": None, "seed": 0, "episodes": None}),
    (
        "evaluate m --chip ideal --chips 3 --seed 4 --episodes 5 --set way=6 --set chip.tile.rows=7",
        "imc_sim.evaluate.evaluate_card",
        {"chip.tile.rows": 7, "chips": 3, "seed": 4, "episodes": 5, "changes": {"way": 6}},
    ),
    ("evaluate m --set chip.x=1", "imc_sim.evaluate.evaluate_card", {"changes": {"chip.x": 1}}),
    ("map m ideal --set chip.tile.rows=7 --conductances c.npz", "imc_sim.evaluate.map_for_card",
     {"name": "m", "chip.tile.rows": 7, "conductances": Path("c.npz")}),
    ("map m ideal", "imc_sim.evaluate.map_for_card", {"conductances": None, "chips": None}),
    ("map m ideal --chips 3", "imc_sim.evaluate.map_for_card", {"chips": 3}),
    ("evaluate m --chip ideal --conductances c.npz", "imc_sim.evaluate.evaluate_card", {"conductances": "c.npz"}),
    ("evaluate m", "imc_sim.evaluate.evaluate_card", {"conductances": None, "changes": {}}),
    ("cost m rram_xnor", "imc_sim.evaluate.cost_for_card", {"name": "m", "chips": 4, "seed": 0, "images": 16}),
    ("cost m rram_xnor --set chip.tile.rows=7 --chips 3 --seed 5 --images 6", "imc_sim.evaluate.cost_for_card",
     {"chip.tile.rows": 7, "chips": 3, "seed": 5, "images": 6}),
    ("show converters m ideal --seed 4", "imc_sim.evaluate.converter_inputs", {"model": "m", "seed": 4, "number": 0}),
    ("show confusion m ideal --seed 4 --chips 3", "imc_sim.evaluate.confusion", {"seed": 4, "chips": 3}),
    ("show sensitivity m ideal --seed 4 --chips 3", "imc_sim.evaluate.layer_sensitivity", {"seed": 4, "chips": 3}),
    ("show tsne m ideal --seed 4", "imc_sim.evaluate.embedding", {"seed": 4, "number": 0}),
    (
        "show sign-flips f --flips 3 --flips 4 --images 5 --draws 6", "imc_sim.train.probe_folder",
        {"folder": Path("f"), "flips": [3, 4], "images": 5, "draws": 6},
    ),
    ("show sign-flips f --flips 3", "imc_sim.train.probe_folder", {"images": 1000, "draws": 20, "seed": 0}),
    ("show spikes bitnet_digits_spikes --images 7 --steps 3 --set images=9", "imc_sim.evaluate.measure_firing",
     {"task.images": 9, "task.steps": 3}),
    ("show quadratic --seed 9 --out x", "imc_sim.train.QuadraticTask.random", {"seed": 9}),
    ("data fetch mnist --root r --mirror file:///m", "imc_sim.data.fetch",
     {"name": "mnist", "root": Path("r"), "mirror": "file:///m"}),
    ("data check mnist --root r", "imc_sim.data.check", {"name": "mnist", "root": Path("r")}),
    (
        "import c.pth --arch bnn --out x --arg size=3 --layout l --statistics batch --rename a=b --prefix p --inputs i",
        "imc_sim.mapping.import_checkpoint",
        {"path": Path("c.pth"), "arch": "bnn", "out": Path("x"), "renames": [("a", "b")], "prefix": "p",
         "args": {"size": 3, "layout": "l", "statistics": "batch"}, "inputs": Path("i")},
    ),
    ("import ./n.py:make --weights w.pth --out x", "imc_sim.mapping.import_checkpoint",
     {"path": Path("w.pth"), "arch": "./n.py:make", "out": Path("x")}),
    ("train batmann_small_xnor", "imc_sim.train.train_model",
     {"out": Path("runs/batmann_small_xnor"), "resume": False, "device": "cpu", "settings": []}),
    ("train m --out x --device cuda --resume --set recipe.seed=1", "imc_sim.train.train_model",
     {"name": "m", "out": Path("x"), "resume": True, "device": "cuda", "settings": ["recipe.seed=1"]}),
    ("train --queue published_sizes --out x --device cuda", "imc_sim.train.run_queue",
     {"out": Path("x"), "device": "cuda"}),
    ("train --queue published_sizes", "imc_sim.train.run_queue", {"out": Path("runs/published_sizes")}),
    ("train --sweep metaplastic_cells", "imc_sim.train.run_trainings",
     {"out": Path("results/metaplastic_cells"), "executor": "inline", "workers": None, "retry_failed": False}),
    ("train --sweep metaplastic_cells --out x --device cuda --workers 3 --retry-failed", "imc_sim.train.run_trainings",
     {"out": Path("x"), "device": "cuda", "executor": "process", "workers": 3, "retry_failed": True}),
    ("report a b --out x --trials csv", "imc_sim.study.combine",
     {"folders": [Path("a"), Path("b")], "out": Path("x"), "formats": ["csv"]}),
    ("report a --trials all", "imc_sim.study.combine", {"out": None, "formats": None}),
    ("report --page p.md --page q.md", "imc_sim.report.fill_pages",
     {"pages": [Path("p.md"), Path("q.md")], "results": []}),
    ("report a --page p.md", "imc_sim.study.Results.load", {"folder": Path("a")}),
    ("status a", "imc_sim.study.status", {"folder": Path("a"), "check_data": False}),
    ("status a --check", "imc_sim.study.status", {"check_data": True}),
    ("plot a --kind tsne --kind heatmap", "imc_sim.study.study_embeddings", {"study": Path("a")}),
]  # fmt: skip


class Reached(SystemExit):
    """Ends the command once its function is called."""


@pytest.mark.parametrize(("words", "function", "expected"), CASES, ids=[words for words, _, _ in CASES])
def test_options_reach_their_function(
    words: str, function: str, expected: dict[str, Any], run: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {}
    place, _, name = function.rpartition(".")
    try:
        owner: Any = importlib.import_module(place)
    except ImportError:
        module, _, kind = place.rpartition(".")
        owner = getattr(importlib.import_module(module), kind)
    signature = inspect.signature(getattr(owner, name))

    def reached(*args: Any, **kwargs: Any) -> None:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        found.update(bound.arguments)
        raise Reached(0)

    monkeypatch.setattr(owner, name, reached)
    ran = run(*words.split(), *(["--quiet"] if not words.startswith("x") else []))
    assert ran.code == 0, ran.err
    chip: Any = found.get("chip")
    for key, value in expected.items():
        of_task = key.startswith("task.")
        given = found["task"][key[5:]] if of_task else chip.tile.rows if key == "chip.tile.rows" else found[key]
        assert given == value, key
