"""The table of all trials from the columns of their rows, whole or a part at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, final

import numpy as np

from imc_sim._files import as_text, csv_text
from imc_sim.runs import MISSING, Array, RowTable, sound_rows
from imc_sim.study._costs_file import NUMBERS, costs_of, has_costs
from imc_sim.study._store import read_study
from imc_sim.study._trials_file import TRIALS, measures, rules_of

if TYPE_CHECKING:
    from pandas import DataFrame

_AFTER = ("chip", "state", "correct", "total", "accuracy", "digital", "error", "seconds", "time", "host", "device")
_COUNTS = ("correct", "total", "accuracy")
#: rows of a part
_PART = 2**15


@final
@dataclass(frozen=True)
class TableParts:
    """Columns of the table of trials.

    Attributes:
        names: of the columns, in their order.
        order: numbers of the rows in the order of the table.
        repeated: columns of values that repeat: the distinct values, and for each row the number of its value.
        single: columns of numbers, and the ids.
    """

    names: list[str]
    order: Array
    repeated: Mapping[str, tuple[Any, Array]]
    single: Mapping[str, Array]

    @classmethod
    def of(cls, folder: Path) -> Self:
        """Return the columns of the trials of a results folder."""
        study = read_study(folder)
        rows, paths = sound_rows(folder / TRIALS, rules_of(study)), [axis["path"] for axis in study["axes"]]
        scores, texts = _scores(rows), ("state", "time", "host", "device", "point")
        repeated = {name: _distinct(name, rows.texts(name), rows.column(name)) for name in texts}
        repeated |= _places(rows, paths) | _errors(rows)
        single = _numbers(study, rows) | scores | _costs(costs_of(folder, study, rows), rows)
        single |= {"id": rows.column("id")}
        return cls(_names(study, paths, list(scores)), _order(study, rows), repeated, single)

    def table(self, start: int = 0, count: int | None = None) -> DataFrame:
        """Return `count` rows of the table from `start` on; None: all that follow."""
        from pandas import DataFrame
        from pandas.arrays import IntegerArray

        some = self.order[start : None if count is None else start + count]
        found: dict[str, Any] = {"id": [i.decode() for i in self.single["id"][some].tolist()]}
        for name in self.names:
            if name in self.repeated:
                values, numbers = self.repeated[name]
                found[name] = values.take(numbers[some]).array
            elif name in ("correct", "total"):
                found[name] = IntegerArray(self.single[name][some], self.single[name][some] == MISSING)
            elif name != "id":
                found[name] = self.single[name][some]
        return DataFrame({name: found[name] for name in self.names})

    def csv(self) -> Iterator[str]:
        """Yield the table as CSV, a part of its rows at a time."""
        yield csv_text(self.table(count=0))
        safe = {name: (as_cells(values), numbers) for name, (values, numbers) in self.repeated.items()}
        parts = replace(self, repeated=safe)
        for start in range(0, len(self.order), _PART):
            yield parts.table(start, _PART).to_csv(index=False, header=False, lineterminator="\n")


def _names(study: Mapping[str, Any], paths: Sequence[str], scores: Sequence[str]) -> list[str]:
    """Return the names of the columns."""
    is_metric = bool(study.get("metric"))
    after = [key for key in _AFTER if key not in _COUNTS] if is_metric else _AFTER
    number = ("chip_number",) if "chip" in paths else ()
    priced = NUMBERS if has_costs(study) else ()
    after = [*after[:2], *(("score", *scores) if is_metric else ()), *after[2:]]
    return list(dict.fromkeys(["case", *paths, *number, *after, *priced, "point", "id"]))


def _order(study: Mapping[str, Any], rows: RowTable) -> Array:
    """Return the numbers of the rows: digital baselines first, then points in the order of the study, then chips."""
    keys = ("baseline", "reference", "id")
    places = {p: n for n, p in enumerate(dict.fromkeys(p[k] for k in keys for p in study["points"] if k in p))}
    order = np.array([places.get(str(point), len(places)) for point in rows.texts("point")], np.int64)
    return np.lexsort([rows.column("chip"), order[rows.column("point")]])


def _distinct(name: str, values: Sequence[Any], numbers: Array) -> tuple[Any, Array]:
    """Return the values that occur as a column of the type that a table of all rows would have, and their numbers."""
    from pandas import DataFrame

    used, numbers = _used(numbers)
    return DataFrame([{name: values[n]} for n in used], columns=[name])[name], numbers


def _used(numbers: Array) -> tuple[list[int], Array]:
    """Return the numbers that occur, and for each of `numbers` its place among them."""
    used = np.flatnonzero(np.bincount(numbers))
    places = np.zeros(numbers.max(initial=0) + 1, np.int32)
    places[used] = np.arange(len(used))
    return used.tolist(), places[numbers]


def _places(rows: RowTable, paths: Sequence[str]) -> dict[str, tuple[Any, Array]]:
    """Return the columns of the case and of the axes."""
    from pandas import DataFrame

    used, numbers = _used(rows.column("place"))
    known, lines = rows.texts("place"), []
    for case, values in (json.loads(str(known[n])) for n in used):
        line = dict(zip(paths, values, strict=True)) if values else {}
        lines.append({"case": case, **line} | ({"chip": None} if "chip" in paths and not line else {}))
    table = DataFrame(lines, columns=list(dict.fromkeys(["case", *paths])))
    return {name: (_of_one_type(table[name]) if name in paths else table[name], numbers) for name in table}


def _of_one_type(column: Any) -> Any:
    """Return the values of an axis unchanged if all have one type, else as text: a Parquet column has one type."""
    kinds = {"number" if isinstance(v, int | float) and not isinstance(v, bool) else type(v) for v in column.dropna()}
    return column if len(kinds) <= 1 and not kinds & {dict, list} else column.map(str, na_action="ignore")


def _errors(rows: RowTable) -> dict[str, tuple[Any, Array]]:
    """Return the column of the errors of failed trials."""
    failed = np.flatnonzero(rows.has("state", "failed"))
    numbers = np.zeros(len(rows), np.int32)
    numbers[failed] = np.arange(1, len(failed) + 1)
    return {"error": _distinct("error", [None, *(rows.at(n)["error"] for n in failed.tolist())], numbers)}


def _numbers(study: Mapping[str, Any], rows: RowTable) -> dict[str, Array]:
    """Return the columns of numbers that all studies have."""
    found, points, chips = measures(rows), rows.column("point"), rows.column("chip")
    names = rows.texts("point")
    number = {name: n for n, name in enumerate(names)}
    of_point = np.full(len(names) + 1, np.nan)
    of_point[points[chips == -1]] = found[chips == -1]
    baseline = {p["id"]: p["baseline"] for p in study["points"]}
    of_row = np.array([number.get(baseline.get(str(name), name), len(names)) for name in names], np.int64)[points]
    counts = {name: rows.column(name) for name in ("chip", "correct", "total")}
    results = dict.fromkeys(("accuracy", "score"), found)
    return {**counts, **results, "chip_number": chips, "digital": of_point[of_row], "seconds": _seconds(rows)}


def _seconds(rows: RowTable) -> Array:
    """Return the computing times; of whole numbers where all are."""
    found = rows.column("seconds")
    if rows.columns.kinds.get("seconds") == {"int"}:
        return found.astype(np.int64)
    return found if not len(found) or not np.isnan(found).all() else np.full(len(found), None, object)


def _scores(rows: RowTable) -> dict[str, Array]:
    """Return the columns of the scores of a function."""
    numbers = np.flatnonzero(rows.column("scores") != MISSING).tolist()
    found: dict[str, Array] = {}
    for number in numbers:
        for name, value in rows.at(number)["scores"].items():
            found.setdefault(f"scores.{name}", np.full(len(rows), np.nan))[number] = value
    return dict(sorted(found.items()))


def _costs(costs: RowTable, rows: RowTable) -> dict[str, Array]:
    """Return the columns of the costs of trials."""
    found = {name: np.full(len(rows), np.nan) for name in NUMBERS}
    if not len(costs):
        return found
    _, at, of = np.intersect1d(rows.column("id"), costs.column("trial"), return_indices=True)
    for name, values in found.items():
        values[at] = costs.column(name)[of]
    return found


def as_cells(values: Any) -> Any:
    """Return distinct values as `csv_text` writes them."""
    is_number = hasattr(values.dtype, "kind") and values.dtype.kind in "biufcmM"
    return values if is_number else values.map(as_text, na_action="ignore")
