"""Checks of the tensors that enter the package: real, dense, finite numbers, or an error that names what they are."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from imc_sim._errors import InputError
from imc_sim._quantities import type_of

#: types that products are computed in; other real types are cast to float32
_COMPUTED = (torch.float32, torch.float64)
_CAST = "float32 or float64, or a type that is cast to float32: bool, integers, float16, bfloat16"
#: how far a share may be out of its range
_ROUNDING = 1e-5
_CASTABLE = (
    torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float16, torch.bfloat16
)  # fmt: skip


def unusual(x: Tensor) -> str | None:
    """The property of `x` that no product can be computed with, as a phrase for an error; None for dense numbers."""
    if x.is_meta:
        return "a meta tensor, which has no values"
    if x.is_quantized:
        return f"a quantised tensor ({x.dtype})"
    if x.layout != torch.strided:
        return f"a sparse tensor ({x.layout})"
    if x.is_complex():
        return f"a complex tensor ({x.dtype})"
    return None if x.dtype in (*_COMPUTED, *_CASTABLE) else f"a tensor of {x.dtype}"


def real_values(x: Tensor, where: str) -> Tensor:
    """`x` as float32 or float64, checked to be finite. Other real types are cast to float32.

    Raises:
        InputError: for complex, sparse, quantised, meta and 8-bit float tensors, and for NaN and infinite values.
    """
    check_usual(x, where)
    x = x if x.dtype in _COMPUTED else x.float()
    check_finite(x, where)
    return x


def unit_values(x: Tensor, where: str) -> Tensor:
    """`x` as `real_values` returns it, checked to be from 0 to 1 to rounding."""
    found = real_values(x, where)
    if found.numel() and not -_ROUNDING <= float(found.min()) <= float(found.max()) <= 1 + _ROUNDING:
        got = f"{float(found.min()):g} … {float(found.max()):g}"
        raise InputError(where, got, "numbers from 0 to 1", "Divide by the window, or clamp them.")
    return found


def check_usual(x: object, where: str) -> None:
    """Raise InputError unless `x` is a dense tensor of real numbers."""
    if not isinstance(x, Tensor):
        raise InputError(where, type_of(x), "a torch tensor", "Convert it with torch.as_tensor.")
    found = unusual(x)
    if found is not None:
        raise InputError(where, found, _CAST, "Convert it to a dense float32 tensor.")


def check_finite(x: Tensor, where: str) -> None:
    """Raise InputError where a value of `x` is NaN or infinite. Reads `x` once."""
    # Meta tensors have no values. A NaN or an infinity passes on to the sum.
    if x.is_meta or math.isfinite(float(x.detach().sum())):
        return
    bad = int((~torch.isfinite(x)).sum())
    if bad:  # otherwise only the sum was too large
        got = f"{bad} of {x.numel()} values NaN or infinite"
        raise InputError(where, got, "finite numbers", "Check what these values were computed from.")


def comparable(x: Tensor) -> Any:
    """`x` as a NumPy array of the same memory where that is possible: NumPy compares four to ten times as fast."""
    return x.detach().numpy() if x.device.type == "cpu" and x.dtype in _COMPUTED else x
