"""Sweeps over chips: study files, content-addressed trials, a resumable store, and engines. Loads no torch."""

from imc_sim.study._executors import EXECUTORS, Executor, make_executor
from imc_sim.study._points import Point, Trial, points_of, resolved
from imc_sim.study._results import Results
from imc_sim.study._runner import Progress, run
from imc_sim.study._spec import Axis, Case, Chips, Study, load_study, with_settings
from imc_sim.study._store import ResultStore

__all__ = [
    "EXECUTORS",
    "Axis",
    "Case",
    "Chips",
    "Executor",
    "Point",
    "Progress",
    "ResultStore",
    "Results",
    "Study",
    "Trial",
    "load_study",
    "make_executor",
    "points_of",
    "resolved",
    "run",
    "with_settings",
]
