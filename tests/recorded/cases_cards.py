"""Tasks of cards and their rows, parts of chips, queues of training runs, kept inputs, and progress of sweeps."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from imc_sim._errors import ImcSimError, InputError
from imc_sim.array import load_chip
from imc_sim.config import build, write_yaml
from imc_sim.evaluate import _card, _sensitivity
from imc_sim.evaluate._accuracy import Accuracy
from imc_sim.evaluate._run import ChipResult
from imc_sim.nn.store import ModelCard
from imc_sim.nn.store._inputs import pack_inputs, read_inputs, unpack_inputs
from imc_sim.runs import read_rows
from imc_sim.study import Progress, _sweep, load_study, points_of
from imc_sim.study._measured import check_measured
from imc_sim.train import Queue, _queue, load_queue, run_queue
from tests.recorded.cases_cli import CARD, GLYPHS, content_left_out
from tests.recorded.cases_study import STUDY
from tests.recorded.made import folder, parts, real, tried, without
from tests.recorded.short import short

CLASSES: dict[str, Any] = {"kind": "classification", "dataset": "digits", "split": "test", "images": 20}
TASKS: list[dict[str, Any]] = [
    GLYPHS, {"dataset": "glyphs", "split": "test"}, GLYPHS | {"keys": "binary", "query_form": "float", "seed": 4},
    GLYPHS | {"keys": "float", "query_form": "float", "similarity": "cosine", "sharpening": "softabs", "dim": 9},
    GLYPHS | {"passes": "episodes", "prototypes": "mean"}, CLASSES, CLASSES | {"images": None, "vote": "hard"},
    CLASSES | {"members": 3, "steps": 4, "seed": 2, "scaling": "unit", "classes": [1, 2], "outputs": "task"},
    {"kind": "function", "call": "./f.py:g"},
]  # fmt: skip


def record_tasks_of_cards() -> dict[str, Any]:
    """Lines that describe tasks, stated tasks of each kind of card, and those of other settings."""
    found: dict[str, Any] = {"lines": [tried(_card.describe, task) for task in TASKS]}
    measured = [{"task": GLYPHS, "accuracy": 0.5, "published": 0.6, "interval": [0.4, 0.6]}]
    cards = {
        "measured": CARD | {"measured": measured}, "recipe": CARD,
        "encoder": {**CARD, "recipe": {**CARD["recipe"], "measure": []}},
        "other": {**CARD, "recipe": {}, "arch": {"name": "bnn_mlp"}},
    }  # fmt: skip
    for name, data in cards.items():
        found[name] = tried(lambda d=data: _card.stated_tasks(build(ModelCard, d, "here"), Path()))
    stated = [(GLYPHS, 0.5, None), (GLYPHS | {"shot": 1}, 0.4, 0.5), (CLASSES, 0.3, 0.2)]
    for changes in ({"shot": 1}, {"kind": "classification", "images": 9}, {"episodes": 3, "way": 2}, {"shots": 1}):
        found[str(changes)] = tried(_card._changed, stated, changes)
    found["length"] = [_card._with_length(task, 7) for task in (GLYPHS, CLASSES)]
    return found


def accuracy_of(name: str, task: dict[str, Any]) -> Accuracy:
    """Return an accuracy that follows from the task."""
    values = np.linspace(0.2, 0.9, 4 + task.get("shot", 3)) ** 2
    if task.get("kind") == "classification":
        return Accuracy(values.round(), 9, "images", 0.75)
    classes = np.arange(2 * len(values)).reshape(-1, 2) % 5
    return Accuracy(values[: 1 if task.get("episodes") == 1 else None], 40, "episodes", classes=classes)


def record_rows_of_cards() -> dict[str, Any]:
    """Rows of a card whose network is made up, with their intervals, and the progress that is reported."""
    found: dict[str, Any] = {}
    calls: list[Any] = []

    def sampled(name: str, chip: Any, task: Any, chips: Any, seed: int, **more: Any) -> list[ChipResult]:
        calls.append([name[-4:], chip and chip["name"], len(task), list(chips), seed, sorted(more)])
        return [ChipResult(n, 7 + (n % 3 if task.get("way") else 0), 10, 0.0) for n in chips]

    work = mock.patch.object(_card, "_work", lambda name, tasks, chips: [3, 5 * max(1, chips)] * len(tasks))
    with folder() as at, mock.patch.multiple(_card, digital_accuracy=accuracy_of, evaluate_chips=sampled), work:
        (at / "tiny").mkdir()
        tasks = [{"task": GLYPHS | {"shot": shot}} for shot in (2, 1)]
        card = {**CARD, "recipe": {**CARD["recipe"], "episodes": 1, "measure": tasks}}
        (at / "tiny" / "model.yaml").write_text(write_yaml(card))
        ideal, cells = (load_chip(name) for name in ("ideal", "rram_hfo2_1t1r"))
        ways: dict[str, dict[str, Any]] = {
            "digital": {}, "chips": {"chip": cells, "chips": 4, "seed": 3}, "ideal": {"chip": ideal},
            "one chip": {"chip": cells, "chips": 1}, "shorter": {"episodes": 1},
            "changed": {"changes": {"shot": 2, "keys": "float"}}, "of another kind": {"changes": CLASSES},
        }  # fmt: skip
        with mock.patch("imc_sim.nn.store.verify_weights"), mock.patch("imc_sim.evaluate._checks.check_images"), \
                mock.patch("imc_sim.evaluate._checks.check_mapping"):  # fmt: skip
            for name, options in ways.items():
                told: list[Any] = []
                rows = tried(_card.evaluate_card, str(at / "tiny"), progress=lambda *a, t=told: t.append(a), **options)
                found[name] = [rows if isinstance(rows, str) else [list(row.values()) for row in rows], told, [*calls]]
                calls.clear()
        found["without weights"] = without(str(tried(_card.evaluate_card, str(at / "tiny"))), at)
    row = _card.CardRow("t", 0.5, 0.4, 0.6, "3 images", None, 0.5, 0.25)
    found["plain"] = row.to_dict()
    return short(found)


def record_work() -> dict[str, Any]:
    """Images that pass a network for each row, where tasks share images."""
    tasks = [CLASSES, CLASSES | {"images": 10}, CLASSES]
    shared = [GLYPHS | {"size": 20}, GLYPHS | {"size": 20, "keys": "float"}]
    name = "batmann_small_xnor"
    return {
        f"{chips} chips": [
            tried(_card._work, name, [(task, None, None) for task in shared], chips),
            tried(_card._work, "bitnet_digits_clamp", [(task, None, None) for task in tasks], chips),
        ]
        for chips in (0, 3)
    }


def record_parts_of_chips() -> dict[str, Any]:
    """Chips with one layer on crossbars each, their accuracies and bands."""
    found: dict[str, Any] = {}
    model = "batmann_small_xnor"
    policies: list[dict[str, Any]] = [
        {}, {"memory": "digital"}, {"int8": "crossbar", "layers": {"features.*": "digital"}},
        {"binary": "digital", "memory": "digital"}, {"layers": {"features.conv2": "digital"}},
    ]  # fmt: skip
    for policy in policies:
        described = load_chip("rram_hfo2_1t1r").to_dict()
        described["policy"] |= policy
        variants = tried(_sensitivity._variants, model, described, GLYPHS)
        found[str(policy)] = (
            variants
            if isinstance(variants, str)
            else {n: [c["policy"]["memory"], c["policy"]["layers"]] for n, c in variants.items()}
        )

    def sampled(name: str, chip: Any, task: Any, chips: Any, seed: int) -> list[ChipResult]:
        share = 5 if chip is None else sum(place == "crossbar" for place in chip["policy"]["layers"].values())
        return [ChipResult(n, share + n + seed, 20, 0.0) for n in (chips or [0])]

    told: list[Any] = []
    with mock.patch.object(_sensitivity, "evaluate_chips", sampled):
        rows = _sensitivity.layer_sensitivity(
            model, "rram_hfo2_1t1r", GLYPHS, 3, 2, progress=lambda *each: told.append(each)
        )
    found["rows"] = [[*parts(row).values(), row.median, row.band()] for row in rows]
    return found | {"told": told}


def record_queues() -> dict[str, Any]:
    """Rows, settings and progress of a queue whose training is made up, in three calls."""
    found: dict[str, Any] = {}
    calls: list[Any] = []
    broken = {"first": False}

    def trained(model: str, out: Path, resume: bool, device: str, told: Any, settings: list[str]) -> None:
        calls.append([model, out.name, resume, device, told, sorted(s.replace(str(at), "FOLDER") for s in settings)])
        if broken["first"] and out.name == "b":
            raise ZeroDivisionError("a fault")
        if out.name == "d":
            raise InputError("the card", "nothing", "a recipe", "Add one.")
        out.mkdir(exist_ok=True)
        (out / "model.yaml").write_text(write_yaml(CARD))

    @contextlib.contextmanager
    def shown(number: int, entry: Any, out: Path) -> Iterator[Any]:
        calls.append([number, entry.name, out.name])
        yield f"progress {number}"

    entries: list[dict[str, Any]] = [
        {"name": "a", "model": "tiny", "set": {"recipe.seed": 3}}, {"name": "b", "model": "tiny", "start_from": "a"},
        {"name": "c", "model": "tiny", "start_from": "b"}, {"name": "d", "model": "tiny"},
    ]  # fmt: skip
    untouched = {"train_model": trained, "verify_weights": lambda *each: None}
    with folder() as at, mock.patch.multiple(_queue, **untouched):
        (at / "models" / "tiny").mkdir(parents=True)
        (at / "models" / "tiny" / "model.yaml").write_text(write_yaml(CARD))
        (at / "q.yaml").write_text(write_yaml({"name": "q", "entries": entries}))
        queue = load_queue(at / "q.yaml")
        options: list[dict[str, Any]] = [{}, {"progress": shown}, {"device": "cuda"}]
        stored: dict[str, Any] = {}
        for number, each in enumerate(options):
            broken["first"] = number == 0
            rows = [
                [r.entry, r.state, len(r.id), r.device, r.error, r.traceback[:9]]
                for r in run_queue(queue, at / "o", **each)
            ]
            stored = dict(read_rows(at / "o" / _queue.LOG, _queue.RowRules(("state",), _queue._fault)).rows)
            kept = [sorted(row) for row in stored.values()]
            found[f"call {number}"] = [rows, [*calls], kept, sorted(path.name for path in (at / "o").iterdir())]
            calls.clear()
        ids = {row["entry"]: row["id"][:12] for row in stored.values()}
        found["ids"] = {name: ids[name] for name in ("a", "d")}
        found["settings"] = [sorted(_queue._settings(entry, Path("o")).items()) for entry in queue.entries]
        changes: list[dict[str, Any]] = [
            {"name": "a"}, {"start_from": "x"}, {"start_from": "b"}, {"set": {"recipe.epoch": 1}}, {"set": {"x": 1}},
            {"set": {"recipe.start_from": "y"}, "start_from": "a"}, {"set": {"recipe.seed": "x"}}, {"model": "none"},
        ]  # fmt: skip
        for change in changes:
            wrong = {"name": "q", "entries": [entries[0], {"name": "b", "model": "tiny"} | change]}
            text = tried(lambda w=wrong: len([*run_queue(build(Queue, w, "q"), at / "p")]))
            found[str(change)] = content_left_out(without(str(text), at))
        rows_of: list[dict[str, Any]] = [
            {"state": "done"}, {"state": "done", "entry": "a"}, {"state": "failed", "entry": "a"},
            {"state": "x", "entry": "a"},
        ]  # fmt: skip
        found["faults"] = [_queue._fault(row) for row in rows_of]
    return found


def record_kept_inputs() -> dict[str, Any]:
    """Inputs of networks in files of each kind, in packed form, and those that are refused."""
    found: dict[str, Any] = {}
    one, other = real(20, 3).numpy(), np.arange(40).reshape(20, 2)
    with folder() as at:
        np.save("one.npy", one)
        np.save("few.npy", one[:1])
        np.save("flat.npy", one[:, 0])
        np.save("nan.npy", one * np.nan)
        np.save("double.npy", one[:3].astype(np.float64))
        np.save("bytes.npy", np.zeros((4, 3, 3), np.uint8))
        np.save("text.npy", np.array([["a"], ["b"]]))
        np.savez("single.npz", one)
        np.savez("two.npz", one, other)
        np.savez("named.npz", x=one, y=other)
        np.savez("uneven.npz", x=one, y=other[:3])
        torch.save((torch.from_numpy(one), torch.from_numpy(other)), "two.pt")
        torch.save({"a": torch.from_numpy(one)}, "dict.pth")
        torch.save([torch.ones(3, 2, dtype=torch.complex64)], "complex.pt")
        Path("x.txt").write_text("1")
        Path("in.safetensors").write_bytes(pack_inputs({"b": torch.ones(3, 2), "a": torch.zeros(3, 1)}))
        for name in (*sorted(path.name for path in at.iterdir()), "none.npy"):
            try:
                inputs = read_inputs(Path(name))
            except ImcSimError as error:
                found[name] = without(str(error), at)
                continue
            Path("kept").write_bytes(pack_inputs(inputs))
            again = unpack_inputs(Path("kept"))
            Path("kept").unlink()
            each = inputs.values() if isinstance(inputs, dict) else inputs if isinstance(inputs, tuple) else [inputs]
            kinds = [[str(x.dtype), list(x.shape)] for x in each]
            found[name] = [type(inputs).__name__, type(again).__name__, kinds, short(inputs), len(pack_inputs(inputs))]
    return found


def record_progress_of_sweeps() -> dict[str, Any]:
    """Lines that a sweep of Python writes while it runs, in a terminal and elsewhere; its axes; measured cells."""
    found: dict[str, Any] = {}

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for kind, stream in (("terminal", Terminal), ("file", io.StringIO)):
        for wanted in (True, False):
            with contextlib.redirect_stderr(stream()) as text, _sweep._shown(wanted) as show:
                for done, failed in ((0, 0), (1, 0), (4, 1), (5, 1), (39, 1), (40, 1)):
                    show(Progress(done, 40, failed))
            found[f"{kind}, {wanted}"] = text.getvalue()
        with contextlib.redirect_stderr(stream()) as text, _sweep._shown(True):
            pass
        found[f"{kind}, nothing"] = text.getvalue()
    values = [np.float32(0.5), torch.tensor(2.0), 3, "a"]
    found["axes"] = [_sweep._axis("a.b", values), _sweep._axis(("a", "b", "c"), [1])]
    found["refused"] = [tried(_sweep.sweep, torch.nn.Linear(2, 2), "ideal", axes, score)
                        for axes, score in (({}, 3), ([], print))]  # fmt: skip
    changes: list[tuple[str, Any]] = [
        ("chip.device.read.sigma", [0.0, 0.1]), ("chip.device.programming.sigma", [0.1, 0.2]),
        ("chip.tile.rows", [64, 128]),
        ("chip.encoding.kind", ["bnn_i", "bnn_iii"]), ("chip.policy.memory", ["digital", "crossbar"]),
        ("chip.policy.binary", ["digital", "crossbar"]), ("chip.compute", ["float32", "int8"]),
        ("chip.wires.r_row_ohm", [0.0, 2.0]),
    ]  # fmt: skip
    for path, each in changes:
        study = load_study({**STUDY, "axes": [{"path": path, "values": each}]})
        points = tried(lambda s=study: [*points_of(s)])
        if isinstance(points, str):
            found[path] = points
            continue
        measured = [mock.Mock(wraps=point, conductances="c.npz", chip=point.chip, weights="w", arch=None,
                              content={"conductances": "sha"}) for point in points_of(study)]  # fmt: skip
        found[path] = tried(check_measured, study, measured)
    return found
