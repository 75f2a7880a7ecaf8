"""Results of a study: a table of accuracies or scores with bands over chips, never over pooled images."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np

from imc_sim._stats import band, chip_interval, mean_interval
from imc_sim.config import user_path
from imc_sim.runs import Array, Row, RowTable, sound_rows
from imc_sim.study._costs_file import NUMBERS, costs_of, has_costs
from imc_sim.study._stopping import are_wanted, by_point, trials_left, wanted_chips
from imc_sim.study._store import read_study, results_digest
from imc_sim.study._trials_file import STUDY, TRIALS, as_table, measures, rules_of

if TYPE_CHECKING:
    from pandas import DataFrame

#: numbers that are Python objects at a time
_PART = 2**14
_STATISTICS = ("chips", "mean", "half_width", "median", "p05", "p95")
COST_COLUMNS = ("energy_J", "energy_J_p05", "energy_J_p95", "latency_s", "area_m2", "programming_J")


@final
@dataclass(frozen=True)
class Results:
    """Results of a study, read from its folder.

    Rows that a run with another number of chips stored in the same folder are not part of the results.

    Attributes:
        folder: results folder.
        study: content of study.resolved.yaml.
        table: one row per point with the columns `case`, one per axis path, `chips`, `mean`, `half_width` (half width
            of the 95 % t interval of the mean over chips), `median`, `p05`, `p95` (5th and 95th percentile over chips,
            see `imc_sim._stats.band`) and `digital` (digital baseline). Accuracies are fractions of 1, scores of a
            function are in their unit. Where a chip states a cost, also the means over chips `energy_J`, `latency_s`,
            `area_m2` of an inference and `programming_J`, and the band `energy_J_p05`, `energy_J_p95`.
        environment: versions, time and command of the run.
        failed: number of failed trials.
        digest: SHA-256 of the results of all rows.
        accuracies: accuracy or score of every chip, in the order of chip numbers, for every row of the table.
        intervals: 95 % interval of the mean over chips, for every row of the table: Student's t, of accuracies within
            [0, 1], and Wilson's where chips can differ and all score the same.
        rows: stored rows by trial id.
        costs: rows of costs.jsonl at the prices of the study, by trial id.
        left: number of trials that the study requests and the folder does not hold yet.
    """

    folder: Path
    study: dict[str, Any]
    table: DataFrame
    environment: dict[str, Any]
    failed: int
    digest: str
    accuracies: tuple[tuple[float, ...], ...] = ()
    intervals: tuple[tuple[float, float], ...] = ()
    rows: Mapping[str, Row] = field(default_factory=dict, repr=False)
    costs: Mapping[str, Row] = field(default_factory=dict, repr=False)
    left: int = 0

    @property
    def failure(self) -> str:
        """Return how many trials failed and the first of their errors, as one line."""
        errors = (str(row["error"]) for row in self.trials.where("state", "failed"))
        first = next(errors, "").partition("\n")[0]
        return f"{self.failed} trials failed; the first: {first} All errors are in {self.folder / TRIALS}."

    @property
    def trials(self) -> RowTable:
        """Return the stored rows with their columns."""
        return as_table(self.rows)

    @property
    def points(self) -> list[dict[str, Any]]:
        """Return the point of every row of the table, as in study.resolved.yaml."""
        trials = self.trials
        names, numbers = trials.texts("point"), trials.column("point")[trials.has("state", "done")]
        finished = {names[number] for number in np.unique(numbers).tolist()}
        return [point for point in self.study["points"] if point["id"] in finished]

    @classmethod
    def load(cls, folder: Path | str) -> Results:
        """Read a results folder, also of a run that has not ended.

        Args:
            folder: results folder.

        Returns:
            The results.

        Raises:
            ResultsError: the folder holds no results, or damaged rows.
        """
        folder = user_path(folder, "folder")
        study = read_study(folder)
        stored = sound_rows(folder / TRIALS, rules_of(study))
        wanted, _ = wanted_chips(study, stored)
        rows = stored.select(are_wanted(stored, wanted))
        results = results_digest(rows)  # it holds all ids, so first
        found, shares, objects = accuracies_of(rows), "metric" not in study, dict[float, float]()
        known = [p for p in study["points"] if p["id"] in found]
        lists = (found[p["id"]].tolist() for p in known)  # of 10^6 chips, few accuracies differ
        each = tuple(tuple(map(objects.setdefault, v, v) if shares else v) for v in lists)
        ends = tuple(
            _interval(p, values) if shares else mean_interval(values)[1:] for p, values in zip(known, each, strict=True)
        )
        costs = costs_of(folder, study, rows)
        table = _table(study, found, costs)
        failed, left = int(rows.has("state", "failed").sum()), trials_left(rows, wanted)
        return cls(folder, study, table, _environment(rows), failed, results, each, ends, rows, costs, left)


def _interval(point: Mapping[str, Any], accuracies: Sequence[float]) -> tuple[float, float]:
    """Return the interval of `chip_interval` for the chips of a point.

    Older folders do not hold whether chips can differ: there, several equal scores count as exact.
    """
    return chip_interval(accuracies, point.get("vary", len(accuracies) < 2))[1:]


def accuracies_of(rows: RowTable) -> dict[str, Array]:
    """Return point -> results in the order of chip numbers, so that means do not depend on which finished first."""
    found = measures(rows)
    each = {point: found[numbers] for point, numbers in by_point(rows).items()}
    finished = {point: values[~np.isnan(values)] for point, values in each.items()}
    return {point: values for point, values in finished.items() if len(values)}


def _table(study: dict[str, Any], accuracies: Mapping[str, Array], costs: RowTable) -> DataFrame:
    """Return the table of `Results` from the accuracies of each point and the costs of trials."""
    from pandas import DataFrame

    paths = [axis["path"] for axis in study["axes"]]
    prices = {point: _prices(costs, numbers) for point, numbers in by_point(costs).items()}
    columns = COST_COLUMNS if has_costs(study) else ()
    lines = [
        {"case": p["case"], **dict(zip(paths, p["values"], strict=True)), **_bands(accuracies[p["id"]])}
        | {"digital": float(accuracies.get(p["baseline"], [np.nan])[0]), **prices.get(p["id"], {})}
        for p in study["points"]
        if p["id"] in accuracies
    ]
    return DataFrame(lines, columns=["case", *paths, *_STATISTICS, "digital", *columns])


def _prices(costs: RowTable, numbers: Array) -> dict[str, float]:
    """Return means over chips of the costs of a point, and the band of its energies; NaN where nothing is stated."""
    columns = {name: costs.column(name)[numbers] for name in NUMBERS}
    stated = {name: values[~np.isnan(values)] for name, values in columns.items()}
    means = {name: float(np.mean(values)) if len(values) else np.nan for name, values in stated.items()}
    low, high = band(stated["energy_J"]) if len(stated["energy_J"]) else (np.nan, np.nan)
    return {**means, "energy_J_p05": low, "energy_J_p95": high}


def _bands(values: Sequence[float] | Array) -> dict[str, float]:
    mean, low, _ = mean_interval(values)
    ends = band(values)
    return dict(zip(_STATISTICS, (len(values), mean, mean - low, np.median(values), *ends), strict=True))


def _environment(rows: RowTable) -> dict[str, Any]:
    """Return versions, computing time, end and command of a run from the metadata of its rows."""
    seconds = rows.column("seconds")
    timed = np.flatnonzero(~np.isnan(seconds))
    parts = np.array_split(seconds[timed], len(timed) // _PART + 1)  # as one list they would take 32 bytes each
    last = rows.at(int(timed[-1]))["meta"] if len(timed) else {}  # in the order of the file: clocks may be set back
    return {
        "versions": last.get("versions", {}),
        "seconds": sum(itertools.chain.from_iterable(part.tolist() for part in parts)),
        "finished": last.get("time", ""),
        "command": f"imc-sim run {STUDY} --out again  (in this folder)",
    }
