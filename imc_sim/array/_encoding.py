"""Encodings: which cells hold a weight, how word lines are driven, and how currents become a result.

Every encoding here has the same algebra. With cell conductances g in units of the window (HRS 0, LRS 1),
inputs x [in] and a tile of rows T, the converter of output column o sees

    u = gain_in (sum_{i in T} x_i D_io + sum_{i in T} S_io)

and the digital result is  y = sum_T (gain_out q(u) - correction_T),  q being the converter. D is the
`contrast` of an encoding's cells and S its `offset`: what their imbalance adds whatever the input.

Source: CIM-Explorer, arXiv 2505.14303 (BNN I, V and VI; the numbering is its own).
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, final

import torch
from pydantic import Field
from torch import Tensor

from imc_sim._errors import InputError
from imc_sim.config import Spec


@dataclass(frozen=True)
class Targets:
    """What the cells are programmed to.

    levels: [out, slices, columns, in, rows], int32, cell targets g = level / steps. Contrasts are counted in
    units of window / steps, so that they are integers on ideal cells. scale: weight of one unit.
    places: place value of each slice. weights: [out, in], what the cells decode to, in units.
    """

    levels: Tensor
    steps: int
    scale: float
    places: tuple[float, ...]
    weights: Tensor


class Encoding(Spec, abc.ABC):
    """Weight <-> cells. Subclasses are final; `decode(encode(w))` is w."""

    #: physical rows per input, physical columns per output and slice
    rows: ClassVar[int]
    columns: ClassVar[int]
    #: the converter's input has both signs (range `sym`) or is a plain current (range `pos`)
    signed: ClassVar[bool]
    gain_in: ClassVar[float]
    gain_out: ClassVar[float]
    #: only +-1 operands can be represented
    bipolar: ClassVar[bool]

    @abc.abstractmethod
    def encode(self, weights: Tensor, levels: int, where: str) -> Targets:
        """Cells for weights [out, in] on a device with that many levels."""

    @abc.abstractmethod
    def contrast(self, g: Tensor) -> tuple[Tensor, Tensor | None]:
        """(D, S) [*, out, slices, in] of cells g [*, out, slices, columns, in, rows]; S None where it is 0."""

    def correction(self, weights: Tensor) -> Tensor | float:
        """Digital constant subtracted per output for a tile that holds `weights` [out, rows of the tile]."""
        return 0.0

    def power(self, variance: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Variance of u for cell variances as `g`: (per x^2, per x, constant), each [*, out, slices, in] or None."""
        total = self._merge(variance)
        return (None, None, total) if self.bipolar else (total, None, None)

    def _merge(self, variance: Tensor) -> Tensor:
        return variance.sum((-1, -3))


def _bipolar_only(weights: Tensor, where: str, kind: str) -> None:
    if not bool((weights.abs() == 1).all()):
        got = f"weights from {float(weights.min()):g} to {float(weights.max()):g}"
        step = "Use `differential` or `sliced` for this layer, or keep it digital."
        raise InputError(f"{where}, encoding {kind}", got, "weights of -1 and +1", step)


def _pair(units: Tensor, dim: int = 1) -> Tensor:
    """Signed whole numbers as levels of a + and a - cell, stacked at `dim`."""
    return torch.stack([units.clamp_min(0), (-units).clamp_min(0)], dim=dim).to(torch.int32)


class _Pair(Encoding):
    """Two cells in adjacent columns: [w = +1] and [w = -1]."""

    rows = 1
    columns = 2
    signed = True

    def contrast(self, g: Tensor) -> tuple[Tensor, Tensor | None]:
        return g[..., 0, :, 0] - g[..., 1, :, 0], None


@final
class Differential(_Pair):
    """Column pair driven by signed voltages proportional to x: u = sum x (p - m), y = q.

    Takes any real weights: magnitudes scaled by max|w| to the nearest level of the device; +-1 and 0 are
    exact on two levels.
    """

    kind: Literal["differential"] = "differential"
    gain_in = 1.0
    gain_out = 1.0
    bipolar = False

    def encode(self, weights: Tensor, levels: int, where: str) -> Targets:
        top = float(weights.abs().max())
        scale = top if top > 0.0 else 1.0
        steps = levels - 1
        units = torch.round(weights * (steps / scale))
        return Targets(_pair(units)[:, None, :, :, None], steps, scale / steps, (1.0,), units)


