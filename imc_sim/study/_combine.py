"""Export the table of all trials as CSV or Parquet, and merge results folders."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from imc_sim._arguments import checked
from imc_sim._errors import InputError, ResultsError
from imc_sim._files import csv_text, make_folder, write_file
from imc_sim.config import user_path
from imc_sim.runs import Row, RowTable, sound_rows
from imc_sim.study._content import keep_copies
from imc_sim.study._costs_file import costs_of
from imc_sim.study._results import Results
from imc_sim.study._store import ResultStore, read_study
from imc_sim.study._table_parts import TableParts
from imc_sim.study._trials_file import TRIALS, rules_of

if TYPE_CHECKING:
    from pandas import DataFrame

FORMATS = ("csv", "parquet")


def has_parquet() -> bool:
    """Return whether Parquet can be written, which needs the optional package pyarrow."""
    return importlib.util.find_spec("pyarrow") is not None


@checked
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
    return TableParts.of(user_path(folder, "folder")).table()


@checked
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
    parts = TableParts.of(target if len(sources) > 1 else sources[0])
    make_folder(target)
    return [_write(parts, target / f"trials.{name}") for name in wanted]


@checked
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


def _agree(folders: Sequence[Path], each: Sequence[RowTable]) -> None:
    """Reject folders that hold different results for one trial."""
    for number, (folder, table) in enumerate(zip(folders, each, strict=True)):
        for other, known in zip(folders[:number], each, strict=False):
            _check_same(known, other, table, folder)


def _check_same(known: RowTable, other: Path, table: RowTable, folder: Path) -> None:
    """Raise ResultsError if a trial that finished in both folders has different results there."""
    known, table = (each.select(each.has("state", "done")) for each in (known, table))
    _, ours, theirs = np.intersect1d(known.column("id"), table.column("id"), assume_unique=True, return_indices=True)
    columns = ("correct", "total", "scores")
    differ = np.any([known.column(name)[ours] != table.column(name)[theirs] for name in columns], axis=0)
    if differ.any():
        first = np.flatnonzero(differ)[np.argmin(theirs[differ])]
        row, before = table.at(int(theirs[first])), known.at(int(ours[first]))
        got = f"{_said(before)} in {other}, {_said(row)} in {folder}"
        step = "Two machines or devices computed different results: keep the folders separate, or report it."
        raise ResultsError(f"trial {row['id'][:12]}", got, "one result per trial", step)


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


def _write(parts: TableParts, path: Path) -> Path:
    """Write a table, as CSV in parts so that the memory it takes does not grow with the rows."""
    if path.suffix == ".csv":
        write_file(path, lambda file: file.writelines(text.encode() for text in parts.csv()))
    else:
        write_file(path, lambda file: parts.table().to_parquet(file, index=False))
    return path
