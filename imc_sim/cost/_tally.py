"""Word lines that inputs drive, and the squares of their voltages."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from imc_sim.array import Crossbar, InputVectors
from imc_sim.cost._actions import Actions, Layout


@final
@dataclass
class Tally:
    """Add up the drives of one layer on one chip, over all reads of some samples.

    Attributes:
        layout: passes and tiles of the layer.
        vectors: input vectors.
        driven: driven word lines in one column of tiles.
        charged: charged word lines in one column of tiles.
        drive: voltage times current-equivalent voltage over the square of the read voltage, times the pulses, of every
            word line and pass of the encoding, [passes, in, rows].
    """

    layout: Layout
    vectors: int
    driven: int
    charged: int
    drive: Tensor

    @classmethod
    def empty(cls, layout: Layout) -> Tally:
        """Return a tally without reads.

        Args:
            layout: passes and tiles of the layer.
        """
        encoding = layout.encoding
        shape = len(encoding.drives), layout.placement.inputs, encoding.rows
        return cls(layout, 0, 0, 0, torch.zeros(shape, dtype=torch.float64))

    def add(self, crossbar: Crossbar, inputs: InputVectors, exact: bool) -> None:
        """Add the reads of input vectors.

        Args:
            crossbar: the cells.
            inputs: the vectors, before DACs.
            exact: whether inputs are -1, 0 and +1.
        """
        applied, felt = _voltages(crossbar, inputs, exact)
        self.vectors += inputs.count
        for rows in self.layout.placement.row_slices:
            v = applied(rows)
            self._add_rows(rows, v, v if felt is applied else felt(rows))

    def _add_rows(self, rows: slice, v: Tensor, w: Tensor) -> None:
        """Add the drives of the inputs of one row of tiles: voltages v and current-equivalent ones w."""
        encoding, inputs = self.layout.encoding, self.layout.chip.inputs
        real = encoding.operands == "real"
        planes = range(len(inputs.factors)) if real else range(1)
        held = not self.layout.scheme.returns and max(self.layout.groups) == 1 and self.layout.charges == 1
        phases = self.layout.planes // len(planes)
        for r in range(encoding.rows):
            volts: list[Tensor] = []
            for number in planes:
                a = inputs.plane(v, number) if real else v
                b = a if w is v else inputs.plane(w, number)
                for k, drives in enumerate(encoding.drives):
                    volts.append(_driven(a, drives[r]))
                    power = volts[-1] * _driven(b, drives[r])
                    if self.layout.pulses > 1:  # as many pulses of the read voltage as the input is large
                        power = volts[-1].abs()
                    self.drive[k, rows, r] += power.sum(0, dtype=torch.float64) * (self.layout.pulses * phases)
            on = sum(int((u != 0).sum()) for u in volts) * phases
            self.driven += on
            self.charged += _changes(volts) if held else on * self.layout.charges

    def actions(self, samples: int) -> Actions:
        """Return the actions per sample.

        Args:
            samples: number of samples that were added.
        """
        squared = float(self.drive.sum()) / samples
        return self.layout.actions(self.vectors / samples, self.driven / samples, self.charged / samples, squared)


def _voltages(crossbar: Crossbar, inputs: InputVectors, exact: bool) -> tuple[InputVectors, InputVectors]:
    """Return the voltages of word lines over the read voltage, and those that give the same current by Ohm's law.

    Without a DAC, the largest real input gets the read voltage.
    """
    plan, x = crossbar.plan, inputs.values
    real, dac = plan.encoding.operands == "real", plan.chip.inputs
    if exact or not real:
        v = x
    else:
        limit = crossbar.ranges.input_limit or float(x.abs().max()) or 1.0
        v = x / limit if dac.is_ideal else dac.quantise(x, limit)
    applied = inputs.replaced(v)
    read = plan.chip.device.read
    bends = (
        plan.encoding.operands == "real" and read.nonlinearity_per_V != 0.0 and plan.chip.inputs.kind != "bit_serial"
    )
    return applied, inputs.replaced(read.drive(v)) if bends else applied


def _driven(x: Tensor, drive: tuple[float, float, float]) -> Tensor:
    """Return c0 + c1 x + c2 x^2."""
    constant, linear, square = drive
    if drive == (0.0, 1.0, 0.0):
        return x
    return constant + linear * x + square * x.square()


def _changes(volts: list[Tensor]) -> int:
    """Return how many lines are charged to another voltage than in the read before, from one vector to the next.

    volts: voltages [vectors, inputs] of each pass of a vector.
    """
    count = int((volts[0][:1] != 0).sum())  # the first read
    for before, after in [*itertools.pairwise(volts), (volts[-1][:-1], volts[0][1:])]:
        count += int(((after != before) & (after != 0)).sum())
    return count
