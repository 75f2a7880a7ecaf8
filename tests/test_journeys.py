"""Journeys of docs/architecture.md, followed as they run: which files a task or a batch enters, in order."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch

import imc_sim as imc
from imc_sim.config import Spec
from imc_sim.evaluate import FewShotTask, Fgsm, evaluate_chips
from imc_sim.evaluate._session import Session

PACKAGE = Path(imc.__file__).parent


def _file(frame: FrameType | None) -> str:
    """Return the file of the package that a frame, or the nearest one that called it, is in."""
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(PACKAGE):
            return str(path.relative_to(PACKAGE))
        frame = frame.f_back
    return ""


@contextmanager
def followed(carries: Callable[[Any], bool]) -> Iterator[list[str]]:
    """Yield the files that are entered from another file with an argument that `carries`, two in a row once.

    Methods of the argument itself do not count. A file that waits for the answer is marked: that is a step back.
    """
    entered: list[str] = []

    def enter(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event != "call" or not Path(code.co_filename).is_relative_to(PACKAGE):
            return
        given = [frame.f_locals.get(name) for name in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]]
        if isinstance(frame.f_locals.get("self"), Spec) or not any(carries(each) for each in given):
            return
        file, caller = _file(frame), _file(frame.f_back)
        waiting, above = set(), frame.f_back
        while above is not None:
            waiting.add(_file(above))
            above = above.f_back
        entry = f"{file} (back)" if file in waiting else file
        if file != caller and entered[-1:] != [entry]:
            entered.append(entry)

    sys.setprofile(enter)
    try:
        yield entered
    finally:
        sys.setprofile(None)


def _has_attack(value: Any, depth: int = 0) -> bool:
    """Tell whether a value is or holds a task or its attack, as an object or as plain data."""
    if isinstance(value, FewShotTask | Fgsm):
        return True
    parts = value.values() if isinstance(value, dict) else value if type(value) is tuple else ()
    return (isinstance(value, dict) and "attack" in value) or (
        depth < 2 and any(_has_attack(p, depth + 1) for p in parts)
    )


@pytest.mark.parametrize("through", ["digital", "analog"])
def test_a_task_with_an_attack_enters_few_files_and_hardly_steps_back(through: str) -> None:
    task = {"dataset": "glyphs", "split": "test", "way": 2, "shot": 1, "queries": 2, "episodes": 2}
    Session.forget_all()
    with followed(_has_attack) as entered:
        evaluate_chips(
            "batmann_small_xnor", imc.load_chip("rram_hfo2_1t1r").to_dict(),
            task | {"attack": {"kind": "fgsm", "through": through}}, [0], seed=0,
        )  # fmt: skip
    assert {"evaluate/_session.py", "evaluate/_few_shot.py", "evaluate/_attacked_queries.py"} <= set(entered)
    assert len(entered) < 20, "\n".join(entered)
    assert sum(entry.endswith("(back)") for entry in entered) < 5, "\n".join(entered)


def test_a_batch_goes_through_crossbars_without_a_step_back() -> None:
    analog = imc.map_model(imc.load_model("batmann_small_xnor"), "rram_hfo2_1t1r", chips=1, seed=0)
    with followed(lambda value: isinstance(value, torch.Tensor)) as entered:
        analog(torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(0)))
    below = [entry for entry in entered if entry.startswith(("array/", "device/"))]
    assert below.count("array/_product.py") == len(analog.analog_layers), "\n".join(entered)
    assert not [entry for entry in below if entry.endswith("(back)")], "\n".join(entered)
