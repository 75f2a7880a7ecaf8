"""Rows of trials.jsonl from the results of trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

from imc_sim.evaluate import ChipResult
from imc_sim.runs import Row, RunClock, failure
from imc_sim.study._point import Trial


@final
@dataclass(frozen=True)
class Writer:
    """Makes the rows of one run."""

    clock: RunClock = field(default_factory=RunClock)

    def done(self, trials: Sequence[Trial], results: Sequence[ChipResult]) -> list[Row]:
        """Return the rows of finished trials."""
        return [
            self._row(t, {"state": "done"} | _payload(r) | _more(r), r.seconds)
            for t, r in zip(trials, results, strict=True)
        ]

    def failed(self, trial: Trial, error: BaseException) -> Row:
        """Return the row of a trial that raised an error."""
        return self._row(trial, failure(error), 0.0)

    def _row(self, trial: Trial, payload: Row, seconds: float) -> Row:
        point = trial.point
        place = {"case": point.case, "values": [v for _, v in point.coordinates], "point": point.id, "chip": trial.chip}
        return {"id": trial.id, **place, **payload, "meta": self.clock.meta(seconds)}


def _payload(result: ChipResult) -> Row:
    """Return the result itself: counts of right answers, or scores."""
    if result.score is None:
        return {"correct": result.correct, "total": result.total}
    return {"score": result.score, "scores": result.scores}


def _more(result: ChipResult) -> Row:
    """Return measurements that only some results have; they play no part in comparing two results."""
    found: Row = {key: value for key in ("ranges", "rows_on") if (value := getattr(result, key))}
    return found if result.sample is None else {**found, "sample": result.sample.to_dict()}
