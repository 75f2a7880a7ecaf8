"""Arrays of a result in one number each, so that many of them fit a small file."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import torch


def short(value: Any) -> Any:
    """Return a result with each array as one number that changes with each value and its place.

    Of floating-point numbers, their root mean square times 4 plus a sum of the numbers over it, with weights of both
    signs: a small change of any of them is a relative change of the result. Of whole numbers and truth values a
    weighted sum, which is compared exactly. Arrays of up to four whole numbers are lists; dataclasses are lists of
    their fields.
    """
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray) and value.ndim:
        return _number(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = list(vars(value).values())
    if isinstance(value, dict):
        return {str(key): short(part) for key, part in value.items()}
    if isinstance(value, list | tuple) and len(value) > 4 and all(type(part) is float for part in value):
        return _number(np.array(value))
    if isinstance(value, list | tuple):
        return [short(part) for part in value]
    return float(f"{value:.7g}") if isinstance(value, float) and math.isfinite(value) else value


def _number(value: np.ndarray) -> Any:
    flat = value.ravel()
    if value.dtype.kind in "biu":
        if flat.size <= 4:
            return flat.tolist()
        places = np.random.default_rng(flat.size).integers(1, 1000, flat.size)
        return int(flat.astype(np.int64) @ places)
    flat = flat.astype(np.float64)
    rms = math.sqrt(float(np.square(flat).mean())) if flat.size else 0.0
    if not rms or not math.isfinite(rms):
        return [f"{flat.size} numbers", rms, int(np.isfinite(flat).sum())]
    places = np.random.default_rng(flat.size).uniform(-1.0, 1.0, flat.size)
    return float(f"{rms * (4.0 + float(flat @ places) / (rms * math.sqrt(flat.size))):.7g}")
