"""Scores of a network by a function of the user, digital and on chips."""

from __future__ import annotations

import contextlib
import functools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from numbers import Real
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn

from imc_sim._errors import ImcSimError, InputError, nearest
from imc_sim.analog import AnalogModel
from imc_sim.array import Chip
from imc_sim.config import FUNCTION, digest, held, is_held, load_function, place_of_error
from imc_sim.evaluate._costs import SAMPLE, Costs
from imc_sim.evaluate._function_task import FunctionTask
from imc_sim.evaluate._global_random import seeded
from imc_sim.evaluate._results import ChipCost, ChipResult
from imc_sim.evaluate._sampled_chips import Calibration, SampledChips
from imc_sim.evaluate._session import Session
from imc_sim.mapping import Probe
from imc_sim.nn import product_layers
from imc_sim.nn.neurons import Draws, draw_neurons, neurons_of
from imc_sim.nn.store import inputs_of
from imc_sim.sites import own_copy

#: inputs on which a network of any modules is mapped
_PROBED = 16
Score = Callable[[nn.Module, int | None], Any]


@final
class OneChip(nn.Module):
    """A network on one chip, called like the network itself.

    Args:
        analog: the network on one chip.
    """

    def __init__(self, analog: AnalogModel) -> None:
        super().__init__()
        self.analog = analog

    def forward(self, *inputs: Any, **named: Any) -> Any:
        return self.analog.on_chip(0, *inputs, **named)

    def train(self, mode: bool = True) -> OneChip:
        """Leave the network in eval mode and return it.

        Args:
            mode: ignored.
        """
        return super().train(False)


def score_network(session: Session, model: str, task: FunctionTask) -> ChipResult:
    """Return the scores of the digital network.

    Args:
        session: session of the device.
        model: name or path of a model.
        task: the task.

    Raises:
        InputError: the function cannot be loaded, raises an error, or returns no finite numbers.
    """
    network = own_copy(session.model(model)).eval()  # a function may change its argument
    draw_neurons(neurons_of(network), Draws(task.seed))
    return _scored(session, task, network, None, time.perf_counter())


def score_chips(
    session: Session, model: str, task: FunctionTask, chips: SampledChips, numbers: Sequence[int]
) -> list[ChipResult]:
    """Return the scores and the cost of each chip.

    Every chip is mapped and read alone, so that its scores depend on no other.

    Args:
        session: session of the device.
        model: name or path of a model.
        task: the task.
        chips: one of the chips.
        numbers: numbers of all of them.

    Raises:
        InputError: as `score_network`, or the chip needs calibration and the task has no inputs.
    """
    results = []
    for number, each in zip(numbers, _alone(session, model, task, chips, numbers), strict=True):
        started, analog, calibration, costs = each
        found = _scored(session, task, OneChip(analog), number, started)
        (cost,) = costs or (None,)
        results.append(replace(found, ranges=calibration.ranges, rows_on=calibration.rows_on, cost=cost))
    return results


def cost_chips(
    session: Session, model: str, task: FunctionTask, chips: SampledChips, numbers: Sequence[int]
) -> list[ChipCost]:
    """Return the cost of an inference on each chip, without calling the function.

    Args:
        session: session of the device.
        model: name or path of a model.
        task: the task.
        chips: one of the chips.
        numbers: numbers of all of them.
    """
    return [cost for *_, costs in _alone(session, model, task, chips, numbers) for cost in costs or ()]


def _alone(
    session: Session, model: str, task: FunctionTask, chips: SampledChips, numbers: Sequence[int]
) -> Iterator[tuple[float, AnalogModel, Calibration, list[ChipCost] | None]]:
    """Yield the start of the work on each chip, the network on it alone, its calibration and its cost."""
    images = calibration_inputs(session, task, chips.chip)
    probe = probe_of(session, model, images)
    for number in numbers:
        started, one = time.perf_counter(), chips.alone(number)
        analog, calibration = one.program(session.model(model), images, probe)
        yield started, analog, calibration, _priced(session, model, analog, images, one)


def _priced(
    session: Session, model: str, analog: AnalogModel, images: Any, chips: SampledChips
) -> list[ChipCost] | None:
    """Return the cost of an inference, on inputs that the task or the card of the network states."""
    costs, inputs = Costs(chips), inputs_of(session.model(model)) if images is None else images
    costs.network(analog, inputs[:SAMPLE] if isinstance(inputs, Tensor) else inputs)
    return costs.each()


def calibration_inputs(session: Session, task: FunctionTask, chip: Chip) -> Any:
    """Return the inputs [batch, …] that the task states for calibration; None where it states none.

    Args:
        session: session of the device.
        task: the task.
        chip: chip description.

    Raises:
        InputError: the chip needs calibration and the task has no inputs, or the inputs are not real numbers.
    """
    if task.inputs is None and chip.calibrates:
        step = f"Write `inputs: {FUNCTION}`, a function that returns training inputs [batch, …]."
        raise InputError("task.inputs", "nothing", f"inputs, on which chip {chip.name!r} is calibrated", step)
    return stated_inputs(session, task)


