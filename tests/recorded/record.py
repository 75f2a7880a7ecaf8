"""Results that are recorded with the code, so that each change of a result fails a test.

A case is a function `record_…` in a file `cases_…py` here. It returns a dict of names to numbers, texts, arrays, or
lists and dicts of these. `python -m tests.recorded.record` writes what the cases return to `cases_….json`;
`test_recorded.py` compares.
"""

from __future__ import annotations

import importlib
import inspect
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

HERE = Path(__file__).parent
#: characters of a line of a file
_WIDTH = 160
FILES = sorted(path.stem for path in HERE.glob("cases_*.py"))


def cases(file: str) -> dict[str, Callable[[], dict[str, Any]]]:
    """Return the cases of one file by name."""
    module = importlib.import_module(f"tests.recorded.{file}")
    return {
        name.removeprefix("record_"): function
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if name.startswith("record_") and function.__module__ == module.__name__
    }


def plain(value: Any) -> Any:
    """Return a result as JSON holds it: an array as its shape and sums that change with each value and its place."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray) and value.ndim:
        flat = value.astype(np.float64).ravel()
        if not flat.size:
            return {"shape": list(value.shape)}
        places = np.random.default_rng(flat.size).uniform(1, 2, flat.size)
        sums = {"mean": flat.mean(), "at places": flat @ places / flat.size, "rms": math.sqrt((flat**2).mean())}
        return {"shape": list(value.shape), **plain(sums), **plain({"min": flat.min(), "max": flat.max()})}
    if isinstance(value, np.ndarray | np.generic):
        value = value.item()
    if isinstance(value, dict):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, float):
        return float(f"{value:.9g}") if math.isfinite(value) else str(value)
    if value is None or isinstance(value, str | int | bool):
        return value
    raise TypeError(f"cannot record a {type(value).__name__}")


def differences(got: Any, recorded: Any, rtol: float, where: str = "") -> list[str]:
    """Return a line for each place where a result is not as recorded."""
    if isinstance(got, dict) and isinstance(recorded, dict) and got.keys() == recorded.keys():
        # Sums of one array are of its scale: a mean near zero has the rounding of its parts.
        scale = abs(recorded["rms"]) if isinstance(recorded.get("rms"), float) else 0.0
        return [
            line
            for key, part in got.items()
            for line in (
                []
                if scale and _close(part, recorded[key], rtol, scale)
                else differences(part, recorded[key], rtol, f"{where}/{key}")
            )
        ]
    if isinstance(got, list) and isinstance(recorded, list) and len(got) == len(recorded):
        return [
            line
            for n, (part, other) in enumerate(zip(got, recorded, strict=True))
            for line in differences(part, other, rtol, f"{where}[{n}]")
        ]
    if got == recorded or _close(got, recorded, rtol):
        return []
    return [f"{where}: got {got!r}; recorded: {recorded!r}"]


def _close(got: Any, recorded: Any, rtol: float, scale: float = 0.0) -> bool:
    if not (isinstance(got, float) and isinstance(recorded, float)):
        return False
    return abs(got - recorded) <= rtol * max(abs(recorded), scale)


def _text(value: Any, indent: int = 0) -> str:
    """Return JSON in which what fits a line is on one."""
    line = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, dict | list) or len(line) + indent <= _WIDTH:
        return line
    inside = ",\n".join(" " * (indent + 1) + part for part in _parts(value, indent + 1))
    first, last = "{}" if isinstance(value, dict) else "[]"
    return f"{first}\n{inside}\n{' ' * indent}{last}"


def _parts(value: dict[str, Any] | list[Any], indent: int) -> list[str]:
    if isinstance(value, list):
        return [_text(part, indent) for part in value]
    return [f"{json.dumps(name, ensure_ascii=False)}: {_text(part, indent)}" for name, part in value.items()]


if __name__ == "__main__":
    for file in sys.argv[1:] or FILES:
        results = {name: plain(case()) for name, case in cases(file).items()}
        (HERE / f"{file}.json").write_text(_text(results) + "\n", encoding="utf-8")
