"""Studies: sweeps over sampled chips, with content-addressed trials and a resumable store. Loads no torch."""

from imc_sim.runs import EXECUTORS, Executor, FolderLock, Status, make_executor
from imc_sim.study._axes import Axis
from imc_sim.study._combine import combine, has_parquet, merge, trials_table
from imc_sim.study._conditions import Derived
from imc_sim.study._dry_run import CaseEstimate, DryRun, dry_run
from imc_sim.study._embeddings import study_embeddings
from imc_sim.study._point import Point, Trial
from imc_sim.study._points import points_of, resolved
from imc_sim.study._results import Results
from imc_sim.study._runner import Progress, run
from imc_sim.study._schema import json_schema
from imc_sim.study._spec import DERIVED, Case, Chips, Study, load_study, with_settings
from imc_sim.study._status import status
from imc_sim.study._stopping import finished_trials
from imc_sim.study._store import ResultStore
from imc_sim.study._sweep import sweep
from imc_sim.study._trials_file import measure, measures

__all__ = [
    "DERIVED",
    "EXECUTORS",
    "Axis",
    "Case",
    "CaseEstimate",
    "Chips",
    "Derived",
    "DryRun",
    "Executor",
    "FolderLock",
    "Point",
    "Progress",
    "ResultStore",
    "Results",
    "Status",
    "Study",
    "Trial",
    "combine",
    "dry_run",
    "finished_trials",
    "has_parquet",
    "json_schema",
    "load_study",
    "make_executor",
    "measure",
    "measures",
    "merge",
    "points_of",
    "resolved",
    "run",
    "status",
    "study_embeddings",
    "sweep",
    "trials_table",
    "with_settings",
]
