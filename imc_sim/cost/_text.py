"""Numbers with units, and a table of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_PREFIXES = ((1e-15, "f"), (1e-12, "p"), (1e-9, "n"), (1e-6, "u"), (1e-3, "m"), (1.0, ""), (1e3, "k"), (1e6, "M"))


def with_unit(value: float | None, unit: str) -> str:
    """Return a number with three digits and its unit, such as 1.24 uJ; `-` for None.

    Args:
        value: number in the unit.
        unit: such as J; for m2 the number is shown in mm2.
    """
    if value is None:
        return "-"
    if unit == "m2":
        return f"{value * 1e6:.3g} mm2"
    scale, prefix = next(
        ((s, p) for s, p in reversed(_PREFIXES) if abs(value) >= s * 0.9995), _PREFIXES[0] if value else (1.0, "")
    )
    return f"{value / scale:.3g} {prefix}{unit}"


def table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return the rows of a report as aligned lines.

    Args:
        rows: as `CostReport.rows` returns them.
    """
    head = ["layer", "component", "action", "count", "energy", "latency", "area"]
    body = [
        [
            row["layer"], row["component"], row["action"], f"{row['count']:,.6g}" if row["action"] else "",
            with_unit(row["energy_J"], "J"), with_unit(row["latency_s"], "s"), with_unit(row["area_m2"], "m2"),
        ]
        for row in rows
    ]  # fmt: skip
    widths = [max(len(row[i]) for row in [head, *body]) for i in range(len(head))]
    lines = [
        "  ".join(c.ljust(w) if i < 3 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        for row in [head, *body]
    ]
    return [line.rstrip() for line in lines]
