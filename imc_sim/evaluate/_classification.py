"""Evaluation of classifiers, digital or on chips."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imc_sim._errors import InputError
from imc_sim._tensors import check_finite
from imc_sim.analog import AnalogModel
from imc_sim.data import check_labels
from imc_sim.evaluate._accuracy import Accuracy
from imc_sim.evaluate._calibration import programmed
from imc_sim.evaluate._costs import SAMPLE, Costs
from imc_sim.evaluate._labelled import ClassificationData
from imc_sim.evaluate._sampled_chips import Calibration, Evaluated, SampledChips
from imc_sim.evaluate._session import Session
from imc_sim.evaluate._tasks import ClassificationTask
from imc_sim.evaluate._whole_numbers import in_whole_numbers
from imc_sim.nn import evaluating
from imc_sim.nn.networks import BitNet, ContinualNet, Ensemble, with_statistics
from imc_sim.nn.neurons import Draws, draw_neurons, neurons_of


def digital(session: Session, model: str, task: ClassificationTask) -> Accuracy:
    """Return the accuracy of the digital network `model`."""
    return class_accuracy(configured(session.model(model), task), task, session.images(task))


def on_chips(session: Session, model: str, task: ClassificationTask, chips: SampledChips) -> Evaluated:
    """Return the accuracy of `model` on each chip, the calibration of its layers, and the cost of an inference.

    A network with no layer on a crossbar is the same on every chip.
    """
    data, network = session.images(task), configured(session.model(model), task)
    analog, calibration = programmed(session, model, network, task, chips)
    costs = Costs(chips)
    costs.network(analog, data.some(SAMPLE, task.seed))
    if not analog.analog_layers:
        return [class_accuracy(network, task, data)] * len(chips.numbers), Calibration(), costs.each()
    return chip_class_accuracy(analog, task, data), calibration, costs.each()


def configured(network: nn.Module, task: ClassificationTask) -> nn.Module:
    """Return the network with the vote, members, stage, head, norms and time steps of the task, if it names any.

    Args:
        network: digital network.
        task: classification task.
    """
    network = _staged(_voting(network, task), task)
    return network if task.steps is None else _stepping(network, task.steps)


def _stepping(network: nn.Module, steps: int) -> nn.Module:
    if not isinstance(network, BitNet) or network.activation != "spikes":
        got, step = getattr(network, "activation", type(network).__name__), "Leave task.steps out."
        raise InputError("task.steps", f"a number of steps for {got}", "a spiking network", step)
    return network.with_steps(steps)


def _voting(network: nn.Module, task: ClassificationTask) -> nn.Module:
    if task.vote is None and task.members is None:
        return network
    if not isinstance(network, Ensemble):
        got, step = type(network).__name__, "Leave task.vote and task.members out."
        raise InputError("task.vote", got, "an ensemble", step)
    return network.reduced(task.members, task.vote)


def _staged(network: nn.Module, task: ClassificationTask) -> nn.Module:
    if isinstance(network, ContinualNet):
        return network.at(task.stage, task.head, task.statistics)
    if task.stage is not None or task.head is not None:
        got, step = type(network).__name__, "Leave task.stage and task.head out."
        raise InputError("task.stage", got, "a network of architecture continual", step)
    return network if task.statistics is None else with_statistics(network, task.statistics)


@torch.no_grad()
def class_accuracy(model: nn.Module, task: ClassificationTask, data: ClassificationData | None = None) -> Accuracy:
    """Return the accuracy and loss of a digital network.

    Args:
        model: digital network.
        task: classification task.
        data: its images; None: loaded here.
    """
    data = data or ClassificationData.load(task)
    neurons, parts = neurons_of(model), []
    with evaluating(model):
        forward = in_whole_numbers(model, len(data.labels), task.batch)
        for start, images in data.batches(task.batch):
            draw_neurons(neurons, Draws(task.seed, first=start))
            parts.append(competing(forward(images), task, data).float().cpu())
    logits = torch.cat(parts)
    return _accuracy(logits.argmax(1), data.labels, float(F.cross_entropy(logits.double(), data.labels)))


@torch.no_grad()
def chip_class_accuracy(analog: AnalogModel, task: ClassificationTask, data: ClassificationData) -> list[Accuracy]:
    """Return the accuracy of each chip.

    Args:
        analog: mapped model.
        task: classification task.
        data: its images.
    """
    found = (competing(analog(images), task, data) for _, images in data.batches(task.batch))
    answers = torch.cat([outputs.argmax(-1).cpu() for outputs in found], dim=1)
    return [_accuracy(each, data.labels) for each in answers]


@torch.no_grad()
def output_count(network: nn.Module, images: Tensor) -> int:
    """Return how many outputs the network has for each of these images.

    Args:
        network: digital network.
        images: [batch, channels, H, W].
    """
    draw_neurons(neurons_of(network), Draws(seed=0))
    with evaluating(network):
        return network(images).shape[-1]


def competing(outputs: Tensor, task: ClassificationTask, data: ClassificationData) -> Tensor:
    """Return the outputs [..., classes], those that do not compete as minus infinity.

    Raises:
        InputError: the network has no output for a label, or outputs are not finite.
    """
    count = len(data.source.class_names)
    check_labels(task, count, outputs.shape[-1])
    check_finite(outputs, "outputs of the network")
    if task.outputs == "all":
        return outputs
    others = torch.ones(outputs.shape[-1], dtype=torch.bool, device=outputs.device)
    others[list(task.labels_of(count))] = False
    return outputs.masked_fill(others, -torch.inf)


def _accuracy(answers: Tensor, labels: Tensor, loss: float | None = None) -> Accuracy:
    """Return the accuracy; ties are broken by the first class."""
    return Accuracy((answers == labels).double().numpy(), len(labels), "images", loss)
