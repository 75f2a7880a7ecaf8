"""Spike statistics: firing rates of a spiking network, driven word lines, and accuracy after each number of steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, final

from imc_sim._arguments import checked
from imc_sim._errors import InputError
from imc_sim._stats import Sample
from imc_sim.evaluate._tasks import ClassificationTask, build_task

if TYPE_CHECKING:
    from imc_sim.nn.networks import BitNet, FiringRate

#: called after every batch with (images done, images in all)
Progress = Callable[[int, int], None]


@final
@dataclass(frozen=True)
class LayerFiring:
    """Spike statistics of one layer, means over images and steps.

    Args:
        layer: name of the layer.
        rate: spikes per neuron and step.
        zeros: fraction of outputs that are 0, before pooling.
        inputs: fraction of inputs that are not 0.
        word_lines: driven word lines for one image in all steps, counted once per read.
        dense: driven word lines if every input were driven.
        products: multiply-adds of one image and one dense step.
    """

    layer: str
    rate: float
    zeros: float
    inputs: float
    word_lines: float
    dense: float
    products: int


@final
@dataclass(frozen=True)
class StepAccuracy:
    """Accuracy after a number of steps, by different rules; see `StepAnswers`.

    Args:
        steps: number of steps.
        accuracy: accuracy of the rule `lowest`.
        low: lower end of its 95 % interval over images.
        high: upper end of the interval.
        residual: accuracy of the rule `residual`.
        later: accuracy of the rule `later`; None after one step.
        ties: fraction of images for which two classes or more have the largest count.
    """

    steps: int
    accuracy: float
    low: float
    high: float
    residual: float
    later: float | None
    ties: float


@final
@dataclass(frozen=True)
class Firing:
    """Spike statistics of a spiking network on the images of a task.

    Args:
        model: name of the network.
        images: number of images.
        steps: number of time steps.
        layers: statistics per layer.
        accuracy: after 1, 2, 4, … steps.
    """

    model: str
    images: int
    steps: int
    layers: tuple[LayerFiring, ...]
    accuracy: tuple[StepAccuracy, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, for JSON."""
        return asdict(self)


@checked
def measure_firing(model: str, task: dict[str, Any], progress: Progress | None = None) -> Firing:
    """Measure firing rates, word lines and accuracies of a spiking network on a classification task, digitally.

    Args:
        model: name or path of a spiking network.
        task: a classification task; task.steps None: the steps of the model's card.
        progress: called after every batch with (images done, total).

    Returns:
        The statistics.

    Raises:
        InputError: another kind of task or network, or a task whose outputs do not all compete.
    """
    import torch

    from imc_sim.evaluate._checks import check_images
    from imc_sim.evaluate._classification import configured
    from imc_sim.evaluate._labelled import ClassificationData
    from imc_sim.evaluate._session import Session
    from imc_sim.nn.networks import BitNet, answers_by_step, firing_rates, word_line_activations

    spec = build_task(task, "task")
    if not isinstance(spec, ClassificationTask):
        raise InputError("task.kind", repr(spec.kind), "classification", "Set kind=classification.")
    spec = Session.on("cpu").sized(spec, model)
    network = configured(Session.on("cpu").model(model), spec)
    if not isinstance(network, BitNet) or network.activation != "spikes":
        got = getattr(network, "activation", type(network).__name__)
        raise InputError("model", f"{model} ({got})", "a spiking network", "Name one of architecture bitnet.")
    if spec.outputs != "all":
        raise InputError("task.outputs", repr(spec.outputs), "all", "Leave it out: answers of every step are counted.")
    check_images(model, task)
    data = ClassificationData.load(spec)
    rates, lines, right, done = [], [], [], 0
    for start, images in data.batches(spec.batch):
        labels = data.labels[start : start + len(images)]
        share, done = len(images) / len(data.rows), done + len(images)
        rates.append((share, firing_rates(network, images)))
        lines.append((share, word_line_activations(network, images)))
        answers = answers_by_step(network, images)
        hits = [each == labels for each in (answers.lowest, answers.residual, answers.later)]
        right.append(torch.stack([*hits, answers.tied]))
        if progress is not None:
            progress(done, len(data.rows))
    layers = _layers(network, rates, lines)
    return Firing(model, done, network.steps, layers, _accuracies(torch.cat(right, -1).double()))


def _layers(
    network: BitNet, rates: list[tuple[float, list[FiringRate]]], lines: list[tuple[float, dict[str, float]]]
) -> tuple[LayerFiring, ...]:
    """Return means over batches, weighted by their share of the images."""
    from imc_sim.nn.networks import dense_word_lines, products_per_step

    dense, products, found = dense_word_lines(network), products_per_step(network), []
    for number, name in enumerate(dense):
        rate, zeros, inputs = (
            sum(share * getattr(rows[number], what) for share, rows in rates)
            for what in ("rate", "zeros", "active_inputs")
        )
        driven = sum(share * each[name] for share, each in lines)
        found.append(LayerFiring(name, rate, zeros, inputs, driven, dense[name], products[name]))
    return tuple(found)


def _accuracies(right: Any) -> tuple[StepAccuracy, ...]:
    """Return rows at 1, 2, 4, … steps and at the last; right: [rule, steps, images]."""
    steps = right.shape[1]
    asked_for = sorted({2**k for k in range(steps.bit_length()) if 2**k <= steps} | {steps})
    rows = []
    for count in asked_for:
        lowest, residual, later, ties = (float(each.mean()) for each in right[:, count - 1])
        sample = Sample.over("images", right[0, count - 1].numpy())
        low, high = (0.0, 1.0) if sample is None else sample.interval(lowest)
        rows.append(StepAccuracy(count, lowest, low, high, residual, later if count > 1 else None, ties))
    return tuple(rows)
