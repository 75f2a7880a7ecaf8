"""Encodings: which cells hold a weight, how word lines are driven, and how currents become a result.

Every encoding has the same algebra. A weight occupies `rows` x `columns` cells (times the digits of a sliced
one). In a pass, word line r of input x is driven with v = c0 + c1 x + c2 x^2, which is every function of x in
{-1, 0, 1}. A conversion (`Term`) adds the currents of some columns of one pass. With cell conductances g in units of
the window (HRS 0, LRS 1; HRS itself conducts `floor`) the ADC's input, over the inputs of a tile, is

    u = gain_in sum_i (D_i x_i + Q_i x_i^2 + S_i)

and the digital result is  y = sum_terms gain q(u) - correction,  where q is the ADC. D, Q and S are the `coefficients`
of the cells: a linear map of conductances, so that effects on cells need no code here.

Reference: CIM-Explorer, arXiv 2505.14303, for BNN I to VI and TNN I to V with its numbering.
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
    """Describe one conversion.

    Attributes:
        drive: number of the pass whose currents it converts.
        columns: sign or share of every column of the group.
        gain: factor in the result.
        sum_x: analog correction before the ADC, in currents of a driven HRS cell per sum of inputs.
        count: analog correction before the ADC, in currents of a driven HRS cell per input.
    """

    drive: int
    columns: tuple[float, ...]
    gain: float
    sum_x: float = 0.0
    count: float = 0.0


@dataclass(frozen=True)
class Correction:
    """Describe what is subtracted digitally.

    Attributes:
        sum_w: multiple of the sum of weights.
        count: multiple of the number of inputs in use.
        sum_x: multiple of the sum of inputs.
    """

    sum_w: float = 0.0
    count: float = 0.0
    sum_x: float = 0.0


@dataclass(frozen=True)
class Targets:
    """Hold what the cells are programmed to.

    Attributes:
        held: `levels`, or None for one column pair per weight, whose levels are its positive and its negative part.
        steps: levels per window. Differential conductances are in units of window / steps, integers on ideal cells.
        scale: weight of one unit.
        places: place value of each slice.
        weights: [out, in] in units, what the cells decode to.
        reference: level of the cells of a reference column, where the encoding has one.
    """

    held: Tensor | None
    steps: int
    scale: float
    places: tuple[float, ...]
    weights: Tensor
    reference: int = 0

    @functools.cached_property
    def levels(self) -> Tensor:
        """Return the levels of the cells, int32 [out, slices, columns, in, rows]; targets are g = level / steps."""
        return pairs(self.weights)[:, None, :, :, None] if self.held is None else self.held


def pairs(units: Tensor, dim: int = 1) -> Tensor:
    """Return the levels (int32) of column pairs that hold signed whole numbers.

    Args:
        units: whole numbers of any shape.
        dim: new dimension of the pair, + first.
    """
    signed = units.to(torch.int32)
    return torch.stack([signed.clamp_min(0), signed.neg().clamp_min_(0)], dim=dim)


@dataclass(frozen=True)
class Coefficients:
    """Hold D, Q and S of all conversions, each [*, out, slices x terms, in]; None where no voltage has that power.

    Attributes:
        linear: D, per x.
        square: Q, per x^2.
        constant: S.
        largest: largest magnitude of D and Q, where it is known already.
    """

    linear: Tensor
    square: Tensor | None
    constant: Tensor | None
    largest: float | None = None


class Encoding(Spec, abc.ABC):
    """Map weights to cells, inputs to voltages and currents to results.

    A new encoding is one file in `imc_sim/array/encoding/` with a final subclass: class variables, `kind` and `encode`
    (docs/extending/encoding.md).
    """

    #: physical rows per input, physical columns per output and slice
    rows: ClassVar[int] = 1
    columns: ClassVar[int] = 1
    #: whether the ADC's input has both signs (`sym`) or one (`pos`)
    signed: ClassVar[bool]
    #: values of weights and inputs
    operands: ClassVar[Operands]
    #: word-line voltages: one tuple of `rows` for every pass
    drives: ClassVar[tuple[tuple[Drive, ...], ...]]
    terms: ClassVar[tuple[Term, ...]]
    correction: ClassVar[Correction] = Correction()
    #: whether one column per tile, at the middle of the window, is subtracted from every other before conversion
    referenced: ClassVar[bool] = False

    @abc.abstractmethod
    def encode(self, weights: Tensor, levels: int, where: str) -> Targets:
        """Return the cell targets of weights.

        Args:
            weights: [out, in].
            levels: levels of the device.
            where: place that an error names.
        """

    def encode_signs(self, weights: Tensor, levels: int, where: str) -> Targets:
        """Return `encode` of weights that are all -1 or +1.

        Args:
            weights: [out, in].
            levels: levels of the device.
            where: place that an error names.
        """
        return self.encode(weights, levels, where)

    @property
    def name(self) -> str:
        """Return the `kind` that names the encoding in a YAML file."""
        return str(getattr(self, "kind", type(self).__name__))

    @property
    def gain_in(self) -> float:
        """Return the factor outside D, Q and S: 1/2 where a voltage has halves, so that they are whole numbers."""
        return 0.5 if any(c % 1.0 for d in _folded(type(self)) for row in d for c in row) else 1.0

    @property
    def values(self) -> tuple[float, ...]:
        """Return the values that an input can have; empty for real inputs."""
        return _VALUES.get(self.operands, ())

    def uses_levels(self, linear: bool, signs: bool) -> bool:
        """Tell whether results depend on the levels of the device between HRS and LRS.

        Args:
            linear: whether levels are equally spaced in conductance.
            signs: whether weights are -1, 0 and +1.

        Returns:
            True unless the encoding states otherwise.
        """
        return True

    @property
    def cancels_squares(self) -> bool:
        """Tell whether x^2 cancels in the sum of all conversions, whatever the cells, if all passes see the same."""
        gains = torch.tensor([term.gain for term in self.terms])
        return not bool(torch.einsum("tcr,t->cr", torch.tensor(self.factors()[2]), gains).any())

    def coefficients(self, g: Tensor | Sequence[Tensor], floor: float, reference: float | None = None) -> Coefficients:
        """Return D, Q and S of cells.

        Args:
            g: cells [*, out, slices, columns, in, rows] in units of window / steps, or one such tensor per pass where
                wires make them differ.
            floor: conductance of HRS in the same unit.
            reference: conductance that analog corrections are multiples of; None: that of HRS; 0: no correction.

        Raises:
            InputError: if no voltage of the encoding depends on the input.
        """
        excess = 0.0 if reference is None else reference - floor
        seen = [g] * len(self.drives) if isinstance(g, Tensor) else g
        parts = [
            [self._weighted(seen[term.drive], floor, excess, term, power) for term in self.terms] for power in range(3)
        ]
        constant, linear, square = (_joined(p) for p in parts)
        if linear is None:
            step = "Give one of its passes a voltage that depends on the input."
            raise InputError(f"encoding {self.name}", "no voltage that depends on x", "at least one that does", step)
        return Coefficients(linear, square, constant)

    def _weighted(self, g: Tensor, floor: float, excess: float, term: Term, power: int) -> Tensor | None:
        """Return the coefficient of x^power at the term's ADC, without gain_in: [*, out, slices, in].

        excess: conductance of the analog corrections above HRS.
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
        """Return the variance of u / gain_in per x^2, per x and constant, each [*, out, slices x terms, in] or None.

        Args:
            variance: independent variances of the cells [*, out, slices, columns, in, rows].
        """
        parts: list[list[Tensor | None]] = [[], [], []]
        for term in self.terms:
            sums: list[Tensor | None] = [None, None, None]
            for c, sign in enumerate(term.columns):
                for r, drive in enumerate(_folded(type(self))[term.drive]):
                    squared = (0.0, 0.0, 1.0) if drive == SIGNED else drive  # a voltage of 0 or 1 is its own square
                    for k in range(3):
                        factor = sign * sign * squared[k] / self.gain_in**2
                        sums[k] = _add(sums[k], variance[..., c, :, r], factor) if factor else sums[k]
            for k in range(3):
                parts[k].append(sums[k])
        constant, linear, square = (_joined(p) for p in parts)
        return square, linear, constant

    def factors(self) -> list[list[list[list[float]]]]:
        """Return the factor of a cell's conductance in u / gain_in per x^0, x^1 and x^2: [3][terms][columns][rows]."""
        drives = [_folded(type(self))[term.drive] for term in self.terms]
        signs = [[sign / self.gain_in for sign in term.columns] for term in self.terms]
        return [
            [[[s * d[power] for d in drive] for s in columns] for drive, columns in zip(drives, signs, strict=True)]
            for power in range(3)
        ]

    def check_weights(self, weights: Tensor, where: str) -> None:
        """Refuse weights that an encoding of bipolar or ternary values cannot hold.

        Args:
            weights: [out, in].
            where: place that the error names.

        Raises:
            InputError: for other weights.
        """
        if not self.values or _among(weights, self.values):
            return
        got = f"weights from {float(weights.min()):g} to {float(weights.max()):g}"
        step = "Use `differential`, `offset` or `sliced` for this layer, or keep it digital."
        raise InputError(f"{where}, encoding {self.name}", got, f"weights of {_listed(self.values)}", step)

    def check_inputs(self, x: Tensor, where: str) -> None:
        """Refuse inputs that the encoding has no voltages for.

        Args:
            x: inputs of any shape.
            where: place that the error names.

        Raises:
            InputError: for other inputs.
        """
        if self.values and not _among(x, self.values):
            got = f"values other than {_listed(self.values)} for {self.name}"
            step = "Binarize the input, or use encoding differential."
            raise InputError(f"{where}, input", got, _listed(self.values, ", "), step)


@functools.cache
def _folded(kind: type[Encoding]) -> tuple[tuple[Drive, ...], ...]:
    """Return the voltages of an encoding; where x^2 is 1 for every input, c2 is part of the constant."""
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
    """Return parts [*, out, slices, in] of every term as [*, out, slices x terms, in]; None where all are None."""
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
