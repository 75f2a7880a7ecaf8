"""Place the tiles of layers on a measured map, whose cells they take one for one."""

from __future__ import annotations

import dataclasses
from typing import final

import torch

from imc_sim._errors import InputError
from imc_sim._rng import Address, Stream
from imc_sim.array._plan import Plan
from imc_sim.device import ArrayMap, MapVariation

Corner = tuple[int, int]
#: largest distance of the target of a measured cell from that of the cell that takes its deviation, in windows
_NEAR = 0.501


@final
class MapCells:
    """Give each tile of the layers of a chip its own cells of a map: row by row of tiles, in the order of the calls."""

    def __init__(self) -> None:
        self._corners: dict[str, list[Corner]] = {}
        self._row = self._column = self._height = 0

    def applied(self, plan: Plan, address: Address, chips: range) -> Plan:
        """Return the plan with the deviations of measured cells; the same plan where they are not taken by position.

        Args:
            plan: the weights, encoded and placed.
            address: address of the random numbers.
            chips: numbers of the chips.

        Raises:
            InputError: the map has too few cells, is of one chip, or has no similar target at a position.
        """
        device, law = plan.chip.device, plan.chip.device.programming
        if not (isinstance(law, MapVariation) and law.by_position):
            return plan
        where, found = f"layer {address.layer!r}, device.programming", law.map
        if max(chips) > 0 and not law.repeat:
            step = "Set chips to 1 (in studies chips: {min: 1, max: 1}), use: resample, or repeat: true."
            raise InputError(where, f"chip {max(chips)}", "chip 0: the measured array is one chip", step)
        target_S = plan.physical(plan.siemens(device.places(plan.cells, plan.targets.steps) * plan.targets.steps))
        parts = [(target_S[lines, columns], lines, columns) for lines, columns in plan.placement.parts]
        sizes = [(part.shape[0], part.shape[1]) for part, _, _ in parts]
        unit = law.scale * plan.targets.steps / device.window_S
        by_chip = {}
        for chip in chips:
            corners = _random(found, sizes, address, chip) if law.repeat else self._places(found, sizes, address, where)
            off, others = torch.empty_like(target_S), 0
            for (row, column), (part, lines, columns) in zip(corners, parts, strict=True):
                rows, cols = ((torch.arange(n) + first) % most for n, first, most in zip(
                    part.shape, (row, column), found.size, strict=True))  # fmt: skip
                off[lines, columns], apart = found.at(part, rows, cols)
                others += int((apart > _NEAR * device.window_S).sum())
            if others:
                got = f"{others} of {target_S.numel()} cells at positions that were measured in another state only"
                step = (
                    "Set use: resample; or measure the array in each state, and stack the maps: [maps, rows, columns]."
                )
                raise InputError(where, got, "a target within half of the window", step)
            by_chip[chip] = plan.logical(off * unit)
        return dataclasses.replace(plan, deviations=by_chip)

    def _places(self, found: ArrayMap, sizes: list[Corner], address: Address, where: str) -> list[Corner]:
        """Return the first row and column of each tile of a layer on the map; the same for later programmings."""
        if address.layer in self._corners:
            return self._corners[address.layer]
        rows, columns = found.size
        before, corners = len(self._corners), []
        for height, width in sizes:
            if self._column + width > columns:
                self._row, self._column, self._height = self._row + self._height, 0, 0
            if self._row + height > rows or width > columns:
                got = (
                    f"{rows} x {columns} measured cells, of which {before} layers before it and {len(corners)} of its "
                )
                got += f"{len(sizes)} tiles take {self._row} rows"
                step = "Set use: resample; or repeat: true, so that tiles share cells; or a smaller tile or network."
                raise InputError(where, got, f"room for the next tile of {height} x {width} cells", step)
            corners.append((self._row, self._column))
            self._column, self._height = self._column + width, max(self._height, height)
        return self._corners.setdefault(address.layer, corners)


def _random(found: ArrayMap, sizes: list[Corner], address: Address, chip: int) -> list[Corner]:
    """Return a random first row and column of each tile on the map."""
    u = Stream(address.seed, address.layer, "map").uniform(2 * len(sizes), chip).reshape(-1, 2)
    return [(int(r * found.size[0]), int(c * found.size[1])) for r, c in u.tolist()]
