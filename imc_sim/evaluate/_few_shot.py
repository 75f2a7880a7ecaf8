"""Few-shot classification with an encoder and a key memory, digital or on chips."""

from __future__ import annotations

import torch
from torch import nn

from imc_sim._arguments import checked
from imc_sim._errors import InputError
from imc_sim._quantities import type_of
from imc_sim.evaluate._accuracy import Accuracy
from imc_sim.evaluate._attacked_queries import (
    Target,
    attack_queries,
    attacked_episodes,
    attacked_features,
    chip_target,
)
from imc_sim.evaluate._calibration import calibration_keys, programmed
from imc_sim.evaluate._costs import SAMPLE, Costs
from imc_sim.evaluate._episodes import FewShotData, features_of
from imc_sim.evaluate._read_out import accuracy_of, chip_answers, digital_answers
from imc_sim.evaluate._sampled_chips import Calibration, Evaluated, SampledChips
from imc_sim.evaluate._session import Session
from imc_sim.evaluate._tasks import FewShotTask
from imc_sim.nn import evaluating

#: attacks that are transferred to chip n are computed on chip n + this, which no study samples
_STRANGER = 2**32


def digital(session: Session, model: str, task: FewShotTask) -> Accuracy:
    """Return the accuracy of the digital network `model` with a digital memory."""
    data = attacked_episodes(session, model, task)
    return digital_accuracy_of(attacked_features(session, model, task), task, data)


def on_chips(session: Session, model: str, task: FewShotTask, chips: SampledChips) -> Evaluated:
    """Return the accuracy of `model` on each chip, the calibration of its layers, and the cost of an inference.

    Of an attack that is computed through chips there must be one chip.
    """
    if task.attack is not None and task.attack.made_on_chips:
        return _under_attack_through_chips(session, model, task, chips)
    data = attacked_episodes(session, model, task)
    analog, calibration = programmed(session, model, session.model(model), task, chips)
    known, costs = calibration_keys(session, model, chips.chip, task), Costs(chips)
    costs.network(analog, data.some(SAMPLE))
    if analog.analog_layers:
        features = features_of(analog, data.images, task.batch)
    else:
        features = attacked_features(session, model, task)
    answers, of_memory = chip_answers(features, task.read_out, data, chips, known, costs)
    return [accuracy_of(each, task, data) for each in answers], calibration.with_memory(of_memory), costs.each()


@checked
def few_shot_accuracy(model: nn.Module, task: FewShotTask, data: FewShotData | None = None) -> Accuracy:
    """Return the accuracy of a digital network that has no name, with a digital memory.

    Args:
        model: digital network.
        task: few-shot task.
        data: its images; None: loaded here.

    Raises:
        InputError: `task` is no few-shot task.
    """
    if not isinstance(task, FewShotTask):
        step = "Build it: FewShotTask(dataset='glyphs', split='test')."
        raise InputError("few_shot_accuracy, task", type_of(task), "a FewShotTask", step)
    with torch.inference_mode(False):  # attacks need gradients
        data = data or FewShotData.load(task)
        features = features_of(model, data.images, task.batch)
        if task.attack is not None and not task.attack.is_ideal:
            with evaluating(model):
                data = data.with_queries(attack_queries(data, task, Target(model, features)))
            features = features_of(model, data.images, task.batch)
        return digital_accuracy_of(features, task, data)


def digital_accuracy_of(features: torch.Tensor, task: FewShotTask, data: FewShotData) -> Accuracy:
    """Return the accuracy of features with a digital memory.

    Args:
        features: [u, dim] of `data.images`.
        task: few-shot task.
        data: its episodes.
    """
    return accuracy_of(digital_answers(features, task.read_out, data), task, data)


def _under_attack_through_chips(session: Session, model: str, task: FewShotTask, chips: SampledChips) -> Evaluated:
    """Evaluate one chip under an attack computed through a chip, itself or another as the attack says."""
    clean, network = session.episodes(task), session.model(model)
    transfer, number = task.attack.transfer if task.attack else "none", chips.numbers[0]
    known, costs = calibration_keys(session, model, chips.chip, task), Costs(chips)
    alone = chips.alone(number + _STRANGER if transfer == "chip" else number)
    attacker, calibration = programmed(session, model, network, task, alone)
    target = chip_target(attacker, clean, task, chips, known)
    data = clean.with_queries(attack_queries(clean, task, target))
    if transfer == "digital":
        costs.not_counted.append("network and search (digital)")
        found = digital_accuracy_of(features_of(network, data.images, task.batch), task, data)
        return [found], Calibration(), costs.each()
    if transfer == "chip":
        analog, calibration = programmed(session, model, network, task, chips)
        costs.network(analog, data.some(SAMPLE))
        features = features_of(analog, data.images, task.batch)
    else:  # the supports have gone through this chip already
        supports = clean.supports
        costs.network(attacker, data.some(SAMPLE))
        queries = features_of(attacker, data.images[len(supports) :], task.batch)
        features = torch.cat([target.keys[torch.from_numpy(supports)][None], queries], dim=1)
    answers, of_memory = chip_answers(features, task.read_out, data, chips, known, costs)
    return [accuracy_of(each, task, data) for each in answers], calibration.with_memory(of_memory), costs.each()
