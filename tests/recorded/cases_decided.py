"""Results that a tie, an order, a type or a default of one function decides."""

from __future__ import annotations

import copy
import hashlib
import itertools
import threading
from collections import deque
from typing import Any
from unittest import mock

import numpy as np
import torch

from imc_sim.analog import AssociativeMemory, _memory
from imc_sim.analog._memory import _one_hot
from imc_sim.analog._site_groups import _joined, _lifted
from imc_sim.array._plan import Plan
from imc_sim.config import digest, trusting
from imc_sim.cost import count_search
from imc_sim.cost._tally import _changes, _driven, _switches
from imc_sim.device.fit import _reader
from imc_sim.device.fit._level_quantiles import _CONVENTION, _quantiles, steps_of
from imc_sim.device.fit._reader import read_table
from imc_sim.evaluate import batch_chips, check_images
from imc_sim.nn.networks import build_arch
from imc_sim.nn.store import Arch, ModelCard, save_model
from imc_sim.onnx._load import _fixed_batch, _following_the_batch
from imc_sim.onnx._network import Input
from imc_sim.onnx._node import Node
from imc_sim.runs import _processes, _stored_column
from imc_sim.runs._batches import _Call, _Queue
from imc_sim.runs._stored_column import StoredColumn
from imc_sim.study import _work
from imc_sim.study._conditions import look_up
from imc_sim.study._points import _apply
from tests.recorded.cases_array import CELLS, chip, numbers
from tests.recorded.cases_cli import content_left_out
from tests.recorded.cases_cost import COST
from tests.recorded.made import folder, tried, warned, without
from tests.recorded.short import short
from tests.recorded.stored import made

_HEADS = "state,cell,G (uS)"


def record_chunks_of_a_table() -> dict[str, Any]:
    """Tables that are parsed in parts: names of rows that are no cells, new states, and numbers that turn to text."""
    rows = [f"{name},{n},{g}" for n, (name, g) in enumerate([("LRS", 50.5), ("HRS", 1.25)] * 3)]
    texts = {
        "statistics": [_HEADS, *rows[:2], "LRS,Mean,26", *rows[2:4], "LRS,Mean,26", "HRS,Std,3", *rows[4:]],
        "late text": [_HEADS, *rows[:5], "LRS,9,n/a", "HRS,10,overflow", *rows],
        "late state": ["state;cell;G (uS)", *(row.replace(",", ";").replace(".", ",") for row in rows), "MID;7;3,5"],
        "wide": [_HEADS, *rows, "LRS,8,5,6"],
    }  # fmt: skip
    found: dict[str, Any] = {}
    with folder() as at:
        for (name, lines), size in itertools.product(texts.items(), (3, 100)):
            (at / "a.csv").write_text("\n".join(lines))
            with mock.patch.object(_reader, "_ROWS", size):
                table = tried(read_table, at / "a.csv")
            if not isinstance(table, str):
                del table["source"]
                table["columns"] = {role: values.tolist() for role, values in table["columns"].items()}
            found[f"{name}, {size} rows"] = table
    return found


def record_quantiles() -> dict[str, Any]:
    """Quantiles at the probabilities where their convention changes, and steps of an ADC."""
    values = np.geomspace(1.0, 7.0, 12)
    p = np.array([0.0, 0.5 * _CONVENTION, _CONVENTION, 1.01 * _CONVENTION, 0.5, 1 - 1.01 * _CONVENTION, 0.99, 1.0])
    steps = np.repeat([1.0, 2.0, 4.0], (9, 11, 10))
    kinds: list[Any] = [values, steps, steps[::10], np.ones(9), np.repeat([0.0, 1.0], 10)]
    found = {"cells": _quantiles(values, p).tolist(), "steps": _quantiles(steps, p).tolist()}
    return found | {"are steps": [steps_of(each) is not None for each in kinds]}


def record_queues() -> dict[str, Any]:
    """Items that run alone or next to other calls, and the parts in which those of a failed call are tried again."""
    found: dict[str, Any] = {}
    for width, running, most in itertools.product((1, 2), (0, 1), (None, 2)):
        queue = _Queue(deque([[1, 2, 3]]), deque([9]), most)
        found[f"{width}, {running}, {most}"] = [queue.take(running, width), list(queue.batches), queue.most]
    queue = _Queue(deque(), deque([9, 8]))
    found["alone"] = [queue.take(1, 2), queue.take(0, 2), list(queue.alone)]
    for items, alone, short_of, most in itertools.product(
        ([1], [1, 2, 3, 4, 5]), (False, True), (False, True), (None, 1)
    ):
        queue = _Queue(deque([[7]]), most=most)
        done = queue.put_back(_Call(items, alone, 0.0), short_of)
        found[f"{len(items)}, {alone}, {short_of}, {most}"] = [done, list(queue.batches), list(queue.alone), queue.most]
    return found


