"""What a results folder says: a table with bands over chips, never over pooled images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np

from imc_sim._stats import mean_interval
from imc_sim.study._store import STUDY, TRIALS, Row, read_rows, read_study, results_digest

if TYPE_CHECKING:
    from pandas import DataFrame

_STATISTICS = ("chips", "mean", "half_width", "median", "p05", "p95")


@final
@dataclass(frozen=True)
class Results:
    """A study as resolved, its table, and where and when it was run.

    table: one row per point with `case`, one column per axis path, `chips`, `mean`, `half_width` (95 % t half
    width of the mean over chips), `median`, `p05`, `p95` and `digital`; accuracies are fractions of 1.
    """

    folder: Path
    study: dict[str, Any]
    table: DataFrame
    environment: dict[str, Any]
    failed: int
    digest: str

    @classmethod
    def load(cls, folder: Path | str) -> Results:
        """Read a results folder, finished or not."""
        folder = Path(folder)
        study, by_id = read_study(folder), read_rows(folder / TRIALS)
        rows = list(by_id.values())
        failed = sum(row["state"] == "failed" for row in rows)
        return cls(folder, study, _table(study, rows), _environment(rows), failed, results_digest(by_id))


def _table(study: dict[str, Any], rows: list[Row]) -> DataFrame:
    from pandas import DataFrame

    accuracies: dict[str, list[float]] = {}
    for row in sorted(rows, key=lambda r: r["chip"]):  # the order of finishing must not reach the rounding of a mean
        if row["state"] == "done":
            accuracies.setdefault(row["point"], []).append(row["correct"] / row["total"])
    paths = [axis["path"] for axis in study["axes"]]
    lines = [
        {"case": p["case"], **dict(zip(paths, p["values"], strict=True)), **_bands(accuracies[p["id"]])}
        | {"digital": accuracies.get(p["baseline"], [np.nan])[0]}
        for p in study["points"]
        if p["id"] in accuracies
    ]
    return DataFrame(lines, columns=["case", *paths, *_STATISTICS, "digital"])


def _bands(values: list[float]) -> dict[str, float]:
    mean, low, _ = mean_interval(values)
    p05, median, p95 = np.percentile(values, [5, 50, 95])
    return dict(zip(_STATISTICS, (len(values), mean, mean - low, median, p05, p95), strict=True))


def _environment(rows: list[Row]) -> dict[str, Any]:
    meta = [row["meta"] for row in rows if "meta" in row]
    last = meta[-1] if meta else {}  # in the file's order: clocks jump
    return {
        "versions": last.get("versions", {}),
        "seconds": sum(m["seconds"] for m in meta),
        "finished": last.get("time", ""),
        "command": f"imc-sim run {STUDY} --out again  (in this folder)",
    }
