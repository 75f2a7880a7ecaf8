"""Answers of a key memory to the queries of few-shot episodes, digital or on chips."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from imc_sim._errors import InputError
from imc_sim._tensors import check_finite
from imc_sim.analog import AssociativeMemory
from imc_sim.array import Chip
from imc_sim.evaluate._accuracy import Accuracy
from imc_sim.evaluate._costs import Costs
from imc_sim.evaluate._episodes import FewShotData
from imc_sim.evaluate._memory_keys import SIMILARITIES, KeyMaker, Keys
from imc_sim.evaluate._sampled_chips import Calibration, SampledChips
from imc_sim.evaluate._tasks import FewShotTask
from imc_sim.nn.similarity import inference_logits

#: episodes that a digital memory searches in one call
_EPISODES = 50


@torch.no_grad()
def digital_answers(features: Tensor, task: FewShotTask, data: FewShotData) -> Tensor:
    """Return the answers [e, way x queries] of a digital memory, as places in the episode; features: [u, dim]."""
    maker = KeyMaker(features, task, data.support, data.query)
    values = F.one_hot(maker.labels).to(features)
    compare = SIMILARITIES[task.similarity]
    answers = []
    for start in range(0, len(data.support), _EPISODES):
        keys, queries = maker.of(slice(start, start + _EPISODES))
        answers.append(_chosen(inference_logits(compare(queries, keys), values, task.sharpening)))
    return torch.cat(answers)


@torch.no_grad()
def crossbar_answers(
    features: Tensor, task: FewShotTask, data: FewShotData, chips: SampledChips, calibration: Keys | None = None,
    costs: Costs | None = None,
) -> tuple[Tensor, Calibration]:  # fmt: skip
    """Return the answers [chip, e, way x queries] of memories on crossbars, as places in the episode, and the
    measurements of these memories.

    Each episode writes its keys again, which samples device variation again.

    Args:
        features: [u, dim], or [chip, u, dim] from an analog network.
        task: few-shot task.
        data: its episodes.
        chips: chips of the memories.
        calibration: keys and queries that set the ranges of DACs and ADCs, if there are any.
        costs: receives what a search of the first episode takes.
    """
    check_read_out(task, chips.chip)
    maker = KeyMaker(features, task, data.support, data.query)
    memory = memory_of(maker, chips, calibration)
    answers = []
    for episode in range(len(data.support)):
        keys, queries = maker.one(episode)
        memory.write(keys, maker.labels, epoch=episode)
        if costs is not None and episode == 0:
            costs.search(memory, queries)
        answers.append(_chosen(memory.search(queries)))
    return torch.stack(answers, dim=1), Calibration.of_memory(memory)


def memory_of(maker: KeyMaker, chips: SampledChips, calibration: Keys | None) -> AssociativeMemory:
    """Return the calibrated memory of the chips for keys of that width and form, with nothing written to it yet."""
    width, form = maker.features.shape[-1], maker.task.keys
    memory = AssociativeMemory(chips.chip, width, chips.numbers, chips.seed, form=form, engine=chips.engine)
    if calibration is not None:
        memory.calibrate(*calibration)
    return memory


def chip_answers(
    features: Tensor, task: FewShotTask, data: FewShotData, chips: SampledChips, calibration: Keys | None = None,
    costs: Costs | None = None,
) -> tuple[Tensor, Calibration]:  # fmt: skip
    """Return the answers [chip, e, way x queries] with the memory where the policy of the chip places it, and its
    measurements.

    features: [u, dim] of a network that is the same on every chip, or [chip, u, dim].
    """
    if chips.searches:
        return crossbar_answers(features, task, data, chips, calibration, costs)
    if costs is not None:
        costs.not_counted.append("search (digital)")
    each = features if features.ndim == 3 else features.expand(len(chips.numbers), -1, -1)
    return torch.stack([digital_answers(f, task, data) for f in each]), Calibration()


def check_read_out(task: FewShotTask, chip: Chip) -> None:
    """Refuse queries in a form that cannot drive word lines."""
    on_crossbar = chip.policy.place("memory", "memory") == "crossbar"
    # Cells that hold magnitudes can be driven by any form; cells that hold signs only in their own.
    if on_crossbar and task.query_form not in (None, task.keys) and task.keys != "float":
        step = "Leave query_form out: word lines are driven in the form of the keys."
        raise InputError("task.query_form", task.query_form, f"{task.keys} on a crossbar", step)


def accuracy_of(answers: Tensor, task: FewShotTask, data: FewShotData) -> Accuracy:
    """Return the accuracy of answers [e, way x queries], per episode."""
    right = answers == torch.arange(task.way).repeat_interleave(task.queries)
    return Accuracy(right.double().mean(-1).numpy(), right.numel(), "episodes", classes=data.classes)


def _chosen(logits: Tensor) -> Tensor:
    """Return the answers [*, way x queries] of logits [*, way x queries, way]; ties are broken by the
    first class.
    """
    check_finite(logits, "answers of the key memory")
    return logits.argmax(-1).cpu()
