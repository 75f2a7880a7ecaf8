"""The report: energy, latency and area per layer and component, with the band over chips."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal, final

import numpy as np

from imc_sim._errors import InputError
from imc_sim._quantities import with_unit
from imc_sim._stats import band, band_label
from imc_sim.array import Chip
from imc_sim.cost._actions import Actions, Programming
from imc_sim.cost._components import ACTION
from imc_sim.cost._text import table


@final
@dataclass(frozen=True)
class LayerCost:
    """Hold what one layer takes per inference.

    Attributes:
        layer: name of the layer.
        place: `crossbar` or `digital`.
        actions: mean over chips.
        energy_J: energy by component, of each chip.
        latency_s: time by component.
        area_m2: area by component.
        tiles: number of tiles, with copies.
        utilisation: cells in use over all cells.
        programming: what programming its cells takes, of each chip.
        programming_J: its energy, of each chip; empty where the chip does not state that of a pulse.
    """

    layer: str
    place: Literal["crossbar", "digital"]
    actions: Actions
    energy_J: dict[str, tuple[float, ...]]
    latency_s: dict[str, float]
    area_m2: dict[str, float]
    tiles: int
    utilisation: float
    programming: tuple[Programming, ...] = ()
    programming_J: tuple[float, ...] = ()

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for every component with a count."""
        found = []
        for name, action in ACTION.items():
            count = getattr(self.actions, action)
            if not count and name not in self.area_m2:
                continue
            energies = self.energy_J.get(name)
            found.append({
                "layer": self.layer, "component": name, "action": action, "count": count,
                "energy_J": None if energies is None else float(np.mean(energies)),
                "latency_s": self.latency_s.get(name), "area_m2": self.area_m2.get(name),
            })  # fmt: skip
        return found


@final
@dataclass(frozen=True)
class CostReport:
    """Report what an inference takes on some sampled chips.

    Attributes:
        chip: the chip.
        layers: what each layer takes.
        shared_area_m2: area by component of circuits that the chip has once.
        not_counted: components that the chip does not state, with what is missing.
        scaled: components whose values are scaled from another node or supply.
        peak: the same for one full tile with signs as weights and inputs; None where it was not computed.
    """

    chip: Chip
    layers: tuple[LayerCost, ...]
    shared_area_m2: dict[str, float]
    not_counted: tuple[str, ...]
    scaled: tuple[str, ...] = ()
    peak: CostReport | None = field(default=None, repr=False)

    @property
    def energies_J(self) -> tuple[float, ...]:
        """Return the energy of an inference on each chip."""
        parts = [each for layer in self.layers for each in layer.energy_J.values()]
        return tuple(map(math.fsum, zip(*parts, strict=True)))  # rounded the same for any number of chips

    @property
    def energy_J(self) -> float | None:
        """Return the mean energy of an inference; None where no component is stated."""
        return float(np.mean(self.energies_J)) if self.energies_J else None

    @property
    def latency_s(self) -> float | None:
        """Return the time of an inference, layer after layer; None where no time is stated."""
        return _sum(t for layer in self.layers for t in layer.latency_s.values())

    @property
    def rate_Hz(self) -> float | None:
        """Return the inferences per second where layers work on successive inputs: 1 / the slowest layer."""
        slowest = max((sum(layer.latency_s.values()) for layer in self.layers), default=0.0)
        return 1 / slowest if slowest else None

    @property
    def area_m2(self) -> float | None:
        """Return the area of all tiles and shared circuits; None where no area is stated."""
        return _sum([a for layer in self.layers for a in layer.area_m2.values()] + list(self.shared_area_m2.values()))

    @property
    def programming_J(self) -> tuple[float, ...]:
        """Return the energy of programming all cells of each chip, refreshes included; empty where not stated."""
        parts = [layer.programming_J for layer in self.layers if layer.programming_J]
        return tuple(map(math.fsum, zip(*parts, strict=True)))

    @property
    def actions(self) -> Actions:
        """Return the actions of all layers, mean over chips."""
        return sum((layer.actions for layer in self.layers), Actions())

    @property
    def tops(self) -> float | None:
        """Return the operations per second on crossbars in 1e12, one multiplication or one addition each."""
        return _over(self.actions.operations * 1e-12, self.latency_s)

    @property
    def tops_per_W(self) -> float | None:
        """Return the operations per joule in 1e12."""
        return _over(self.actions.operations * 1e-12, self.energy_J)

    @property
    def tops_per_mm2(self) -> float | None:
        """Return the operations per second and area, in 1e12 per mm2."""
        return None if self.tops is None else _over(self.tops * 1e-6, self.area_m2)

    def of_component(self, name: str) -> float:
        """Return the mean energy of a component in all layers, in J.

        Args:
            name: component.
        """
        return sum(float(np.mean(layer.energy_J[name])) for layer in self.layers if name in layer.energy_J)

    def rows(self) -> list[dict[str, Any]]:
        """Return a row per layer and component, as plain data."""
        shared = [
            {"layer": "chip", "component": name, "action": "", "count": 0.0, "energy_J": None, "latency_s": None,
             "area_m2": area}
            for name, area in self.shared_area_m2.items()
        ]  # fmt: skip
        return [row for layer in self.layers for row in layer.rows()] + shared

    def joined(self, other: CostReport) -> CostReport:
        """Return the report of two parts of an inference on the same chips, such as a controller and its key memory.

        Args:
            other: report with as many chips.

        Raises:
            InputError: the reports have different numbers of chips.
        """
        one, two = len(self.energies_J), len(other.energies_J)
        if one and two and one != two:
            raise InputError(
                "cost, joined", f"{one} and {two} chips", "equal numbers", "Use the same chips in both parts."
            )
        not_counted = tuple(dict.fromkeys((*self.not_counted, *other.not_counted)))
        shared = other.shared_area_m2 | self.shared_area_m2
        return CostReport(self.chip, self.layers + other.layers, shared, not_counted, self.scaled, self.peak)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "chip": self.chip.name, "source": "" if self.chip.cost is None else self.chip.cost.source,
            "totals": self._totals(), "energies_J": list(self.energies_J),
            "programming_J": list(self.programming_J), "not_counted": list(self.not_counted),
            "scaled": list(self.scaled), "layers": [_layer_data(layer) for layer in self.layers],
            "rows": self.rows(), "peak": None if self.peak is None else self.peak._totals(),
        }  # fmt: skip

    def _totals(self) -> dict[str, float | None]:
        names = ("energy_J", "latency_s", "rate_Hz", "area_m2", "tops", "tops_per_W", "tops_per_mm2")
        return {name: getattr(self, name) for name in names} | {"operations": self.actions.operations}

    @property
    def summary(self) -> str:
        """Return energy with its band over chips, latency and area in one line; `at least` where parts are missing."""
        parts = [self._total("energy", self.energy_J, "J")]
        if len(self.energies_J) > 1:
            low, high = (with_unit(end, "J", 4) for end in band(self.energies_J))
            parts[0] += f" ({low} to {high}, {band_label([len(self.energies_J)])})"
        parts += [f"{self._total('time', self.latency_s, 's')} per inference", self._total("area", self.area_m2, "m2")]
        return f"chip {self.chip.name}: {', '.join(parts)}"

    def _total(self, quantity: str, value: float | None, unit: str) -> str:
        """Return a total with its unit, after `at least` where a component that an inference uses is not counted."""
        if value is None:
            return f"no {quantity} stated"
        return ("at least " if self.lacks(quantity) else "") + with_unit(value, unit)

    def lacks(self, *quantities: str) -> bool:
        """Tell whether a component that an inference uses has no stated value.

        Args:
            quantities: of `energy`, `time` and `area`.

        Returns:
            Whether one of these quantities lacks a component.
        """
        used = [text for text in self.not_counted if not text.startswith("programming")]
        return any(quantity in text for text in used for quantity in quantities)

    def __str__(self) -> str:
        return "\n".join([*table(self.rows()), "", *_totals(self)])


