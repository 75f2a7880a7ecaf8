"""Rows that inputs switch on: the share of them, measured or assumed.

A 1T1R array whose rows are switched has a different circuit for every input. The approximation for all of them (see
`approximate_gating`) is accurate for inputs that switch on about as many rows as it assumes, so that the share is
measured on calibration data for every row of tiles and every pass.
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

#: share of the rows that is assumed without a calibration
ASSUMED = 0.5
#: decimal digits of measured shares, so that a sign that another machine rounds differently changes no result
_DIGITS = 3
#: vectors of a calibration whose rows are kept, and number of random inputs without a calibration
PATTERNS = 8

Source = Literal["measured", "set", "encoding", "assumed"]


@final
@dataclass(frozen=True)
class DrivenRows:
    """Hold the rows that the inputs of a calibration switch on.

    Attributes:
        on: rows that are on, summed over all vectors [row tiles, passes].
        counted: rows in use times vectors [row tiles].
        gates: for every row of tiles, which rows were on in a few of the vectors [passes, vectors, rows in use].
    """

    on: Tensor
    counted: Tensor
    gates: tuple[Tensor, ...]

    @classmethod
    def of(
        cls, encoding: Encoding, wires: Wires, placement: Placement, inputs: Callable[[slice], Tensor]
    ) -> DrivenRows | None:
        """Count the rows that input vectors switch on.

        Args:
            encoding: encoding of the weights.
            wires: resistances and kind of the cells.
            placement: places of the cells on tiles.
            inputs: slice of the inputs -> their entries [vectors, inputs of the slice].

        Returns:
            The rows; None where wires do not depend on them.
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
        """Return the rows of two calibrations together.

        Args:
            other: rows of another calibration; None for none. Patterns of gates are those of self.
        """
        if other is None:
            return self
        return dataclasses.replace(self, on=self.on + other.on, counted=self.counted + other.counted)

    @property
    def shares(self) -> Tensor:
        """Return the mean share of the rows in use that are on, to three digits: [row tiles, passes]."""
        return (self.on.double() / self.counted[:, None]).round(decimals=_DIGITS)

    @property
    def least(self) -> Tensor:
        """Return the share of one row: [row tiles, 1]."""
        return 1.0 / torch.tensor([[g.shape[-1]] for g in self.gates], dtype=torch.float64)


@final
@dataclass(frozen=True)
class Density:
    """Hold the share of driven rows that wires are computed for.

    Attributes:
        shares: [row tiles, passes].
        source: `measured` by a calibration; `set` in the chip's wires; a property of the `encoding`, whose inputs all
            switch the same number of rows on; `assumed` without a calibration.
    """

    shares: Tensor
    source: Source

    @classmethod
    def of(cls, encoding: Encoding, wires: Wires, tiles: int, measured: DrivenRows | None) -> Density:
        """Choose the shares: set, of the encoding, measured or assumed, in this order.

        A measured share is at least that of one row: a smaller one only matters for inputs that switch a row on.

        Args:
            encoding: encoding of the weights.
            wires: the chip's wires.
            tiles: number of rows of tiles.
            measured: rows of a calibration; None without.

        Returns:
            The shares and their source.
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
    """Return whether inputs switch rows: 1T1R cells and an encoding with a voltage of 0 for some value of the input.

    Rows that are driven in proportion to a real input count as on, whatever it is.

    Args:
        encoding: encoding of the weights.
        wires: the chip's wires.
    """
    if wires.is_ideal or wires.cells == "passive" or not encoding.values:
        return False
    values = torch.tensor(encoding.values, dtype=torch.float64)
    return not bool(gates_of(encoding, values[:, None]).all())


def needs_density(encoding: Encoding, wires: Wires) -> bool:
    """Return whether wires depend on a share of driven rows that only inputs determine.

    Args:
        encoding: encoding of the weights.
        wires: the chip's wires.
    """
    if wires.gating == "all_on" or wires.density is not None or not switches_rows(encoding, wires):
        return False
    return own_density(encoding) is None


def gates_of(encoding: Encoding, x: Tensor) -> Tensor:
    """Return which rows are on, bool [passes, vectors, rows] in physical order.

    Args:
        encoding: encoding of the weights.
        x: inputs [vectors, inputs].
    """
    each = [torch.stack([c0 + c1 * x + c2 * x * x != 0.0 for c0, c1, c2 in d], dim=-1) for d in encoding.drives]
    return torch.stack([rows.flatten(1) for rows in each])


def own_density(encoding: Encoding) -> Tensor | None:
    """Return the share of rows that are on, [passes], where it is the same for every input; else None.

    Args:
        encoding: encoding of the weights.
    """
    values = torch.tensor(encoding.values, dtype=torch.float64)
    shares = gates_of(encoding, values[:, None]).double().mean(-1)
    return shares[:, 0] if bool((shares == shares[:, :1]).all()) else None


def random_gates(encoding: Encoding, inputs: int) -> Tensor:
    """Return which rows are on for random inputs, 10 to 90 % of them +1 (ternary: not 0): [passes, vectors, rows].

    Args:
        encoding: encoding of the weights.
        inputs: number of inputs.
    """
    share = torch.linspace(0.1, 0.9, PATTERNS)[:, None]
    first, second = torch.from_numpy(Stream(0, "gating", "patterns").uniform(2 * PATTERNS * inputs, 0)).view(
        2, PATTERNS, inputs
    )
    if 0.0 in encoding.values:
        return gates_of(encoding, torch.where(first < share, torch.where(second < 0.5, 1.0, -1.0), 0.0))
    return gates_of(encoding, torch.where(first < share, 1.0, -1.0))
