"""Points and trials of a study, and the ids by which their results are stored."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

from imc_sim.config import NATIVE, Engine, digest
from imc_sim.data import foreign_digests
from imc_sim.evaluate import data_of_task, task_identity
from imc_sim.study._stored_chip import as_stored

#: Version of the results: part of every id, and of study.resolved.yaml. Raise it whenever the same study gives other
#: numbers, or is stored otherwise: no run then continues a folder of an earlier version, which can still be read.
#: 2: drift compensation before the digital terms, converters calibrated on training data, tails of devices, telegraph
#: and thermal noise, reference columns read once; rows with checksums, and trial ids that follow from point and chip.
SCHEMA = 2


@final
@dataclass(frozen=True)
class Point:
    """One resolved place of the grid: nothing in it refers to a file except the model's name.

    weights: SHA-256 of the model's weights. chip: every setting, or None for the digital baseline. digital_task: the
    task of the digital network where it is larger than that of the chips. arch: properties of the architecture that the
    weights do not tell (for example which activations are binary). data: digests of the data that the study reads, see
    `imc_sim.data.data_digest`.
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

    @functools.cached_property
    def content(self) -> dict[str, Any]:
        """Return everything that affects a result except the number of the chip. Prose about the chip does not.

        The engine is part of it where it is not the native one, and the digests of data that are not published sets.
        """
        prose = {"name", "source", "validity", "engine"}
        chip = None if self.chip is None else {k: v for k, v in as_stored(self.chip).items() if k not in prose}
        task = task_identity(self.task)
        data = {"schema": SCHEMA, "weights": self.weights, "chip": chip, "task": task, "seed": self.seed}
        data |= {} if self.arch is None else {"arch": self.arch}
        foreign = foreign_digests(self.own_data)
        data |= {"data": foreign} if foreign else {}
        return data if self.engine.native else data | {"engine": self.engine.to_dict()}

    @functools.cached_property
    def id(self) -> str:
        return digest(self.content)

    @property
    def own_data(self) -> dict[str, str]:
        """Return the digests of the data that this point reads, as far as they are known."""
        return {part: self.data[part] for part in data_parts_of(self.task, self.chip) if part in self.data}

    def trial(self, chip: int) -> Trial:
        """Return the trial of chip number `chip` (-1: the digital baseline)."""
        return Trial(trial_id(self.id, chip), self, chip)

    def baseline(self) -> Point:
        """Return the same model and task without a chip; it has no seed of chips."""
        return Point(self.case, (), self.model, self.weights, None, self.task, 0, arch=self.arch, data=self.data)

    def reference(self) -> Point:
        """Return the same model without a chip on the whole task; the baseline itself where chips are evaluated on
        all of it.
        """
        task = self.digital_task or self.task
        return Point(self.case, (), self.model, self.weights, None, task, 0, arch=self.arch, data=self.data)

    def digital(self) -> tuple[Point, Point]:
        """Return both points without a chip."""
        return self.baseline(), self.reference()


@final
@dataclass(frozen=True)
class Trial:
    """One chip at one point, with its `trial_id`."""

    id: str
    point: Point
    chip: int


def trial_id(point: str, chip: int) -> str:
    """Return the id of a trial: SHA-256 of its chip number and the id of its point, which covers all that affects
    the result.
    """
    return digest({"point": point, "chip": chip})


def data_parts_of(task: dict[str, Any], chip: dict[str, Any] | None) -> tuple[str, ...]:
    """Return the parts of data sets that a task reads, on calibrated chips also those of the training split."""
    from imc_sim.array import load_chip

    return data_of_task(task, chip is not None and load_chip(chip).calibrates)
