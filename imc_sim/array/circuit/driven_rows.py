"""Rows that inputs switch on and off: which share of them is on, measured or assumed.

A 1T1R array whose rows are switched has another circuit for every input. What stands for all of them (see
`approximate_gating`) is close only for inputs that switch about as many rows on as it was made for, so that the share
is measured on calibration data for every row of tiles and every pass.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor

from imc_sim._rng import Stream
from imc_sim.array._placement import Placement
from imc_sim.array.circuit.wires import Wires
from imc_sim.array.encoding.base import Encoding

#: share of the rows taken to be on where nothing was measured
ASSUMED = 0.5
#: decimal digits of measured shares: a sign that another machine rounds otherwise then changes no result
_DIGITS = 3
#: vectors of a calibration of which the rows are kept, and of random inputs where there was none
PATTERNS = 8

Source = Literal["measured", "set", "encoding", "assumed"]


@final
@dataclass(frozen=True)
class DrivenRows:
    """Rows that the inputs of a calibration switch on.

    on: [row tiles, passes] number of rows, summed over all vectors. counted: [row tiles] rows in use times vectors.
    gates: of every row of tiles which rows were on in a few of the vectors, [passes, vectors, rows in use].
    """

    on: Tensor
    counted: Tensor
    gates: tuple[Tensor, ...]

    @classmethod
    def of(
        cls, encoding: Encoding, wires: Wires, placement: Placement, inputs: Callable[[slice], Tensor]
    ) -> DrivenRows | None:
        """Count the rows for vectors of inputs; None where wires do not depend on them.

        inputs(t): [vectors, inputs of the tile].
        """
        if not switches_rows(encoding, wires):
            return None
        on, counted, gates = [], [], []
        for rows in placement.row_slices:
            each = gates_of(encoding, inputs(rows))
            vectors = each.shape[1]
            kept = torch.linspace(0, vectors - 1, min(PATTERNS, vectors)).round().long()
            on.append(each.sum((1, 2)).cpu())
            counted.append(each[0].numel())
            gates.append(each[:, kept.to(each.device)].cpu())
        return cls(torch.stack(on), torch.tensor(counted), tuple(gates))

    def joined(self, other: DrivenRows | None) -> DrivenRows:
        """Return the rows of both calibrations; patterns are those of this one."""
        if other is None:
            return self
        return dataclasses.replace(self, on=self.on + other.on, counted=self.counted + other.counted)

    @property
    def shares(self) -> Tensor:
        """[row tiles, passes]: mean share of the rows in use that are on, to three digits."""
        return (self.on.double() / self.counted[:, None]).round(decimals=_DIGITS)

    @property
    def least(self) -> Tensor:
        """[row tiles, 1]: share of one row."""
        return 1.0 / torch.tensor([[g.shape[-1]] for g in self.gates], dtype=torch.float64)


@final
@dataclass(frozen=True)
class Density:
    """The share of driven rows that the stand-in of every row of tiles and pass is made for: [row tiles, passes].

    source: `measured` by a calibration; `set` in the chip's wires; a property of the `encoding`, whose inputs all
    switch the same number of rows on; `assumed` where nothing was measured.
    """

    shares: Tensor
    source: Source

    @classmethod
    def of(cls, encoding: Encoding, wires: Wires, tiles: int, measured: DrivenRows | None) -> Density:
        """Choose the shares for that many rows of tiles: set, of the encoding, measured or assumed, in this order.

        A measured share is that of one row at least: the others matter only to inputs that switch one on.
        """
        whole = torch.ones(tiles, len(encoding.drives), dtype=torch.float64)
        own = own_density(encoding)
        if wires.density is not None:
            return cls(whole * wires.density, "set")
        if own is not None:
            return cls(whole * own, "encoding")
        if measured is not None:
            return cls(torch.maximum(measured.shares, measured.least), "measured")
        return cls(whole * ASSUMED, "assumed")


def switches_rows(encoding: Encoding, wires: Wires) -> bool:
    """Tell whether inputs decide which rows are on: 1T1R cells under a drive that is 0 for some values of the input.

    Rows driven in proportion to a real input count as on, whatever it is.
    """
    if wires.is_ideal or wires.cells == "passive" or not encoding.values:
        return False
    values = torch.tensor(encoding.values, dtype=torch.float64)
    return not bool(gates_of(encoding, values[:, None]).all())


def needs_density(encoding: Encoding, wires: Wires) -> bool:
    """Tell whether the stand-in depends on a share of driven rows that only the inputs know."""
    if wires.gating == "all_on" or wires.density is not None or not switches_rows(encoding, wires):
        return False
    return own_density(encoding) is None


def gates_of(encoding: Encoding, x: Tensor) -> Tensor:
    """Return which rows are on for inputs x [vectors, inputs]: bool [passes, vectors, rows], in physical order."""
    each = [torch.stack([c0 + c1 * x + c2 * x * x != 0.0 for c0, c1, c2 in d], dim=-1) for d in encoding.drives]
    return torch.stack([rows.flatten(1) for rows in each])


def own_density(encoding: Encoding) -> Tensor | None:
    """[passes]: share of the rows that are on where it is the same for every input; else None."""
    values = torch.tensor(encoding.values, dtype=torch.float64)
    shares = gates_of(encoding, values[:, None]).double().mean(-1)
    return shares[:, 0] if bool((shares == shares[:, :1]).all()) else None


def random_gates(encoding: Encoding, inputs: int) -> Tensor:
    """Return rows of random inputs, 10 to 90 % of which are +1 (of ternary ones: not 0): [passes, vectors, rows]."""
    share = torch.linspace(0.1, 0.9, PATTERNS)[:, None]
    first, second = torch.from_numpy(Stream(0, "gating", "patterns").uniform(2 * PATTERNS * inputs, 0)).view(
        2, PATTERNS, inputs
    )
    if 0.0 in encoding.values:
        return gates_of(encoding, torch.where(first < share, torch.where(second < 0.5, 1.0, -1.0), 0.0))
    return gates_of(encoding, torch.where(first < share, 1.0, -1.0))
