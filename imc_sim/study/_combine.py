"""Export the table of all trials as CSV or Parquet, and merge results folders."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imc_sim._errors import InputError, ResultsError
from imc_sim._files import csv_text, make_folder, write_file
from imc_sim.config import user_path
from imc_sim.runs import Row, sound_rows
from imc_sim.study._content import keep_copies
from imc_sim.study._costs_file import NUMBERS, costs_of, has_costs
from imc_sim.study._results import Results
from imc_sim.study._store import ResultStore, read_study
from imc_sim.study._trials_file import PAYLOAD, TRIALS, measure, rules_of

if TYPE_CHECKING:
    from pandas import DataFrame

FORMATS = ("csv", "parquet")
_BEFORE = ("case",)
_AFTER = ("chip", "state", "correct", "total", "accuracy", "digital", "error", "seconds", "time", "host", "device")
_COUNTS = ("correct", "total", "accuracy")
_IDS = ("point", "id")


def has_parquet() -> bool:
    """Return whether Parquet can be written, which needs the optional package pyarrow."""
    return importlib.util.find_spec("pyarrow") is not None


def trials_table(folder: Path | str) -> DataFrame:
    """Return a table with one row per stored trial: digital baselines first, then points in order, then chips.

    Columns: `case`, one per axis path, `chip` (chip number, -1 for a digital baseline; named `chip_number` if an axis
    has the path `chip`), `state` (done or failed), `correct`, `total`, `accuracy` (a fraction of 1), `digital`
    (accuracy of the baseline), `error`, `seconds`, `time`, `host`, `device`, `point`, `id`. Studies whose task is a
    function have `score` and a column `scores.NAME` for each of its scores instead of `correct`, `total`, `accuracy`.

    Args:
        folder: results folder.

    Raises:
        ResultsError: the folder holds no results, or damaged rows.
    """
    from pandas import DataFrame

    folder = user_path(folder, "folder")
    study = read_study(folder)
    rows = sound_rows(folder / TRIALS, rules_of(study))
    keys, costs = ("baseline", "reference", "id"), costs_of(folder, study, rows)
    order = {p: n for n, p in enumerate(dict.fromkeys(p[k] for k in keys for p in study["points"] if k in p))}
    digital = {r["point"]: _measured(r) for r in rows.values() if r["chip"] == -1}
    baseline = {p["id"]: p["baseline"] for p in study["points"]}
    paths = [axis["path"] for axis in study["axes"]]
    lines = [
        _line(row, paths)
        | {"digital": digital.get(baseline.get(row["point"], row["point"]))}
        | {name: costs[row["id"]][name] for name in NUMBERS if row["id"] in costs}
        for row in sorted(rows.values(), key=lambda r: (order.get(r["point"], len(order)), r["chip"]))
    ]
    number = ("chip_number",) if "chip" in paths else ()
    names = sorted({f"scores.{name}" for row in rows.values() for name in row.get("scores", ())})
    after = [key for key in _AFTER if key not in _COUNTS] if "metric" in study else _AFTER
    after = [*after[:2], *(("score", *names) if "metric" in study else ()), *after[2:]]
    priced = NUMBERS if has_costs(study) else ()
    columns = list(dict.fromkeys([*_BEFORE, *paths, *number, *after, *priced, *_IDS]))
    table = DataFrame(lines, columns=columns)
    for path in paths:
        table[path] = _of_one_type(table[path])
    types = dict.fromkeys(("correct", "total"), "Int64") | dict.fromkeys(
        ("accuracy", "digital", "score", *names, *priced), "float64"
    )
    return table.astype({column: kind for column, kind in types.items() if column in table})


def combine(
    folders: Sequence[Path | str], out: Path | str | None = None, formats: Sequence[str] | None = None
) -> list[Path]:
    """Write the table of all trials of one or more results folders to `trials.csv` and `trials.parquet`.

    Args:
        folders: results folders of one study; several are merged first.
        out: folder that receives the tables and merged results; None: the results folder, if there is only one.
        formats: some of `csv` and `parquet`; None: CSV, and Parquet if pyarrow is installed.

    Returns:
        The paths of the files written.

    Raises:
        InputError: no folder, no `out` for several folders, or a format that cannot be written.
        ResultsError: the folders hold different studies, different results for one trial, or damaged rows.
    """
    wanted = _formats(formats)
    sources = [user_path(f, "folders") for f in folders]
    if not sources:
        raise InputError("combine", "no folder", "one results folder or more", "Name the folders.")
    if len(sources) > 1 and out is None:
        raise InputError("combine", f"{len(sources)} folders", "--out with several folders", "Name a folder to write.")
    target = sources[0] if out is None else user_path(out, "out")
    if len(sources) > 1:
        merge(sources, target)
    table = trials_table(target if len(sources) > 1 else sources[0])
    make_folder(target)
    return [_write(table, target / f"trials.{name}") for name in wanted]


def merge(folders: Sequence[Path], out: Path) -> Results:
    """Merge the trials of several results folders of one study.

    A trial that failed in one folder and finished in another counts as finished. Nothing is written if the folders
    disagree.

    Args:
        folders: results folders, at least one.
        out: folder that receives the merged results; it may already hold some of them.

    Returns:
        The merged results.

    Raises:
        ResultsError: the folders hold different studies, or different results for one trial.
    """
    studies = [read_study(folder) for folder in folders]
    first = studies[0]
    for folder, study in zip(folders, studies, strict=True):
        if study["digest"] != first["digest"]:
            got = f"study {study['name']!r} {study['digest'][:12]}"
            allowed = f"{first['name']!r} {first['digest'][:12]}, that of {folders[0]}"
            raise ResultsError(str(folder), got, allowed, "Combine folders of one study only.")
    most = max(studies, key=lambda s: s["chips"]["max"] or s["chips"]["min"])
    each = [sound_rows(folder / TRIALS, rules_of(study)) for folder, study in zip(folders, studies, strict=True)]
    _agree(folders, each)
    with ResultStore(out, most) as store:
        keep_copies(folders[studies.index(most)], out, most)
        for folder, rows in zip(folders, each, strict=True):
            store.add(rows.values())
            if store.costs is not None:
                store.costs.add(costs_of(folder, most, rows).values())
    results = Results.load(out)
    write_file(out / "table.csv", csv_text(results.table))
    return results


def _agree(folders: Sequence[Path], each: Sequence[dict[str, Row]]) -> None:
    """Reject folders that hold different results for one trial."""
    seen: dict[str, tuple[Row, Path]] = {}
    for folder, rows in zip(folders, each, strict=True):
        for i, row in rows.items():
            if row["state"] != "done":
                continue
            known, other = seen.setdefault(i, (row, folder))
            if any(known.get(key) != row.get(key) for key in PAYLOAD):
                got = f"{_said(known)} in {other}, {_said(row)} in {folder}"
                step = "Two machines or devices computed different results: keep the folders separate, or report it."
                raise ResultsError(f"trial {i[:12]}", got, "one result per trial", step)


def _said(row: Row) -> str:
    return str(row["scores"]) if "scores" in row else f"{row['correct']} of {row['total']} correct"


def _formats(formats: Sequence[str] | None) -> Sequence[str]:
    """Check the requested formats, or choose those that can be written."""
    if formats is None:
        return FORMATS if has_parquet() else FORMATS[:1]
    wrong = next((f for f in formats if f not in FORMATS), None)
    if wrong is not None:
        raise InputError("format", repr(wrong), ", ".join(FORMATS), "Choose one of these.")
    if "parquet" in formats and not has_parquet():
        raise InputError("format", "'parquet' without pyarrow", "csv", "Install it: pip install 'imc-sim[parquet]'")
    return formats


def _measured(row: Row) -> float | None:
    return measure(row) if row["state"] == "done" else None


def _line(row: Row, paths: Sequence[str]) -> dict[str, Any]:
    """Return the columns of a stored row, without the accuracy of its baseline."""
    place = dict(zip(paths, row["values"], strict=True)) if row["values"] else {}
    own = {key: row.get(key) for key in ("case", "chip", "state", "correct", "total", "error", "point", "id")}
    meta = {key: row.get("meta", {}).get(key) for key in ("seconds", "time", "host", "device")}
    scores = {f"scores.{name}": value for name, value in row.get("scores", {}).items()}
    both = dict.fromkeys(("accuracy", "score"), _measured(row))
    return {**own, "chip_number": row["chip"], **place, **meta, **both, **scores} | (
        {"chip": None} if "chip" in paths and not place else {}
    )


def _of_one_type(column: Any) -> Any:
    """Return the values of an axis unchanged if all have one type, else as text: a Parquet column has one type."""
    kinds = {"number" if isinstance(v, int | float) and not isinstance(v, bool) else type(v) for v in column.dropna()}
    return column if len(kinds) <= 1 and not kinds & {dict, list} else column.map(str, na_action="ignore")


def _write(table: DataFrame, path: Path) -> Path:
    if path.suffix == ".csv":
        write_file(path, csv_text(table))
        return path
    write_file(path, lambda file: table.to_parquet(file, index=False))
    return path
