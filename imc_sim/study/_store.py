"""The results folder of a study: what it may hold, and whether it fits the study that is to run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from imc_sim._errors import ResultsError
from imc_sim.config import digest, read_yaml, write_yaml
from imc_sim.data import foreign_digests
from imc_sim.runs import FolderKind, Row, RowStore
from imc_sim.study._point import SCHEMA
from imc_sim.study._points import place_keys
from imc_sim.study._trials_file import PAYLOAD, STUDY, TRIALS, read_trials, rules_of


@final
class ResultStore(RowStore):
    """The results folder of one study, open for writing. Use as a context manager.

    Args:
        folder: created if it does not exist.
        resolved: the study, see `imc_sim.study.resolved`.
    """

    def __init__(self, folder: Path, resolved: dict[str, Any]) -> None:
        admit = lambda folder: check_folder(folder, resolved)  # noqa: E731
        kind = FolderKind("trials", STUDY, TRIALS, write_yaml(resolved), rules_of(resolved), admit)
        super().__init__(folder, kind)


def results_digest(rows: Mapping[str, Row]) -> str:
    """Return the SHA-256 over the results of the finished trials, independent of who computed them and in which
    order.
    """
    found = sorted((i, *(row[k] for k in PAYLOAD)) for i, row in rows.items() if row["state"] == "done")
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()


def read_study(folder: Path) -> dict[str, Any]:
    """Read and check the study of a results folder.

    Raises:
        ResultsError: no results folder, results of a newer version, or points that do not fit the digest.
    """
    path = folder / STUDY
    if not path.is_file():
        raise ResultsError(str(folder), f"no {STUDY}", "a results folder", "Name the folder that `imc-sim run` wrote.")
    held = read_yaml(path)
    schema = held.get("schema", 0)
    if not isinstance(schema, int) or schema > SCHEMA:
        got, step = f"results of schema {schema}", "Use a newer imc_sim, one that wrote them or later."
        raise ResultsError(str(folder), got, f"schema {SCHEMA} or older", step)
    try:
        fits = held["digest"] == digest({"name": held["name"], "points": place_keys(held["points"])})
    except (KeyError, TypeError, AttributeError, ValueError):
        fits = False
    if not fits:
        step = "Remove the file and run the study again: it is written again where the trials are of that study."
        raise ResultsError(str(path), "points that do not fit its digest", f"{STUDY} as a run wrote it", step)
    return held


def check_folder(folder: Path, resolved: dict[str, Any]) -> bool:
    """Raise ResultsError if `folder` holds something other than results of this study. Changes nothing.

    Returns:
        Whether the study of the folder is missing and all its trials are of this one, so that it can be restored.
    """
    if folder.exists() and not folder.is_dir():
        raise ResultsError(str(folder), "a file", "a folder", "Name a folder with --out.")
    if not (folder / STUDY).is_file():
        return _can_be_restored(folder, resolved)
    held = read_study(folder)
    if held["schema"] != resolved["schema"]:
        step = "This version computes some numbers differently: run it into another folder with --out. "
        step += "plot, report, status and combine still read the old one."
        got = f"results of version {held['schema']}, made by an earlier imc_sim"
        raise ResultsError(str(folder), got, f"results of version {resolved['schema']}", step)
    check_data(folder, held, resolved)
    if held["digest"] != resolved["digest"]:
        got = f"results of study {held['name']!r} {held['digest'][:12]}"
        allowed = f"study {resolved['name']!r} {resolved['digest'][:12]}"
        raise ResultsError(str(folder), got, allowed, "Choose another folder with --out, or remove this one.")
    return False


def check_data(folder: Path, held: Mapping[str, Any], resolved: Mapping[str, Any]) -> None:
    """Raise ResultsError if the stored trials are of other data than those on this machine, or if that is unknown."""
    known, now = held.get("data"), resolved.get("data", {})
    allowed = "the data that the stored trials are of"
    if known is None:
        part = next(iter(foreign_digests(now)), None)
        if part is not None:
            step = "Run into another folder with --out; plot, report and status still read this one."
            raise ResultsError(
                str(folder), f"trials that do not say which files of {part!r} they are of", allowed, step
            )
        return
    part = next((part for part in now if known.get(part, now[part]) != now[part]), None)
    if part is not None:
        step = "Put those files back, or run into another folder with --out."
        raise ResultsError(str(folder), other_files(part, now[part], known[part]), allowed, step)


def other_files(part: str, found: str, stored: str) -> str:
    """Describe a part of the data that changed."""
    return f"other files of {part!r} (content {found[:12]}, stored {stored[:12]})"


def _can_be_restored(folder: Path, resolved: dict[str, Any]) -> bool:
    """Tell whether there are trials without their study that are all of this one; raise if they are of another."""
    found = read_trials(folder / TRIALS, resolved)
    if found.damaged:
        got = f"{TRIALS} without {STUDY}, and in {found.damaged[0]}"
        step = "Run the study that wrote it, or use another folder with --out."
        raise ResultsError(str(folder), got, "trials of this study alone, or an empty folder", step)
    return bool(found.rows)
