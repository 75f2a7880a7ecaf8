"""Rows of trials.jsonl: the result of a trial, and when, where and with which software it was computed."""

from __future__ import annotations

import datetime as dt
import functools
import importlib.metadata
import platform
import time
import traceback
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, final

from imc_sim.evaluate import ChipResult
from imc_sim.study._point import Trial

Row = dict[str, Any]


@final
@dataclass(frozen=True)
class Writer:
    """Makes the rows of one run. `elapsed` in a row counts from the start of the run on a monotonic clock."""

    device: str = "cpu"
    run: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    started: float = field(default_factory=time.monotonic)

    def done(self, trials: Sequence[Trial], results: Sequence[ChipResult]) -> list[Row]:
        """Return the rows of finished trials."""
        return [
            self._row(t, {"state": "done", "correct": r.correct, "total": r.total} | _more(r), r.seconds)
            for t, r in zip(trials, results, strict=True)
        ]

    def failed(self, trial: Trial, error: BaseException) -> Row:
        """Return the row of a trial that raised an error."""
        text = "".join(traceback.format_exception(error))
        return self._row(trial, {"state": "failed", "error": _clean(str(error)), "traceback": _clean(text)}, 0.0)

    def _row(self, trial: Trial, payload: Row, seconds: float) -> Row:
        point = trial.point
        now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        meta = {
            "seconds": round(seconds, 4), "time": now, "host": platform.node(), "device": self.device,
            "run": self.run, "elapsed": round(time.monotonic() - self.started, 3), "versions": _versions(),
        }  # fmt: skip
        place = {"case": point.case, "values": [v for _, v in point.coordinates], "point": point.id, "chip": trial.chip}
        return {"id": trial.id, **place, **payload, "meta": meta}


def _more(result: ChipResult) -> Row:
    """Return what only some results have; none of it decides whether two results are equal."""
    found: Row = {key: value for key in ("ranges", "rows_on") if (value := getattr(result, key))}
    return found if result.sample is None else {**found, "sample": result.sample.to_dict()}


def _clean(text: str) -> str:
    """Return text that UTF-8 can encode."""
    return text.encode("utf-8", "replace").decode()


@functools.cache
def _versions() -> dict[str, str]:
    names = ("imc-sim", "torch", "numpy")
    return {"python": platform.python_version()} | {n: _version(n) for n in names}


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
