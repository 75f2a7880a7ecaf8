"""Report a mapping: the place of each layer, its tiles and how well they are used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, final

from imc_sim._quantities import number_of
from imc_sim.analog import AnalogLayer
from imc_sim.array import Chip, Crossbar, GatingEstimate, Rounding
from imc_sim.nn import ProductLayer
from imc_sim.sites import Products


@final
@dataclass(frozen=True)
class LayerRow:
    """State where one product layer runs.

    Attributes:
        layer: Name of the layer in the network.
        policy: Kind of its weights.
        weights: Number of weights.
        place: `crossbar` or `digital`.
        encoding: Encoding of the weights, `-` for a digital layer.
        tiles: Number of tiles, 0 for a digital layer.
        cells: Number of cells of these tiles.
        utilisation: Used cells over all cells, from 0 to 1.
        analog: The layer on crossbars, None for a digital one.
        weight_error: Relative root mean square difference of the weights in ideal cells to those of a network of any
            modules; None where it is not measured.
    """

    layer: str
    policy: str
    weights: int
    place: str
    encoding: str
    tiles: int
    cells: int
    utilisation: float
    analog: AnalogLayer | None = field(default=None, repr=False, compare=False)
    weight_error: float | None = None

    @property
    def rounding(self) -> Rounding | None:
        """Rounding error of the products of the first programmed chip, computed on request."""
        crossbar = None if self.analog is None else self.analog.crossbar
        return crossbar.rounding() if isinstance(crossbar, Crossbar) else None

    @property
    def gating(self) -> GatingEstimate | None:
        """Driven rows and gating error of the first chip, computed on request; None where no rows are switched."""
        crossbar = None if self.analog is None else self.analog.crossbar
        return crossbar.gating() if isinstance(crossbar, Crossbar) else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        found, gating = self.rounding, self.gating
        data = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "analog"}
        data["rounding"] = None if found is None else asdict(found)
        if self.weight_error is None:
            del data["weight_error"]
        return data if gating is None else data | {"gating": asdict(gating)}

    @classmethod
    def of(cls, name: str, layer: ProductLayer, analog: AnalogLayer | None) -> LayerRow:
        """Return the row of a layer.

        Args:
            name: Name of the layer in the network.
            layer: The digital layer.
            analog: The layer on crossbars, None where it stays digital.
        """
        count = layer.weight.numel()
        if analog is None:
            return cls(name, layer.policy, count, "digital", "-", 0, 0, 0.0)
        p = analog.crossbar.placement
        kind = str(analog.encoding.to_dict()["kind"])
        return cls(name, layer.policy, count, "crossbar", kind, p.tiles, p.cells, p.utilisation, analog)


@final
@dataclass(frozen=True)
class MappingReport:
    """Report how a network was mapped onto a chip.

    Attributes:
        chip: The chip.
        layers: One row per product layer, in the order of the network.
        products: Products that the probe of a network of any modules found; None for one of `imc_sim.nn` layers.
        placed: Names of the sites on crossbars.
    """

    chip: Chip
    layers: tuple[LayerRow, ...]
    products: Products | None = field(default=None, repr=False)
    placed: tuple[str, ...] = ()

    @property
    def tiles(self) -> int:
        """Number of tiles of all layers."""
        return sum(row.tiles for row in self.layers)

    @property
    def cells(self) -> int:
        """Number of cells of all layers."""
        return sum(row.cells for row in self.layers)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        rows = [row.to_dict() for row in self.layers]
        return {"chip": self.chip.to_dict(), "layers": rows, "tiles": self.tiles, "cells": self.cells}

    def to_text(self) -> str:
        """Return an aligned table, explanations of its columns and a line of totals."""
        head = [
            "layer", "operands", "weights", "runs", "encoding", "tiles", "cells", "in use", "computed in", "rounded by",
        ]  # fmt: skip
        body = [
            [
                r.layer, r.policy, f"{r.weights:,}", r.place, r.encoding, f"{r.tiles}", f"{r.cells:,}", _percent(r),
                *_rounding(r.rounding),
            ]
            for r in self.layers
        ]  # fmt: skip
        if self.products is not None:
            head.append("weights off by")
            errors = [row.weight_error for row in self.layers]
            body = [[*r, "-" if e is None else f"{100 * e:.2g} %"] for r, e in zip(body, errors, strict=True)]
        gating = [row.gating for row in self.layers]
        if any(gating):
            head += ["rows on", "gating error"]
            body = [row + _gating(found) for row, found in zip(body, gating, strict=True)]
        widths = [max(len(row[i]) for row in [head, *body]) for i in range(len(head))]
        left = {0, 1, 3, 4}
        lines = [
            "  ".join(c.ljust(w) if i in left else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
            for row in [head, *body]
        ]
        lines += _explained(gating)
        if self.products is not None:
            lines.append(
                "weights off by: relative root mean square difference of ideal cells to the network's own weights"
            )
        tile = self.chip.tile
        lines.append("rounded by: root mean square and largest error of a weight's conductance, in windows")
        lines.append(f"chip {self.chip.name}: {self.tiles} tiles of {tile.rows} x {tile.cols}, {self.cells:,} cells")
        if self.products is not None:
            lines += [_passes(self.products, set(self.placed)), _share(self.products, set(self.placed))]
        return "\n".join(line.rstrip() for line in lines)


def _passes(products: Products, placed: set[str]) -> str:
    """Return the line that states whether several chips run in one pass."""
    mixing = [f"site {site.name!r}" for site in products.sites if site.name in placed and site.samples is None]
    mixing += ["the output"] if products.outputs is None else []
    if not mixing:
        return "chips run in one pass where batches are small"
    return f"chips run one after the other: {', '.join(mixing)} does not keep the samples of a batch apart"


def _share(products: Products, placed: set[str]) -> str:
    """Return the line that states how much of a network is on crossbars."""
    static = [site for site in products.sites if site.weight is not None]
    on = [site for site in static if site.name in placed]
    weights = [sum(site.weight.numel() for site in each if site.weight is not None) for each in (on, static)]
    done, total = sum(site.multiply_adds for site in on), max(products.counted, products.seen)
    line = f"on crossbars: {_of(*weights)} of the weights in products, {_of(done, total)} of the multiply-adds"
    dynamic = sum(site.dynamic for site in products.sites)
    stay = "stays" if dynamic == 1 else "stay"
    line += f"; {number_of(dynamic, 'product of two activations')} {stay} digital" if dynamic else ""
    constant = sum(site.constant for site in products.sites)
    verbs = "that is the same for all inputs stays" if constant == 1 else "that are the same for all inputs stay"
    line += f"; {number_of(constant, 'product')} {verbs} digital" if constant else ""
    unseen = max(0, products.counted - products.seen)
    where = " of " + ", ".join(map(repr, products.unseen)) if products.unseen else ""
    return line + (f"; {_of(unseen, total)} are in functions{where} that were not seen, and digital" if unseen else "")


def _of(part: int, whole: int) -> str:
    return f"{100 * part / whole:.3g} %" if whole else "0 %"


def _rounding(found: Rounding | None) -> tuple[str, str]:
    if found is None:
        return "-", "-"
    return found.compute, "0" if found.largest == 0.0 else f"{found.rms:.1e}, {found.largest:.1e}"


def _gating(found: GatingEstimate | None) -> list[str]:
    if found is None:
        return ["-", "-"]
    low, high = f"{100 * found.low:.0f}", f"{100 * found.high:.0f}"
    share = low if low == high else f"{low}-{high}"
    source = "by the encoding" if found.source == "encoding" else found.source
    return [f"{share} % {source}", f"{100 * found.error.rms:.1f} %, {100 * found.error.max:.1f} %"]


def _explained(gating: Sequence[GatingEstimate | None]) -> list[str]:
    """Return lines that explain the columns on switched rows, and how to measure their share where it is assumed."""
    found = [g for g in gating if g is not None]
    if not found:
        return []
    lines = ["gating error: of ADC inputs against the exact circuit, root mean square and largest, estimated on"]
    lines += ["  4 tiles with 8 inputs: of the calibration, or random ones that switch 10 to 90 % of the rows on"]
    if any(g.source == "assumed" for g in found):
        lines += ["rows on: not measured. Calibrate the network (imc-sim map --calibrate), or set wires.density."]
    return lines


def _percent(row: LayerRow) -> str:
    return f"{100 * row.utilisation:.0f} %" if row.tiles else "-"