@final
class BnnI(_Pair):
    """Column pair, unipolar drive v = (x + 1) / 2: u = sum (p - m) v, y = 2 q - sum w. Operands +-1."""

    kind: Literal["bnn_i"] = "bnn_i"
    gain_in = 0.5
    gain_out = 2.0
    bipolar = True

    def encode(self, weights: Tensor, levels: int, where: str) -> Targets:
        _bipolar_only(weights, where, self.kind)
        p = (weights > 0).to(torch.int32)
        return Targets(torch.stack([p, 1 - p], dim=1)[:, None, :, :, None], 1, 1.0, (1.0,), weights)

    def contrast(self, g: Tensor) -> tuple[Tensor, Tensor | None]:
        d, _ = super().contrast(g)
        return d, d

    def correction(self, weights: Tensor) -> Tensor | float:
        return weights.sum(-1)

    def power(self, variance: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        # v^2 = v = (1 + x) / 2; u's gain of 1/2 squared stands outside, hence the factor 2.
        total = self._merge(variance)
        return None, 2 * total, 2 * total


@final
class BnnV(Encoding):
    """XNOR cell pair in one column: v+ drives the p row, v- the m row; y = 2 q(I - nH) - n. Operands +-1."""

    kind: Literal["bnn_v"] = "bnn_v"
    rows = 2
    columns = 1
    signed = False
    gain_in = 0.5
    gain_out = 2.0
    bipolar = True

    def encode(self, weights: Tensor, levels: int, where: str) -> Targets:
        _bipolar_only(weights, where, self.kind)
        p = (weights > 0).to(torch.int32)
        return Targets(torch.stack([p, 1 - p], dim=-1)[:, None, None], 1, 1.0, (1.0,), weights)

    def contrast(self, g: Tensor) -> tuple[Tensor, Tensor | None]:
        p, m = g[..., 0, :, 0], g[..., 0, :, 1]
        return p - m, p + m

    def correction(self, weights: Tensor) -> Tensor | float:
        return float(weights.shape[-1])

    def power(self, variance: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        p, m = variance[..., 0, :, 0], variance[..., 0, :, 1]
        return None, 2 * (p - m), 2 * (p + m)


@final
class BnnVI(Encoding):
    """2 x 2 block p m / m p, rows driven by v+ and v-, column pair: u = sum (p - m)(v+ - v-). Operands +-1."""

    kind: Literal["bnn_vi"] = "bnn_vi"
    rows = 2
    columns = 2
    signed = True
    gain_in = 0.5
    gain_out = 1.0
    bipolar = True

    def encode(self, weights: Tensor, levels: int, where: str) -> Targets:
        _bipolar_only(weights, where, self.kind)
        p = (weights > 0).to(torch.int32)
        plus_row, minus_row = torch.stack([p, 1 - p], dim=1), torch.stack([1 - p, p], dim=1)
        return Targets(torch.stack([plus_row, minus_row], dim=-1)[:, None], 1, 1.0, (1.0,), weights)

    def contrast(self, g: Tensor) -> tuple[Tensor, Tensor | None]:
        plus = g[..., 0, :, 0] - g[..., 1, :, 0]
        minus = g[..., 0, :, 1] - g[..., 1, :, 1]
        return plus - minus, plus + minus

    def power(self, variance: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        plus, minus = variance[..., 0].sum(-2), variance[..., 1].sum(-2)
        return None, 2 * (plus - minus), 2 * (plus + minus)


@final
class Sliced(Encoding):
    """Signed integers in digits of `bits_per_slice` bits, each digit a differential pair; shift and add.

    weights must be integers; the number of slices follows from the largest magnitude. The device needs
    2^bits_per_slice levels.
    """

    kind: Literal["sliced"] = "sliced"
    bits_per_slice: int = Field(default=1, ge=1, le=8, description="bits that one cell holds")
    rows = 1
    columns = 2
    signed = True
    gain_in = 1.0
    gain_out = 1.0
    bipolar = False

    def encode(self, weights: Tensor, levels: int, where: str) -> Targets:
        base = 2**self.bits_per_slice
        if levels < base:
            step = f"Set device.levels to {base} or bits_per_slice to {levels.bit_length() - 1}."
            raise InputError(f"{where}, encoding sliced", f"{levels} levels", f"{base} levels or more", step)
        if not bool((weights == weights.round()).all()):
            step = "Train the layer with policy int8, or use `differential`."
            raise InputError(f"{where}, encoding sliced", "weights that are no integers", "integer weights", step)
        count = max(1, -(-int(weights.abs().max()).bit_length() // self.bits_per_slice))
        digits, rest = [], weights.abs().to(torch.int32)
        for _ in range(count):
            digits.append(rest.remainder(base))
            rest = rest // base
        signed = torch.stack(digits, dim=1) * weights.sign().to(torch.int32)[:, None]
        places = tuple(float(base**k) for k in range(count))
        return Targets(_pair(signed, 2)[..., None], base - 1, 1.0, places, weights)

    def contrast(self, g: Tensor) -> tuple[Tensor, Tensor | None]:
        return g[..., 0, :, 0] - g[..., 1, :, 0], None


AnyEncoding = Annotated[Differential | BnnI | BnnV | BnnVI | Sliced, Field(discriminator="kind")]
