"""The process of a peer: prepare a piece of work, do it on request, and return the result and the cells.

The script of a peer lists its works and calls `serve`. Requests and answers are lines of JSON over the standard
streams, so that a peer needs only numpy. Whatever a peer prints is sent to standard error.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np

#: start of a line of this protocol, among lines that a peer may print
ANSWER = "answer "
#: cells as weights [out, in], one array per layer: those of the last call
Cells = Callable[[], list[np.ndarray]]


@dataclass
class Task:
    """call: does the work once and returns its outputs. cells: None where a peer cannot return them."""

    call: Callable[[], Any]
    cells: Cells | None = None
    latest: Any = None


@dataclass(frozen=True)
class Given:
    """The input of every peer: arrays of the work, and in `spec` the variation, rows of a tile, bits and wires."""

    arrays: Mapping[str, np.ndarray]
    spec: Mapping[str, Any]

    def __getitem__(self, name: str) -> np.ndarray:
        return self.arrays[name]


Tasks = Mapping[str, Callable[[Given], Task]]


def serve(tasks: Tasks, packages: list[str]) -> None:
    """Answer requests until standard input ends. argv[1]: folder of the works."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    # malloc keeps freed pages once something large has been freed, as in any program that has run a network. Before,
    # some states of the heap make works of milliseconds wait for new pages.
    np.zeros(24 * 2**20, np.uint8)
    prepared: dict[str, Task] = {}
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = _answer(request, tasks, prepared, packages)
        except Exception as error:  # foreign code: the reason is the answer
            answer = {"error": f"{type(error).__name__}: {error}"}
        _send(answers, answer)


def _send(answers: TextIO, answer: dict[str, Any]) -> None:
    answers.write(f"{ANSWER}{json.dumps(answer)}\n")
    answers.flush()


def _answer(request: dict[str, Any], tasks: Tasks, prepared: dict[str, Task], packages: list[str]) -> dict[str, Any]:
    do, work = request["do"], request.get("work", "")
    if do == "hello":
        return {"works": list(tasks), "versions": {p: importlib.metadata.version(p) for p in packages}}
    if do == "prepare":
        return {"seconds": _prepare(work, tasks, prepared)}
    if do == "time":
        return {"seconds": _seconds(prepared[work], request["calls"])}
    task = prepared.pop(work)  # the last request for a work: its memory is freed
    cells = task.cells() if task.cells else []
    arrays: dict[str, Any] = {f"cells{k}": c for k, c in enumerate(cells)}
    np.savez(request["path"], out=_array(task.latest), **arrays)
    return {}


def _prepare(work: str, tasks: Tasks, prepared: dict[str, Task]) -> float:
    with np.load(Path(sys.argv[1], f"{work}.npz")) as file:
        arrays = {name: file[name] for name in file.files}
    spec = json.loads(str(arrays.pop("spec")))
    with _threads():
        started = time.perf_counter()
        prepared[work] = tasks[work](Given(arrays, spec))
        return time.perf_counter() - started


@contextlib.contextmanager
def _threads() -> Any:
    """Set the threads of torch to OMP_NUM_THREADS, whatever a peer sets at its import."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    yield


def _seconds(task: Task, calls: int) -> float:
    started = time.perf_counter()
    for _ in range(calls):
        task.latest = task.call()
    return (time.perf_counter() - started) / calls


def _array(out: Any) -> np.ndarray:
    if out is None:
        return np.zeros(0)
    return np.asarray(out.detach() if hasattr(out, "detach") else out)
