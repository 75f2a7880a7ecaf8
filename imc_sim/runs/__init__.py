"""Sweeps of any kind: executors, and a results folder with rows that survive interruption. Loads no torch.

Studies and training sweeps are built on it: they say what a row is computed from and which rows they want.
"""

from imc_sim.runs._batches import finished_rows
from imc_sim.runs._executors import EXECUTORS, Executor, check_executor, make_executor
from imc_sim.runs._lock import LOCK, FolderLock, holder, is_locked
from imc_sim.runs._lost_workers import (
    LOSSES,
    WORKER_NAME,
    CrashedWorkerError,
    LostExecutorError,
    LostWorkerError,
    UnguardedMainError,
)
from imc_sim.runs._row_meta import RunClock, failure, rate_of
from imc_sim.runs._row_store import FolderKind, RowStore, heal
from imc_sim.runs._row_table import MISSING, Layout, Row, RowTable
from imc_sim.runs._rows_file import (
    Damage,
    RowRules,
    RowsFile,
    hash_of,
    is_finite_number,
    lines_of,
    ran,
    read_rows,
    sealed,
    sound_rows,
    table_of,
)
from imc_sim.runs._status import Status
from imc_sim.runs._stored_column import Array

__all__ = [
    "EXECUTORS",
    "LOCK",
    "LOSSES",
    "MISSING",
    "WORKER_NAME",
    "Array",
    "CrashedWorkerError",
    "Damage",
    "Executor",
    "FolderKind",
    "FolderLock",
    "Layout",
    "LostExecutorError",
    "LostWorkerError",
    "Row",
    "RowRules",
    "RowStore",
    "RowTable",
    "RowsFile",
    "RunClock",
    "Status",
    "UnguardedMainError",
    "check_executor",
    "failure",
    "finished_rows",
    "hash_of",
    "heal",
    "holder",
    "is_finite_number",
    "is_locked",
    "lines_of",
    "make_executor",
    "ran",
    "rate_of",
    "read_rows",
    "sealed",
    "sound_rows",
    "table_of",
]
