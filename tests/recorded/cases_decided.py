"""Results that a tie, an order, a type or a default of one function decides."""

from __future__ import annotations

import itertools
from collections import deque
from typing import Any
from unittest import mock

import numpy as np
import torch

from imc_sim.analog import AssociativeMemory, _memory
from imc_sim.analog._memory import _one_hot
from imc_sim.analog._site_groups import _joined, _lifted
from imc_sim.array._plan import Plan
from imc_sim.config import trusting
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
from imc_sim.runs._batches import _Call, _Queue
from tests.recorded.cases_array import CELLS, chip, numbers
from tests.recorded.cases_cost import COST
from tests.recorded.made import folder, tried, without
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
