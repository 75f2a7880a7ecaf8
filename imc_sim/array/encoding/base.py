"""Encodings: which cells hold a weight, how word lines are driven, and how currents become a result.

Every encoding has the same algebra. A weight occupies `rows` x `columns` cells (times the digits of a sliced
one). In a pass, word line r of input x is driven with v = c0 + c1 x + c2 x^2, which reaches every function of
x in {-1, 0, 1}. A conversion (`Term`) adds the currents of some columns of one pass. With cell conductances g
in units of the window (HRS 0, LRS 1; HRS itself conducts `floor`) the converter sees, over the inputs of a
tile,

    u = gain_in sum_i (D_i x_i + Q_i x_i^2 + S_i)

and the digital result is  y = sum_terms gain q(u) - correction,  q being the converter. D, Q and S are the
`contrast` of the cells: a linear map of conductances, so everything that happens to a cell happens here.

Source: CIM-Explorer, arXiv 2505.14303 (BNN I-VI and TNN I-V; the numbering is its own).
"""

from __future__ import annotations

import abc
import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from imc_sim._errors import InputError
from imc_sim.config import Spec

Operands = Literal["real", "bipolar", "ternary"]
#: voltage of a word line over the read voltage, as (c0, c1, c2) of c0 + c1 x + c2 x^2
Drive = tuple[float, float, float]

SIGNED: Drive = (0.0, 1.0, 0.0)  # v = x
PLUS: Drive = (0.0, 0.5, 0.5)  # v = [x = +1]
MINUS: Drive = (0.0, -0.5, 0.5)  # v = [x = -1]
ZERO: Drive = (1.0, 0.0, -1.0)  # v = [x = 0]
NONZERO: Drive = (0.0, 0.0, 1.0)  # v = [x != 0]

_VALUES: dict[Operands, tuple[float, ...]] = {"bipolar": (-1.0, 1.0), "ternary": (-1.0, 0.0, 1.0)}


@dataclass(frozen=True)
class Term:
    """One conversion: the pass that drives it, a sign per column of the group, its factor in the result.

    sum_x, count: analog correction before the converter, in currents of a driven HRS cell per sum of inputs
    and per input.
    """

    drive: int
    columns: tuple[float, ...]
    gain: float
    sum_x: float = 0.0
    count: float = 0.0


@dataclass(frozen=True)
class Correction:
    """What is subtracted digitally: multiples of the sum of weights, of the inputs in use, of the sum of inputs."""

    sum_w: float = 0.0
    count: float = 0.0
    sum_x: float = 0.0


@dataclass(frozen=True)
class Targets:
    """What the cells are programmed to.

    held: `levels`, or None for a column pair a weight, whose levels are its positive and its negative part.
    Contrasts are counted in units of window / steps, so that they are integers on ideal cells. scale: weight of one
    unit. places: place value of each slice. weights: [out, in], what the cells decode to, in units.
    reference: level of a reference column's cells, for encodings that have one.
    """

    held: Tensor | None
    steps: int
    scale: float
    places: tuple[float, ...]
    weights: Tensor
    reference: int = 0

    @functools.cached_property
    def levels(self) -> Tensor:
        """[out, slices, columns, in, rows], int32, cell targets g = level / steps."""
        return pairs(self.weights)[:, None, :, :, None] if self.held is None else self.held


def pairs(units: Tensor, dim: int = 1) -> Tensor:
    """Signed whole numbers as levels (int32) of a + and a - cell, stacked at `dim`."""
    signed = units.to(torch.int32)
    return torch.stack([signed.clamp_min(0), signed.neg().clamp_min_(0)], dim=dim)


@dataclass(frozen=True)
class Contrast:
    """[*, out, slices x terms, in] each: per x, per x^2 and constant; None where no drive of the encoding has it.

    largest: magnitude of what depends on x, where it is known already.
    """

    linear: Tensor
    square: Tensor | None
    constant: Tensor | None
    largest: float | None = None


