"""Read the progress of a study from its results folder, during a run or after it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from imc_sim._arguments import checked
from imc_sim._errors import InputError, MissingDataError
from imc_sim.config import check_code_in, user_path
from imc_sim.data import data_digest
from imc_sim.runs import RowTable, Status, is_locked, read_rows
from imc_sim.study._stopping import are_wanted, wanted_chips
from imc_sim.study._store import STUDY, other_files, read_study
from imc_sim.study._trials_file import TRIALS, rules_of


@checked
def status(folder: Path | str, check_data: bool = False) -> Status:
    """Return the progress of the run that writes, or wrote, to a results folder; change nothing.

    Args:
        folder: results folder.
        check_data: whether to read all rows without the index, and to compare the data on this machine with those that
            the trials used.

    Raises:
        ResultsError: the folder holds no results.
    """
    folder = user_path(folder, "folder")
    study = read_study(folder)
    writing = is_locked(folder)  # before the rows are read: a run that ends in between has then written them all
    found = read_rows(folder / TRIALS, rules_of(study), index=not check_data)
    wanted, is_open = wanted_chips(study, found.rows)
    at_least = is_open and study["chips"]["half_width"] is not None
    data = _data(study.get("data", {}), folder) if check_data else ((), ())
    return Status.of(str(study["name"]), folder, writing, found, _counted(found.rows, wanted), at_least, *data)


def _data(stored: Mapping[str, str], folder: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Describe the data that changed, and name those that are missing or made by code that may not run."""
    other: list[str] = []
    absent: list[str] = []
    for part, digest in stored.items():
        try:
            check_code_in(part.rpartition(" ")[0], folder, STUDY, "study")
        except InputError:
            absent.append(part)
            continue
        try:
            found = data_digest(part)
        except MissingDataError:
            absent.append(part)
        except InputError as error:
            other.append(str(error))
        else:
            other += [] if found == digest else [other_files(part, found, digest)]
    return tuple(other), tuple(absent)


def _counted(rows: RowTable, wanted: Mapping[str, range]) -> Counter[str]:
    """Return how many requested trials are done, failed and left."""
    places = rows.select(are_wanted(rows, wanted))
    columns = [places.column("chip"), places.column("point")]
    order = np.lexsort(columns)
    differ = np.any([np.diff(each[order]) != 0 for each in columns], axis=0)
    ends = np.concatenate([differ, np.ones(len(order[:1]), bool)])  # the last of several rows of a trial counts
    states = places.column("state")[order][ends]
    found = Counter({str(state): int((states == number).sum()) for number, state in enumerate(rows.texts("state"))})
    return found + Counter(left=sum(map(len, wanted.values())) - len(states))
