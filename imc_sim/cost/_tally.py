"""Word lines that inputs drive, and the squares of their voltages."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from imc_sim.array import Crossbar, InputVectors, Patches
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
        v, w = _voltages(crossbar, inputs.values, exact)
        self.vectors += inputs.count
        dac, encoding = self.layout.chip.inputs, self.layout.encoding
        real, width = encoding.operands == "real", self.layout.placement.inputs
        planes = range(len(dac.factors)) if real else range(1)
        times = self.layout.planes // len(planes)  # phases
        held = not self.layout.scheme.returns and max(self.layout.groups) == 1 and self.layout.charges == 1
        for r in range(encoding.rows):
            volts: list[Tensor] = []
            for number in planes:
                a = dac.plane(v, number) if real else v
                b = a if w is v else dac.plane(w, number)
                for k, drives in enumerate(encoding.drives):
                    u = _driven(a, drives[r])
                    volts += [inputs.replaced(u - drives[r][0])(slice(0, width)) + drives[r][0]] if held else []
                    off = float(drives[r][0])  # a padded input is 0
                    lines = _summed(inputs, u != 0, float(off != 0), width)
                    power = lines
                    if not (exact and _switches(drives[r])):
                        # As long or as many pulses of the read voltage as the input is large, or one of its voltage.
                        power = u.abs() if self.layout.scheme.coding != "amplitude" else u * _driven(b, drives[r])
                        power = _summed(inputs, power, off * off, width)
                    self.drive[k, :, r] += power * (self.layout.pulses * times)
                    on = int(lines.sum()) * times
                    self.driven += on
                    self.charged += 0 if held else on * self.layout.charges
            self.charged += _changes(volts) if held else 0

    def actions(self, samples: int) -> Actions:
        """Return the actions per sample.

        Args:
            samples: number of samples that were added.
        """
        squared = float(self.drive.sum()) / samples
        return self.layout.actions(self.vectors / samples, self.driven / samples, self.charged / samples, squared)


def _voltages(crossbar: Crossbar, x: Tensor, exact: bool) -> tuple[Tensor, Tensor]:
    """Return the voltages of word lines over the read voltage, and those that give the same current by Ohm's law.

    Without a DAC, the largest real input gets the read voltage.
    """
    plan = crossbar.plan
    real, dac = plan.encoding.operands == "real", plan.chip.inputs
    if exact or not real:
        v = x
    else:
        limit = crossbar.ranges.input_limit or float(x.abs().max()) or 1.0
        v = x / limit if dac.is_ideal else dac.quantise(x, limit)
    read = plan.chip.device.read
    bends = real and read.nonlinearity_per_V != 0.0 and dac.kind != "bit_serial"
    return v, read.drive(v) if bends else v


def _summed(inputs: InputVectors, values: Tensor, off: float, width: int) -> Tensor:
    """Return the sum over all vectors of a number for each of their entries, [in].

    Values are added over the batch before patches are taken of them. off: the number of an entry that is padding.
    width: entries of a vector.
    """
    if not isinstance(inputs, Patches):
        return values.flatten(0, -2).sum(0, dtype=torch.float64).cpu()
    image = values.sum(0, keepdim=True, dtype=torch.float64) - off * len(values)
    return inputs.replaced(image)(slice(0, width)).sum(0).cpu() + off * inputs.count


def _driven(x: Tensor, drive: tuple[float, float, float]) -> Tensor:
    """Return c0 + c1 x + c2 x^2."""
    constant, linear, square = drive
    if drive == (0.0, 1.0, 0.0):
        return x
    return constant + linear * x + square * x.square() if square else constant + linear * x


def _switches(drive: tuple[float, float, float]) -> bool:
    """Tell whether inputs of -1, 0 and +1 get the read voltage, its opposite, or none."""
    constant, linear, square = drive
    return all(constant + linear * x + square * x * x in (-1.0, 0.0, 1.0) for x in (-1.0, 0.0, 1.0))


def _changes(volts: list[Tensor]) -> int:
    """Return how many lines are charged to another voltage than in the read before, from one vector to the next.

    volts: voltages [vectors, inputs] of each pass of a vector.
    """
    count = int((volts[0][:1] != 0).sum())  # the first read
    for before, after in [*itertools.pairwise(volts), (volts[-1][:-1], volts[0][1:])]:
        count += int(((after != before) & (after != 0)).sum())
    return count