class Encoding(Spec, abc.ABC):
    """Weight <-> cells. Subclasses are final and state what they are; `decode(encode(w))` is w.

    A new encoding is one file in `imc_sim/array/encoding`: class variables, `kind` and `encode`.
    """

    #: physical rows per input, physical columns per output and slice
    rows: ClassVar[int] = 1
    columns: ClassVar[int] = 1
    #: the converter's input has both signs (`sym`) or is a plain current (`pos`)
    signed: ClassVar[bool]
    #: what weights and inputs may be
    operands: ClassVar[Operands]
    #: word-line drives: one tuple of `rows` drives a pass
    drives: ClassVar[tuple[tuple[Drive, ...], ...]]
    terms: ClassVar[tuple[Term, ...]]
    correction: ClassVar[Correction] = Correction()
    #: one column per tile, held at the middle of the window, is subtracted from every other before conversion
    referenced: ClassVar[bool] = False

    @abc.abstractmethod
    def encode(self, weights: Tensor, levels: int, where: str) -> Targets:
        """Cells for weights [out, in] on a device with that many levels."""

    @property
    def name(self) -> str:
        """The `kind` that names the encoding in a YAML file."""
        return str(getattr(self, "kind", type(self).__name__))

    @property
    def gain_in(self) -> float:
        """Factor outside D, Q and S: 1/2 where a drive has halves, so that contrasts stay whole numbers."""
        return 0.5 if any(c % 1.0 for d in _folded(type(self)) for row in d for c in row) else 1.0

    @property
    def values(self) -> tuple[float, ...]:
        """Values that an input may have; empty for real inputs."""
        return _VALUES.get(self.operands, ())

    @property
    def cancels_squares(self) -> bool:
        """The conversions of any cells, the same in all passes, each with its gain, add up to a result without x^2."""
        sums: dict[tuple[int, int], float] = {}
        for term in self.terms:
            for c, sign in enumerate(term.columns):
                for r, drive in enumerate(_folded(type(self))[term.drive]):
                    sums[c, r] = sums.get((c, r), 0.0) + term.gain * sign * drive[2]
        return not any(sums.values())

    def contrast(self, g: Tensor | Sequence[Tensor], floor: float, reference: float | None = None) -> Contrast:
        """D, Q and S of cells g [*, out, slices, columns, in, rows], in units of the window / steps.

        Args:
            g: the cells, or one tensor of them per pass, as wires make them differ.
            floor: conductance of HRS in the same unit.
            reference: conductance that the analog corrections of the terms stand for (default: that of HRS; 0: none).
        """
        excess = 0.0 if reference is None else reference - floor
        seen = [g] * len(self.drives) if isinstance(g, Tensor) else g
        parts = [
            [self._weighted(seen[term.drive], floor, excess, term, power) for term in self.terms] for power in range(3)
        ]
        constant, linear, square = (_joined(p) for p in parts)
        if linear is None:
            step = "Give one of its passes a drive that depends on the input."
            raise InputError(f"encoding {self.name}", "drives that do not depend on x", "at least one that does", step)
        return Contrast(linear, square, constant)

    def _weighted(self, g: Tensor, floor: float, excess: float, term: Term, power: int) -> Tensor | None:
        """Return the coefficient of x^power at the term's converter, without gain_in: [*, out, slices, in].

        excess: what the conductance of the analog corrections has over HRS.
        """
        total: Tensor | None = None
        conducting = 0.0
        for c, sign in enumerate(term.columns):
            for r, drive in enumerate(_folded(type(self))[term.drive]):
                factor = sign * drive[power] / self.gain_in
                conducting += factor
                if factor:
                    total = _add(total, g[..., c, :, r], factor)
        correction = (term.count, term.sum_x, 0.0)[power] / self.gain_in
        added = (conducting + correction) * floor + correction * excess
        if added:
            floors = torch.full_like(g[..., 0, :, 0], added)
            return floors if total is None else total + floors
        return total

    def power(self, variance: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Variance of u / gain_in for independent cell variances: per x^2, per x and constant.

        Each [*, out, slices x terms, in], or None. A drive of 0 and 1 is its own square; that of a real drive
        v = x is x^2.
        """
        parts: list[list[Tensor | None]] = [[], [], []]
        for term in self.terms:
            sums: list[Tensor | None] = [None, None, None]
            for c, sign in enumerate(term.columns):
                for r, drive in enumerate(_folded(type(self))[term.drive]):
                    squared = (0.0, 0.0, 1.0) if drive == SIGNED else drive
                    for k in range(3):
                        factor = sign * sign * squared[k] / self.gain_in**2
                        sums[k] = _add(sums[k], variance[..., c, :, r], factor) if factor else sums[k]
            for k in range(3):
                parts[k].append(sums[k])
        constant, linear, square = (_joined(p) for p in parts)
        return square, linear, constant

    def factors(self) -> list[list[list[list[float]]]]:
        """Return [3][terms][columns][rows]: what a cell's conductance adds to u / gain_in per x^0, x^1 and x^2."""
        drives = [_folded(type(self))[term.drive] for term in self.terms]
        signs = [[sign / self.gain_in for sign in term.columns] for term in self.terms]
        return [
            [[[s * d[power] for d in drive] for s in columns] for drive, columns in zip(drives, signs, strict=True)]
            for power in range(3)
        ]

    def check_weights(self, weights: Tensor, where: str) -> None:
        """Refuse weights that are not among the values of bipolar or ternary operands."""
        if not self.values or _among(weights, self.values):
            return
        got = f"weights from {float(weights.min()):g} to {float(weights.max()):g}"
        step = "Use `differential`, `offset` or `sliced` for this layer, or keep it digital."
        raise InputError(f"{where}, encoding {self.name}", got, f"weights of {_listed(self.values)}", step)

    def check_inputs(self, x: Tensor, where: str) -> None:
        """Refuse inputs that word lines cannot be driven with."""
        if self.values and not _among(x, self.values):
            got = f"values other than {_listed(self.values)} for {self.name}"
            step = "Binarize the input, or use encoding differential."
            raise InputError(f"{where}, input", got, _listed(self.values, ", "), step)


@functools.cache
def _folded(kind: type[Encoding]) -> tuple[tuple[Drive, ...], ...]:
    """Drives; where x^2 is 1 for every input, c2 belongs to the constant."""
    if kind.operands != "bipolar":
        return kind.drives
    return tuple(tuple((c0 + c2, c1, 0.0) for c0, c1, c2 in drive) for drive in kind.drives)


def _add(total: Tensor | None, cells: Tensor, factor: float) -> Tensor:
    if total is None:
        return cells if factor == 1.0 else cells * factor
    if factor == -1.0:
        return total - cells
    return total + (cells if factor == 1.0 else cells * factor)


def _joined(parts: Iterable[Tensor | None]) -> Tensor | None:
    """[*, out, slices, in] of every term -> [*, out, slices x terms, in]; None where all are."""
    parts = list(parts)
    there = [p for p in parts if p is not None]
    if not there:
        return None
    if len(parts) == 1:
        return there[0]
    filled = [torch.zeros_like(there[0]) if p is None else p for p in parts]
    return torch.stack(filled, dim=-2).flatten(-3, -2)


def _among(x: Tensor, values: tuple[float, ...]) -> bool:
    if values == (-1.0, 1.0):
        return bool((x.abs() == 1).all())
    return bool(((x == 0) | (x.abs() == 1)).all())


def _listed(values: tuple[float, ...], between: str = " and ") -> str:
    names = ["0" if v == 0 else f"{v:+g}" for v in values]
    return between.join(names) if len(names) == 2 else ", ".join(names[:-1]) + between + names[-1]
