"""Arrays of a result in one or two numbers, so that many of them fit a small file."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch


def short(value: Any) -> Any:
    """Return a result with each array as two numbers that change with each value and its place.

    Of floating-point numbers, their sum with weights of both signs, over the root of their number, and the root mean
    square, which is also the scale that errors of the sum are compared with. Of whole numbers and truth values one
    weighted sum, which is compared exactly. Arrays of up to four whole numbers are lists.
    """
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray) and value.ndim:
        return _sums(value)
    if isinstance(value, dict):
        return {str(key): short(part) for key, part in value.items()}
    if isinstance(value, list | tuple) and len(value) > 4 and all(type(part) is float for part in value):
        return _sums(np.array(value))
    if isinstance(value, list | tuple):
        return [short(part) for part in value]
    return value


def _sums(value: np.ndarray) -> Any:
    flat = value.ravel()
    if value.dtype.kind in "biu":
        if flat.size <= 4:
            return flat.tolist()
        places = np.random.default_rng(flat.size).integers(1, 1000, flat.size)
        return int(flat.astype(np.int64) @ places)
    if not flat.size:
        return {"sum": 0.0, "rms": 0.0}
    flat = flat.astype(np.float64)
    places = np.random.default_rng(flat.size).uniform(-1.0, 1.0, flat.size)
    return {"sum": float(flat @ places) / math.sqrt(flat.size), "rms": math.sqrt(float(np.square(flat).mean()))}
