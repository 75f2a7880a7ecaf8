"""Arguments of the circuits, checked and as tensors."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from imc_sim._errors import InputError
from imc_sim._tensors import check_usual

Array = Tensor | np.ndarray


def tensor(x: Array, where: str, dtype: torch.dtype | None = None, device: torch.device | None = None) -> Tensor:
    """x as a tensor without gradient; numbers that are not float32 or float64 become float64."""
    t = x.detach() if isinstance(x, Tensor) else torch.tensor(np.ascontiguousarray(x))
    check_usual(t, where)
    own = t.dtype if t.dtype in (torch.float32, torch.float64) else torch.float64
    return t.to(device=device or t.device, dtype=dtype or own)


def cells(G: Array, where: str, dtype: torch.dtype | None = None) -> Tensor:
    """Conductances [*, rows, cols] in S, each finite and not negative."""
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
    """Word-line voltages [*, vectors, rows] in V for cells [*, rows, cols], as G's type; each finite."""
    v = tensor(V, f"{where}, V", G.dtype, G.device)
    allowed = (*G.shape[:-2], "vectors", G.shape[-2])
    if v.ndim != G.ndim or v.shape[-1] != G.shape[-2] or v.shape[:-2] != G.shape[:-2]:
        shape = ", ".join(str(n) for n in allowed)
        raise InputError(f"{where}, V", f"shape {tuple(v.shape)}", f"[{shape}]", "Reshape the voltages.")
    if not bool(torch.isfinite(v).all()):
        raise InputError(f"{where}, V", "NaN or infinity", "finite voltages", "Check the inputs.")
    return v


def patterns(gates: Array, G: Tensor, where: str) -> Tensor:
    """Gate patterns [patterns, rows] of 0 and 1, as G's type."""
    s = tensor(gates, f"{where}, gates", G.dtype, G.device)
    if s.ndim != 2 or s.shape[-1] != G.shape[-2]:
        shape = f"[patterns, {G.shape[-2]}]"
        raise InputError(f"{where}, gates", f"shape {tuple(s.shape)}", shape, "Give one gate per row.")
    if not bool(((s == 0) | (s == 1)).all()):
        raise InputError(f"{where}, gates", "values between 0 and 1", "0 (off) and 1 (on)", "Give True and False.")
    return s


def room(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Memory for numbers like those of `like`, on its device.

    On a processor it comes from NumPy, which asks the system for large pages: on arrays of megabytes, touching
    page after page would otherwise take a fifth of a solution's time.
    """
    if like.device.type != "cpu":
        return like.new_empty(shape)
    return torch.from_numpy(np.empty(shape, np.float32 if like.dtype == torch.float32 else np.float64))
