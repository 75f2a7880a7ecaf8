"""Tables of all trials as CSV and Parquet, and results folders merged into one."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imc_sim._errors import InputError, ResultsError
from imc_sim._files import make_folder, write_file
from imc_sim.config import user_path
from imc_sim.runs import Row
from imc_sim.study._content import keep_copies
from imc_sim.study._results import Results
from imc_sim.study._store import ResultStore, read_study
from imc_sim.study._trials_file import TRIALS, sound_rows

if TYPE_CHECKING:
    from pandas import DataFrame

FORMATS = ("csv", "parquet")
_BEFORE = ("case",)
_AFTER = ("chip", "state", "correct", "total", "accuracy", "digital", "error", "seconds", "time", "host", "device")
_IDS = ("point", "id")


def has_parquet() -> bool:
    """Tell whether Parquet can be written, which needs an optional package."""
    return importlib.util.find_spec("pyarrow") is not None


def trials_table(folder: Path | str) -> DataFrame:
    """Return a table with a row per trial that was tried, in the order of the study: points, then chips; digital
    baselines first.

    Columns: `case`, one per axis path, `chip` (its number, -1 for the digital baseline; called `chip_number` where an
    axis is called `chip`), `state`, `correct`, `total`, `accuracy` (a fraction of 1), `digital` (accuracy of the
    baseline), `error`, `seconds`, `time`, `host`, `device`, `point`, `id`.
    """
    from pandas import DataFrame

    folder = user_path(folder, "folder")
    study = read_study(folder)
    rows = sound_rows(folder / TRIALS, study)
    order = {p: n for n, p in enumerate(i for key in ("baseline", "reference", "id") for i in _ids(study, key))}
    digital = {r["point"]: _accuracy(r) for r in rows.values() if r["chip"] == -1}
    baseline = {p["id"]: p["baseline"] for p in study["points"]}
    paths = [axis["path"] for axis in study["axes"]]
    lines = [
        _line(row, paths) | {"digital": digital.get(baseline.get(row["point"], row["point"]))}
        for row in sorted(rows.values(), key=lambda r: (order.get(r["point"], len(order)), r["chip"]))
    ]
    number = ("chip_number",) if "chip" in paths else ()
    columns = list(dict.fromkeys([*_BEFORE, *paths, *number, *_AFTER, *_IDS]))
    table = DataFrame(lines, columns=columns)
    for path in paths:
        table[path] = _of_one_type(table[path])
    return table.astype({"correct": "Int64", "total": "Int64", "accuracy": "float64", "digital": "float64"})


def combine(
    folders: Sequence[Path | str], out: Path | str | None = None, formats: Sequence[str] | None = None
) -> list[Path]:
    """Write `trials.csv` and `trials.parquet` of a results folder, or of several merged into the folder `out`.

    Args:
        folders: results folders of one study.
        out: folder of the merged results.
        formats: some of FORMATS; None: CSV, and Parquet where it is installed.

    Returns:
        The files written.
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
    """Merge the trials of results folders of one study into the folder `out`, which may already hold some of them.

    A trial that several folders hold must agree; one that failed in one and finished in another counts as finished.
    Nothing is written if the folders are not of one study.
    """
    studies = [read_study(folder) for folder in folders]
    first = studies[0]
    for folder, study in zip(folders, studies, strict=True):
        if study["digest"] != first["digest"]:
            got = f"study {study['name']!r} {study['digest'][:12]}"
            allowed = f"{first['name']!r} {first['digest'][:12]}, that of {folders[0]}"
            raise ResultsError(str(folder), got, allowed, "Combine folders of one study only.")
    most = max(studies, key=lambda s: s["chips"]["max"] or s["chips"]["min"])
    each = [sound_rows(folder / TRIALS, study) for folder, study in zip(folders, studies, strict=True)]
    _agree(folders, each)
    with ResultStore(out, most) as store:
        keep_copies(folders[studies.index(most)], out, most)
        for rows in each:
            store.add(rows.values())
    results = Results.load(out)
    write_file(out / "table.csv", results.table.to_csv(index=False, lineterminator="\n"))
    return results


def _agree(folders: Sequence[Path], each: Sequence[dict[str, Row]]) -> None:
    """Refuse folders with different results for one trial, before anything is written."""
    seen: dict[str, tuple[tuple[int, int], Path]] = {}
    for folder, rows in zip(folders, each, strict=True):
        for i, row in rows.items():
            if row["state"] != "done":
                continue
            found = (row["correct"], row["total"])
            known, other = seen.setdefault(i, (found, folder))
            if known != found:
                got = f"{known[0]} of {known[1]} right in {other}, {found[0]} of {found[1]} in {folder}"
                step = "Two machines or devices computed it differently: keep the folders apart, or report it."
                raise ResultsError(f"trial {i[:12]}", got, "one result per trial", step)


def _formats(formats: Sequence[str] | None) -> Sequence[str]:
    if formats is None:
        return FORMATS if has_parquet() else FORMATS[:1]
    wrong = next((f for f in formats if f not in FORMATS), None)
    if wrong is not None:
        raise InputError("format", repr(wrong), ", ".join(FORMATS), "Choose one of these.")
    if "parquet" in formats and not has_parquet():
        raise InputError("format", "'parquet' without pyarrow", "csv", "Install it: pip install 'imc-sim[parquet]'")
    return formats


def _ids(study: dict[str, Any], key: str) -> list[str]:
    return list(dict.fromkeys(p[key] for p in study["points"] if key in p))


def _accuracy(row: Row) -> float | None:
    return row["correct"] / row["total"] if row["state"] == "done" else None


def _line(row: Row, paths: Sequence[str]) -> dict[str, Any]:
    place = dict(zip(paths, row["values"], strict=True)) if row["values"] else {}
    own = {key: row.get(key) for key in ("case", "chip", "state", "correct", "total", "error", "point", "id")}
    meta = {key: row.get("meta", {}).get(key) for key in ("seconds", "time", "host", "device")}
    return {**own, "chip_number": row["chip"], **place, **meta, "accuracy": _accuracy(row)} | (
        {"chip": None} if "chip" in paths and not place else {}
    )


def _of_one_type(column: Any) -> Any:
    """Return the values of an axis as numbers where all are numbers, else as text: a column of a table has one type."""
    kinds = {"number" if isinstance(v, int | float) and not isinstance(v, bool) else type(v) for v in column.dropna()}
    return column if len(kinds) <= 1 and not kinds & {dict, list} else column.map(str, na_action="ignore")


def _write(table: DataFrame, path: Path) -> Path:
    if path.suffix == ".csv":
        write_file(path, table.to_csv(index=False, lineterminator="\n"))
        return path
    write_file(path, lambda file: table.to_parquet(file, index=False))
    return path