def stated_inputs(session: Session, task: FunctionTask) -> Any:
    """Return the inputs [batch, …] that the task states, of a sweep also several of them; None where it states none.

    Args:
        session: session of the device.
        task: the task.

    Raises:
        InputError: the inputs are not real numbers.
    """
    if task.inputs is None:
        return None
    if is_held(task.inputs):
        return held(task.inputs).value
    make = functools.partial(_inputs, task.inputs)
    return session.once("inputs", _key(task), make).to(session.device)


def probe_of(session: Session, model: str, images: Any) -> Probe | None:
    """Return the products of a network of any modules; None for a network of `imc_sim.nn` layers.

    Args:
        session: session of the device.
        model: name or path of a model.
        images: inputs that the task states.

    Raises:
        InputError: the network needs inputs, and neither its card nor the task states some.
    """
    network = session.model(model)
    inputs = inputs_of(network)
    if inputs is None and product_layers(network):
        return None
    if inputs is None and images is None:
        step = f"Write `inputs: {FUNCTION}`, a function that returns inputs [batch, …]."
        raise InputError("task.inputs", "nothing", f"inputs for the network of any modules {model!r}", step)
    if inputs is None:
        inputs = images[:_PROBED] if isinstance(images, Tensor) else images
    return session.probe(model, network, inputs)


def _inputs(call: str) -> Tensor:
    """Return the inputs that a function of the user returns."""
    function, file = load_function(call, "task.inputs")
    with _user_errors(file, "task.inputs"):
        found = function()
    if not isinstance(found, Tensor) or not found.is_floating_point() or not found.numel():
        got = f"{found.dtype} {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        step = "Return training inputs as the network takes them."
        raise InputError(f"task.inputs, {call!r}", got, "a tensor of floating-point numbers [batch, …]", step)
    return found


def check_function(session: Session, model: str, task: FunctionTask) -> None:
    """Score the digital network twice, and check that the scores are equal.

    Args:
        session: session of the device.
        model: name or path of a model.
        task: the task.

    Raises:
        InputError: see `score_network`; also if two calls return different scores.
    """
    first, second = (dict(score_network(session, model, task).scores) for _ in range(2))
    if first != second:
        key = next(key for key in first if first[key] != second.get(key))
        step = "Seed its own generators from chip_index; global ones are seeded already."
        got = f"{first[key]!r} and then {second.get(key)!r} for {key!r}"
        raise InputError(f"task.call, {task.call!r}", got, "equal scores of the digital network in two calls", step)


def _scored(session: Session, task: FunctionTask, network: nn.Module, chip: int | None, started: float) -> ChipResult:
    """Call the function and return its scores as the result of a chip."""
    if is_held(task.call):
        function = held(task.call).value
        file = getattr(getattr(function, "__code__", None), "co_filename", "")
    else:
        make = functools.partial(load_function, task.call, "task.call")
        function, file = session.once("function", _key(task), make)
    with seeded(task.seed, chip), torch.no_grad(), _user_errors(file, "task.call"):
        found = function(network, chip)
    return as_result(found, task.metric, f"task.call, {task.call!r}", chip, time.perf_counter() - started)


def as_result(found: Any, metric: str, where: str, chip: int | None, seconds: float) -> ChipResult:
    """Return what a function returned as the result of a chip.

    Args:
        found: a number, or numbers by name.
        metric: name of the number that is shown.
        where: the function, for errors.
        chip: number of the chip; None: the digital network.
        seconds: time that the call took.

    Raises:
        InputError: there is no finite number, or none of that name.
    """
    scores = dict(found) if isinstance(found, Mapping) else {metric: found}
    if metric not in scores:
        names = ", ".join(map(repr, scores)) or "no names"
        step = f"{nearest(metric, map(str, scores))}Set task.metric to one of the names."
        raise InputError(f"{where}, metric", f"no {metric!r} in the scores", names, step)
    values = {str(key): _number(value, f"{where}, score {key!r}") for key, value in scores.items()}
    return ChipResult(-1 if chip is None else chip, 0, 0, seconds, score=values[metric], scores=values)


def _number(value: Any, where: str) -> float:
    if isinstance(value, Tensor | np.ndarray) and math.prod(value.shape) == 1:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        step = "Return a float, or a dictionary of name -> float."
        raise InputError(where, repr(value)[:80], "a finite number", step)
    return float(value)


def _key(task: FunctionTask) -> tuple[str, str]:
    """Return the key under which a session keeps what a function task loads: its file, and all that it depends on."""
    return task.call, digest(task.identity())


@contextlib.contextmanager
def _user_errors(file: str, where: str) -> Iterator[None]:
    """Raise errors of a function of the user as InputError with the line of the user's file."""
    try:
        yield
    except Exception as error:
        line = place_of_error(error, file)
        if isinstance(error, ImcSimError) and not line:
            raise
        step = "Fix the function; the traceback is stored with the trial."
        got = f"{type(error).__name__}: {str(error) or 'without a message'}"
        raise InputError(f"{where}, {file}{line}", got, "a function that returns", step) from error