def record_driven_lines() -> dict[str, Any]:
    """Voltages of word lines, those that are charged again, and lines that are held with a voltage at zero."""
    x = torch.tensor([-1.0, -0.5, 0.0, 0.25, 1.0])
    drives = [(0.0, 1.0, 0.0), (0.25, 2.0, 3.0), (0.5, 0.5, 0.0), (0.0, -1.0, 0.0), (1.0, 0.0, -1.0), (0.0, 2.0, 0.0)]
    found: dict[str, Any] = {str(drive): [_driven(x, drive).tolist(), _switches(drive)] for drive in drives}
    volts = [torch.tensor([[1.0, 0.0, 1.0], [1.0, 1.0, 0.0]]), torch.tensor([[0.0, 1.0, 1.0], [1.0, 0.5, 0.0]])]
    found["changes"] = [_changes(volts), _changes(volts[::-1]), _changes(volts[:1])]
    held = COST | {"lines": {"capacitance_F": 1e-16, "returns": False}}
    for encoding in ("bnn_i", "bnn_iii", "bnn_v"):
        memory = AssociativeMemory(chip(device=CELLS, encoding={"kind": encoding}, cost=held), 29)
        memory.write(numbers(1, 6, 29), torch.arange(6))
        counted = count_search(memory, numbers(2, 5, 29))
        found[encoding] = [list(counted.actions[0].values()), counted.siemens[0]]
    return short(found)


def record_orders() -> dict[str, Any]:
    """Factors of conversions, by slice and then by term; values of groups of outputs; batches that reshapes follow."""
    terms = [made(gain=gain) for gain in (1.0, -2.0, 4.0)]
    parts_of = made(targets=made(places=(1.0, 16.0)), encoding=made(terms=terms))
    found: dict[str, Any] = {"factors": list(Plan.factors.func(parts_of))}
    for dtype, own in itertools.product((torch.float32, torch.float64), (None, torch.float64, torch.float32)):
        lifted = _lifted(torch.tensor([1.0, 2.0], dtype=torch.float64), torch.zeros(3, 2, 4, dtype=dtype), own)
        found[f"{dtype}, {own}"] = [str(lifted.dtype), list(lifted.shape)]
    found["joined"] = [
        None if values is None else values.tolist()
        for values in (_joined([torch.ones(2), torch.tensor([1.0, end])], 1.0) for end in (1.0, 2.0))
    ]
    nodes = [
        Node("of constants", "Reshape", ("c", "size"), ("a",)), Node("first", "Relu", ("x",), ("h",)),
        Node("by a size", "Reshape", ("c", "h"), ("b",)), Node("of values", "Reshape", ("h", "size"), ("d",)),
        Node("behind", "Concat", ("c", "b"), ("e",)), Node("of the first", "Concat", ("a", "c"), ("f",)),
        Node("other", "Add", ("h", "c"), ("g",)), Node("last", "Concat", ("c", "g"), ("y",)),
    ]  # fmt: skip
    found["follows"] = [each.name for each in _following_the_batch(nodes, ["x"]) if each.follows]
    shapes = [[(3, 2)], [(3, 2), (3,)], [(3, 2), (4,)], [(None, 2)], [None], [()], [(3,), (None,)]]
    found["batches"] = [_fixed_batch([Input("x", s, torch.float32) for s in each]) for each in shapes]
    return found


def record_labels() -> dict[str, Any]:
    """Labels of keys by their shape and type, for keys that all chips share and for those of each."""
    found: dict[str, Any] = {}
    memory = AssociativeMemory(chip(), 4, 2)
    for keys, shape in itertools.product(
        (numbers(1, 3, 4), numbers(1, 2, 3, 4)), ((3,), (2,), (4,), (3, 1), (2, 3), ())
    ):
        found[f"{list(keys.shape)}, {list(shape)}"] = tried(memory.write, keys, torch.zeros(shape, dtype=torch.int64))
    types: list[Any] = [torch.tensor(values) for values in ([0.0, 1.0, 2.0], [0.0, 0.5, 1.0], [True, False, True])]
    found["types"] = [tried(memory.write, numbers(1, 3, 4), labels) for labels in types]
    numbered = ([0, 5, 2], [-1, 0, 0], [0, 0, 999_999], [0, 0, 1_000_000])
    found["numbers"] = [
        tried(lambda n=each: list(_one_hot(torch.tensor(n), numbers(1, 3)).nonzero()[:, 1])) for each in numbered
    ]
    with mock.patch.object(_memory, "_CODES", 12):
        found["codes"] = [tried(lambda n=n: len(_one_hot(torch.tensor([0, n]), numbers(1, 2)))) for n in (5, 6)]
    return short(found)


_NET = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.size, self.layer = 12, nn.Linear(144, 10)

    def forward(self, x):
        return self.layer(x.flatten(1))
