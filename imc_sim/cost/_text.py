"""The table of a report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from imc_sim._quantities import with_unit


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
