"""Checks of the arguments of circuits."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from imc_sim._errors import InputError, reason_of
from imc_sim._tensors import check_usual

Array = Tensor | np.ndarray


def tensor(x: Array, where: str, dtype: torch.dtype | None = None, device: torch.device | None = None) -> Tensor:
    """Return an array as a tensor without gradient.

    Args:
        x: array of numbers; those that are not float32 or float64 become float64.
        where: place that an error names.
        dtype: type of the tensor; None: that of x.
        device: torch device of the tensor; None: that of x.

    Raises:
        InputError: for values that are no real numbers.
    """
    try:
        t = x.detach() if isinstance(x, Tensor) else torch.tensor(np.ascontiguousarray(x))
    except (TypeError, ValueError) as error:
        raise InputError(
            where, f"values that are no numbers ({reason_of(error)})", "real numbers", "Convert it."
        ) from error
    check_usual(t, where)
    own = t.dtype if t.dtype in (torch.float32, torch.float64) else torch.float64
    return t.to(device=device or t.device, dtype=dtype or own)


def cells(G: Array, where: str, dtype: torch.dtype | None = None) -> Tensor:
    """Return conductances as a tensor.

    Args:
        G: [*, rows, cols] in S.
        where: place that an error names.
        dtype: as in `tensor`.

    Raises:
        InputError: for another shape or type, and for conductances that are negative or not finite.
    """
    if dtype not in (None, torch.float32, torch.float64):
        raise InputError(f"{where}, dtype", dtype, "torch.float32, torch.float64 or None", "Choose one of these.")
    g = tensor(G, f"{where}, G", dtype)
    if g.ndim < 2 or g.numel() == 0:
        step = "Give at least one row and one column."
        raise InputError(f"{where}, G", f"shape {tuple(g.shape)}", "[*, rows, cols]", step)
    low, high = (float(x) for x in torch.aminmax(g))
    if not (low >= 0.0 and high < float("inf")):
        got = f"conductances from {low:g} to {high:g} S"
        raise InputError(f"{where}, G", got, "finite values of 0 S or more", "Check the units and the cells.")
    return g


def vectors(V: Array, G: Tensor, where: str) -> Tensor:
    """Return word-line voltages as a tensor of the cells' type.

    Args:
        V: [*, vectors, rows] in V.
        G: cells [*, rows, cols].
        where: place that an error names.

    Raises:
        InputError: for another shape, and for voltages that are not finite.
    """
    v = tensor(V, f"{where}, V", G.dtype, G.device)
    allowed = (*G.shape[:-2], "vectors", G.shape[-2])
    if v.ndim != G.ndim or v.shape[-1] != G.shape[-2] or v.shape[:-2] != G.shape[:-2]:
        shape = ", ".join(str(n) for n in allowed)
        raise InputError(f"{where}, V", f"shape {tuple(v.shape)}", f"[{shape}]", "Reshape the voltages.")
    if not bool(torch.isfinite(v).all()):
        raise InputError(f"{where}, V", "NaN or infinity", "finite voltages", "Check the inputs.")
    return v


def patterns(gates: Array, G: Tensor, where: str) -> Tensor:
    """Return gate patterns as a tensor of the cells' type.

    Args:
        gates: [patterns, rows] of 0 and 1.
        G: cells [*, rows, cols].
        where: place that an error names.

    Raises:
        InputError: for another shape, and for other values.
    """
    s = tensor(gates, f"{where}, gates", G.dtype, G.device)
    if s.ndim != 2 or s.shape[-1] != G.shape[-2]:
        shape = f"[patterns, {G.shape[-2]}]"
        raise InputError(f"{where}, gates", f"shape {tuple(s.shape)}", shape, "Give one gate per row.")
    if not bool(((s == 0) | (s == 1)).all()):
        raise InputError(f"{where}, gates", "values between 0 and 1", "0 (off) and 1 (on)", "Give True and False.")
    return s


def scratch(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Return a scratch buffer, not initialised.

    On the CPU it is allocated by NumPy, which requests large pages of memory: for arrays of megabytes the first access
    to small ones would take a fifth of a solution's time.

    Args:
        shape: shape of the buffer.
        like: tensor whose type and device it has.
    """
    if like.device.type != "cpu":
        return like.new_empty(shape)
    return torch.from_numpy(np.empty(shape, np.float32 if like.dtype == torch.float32 else np.float64))
