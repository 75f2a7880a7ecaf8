"""Confusion matrices of few-shot evaluations, digital or on chips."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from imc_sim._arguments import checked
from imc_sim._errors import InputError
from imc_sim._rng import chip_numbers
from imc_sim.array import Chip, load_chip
from imc_sim.data import EpisodeShape, load_pool, sample_episodes
from imc_sim.evaluate._attacked_queries import attacked_episodes, attacked_features
from imc_sim.evaluate._calibration import calibration_keys, programmed
from imc_sim.evaluate._episodes import features_of
from imc_sim.evaluate._read_out import chip_answers, digital_answers
from imc_sim.evaluate._sampled_chips import SampledChips
from imc_sim.evaluate._session import Session
from imc_sim.evaluate._tasks import FewShotTask, build_task, few_shot

Counts = NDArray[np.int64]

#: classes up to which a matrix can be read
_READABLE = 40
#: chips whose features are in memory together
_TOGETHER = 4


@final
@dataclass(frozen=True)
class Confusion:
    """Answers to queries, summed over episodes and chips.

    Args:
        counts: [true, answered].
        offered: [true, answered], queries of the true class in episodes with the other class.
        what: meaning of the rows: classes of the data set or, if there are too many, positions in the episode.
        chips: number of chips; 0: digital.
    """

    counts: Counts
    offered: Counts
    what: str
    chips: int

    @property
    def accuracy(self) -> float:
        """Return the fraction of right answers."""
        return float(np.trace(self.counts) / self.counts.sum())


@checked
def confusion(
    model: str, chip: Chip | str | dict[str, Any] | None, task: dict[str, Any], chips: int = 8, seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Confusion:  # fmt: skip
    """Compute the confusion matrix of a few-shot evaluation.

    Args:
        model: name or path of a model.
        chip: chip description; None: the digital network.
        task: few-shot task as plain data.
        chips: number of chips.
        seed: seed of the chips.
        progress: called with (chips done, total).

    Returns:
        The counts of answers.
    """
    spec = few_shot(build_task(task, "task"), "a confusion matrix")
    numbers = chip_numbers(chips, "confusion")
    answers = answers_of(model, None if chip is None else load_chip(chip), spec, numbers, seed, progress)
    classes = _classes(spec)
    what, size = "class", int(classes.max()) + 1
    if size > _READABLE:
        what, size = "place in the episode", spec.way
        classes = np.broadcast_to(np.arange(spec.way), classes.shape)
    counts, offered = np.zeros((size, size), np.int64), np.zeros((size, size), np.int64)
    true = np.repeat(classes, spec.queries, axis=1)  # [e, way * queries]
    for chosen in answers:
        np.add.at(counts, (true, np.take_along_axis(classes, chosen, axis=1)), 1)
        np.add.at(offered, (true[:, :, None], classes[:, None, :]), 1)
    return Confusion(counts, offered, what, 0 if chip is None else len(numbers))


def answers_of(
    model: str, chip: Chip | None, task: FewShotTask, chips: range, seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> Counts:  # fmt: skip
    """Return answers [chip, episode, way x queries] as places in the episode; of the digital network [1, …]."""
    session = Session.on("cpu")
    task = session.sized(task, model)
    _refuse_attack_through_chips(task, chip)
    data, shared = attacked_episodes(session, model, task), attacked_features(session, model, task)
    if chip is None:
        return digital_answers(shared, task.read_out, data)[None].numpy()
    known = calibration_keys(session, model, chip, task.read_out)
    parts = []
    for start in range(0, len(chips), _TOGETHER):
        some = SampledChips(chip, chips[start : start + _TOGETHER], seed)
        analog, _ = programmed(session, model, session.model(model), task, some)
        features = features_of(analog, data.images, task.batch) if analog.analog_layers else shared
        parts.append(chip_answers(features, task.read_out, data, some, known)[0].numpy())
        if progress is not None:
            progress(start + len(some.numbers), len(chips))
    return np.concatenate(parts)


def _refuse_attack_through_chips(task: FewShotTask, chip: Chip | None) -> None:
    if chip is not None and task.attack is not None and task.attack.made_on_chips:
        step = "Leave `through` out, or evaluate the accuracy of chips under it: imc-sim run."
        raise InputError("task.attack.through", "analog", "digital, for the answers of chips", step)


def _classes(task: FewShotTask) -> Counts:
    """Return the data set's class at every place of every episode, [e, way], as `FewShotData.load` samples them."""
    pool = load_pool(task.dataset, task.split)
    shape = (task.classes or pool.images.shape[0], task.instances or pool.images.shape[1])
    each = EpisodeShape(way=task.way, shot=task.shot, queries=task.queries)
    return sample_episodes(shape, each, range(task.episodes), task.seed, rotations=task.rotations).classes
