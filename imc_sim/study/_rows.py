"""Rows of trials.jsonl from the results of trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import final

from imc_sim.evaluate import ChipCost, ChipResult
from imc_sim.runs import Row, RunClock, failure
from imc_sim.study._point import Trial, cost_id


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

    def costs(self, trials: Sequence[Trial], costs: Sequence[ChipCost | None]) -> list[Row]:
        """Return the rows of the costs of trials, of those that have one."""
        each = zip(trials, costs, strict=True)
        return [self._cost_row(t, {"state": "done", **asdict(cost)}) for t, cost in each if cost is not None]

    def failed_cost(self, trial: Trial, error: BaseException) -> Row:
        """Return the row of a cost that raised an error."""
        return self._cost_row(trial, failure(error))

    def _cost_row(self, trial: Trial, payload: Row) -> Row:
        cost = str(trial.point.cost)
        place = {"trial": trial.id, "cost": cost, "point": trial.point.id, "chip": trial.chip}
        return {"id": cost_id(trial.id, cost), **place, **payload, "meta": self.clock.meta(0.0)}

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