def _layer_data(layer: LayerCost) -> dict[str, Any]:
    """Return what one layer does and takes as plain data."""
    return {
        "layer": layer.layer, "place": layer.place, "tiles": layer.tiles, "utilisation": layer.utilisation,
        "actions": layer.actions.to_dict(),
        "programming": [vars(each) for each in layer.programming], "programming_J": list(layer.programming_J),
    }  # fmt: skip


def _sum(values: Any) -> float | None:
    """Return the sum of some values; None for none."""
    held = list(values)
    return float(sum(held)) if held else None


def _over(count: float, value: float | None) -> float | None:
    return count / value if value and count else None


def _most(report: CostReport, *quantities: str) -> str:
    """Return `at most ` where values that a rate is divided by lack a component."""
    return "at most " if report.lacks(*quantities) else ""


def _totals(report: CostReport) -> list[str]:
    """Return the lines below the table."""
    lines, cost = [report.summary], report.chip.cost
    if report.rate_Hz is not None:
        rate = f"{_most(report, 'time')}{report.rate_Hz:.3g}"
        lines.append(f"layers on successive inputs: {rate} inferences per second")
    for name, each in (("as used", report), ("one full tile, signs as weights and inputs", report.peak)):
        if each is not None and each.tops_per_W is not None:
            tops = "-" if each.tops is None else f"{_most(each, 'time')}{each.tops:.3g}"
            watt = f"{_most(each, 'energy')}{each.tops_per_W:.3g}"
            area = f", {_most(each, 'time', 'area')}{each.tops_per_mm2:.3g} TOPS/mm2" if each.tops_per_mm2 else ""
            lines.append(f"{name}: {tops} TOPS, {watt} TOPS/W{area}; an operation is a multiply or an add")
    if report.programming_J:
        lines.append(f"programming all cells: {with_unit(float(np.mean(report.programming_J)), 'J')}")
    if report.scaled:
        node = "" if cost is None or cost.technology_m is None else f" to {cost.technology_m * 1e9:g} nm"
        lines.append(f"scaled{node} by node (energy, time) and node squared (area): {', '.join(report.scaled)}")
    if cost is not None and cost.converter is not None and cost.converter.any_bits:
        lines.append("adc: the stated energy_J is taken for any number of bits; step_energy_J follows them")
    if cost is not None and cost.conduct_s == 0.0:
        lines.append("cells: their energy is part of that of other components (conduct_s: 0)")
    if cost is not None and cost.rows_per_read is not None and cost.rows_per_read < report.chip.tile.rows:
        lines.append("rows_per_read: accuracy is simulated with one conversion for all rows of a tile")
    if report.not_counted:
        lines.append(f"not counted: {'; '.join(report.not_counted)}")
    return lines
