"""Progress of a run, read from its folder while it runs or after it ended."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from imc_sim._errors import InputError, MissingDataError
from imc_sim.config import user_path
from imc_sim.data import data_digest
from imc_sim.runs import Row, Status, holder, is_locked, rate_of
from imc_sim.study._stopping import wanted_trials
from imc_sim.study._store import other_files, read_study
from imc_sim.study._trials_file import TRIALS, read_trials


def status(folder: Path | str, check_data: bool = False) -> Status:
    """Return the progress of the run that writes, or wrote, to `folder`. Reads only.

    Args:
        folder: a results folder.
        check_data: compare the data on this machine with those of the trials.
    """
    folder = user_path(folder, "folder")
    study = read_study(folder)
    writing = is_locked(folder)  # before the rows are read: a run that ends in between has then written them all
    found = read_trials(folder / TRIALS, study)
    rows = found.rows
    wanted, open_points = wanted_trials(study, rows)
    states = [rows[i]["state"] if i in rows else "left" for i in _identities(rows, wanted)]
    done, failed, left = (states.count(s) for s in ("done", "failed", "left"))
    rate = rate_of(list(rows.values()))
    eta = left / rate if writing and rate else None
    writer = (holder(folder) or "another process") if writing else None
    at_least = open_points and study["chips"]["half_width"] is not None
    other, absent = _data(study.get("data", {})) if check_data else ((), ())
    damaged = tuple(map(str, found.damaged))
    return Status(str(study["name"]), done, failed, left, at_least, writer, rate, eta, damaged, other, absent)


def _data(stored: Mapping[str, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Describe which data changed, and which are missing."""
    other: list[str] = []
    absent: list[str] = []
    for part, digest in stored.items():
        try:
            found = data_digest(part)
        except MissingDataError:
            absent.append(part)
        except InputError as error:
            other.append(str(error))
        else:
            other += [] if found == digest else [other_files(part, found, digest)]
    return tuple(other), tuple(absent)


def _identities(rows: Mapping[str, Row], wanted: set[tuple[str, int]]) -> list[str]:
    """Return the ids of stored trials that are wanted, and placeholders for the others."""
    known = {(row["point"], row["chip"]): i for i, row in rows.items()}
    return [known.get(place, "") for place in wanted]
