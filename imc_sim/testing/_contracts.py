"""What every encoding and every programming law must do, as inherited tests."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from imc_sim.array import Chip, Converter, Crossbar, Encoding, Tile
from imc_sim.device import Device, Programming, RelativeVariation


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)


class EncodingContract:
    """Set `encoding`; `levels` is what the device needs. Weights and inputs are +-1, or what the encoding states."""

    encoding: Encoding
    levels: int = 2

    def weights(self, *shape: int, seed: int) -> Tensor:
        """Random weights or inputs among the encoding's values."""
        values = torch.tensor(self.encoding.values or (-1.0, 1.0))
        return values[torch.randint(0, len(values), shape, generator=torch.Generator().manual_seed(seed))]

    def chip(self, **changes: object) -> Chip:
        """The chip of the tests: a window from 10 to 100 uS, the encoding, small tiles."""
        device = Device(g_lrs_S=1e-4, g_hrs_S=1e-5, levels=self.levels)
        chip = Chip(device=device, encoding=cast("Any", self.encoding), tile=Tile(rows=24, cols=16))
        return chip.model_copy(update=changes)

    def test_ideal_is_the_digital_product_to_the_bit(self) -> None:
        """No effect, any tiling: the integer product itself."""
        w, x = self.weights(13, 70, seed=1), self.weights(9, 70, seed=2)
        for rows in (4, 24, 1000):
            y = Crossbar.program(w, self.chip(tile=Tile(rows=rows, cols=16)), chips=2).mvm(x)
            _require(torch.equal(y, (x @ w.T).expand(2, -1, -1)), f"tiles of {rows} rows change the product")

    def test_cells_hold_the_weights(self) -> None:
        """The contrast of unspread cells is the weight matrix, and placement loses no cell."""
        w = self.weights(5, 30, seed=3)
        bar = Crossbar.program(w.double(), self.chip())
        physical = bar.plan.physical(bar.plan.siemens(bar.cells(0) * bar.plan.targets.steps))
        _require(torch.equal(bar.placement.join(bar.conductance)[0], physical), "placement is not reversible")
        _require(
            torch.equal(bar.plan.logical(physical)[0], bar.plan.siemens(bar.plan.cells[0].double())), "wrong cells"
        )
        _require(
            torch.equal(bar.ideal.matrix(0) * bar.plan.targets.scale, w.double()), "cells do not decode to the weights"
        )

    def test_currents_are_ohms_law_on_the_cells(self) -> None:
        """The converters' currents, from the conductances and the drives cell by cell; one tile with everything."""
        w, x = self.weights(4, 20, seed=4), self.weights(3, 20, seed=5).double()
        chip = self.chip(tile=Tile(rows=1000, cols=1000), device=_spread(self.levels))
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
        _require(torch.allclose(seen, together, rtol=1e-12, atol=1e-18), "currents differ from Ohm's law")

    def test_fine_converter_changes_little_and_coarse_one_more(self) -> None:
        """16 bits stay within a step per conversion; the error of 4 bits is larger.

        HRS conducts nothing here: what an analog correction pushes below zero is lost in a `pos` converter.
        """
        device = Device(g_lrs_S=1e-4, g_hrs_S=0.0, levels=self.levels)
        w, x = self.weights(16, 96, seed=6), self.weights(32, 96, seed=7)
        errors = []
        for bits in (16, 4):
            bar = Crossbar.program(w, self.chip(device=device, converter=Converter(kind="auto", bits=bits)))
            errors.append(float((bar.mvm(x)[0] - x @ w.T).abs().max()))
        _require(errors[0] < 0.05 < errors[1], f"errors at 16 and 4 bits: {errors}")

    def test_spread_reaches_every_cell(self) -> None:
        """Two chips differ in every cell; the same chip number is the same chip."""
        w = self.weights(6, 40, seed=8)
        chip = self.chip(device=_spread(self.levels))
        both = Crossbar.program(w, chip, chips=2, seed=3)
        again = Crossbar.program(w, chip, chips=range(1, 2), seed=3)
        _require(torch.equal(both.cells(1), again.cells(0)), "a chip depends on which others are asked for")
        _require(float((both.cells(0) == both.cells(1)).double().mean()) < 0.01, "cells without a spread")


class ProgrammingContract:
    """Set `programming`, a law with a spread."""

    programming: Programming

    def test_never_below_zero_conductance(self) -> None:
        """The lowest conductance is 0 S, whatever the draw."""
        target = torch.tensor([[0.0], [0.5], [1.0]], dtype=torch.float64)
        normal = torch.linspace(-4.3, 4.3, 999, dtype=torch.float64)[None].expand(3, -1)
        g = self.programming.apply(target, normal, 0.1, 1e-4)
        _require(bool((g >= -0.1).all()), "negative conductance")
        _require(bool((g.diff(dim=1) >= 0).all()), "a larger draw gives a smaller conductance")

    def test_is_not_exact(self) -> None:
        """A law with a spread says so."""
        _require(not self.programming.is_ideal, "a law with a spread calls itself exact")


def _spread(levels: int) -> Device:
    return Device(g_lrs_S=1e-4, g_hrs_S=1e-5, levels=levels, programming=RelativeVariation(sigma=0.2))
