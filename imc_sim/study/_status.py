"""Progress of a run, read from its folder while it runs or after it ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

from imc_sim._errors import InputError, MissingDataError
from imc_sim.config import user_path
from imc_sim.data import data_digest
from imc_sim.study._lock import holder, is_locked
from imc_sim.study._stopping import wanted_trials
from imc_sim.study._store import other_files, read_study
from imc_sim.study._trials_file import TRIALS, Row, read_trials

#: latest trials that the rate is taken over
_WINDOW = 200


@final
@dataclass(frozen=True)
class Status:
    """Trials of a results folder.

    failed: trials whose last attempt failed. left: trials not yet attempted. at_least: the stopping rule may request
    more than `left`. writer: who writes to the folder now. damaged: damaged lines of trials.jsonl, with the reason; the
    next run moves them out and repeats their trials. other_data, absent_data: data of the study that changed or are
    missing on this machine; only determined on request. rate_per_s: trials per second of the latest run that wrote;
    eta_s: seconds to the end at that rate; None where unknown, eta_s also if no process writes.
    """

    study: str
    done: int
    failed: int
    left: int
    at_least: bool
    writer: str | None
    rate_per_s: float | None
    eta_s: float | None
    damaged: tuple[str, ...] = ()
    other_data: tuple[str, ...] = ()
    absent_data: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def complete(self) -> bool:
        return self.left == 0 and self.failed == 0 and not self.damaged


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
    rate = _rate(list(rows.values()))
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


def _rate(rows: Sequence[Row]) -> float | None:
    """Return trials per second over the latest rows of the latest run, on that run's own monotonic clock."""
    if not rows or "run" not in rows[-1].get("meta", {}):
        return None
    run = rows[-1]["meta"]["run"]
    ends = [row["meta"]["elapsed"] for row in rows if row.get("meta", {}).get("run") == run]
    ends = [0.0, *ends][-_WINDOW - 1 :]
    span = ends[-1] - ends[0]
    return (len(ends) - 1) / span if span > 0 else None