"""


def record_sizes() -> dict[str, Any]:
    """Images of a data set of 8 pixels for a network of 12, with tasks that state a size and one that does not."""
    found: dict[str, Any] = {}
    digits: dict[str, Any] = {"kind": "classification", "dataset": "digits", "split": "test", "images": 20}
    tasks = {"of the network": digits, "another": digits | {"size": 9}, "of the images": digits | {"size": 8}}
    with folder() as at, trusting():
        (at / "m").mkdir()
        (at / "m" / "net.py").write_text(_NET)
        card = ModelCard(name="m", summary="s", arch=Arch(name="./net.py:Net"))
        save_model(at / "m", build_arch("./net.py:Net", {}, at / "m"), card)
        for name, task in tasks.items():
            for function in (check_images, lambda m, t: batch_chips(m, chip().to_dict(), 10**6, t)):
                text = tried(function, str(at / "m"), task)
                found.setdefault(name, []).append(without(text, at) if isinstance(text, str) else text)
    return found


def record_settings_of_points() -> dict[str, Any]:
    """Settings of a point after one of them is set; the chip is completed only where that is needed."""
    found: dict[str, Any] = {}
    short_chip = {"name": "own", "device": {"g_lrs_S": 1e-4, "g_hrs_S": 1e-6}}
    changes: list[tuple[Any, str, Any]] = [
        ("no such chip", "chip", "ideal"), (short_chip, "chip", "ideal"), (short_chip, "chip.device.g_lrs_S", 2e-4),
        (short_chip, "chip.device.read.sigma", 0.1), ("ideal", "chip.tile.rows", 7), ("ideal", "engine", "memtorch"),
        ("ideal", "engine.adc_overflow_rate", 0.5), ("no such chip", "engine.kind", "native"), ("ideal", "task.way", 3),
        ("no such chip", "task.way", 3), ("ideal", "seed", 4), ("ideal", "chipp.tile", 1), ("ideal", "x", 1),
    ]  # fmt: skip
    for chip_of, path, value in changes:
        task = {"way": 5}
        settings = {"model": "m", "chip": copy.deepcopy(chip_of), "task": task, "engine": None, "seed": 0}
        text = tried(_apply, settings, path, value, "here")
        chip_now, engine = settings["chip"], settings["engine"]
        whole = [len(chip_now), len(chip_now["device"])] if isinstance(chip_now, dict) else chip_now
        place = [look_up(settings, path), settings["task"], task]
        engine = engine if not isinstance(engine, dict) else [engine["kind"], engine["adc_overflow_rate"], len(engine)]
        found[f"{chip_of if isinstance(chip_of, str) else 'short'}, {path}"] = content_left_out(text) if text else [
            whole, engine, *(place if "engine" not in path else place[1:])
        ]  # fmt: skip
    return found


def record_stopped_workers() -> dict[str, Any]:
    """Times after which a worker that is stopped is killed."""
    found: dict[str, Any] = {}
    process = mock.Mock(pid=7)
    courses = {
        "computes": [(True, 40.0, True)] * 2, "stopped": [(True, 29.9, True), (True, 0.2, True), (True, 30.0, True)],
        "goes on": [(True, 20.0, True), (True, 1.0, False), (True, 20.0, True)], "idle": [(False, 40.0, True)] * 2,
        "just long enough": [(True, _processes.STOPPED_S, True)],
    }  # fmt: skip
    for name, looks in courses.items():
        worker: Any = mock.Mock(_held=(process, None), _stopped_s=0.0, _lock=threading.Lock())
        process.reset_mock()
        told: list[Any] = []
        for busy, seconds, is_stopped in looks:
            worker._busy = busy
            stopped = name != "computes" and is_stopped
            with warned() as texts, mock.patch.object(_processes, "_is_stopped", return_value=stopped):
                _processes._Worker.look(worker, seconds)
            told.append([process.kill.call_count, worker._stopped_s, *texts])
        found[name] = told
    return found


def record_columns_in_files() -> dict[str, Any]:
    """Columns that are read from a file in parts, one value of them, and a file that was changed."""
    values = np.arange(37, dtype=np.int64) ** 3
    data = b"head" + values.tobytes() + b"tail"
    for_reader = lambda content: lambda start, length: content[start : start + length]  # noqa: E731
    sha256 = hashlib.sha256(values.tobytes()).hexdigest()
    column = StoredColumn(for_reader(data), 4, values.dtype, 37, sha256, "file")
    changed = StoredColumn(for_reader(data[:50] + b"x" + data[51:]), 4, values.dtype, 37, sha256, "file")
    found: dict[str, Any] = {"length": len(column), "items": [column.item(n) for n in (0, 5, 36)]}
    for size in (16, 100, 2**18):
        with mock.patch.object(_stored_column, "_BYTES", size):
            found[f"{size} bytes"] = [bool((column.whole() == values).all()), tried(changed.whole)]
    return found


def record_checks_of_workers() -> dict[str, Any]:
    """Errors of workers whose models, functions or measured cells are not those of the study."""
    task = {"kind": "function", "call": "./f.py:score"}
    found: dict[str, Any] = {
        "model": [tried(_work._check_model, "m", "weights", "a" * 64, sha) for sha in ("a" * 64, "b" * 64)]
    }
    with mock.patch.object(_work, "task_identity", return_value={"a": 1}):
        found["code"] = [tried(_work._check_code, task, sha) for sha in (digest({"a": 1}), "b" * 64)]
    with mock.patch.object(_work, "conductances_digest", return_value="a" * 64):
        found["cells"] = [tried(_work._check_cells, "c.npz", sha) for sha in ("a" * 64, "b" * 64)]
    return found
