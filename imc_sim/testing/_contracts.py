"""Contract tests of encodings and of programming laws, to inherit from."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from imc_sim.array import Chip, Converter, Crossbar, Encoding, Tile
from imc_sim.device import Device, Programming, RelativeVariation
from imc_sim.testing._require import require


class EncodingContract:
    """Tests of an encoding.

    Attributes:
        encoding: the encoding under test.
        levels: number of levels that it needs of a cell.
    """

    encoding: Encoding
    levels: int = 2

    def weights(self, *shape: int, seed: int) -> Tensor:
        """Sample weights or inputs from the values of the encoding.

        Args:
            *shape: shape of the result.
            seed: seed of the sample.

        Returns:
            Values of the encoding, or +-1 where it states none.
        """
        values = torch.tensor(self.encoding.values or (-1.0, 1.0))
        return values[torch.randint(0, len(values), shape, generator=torch.Generator().manual_seed(seed))]

    def chip(self, **changes: object) -> Chip:
        """Build the chip of the tests: a window from 10 to 100 uS, the encoding, small tiles.

        Args:
            **changes: fields of the chip with other values.

        Returns:
            The chip.
        """
        device = Device(g_lrs_S=1e-4, g_hrs_S=1e-5, levels=self.levels)
        chip = Chip(device=device, encoding=cast("Any", self.encoding), tile=Tile(rows=24, cols=16))
        return chip.model_copy(update=changes)

    def test_ideal_is_the_digital_product_to_the_bit(self) -> None:
        """Check that without effects, in any tiling, the product is the integer product."""
        w, x = self.weights(13, 70, seed=1), self.weights(9, 70, seed=2)
        for rows in (4, 24, 1000):
            y = Crossbar.program(w, self.chip(tile=Tile(rows=rows, cols=16)), chips=2).mvm(x)
            require(torch.equal(y, (x @ w.T).expand(2, -1, -1)), f"tiles of {rows} rows change the product")

    def test_cells_hold_the_weights(self) -> None:
        """Check that cells without variation decode to the weights, and that placement loses no cell."""
        w = self.weights(5, 30, seed=3)
        bar = Crossbar.program(w.double(), self.chip())
        physical = bar.plan.physical(bar.plan.siemens(bar.cells(0) * bar.plan.targets.steps))
        require(torch.equal(bar.placement.join(bar.conductance)[0], physical), "placement is not reversible")
        require(torch.equal(bar.plan.logical(physical)[0], bar.plan.siemens(bar.plan.cells[0].double())), "wrong cells")
        require(
            torch.equal(bar.ideal.matrix(0) * bar.plan.targets.scale, w.double()), "cells do not decode to the weights"
        )

    def test_currents_are_ohms_law_on_the_cells(self) -> None:
        """Check the currents that ADCs convert against Ohm's law, cell by cell, in one tile."""
        w, x = self.weights(4, 20, seed=4), self.weights(3, 20, seed=5).double()
        chip = self.chip(tile=Tile(rows=1000, cols=1000), device=_with_variation(self.levels))
        bar = Crossbar.program(w.double(), chip)
        cells = bar.plan.siemens(bar.cells(0) * bar.plan.targets.steps)
        g = bar.plan.against_reference(cells)
        expected = []
        for term in self.encoding.terms:
            drives = torch.tensor(self.encoding.drives[term.drive], dtype=torch.float64)
            volts = torch.einsum("rk,kbi->bir", drives, torch.stack([x**0, x, x**2])) * chip.device.read.v_read_V
            columns = torch.einsum("oscir,bir->bosc", g, volts)
            expected.append(columns @ torch.tensor(term.columns, dtype=torch.float64))
        together = torch.stack(expected, dim=-1).flatten(1)
        seen = bar.currents(x)[0, 0]
        require(torch.allclose(seen, together, rtol=1e-12, atol=1e-18), "currents differ from Ohm's law")

    def test_fine_adc_changes_little_and_coarse_one_more(self) -> None:
        """Check that the error with 16 bits is below a step per conversion, and larger with 4 bits.

        HRS conducts nothing here: a `pos` ADC would clip what an analog correction moves below zero.
        """
        device = Device(g_lrs_S=1e-4, g_hrs_S=0.0, levels=self.levels)
        w, x = self.weights(16, 96, seed=6), self.weights(32, 96, seed=7)
        errors = []
        for bits in (16, 4):
            bar = Crossbar.program(w, self.chip(device=device, converter=Converter(kind="auto", bits=bits)))
            errors.append(float((bar.mvm(x)[0] - x @ w.T).abs().max()))
        require(errors[0] < 0.05 < errors[1], f"errors at 16 and 4 bits: {errors}")

    def test_variation_reaches_every_cell(self) -> None:
        """Check that two chips differ in every cell, and that one chip number is always the same chip."""
        w = self.weights(6, 40, seed=8)
        chip = self.chip(device=_with_variation(self.levels))
        both = Crossbar.program(w, chip, chips=2, seed=3)
        again = Crossbar.program(w, chip, chips=range(1, 2), seed=3)
        require(torch.equal(both.cells(1), again.cells(0)), "a chip depends on the others of the call")
        require(float((both.cells(0) == both.cells(1)).double().mean()) < 0.01, "cells without variation")


class ProgrammingContract:
    """Tests of a programming law with device variation.

    Attributes:
        programming: the law under test.
    """

    programming: Programming

    def test_never_below_zero_conductance(self) -> None:
        """Check that no conductance is below 0 S, and that it grows with the normal number."""
        target = torch.tensor([[0.0], [0.5], [1.0]], dtype=torch.float64)
        normal = torch.linspace(-4.3, 4.3, 999, dtype=torch.float64)[None].expand(3, -1)
        g = self.programming.apply(target, normal, 0.1, 1e-4)
        require(bool((g >= -0.1).all()), "negative conductance")
        require(bool((g.diff(dim=1) >= 0).all()), "a larger normal number gives a smaller conductance")

    def test_is_not_ideal(self) -> None:
        """Check that a law with variation is not reported as ideal."""
        require(not self.programming.is_ideal, "a law with variation is reported as ideal")


def _with_variation(levels: int) -> Device:
    return Device(g_lrs_S=1e-4, g_hrs_S=1e-5, levels=levels, programming=RelativeVariation(sigma=0.2))
