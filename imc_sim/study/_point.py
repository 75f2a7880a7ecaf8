"""Points and trials of a study, and the content-addressed ids under which their results are stored."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, final

from imc_sim.config import NATIVE, Engine, digest
from imc_sim.data import foreign_digests, stored_name
from imc_sim.evaluate import conductances_digest, data_of_task, task_identity
from imc_sim.study._stored_chip import as_stored

#: Version of the results, part of every id and of study.resolved.yaml. Raise it whenever the same study gives other
#: numbers or is stored differently: runs then reject folders of earlier versions, which can still be read.
#: 2: drift compensation before the digital terms, ADCs calibrated on training data, tails of devices, telegraph and
#: thermal noise, reference columns read once; rows with checksums, and trial ids computed from point and chip.
SCHEMA = 2
#: settings of a chip that affect no result; the backend is part of the point
PROSE = ("name", "source", "validity", "engine", "cost")
#: Version of costs, part of the ids of their rows. Raise it whenever the same chip gets other energies, times or areas.
COSTS = 2


@final
@dataclass(frozen=True)
class Point:
    """One resolved point of a study: a model, a chip and a task, with all defaults filled in.

    Attributes:
        case: name of the case.
        coordinates: (path, shown value) for every axis.
        model: name or path of the model, the only reference to a file.
        weights: SHA-256 of the model's weights.
        chip: all settings of the chip; None for a digital network.
        task: all settings of the task that chips evaluate.
        seed: seed of the sampled chips.
        engine: backend that computes the crossbar products.
        digital_task: whole task that only the digital network evaluates; None: `task`.
        arch: properties of the architecture that the weights do not determine, such as which activations are binary.
        data: digests of the data that the study reads, by part; see `imc_sim.data.data_digest`.
        evaluator: digest of a function that evaluates chips instead of the package's own.
        conductances: file of measured conductances of layers; None: cells are simulated.
        place: number of the value on every axis, by which errors find the lines of its settings.
    """

    case: str
    coordinates: tuple[tuple[str, Any], ...]
    model: str
    weights: str
    chip: dict[str, Any] | None
    task: dict[str, Any]
    seed: int
    engine: Engine = NATIVE
    digital_task: dict[str, Any] | None = None
    arch: dict[str, Any] | None = None
    data: Mapping[str, str] = field(default_factory=dict)
    evaluator: str | None = None
    conductances: str | None = None
    place: tuple[int, ...] = field(default=(), compare=False)

    @functools.cached_property
    def content(self) -> dict[str, Any]:
        """Return everything that affects a result, except the number of the chip.

        A backend other than native is included, as are digests of measured conductances, and of data that are not
        published sets.
        """
        chip = None if self.chip is None else {k: v for k, v in as_stored(self.chip).items() if k not in PROSE}
        task = task_identity(self.task)
        data = {"schema": SCHEMA, "weights": self.weights, "chip": chip, "task": task, "seed": self.seed}
        data |= {} if self.arch is None else {"arch": self.arch}
        data |= {} if self.evaluator is None else {"evaluator": self.evaluator}
        foreign = foreign_digests(self.own_data)
        named = {f"{stored_name(part.rpartition(' ')[0])} {part.rpartition(' ')[2]}": d for part, d in foreign.items()}
        data |= {"data": named} if named else {}
        data |= {} if self.conductances is None else {"conductances": conductances_digest(self.conductances)}
        return data if self.engine.native else data | {"engine": self.engine.to_dict()}

    @functools.cached_property
    def id(self) -> str:
        """Return the SHA-256 of `content`."""
        return digest(self.content)

    @functools.cached_property
    def calibrates(self) -> bool:
        """Tell whether chips of this point are calibrated on training data."""
        return is_calibrated(self.chip)

    @property
    def own_data(self) -> dict[str, str]:
        """Return the known digests of the data that this point reads."""
        return {part: self.data[part] for part in data_of_task(self.task, self.calibrates) if part in self.data}

    @functools.cached_property
    def cost(self) -> str | None:
        """Return the SHA-256 of what the circuits of the chip take; None where trials of this point have no cost."""
        stated = None if self.chip is None else self.chip.get("cost")
        priced = stated is not None and self.engine.native and self.evaluator is None
        return digest({"costs": COSTS, "cost": stated}) if priced else None

    def trial(self, chip: int) -> Trial:
        """Return the trial of one chip.

        Args:
            chip: number of the chip, from 0; -1 for a digital network.
        """
        return Trial(trial_id(self.id, chip), self, chip)

    def baseline(self) -> Point:
        """Return the digital baseline: the model without a chip, on the task that chips evaluate."""
        kept = {"arch": self.arch, "data": self.data, "evaluator": self.evaluator}
        return Point(self.case, (), self.model, self.weights, None, self.task, 0, **kept)

    def reference(self) -> Point:
        """Return the model without a chip on the whole task; equal to the baseline unless chips have a reduced task."""
        return self.digital()[1]

    def digital(self) -> tuple[Point, Point]:
        """Return the baseline and the reference."""
        baseline = self.baseline()
        return baseline, replace(baseline, task=self.digital_task) if self.digital_task else baseline


@final
@dataclass(frozen=True)
class Trial:
    """One sampled chip at one point.

    Attributes:
        id: see `trial_id`.
        point: the point.
        chip: number of the chip, from 0; -1 for a digital network.
    """

    id: str
    point: Point
    chip: int


def described(trials: Sequence[Trial]) -> str:
    """Return trials of one point as text, such as `all, sigma 0.2, chips 0 to 3`."""
    point, first, last = trials[0].point, trials[0].chip, trials[-1].chip
    values = [f"{path.rpartition('.')[2]} {value}" for path, value in point.coordinates]
    chips = "digital" if first < 0 else f"chip {first}" if first == last else f"chips {first} to {last}"
    return ", ".join([point.case, *values, chips])


def trial_id(point: str, chip: int) -> str:
    """Return the SHA-256 of the chip number and the id of its point, which together determine the result."""
    return digest({"point": point, "chip": chip})


def cost_id(trial: str, cost: str) -> str:
    """Return the SHA-256 of the id of a trial and the digest of the cost of its chip, which determine its energy."""
    return digest({"trial": trial, "cost": cost})


def is_calibrated(chip: dict[str, Any] | None) -> bool:
    """Return whether a chip is calibrated on training data; the digital network is not."""
    from imc_sim.array import load_chip

    return chip is not None and load_chip(chip).calibrates
