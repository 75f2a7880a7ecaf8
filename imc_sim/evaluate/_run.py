"""Evaluation by name, as called by a study's worker: it receives specifications, not models."""

from __future__ import annotations

import contextlib
import functools
import importlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar

from imc_sim._arguments import checked
from imc_sim._errors import InputError, check_whole, shown_value
from imc_sim._rng import check_seed
from imc_sim.config import Engine, as_engine
from imc_sim.evaluate._device import prepare_device
from imc_sim.evaluate._function_task import FunctionTask
from imc_sim.evaluate._results import ChipCost, ChipResult
from imc_sim.evaluate._tasks import Counted, FewShotTask, build_task, counted

if TYPE_CHECKING:
    from imc_sim.evaluate._accuracy import Accuracy
    from imc_sim.evaluate._sampled_chips import Evaluated, SampledChips
    from imc_sim.evaluate._session import Session

#: chips whose features are in memory together
_CHIPS = 8
#: largest number of a chip
_MOST_CHIPS = 2**62
#: kind of task -> module that evaluates it, which needs torch
_EVALUATIONS = {"few_shot": "_few_shot", "classification": "_classification"}

P = ParamSpec("P")
R = TypeVar("R")
EngineLike = Engine | str | dict[str, Any]


class Evaluation(Protocol):
    """The module that evaluates one kind of task."""

    def digital(self, session: Session, model: str, task: Any) -> Accuracy:
        """Return the accuracy of the digital network."""
        ...

    def on_chips(self, session: Session, model: str, task: Any, chips: SampledChips) -> Evaluated:
        """Return the accuracy on each chip, and the calibration of its layers."""
        ...


def with_gradients(evaluate: Callable[P, R]) -> Callable[P, R]:
    """Run `evaluate` outside torch's inference mode: attacks need gradients."""

    @functools.wraps(evaluate)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        import torch

        with torch.inference_mode(False):
            return evaluate(*args, **kwargs)

    return run


@checked
@with_gradients
def evaluate_chips(
    model: str, chip: dict[str, Any] | None, task: dict[str, Any], chips: Sequence[int], seed: int,
    engine: EngineLike | None = None, device: str = "cpu", conductances: str | None = None,
) -> list[ChipResult]:  # fmt: skip
    """Return the result of a model on each of these chips, in their order: right answers, or scores of a function.

    The result of a chip depends on its number and the seed, not on which others are evaluated.

    Args:
        model: name or path of a model.
        chip: chip description; None: the digital baseline.
        task: task as plain data.
        chips: numbers of the chips.
        seed: seed of the chips.
        engine: backend that computes the products of crossbars; None: that of the chip.
        device: `cpu` or `cuda`; cells and noise are equal on both.
        conductances: .npz file of measured conductances, indexed by the numbers of the chips; None: simulated cells.
    """
    started = time.perf_counter()
    check_seed(seed, "evaluate")
    prepare_device(device)
    what = build_task(task, "task")
    if isinstance(what, FunctionTask):
        return _scored(model, chip, what, _listed(chips), seed, engine, device, conductances)
    if chip is None:
        a, seconds = _digital(_session(device), model, what), time.perf_counter() - started
        return [ChipResult(-1, a.correct, a.total, seconds, {}, a.sample, a.loss)]
    accuracies, found, costs = _on_chips(model, chip, what, _listed(chips), seed, engine, device, conductances)
    seconds = (time.perf_counter() - started) / len(accuracies)
    return [
        ChipResult(number, a.correct, a.total, seconds, found.ranges, None, a.loss, found.rows_on, cost=cost)
        for number, a, cost in zip(chips, accuracies, costs or [None] * len(accuracies), strict=True)
    ]


@checked
def chip_costs(
    model: str, chip: dict[str, Any], task: dict[str, Any], chips: Sequence[int], seed: int,
    engine: EngineLike | None = None, device: str = "cpu", conductances: str | None = None,
) -> list[ChipCost]:  # fmt: skip
    """Return what an inference takes on each of these chips, without measuring their accuracy.

    Only the images and the episode that costs are counted on are evaluated; a user's function is not called.

    Args:
        model: name or path of a model.
        chip: chip description, with a cost.
        task: task as plain data.
        chips: numbers of the chips.
        seed: seed of the chips.
        engine: backend that computes the products of crossbars; None: that of the chip.
        device: `cpu` or `cuda`.
        conductances: .npz file of measured conductances, indexed by the numbers of the chips; None: simulated cells.
    """
    from imc_sim.array import load_chip
    from imc_sim.evaluate._costs import sampled_task
    from imc_sim.evaluate._sampled_chips import SampledChips
    from imc_sim.evaluate._scoring import cost_chips

    what = build_task(task, "task")
    if not isinstance(what, FunctionTask):
        found = evaluate_chips(model, chip, sampled_task(what), chips, seed, engine, device, conductances)
        return [result.cost for result in found if result.cost is not None]
    numbers = _listed(chips)
    _check_numbers(numbers)
    check_seed(seed, "evaluate")
    prepare_device(device)
    used = None if engine is None else as_engine(engine)
    sampled = SampledChips(load_chip(chip), range(numbers[0], numbers[0] + 1), seed, used, conductances)
    return cost_chips(_session(device), model, what, sampled, numbers)


@checked
@with_gradients
def digital_accuracy(model: str, task: dict[str, Any], device: str = "cpu") -> Accuracy:
    """Return the accuracy of the digital network; few-shot tasks use a digital memory.

    Args:
        model: name or path of a model.
        task: task as plain data.
        device: `cpu` or `cuda`.
    """
    return _digital(_session(device), model, counted(build_task(task, "task"), "an accuracy"))


def _digital(session: Session, model: str, task: Counted) -> Accuracy:
    """Return the accuracy of the digital network."""
    task = session.sized(task, model)
    with _images_named(model, task):
        return _evaluation(task).digital(session, model, task)


def _on_chips(
    model: str, chip: dict[str, Any], task: Counted, numbers: list[int], seed: int, engine: EngineLike | None,
    device: str, conductances: str | None,
) -> Evaluated:  # fmt: skip
    """Return the accuracies of these chips, evaluated in runs of successive numbers, their calibration and costs."""
    from imc_sim.array import load_chip
    from imc_sim.evaluate._sampled_chips import Calibration, SampledChips

    _check_numbers(numbers)
    session, spec = _session(device), load_chip(chip)
    task = session.sized(task, model)
    used, accuracies, calibration = None if engine is None else as_engine(engine), [], Calibration()
    costs: list[ChipCost] = []
    for run in _runs(numbers, 1 if _attacks_chips(task) else _CHIPS):
        sampled = SampledChips(spec, run, seed, used, conductances)
        with _images_named(model, task):
            found, calibration, priced = _evaluation(task).on_chips(session, model, task, sampled)
        accuracies += found
        costs += priced or []
    return accuracies, calibration, costs or None


def _scored(
    model: str, chip: dict[str, Any] | None, task: FunctionTask, numbers: list[int], seed: int,
    engine: EngineLike | None, device: str, conductances: str | None,
) -> list[ChipResult]:  # fmt: skip
    """Return the scores of the digital network, or of each of these chips, by a function of the user."""
    from imc_sim.array import load_chip
    from imc_sim.evaluate._sampled_chips import SampledChips
    from imc_sim.evaluate._scoring import score_chips, score_network

    if chip is None:
        return [score_network(_session(device), model, task)]
    _check_numbers(numbers)
    used = None if engine is None else as_engine(engine)
    sampled = SampledChips(load_chip(chip), range(numbers[0], numbers[0] + 1), seed, used, conductances)
    return score_chips(_session(device), model, task, sampled, numbers)


def _listed(chips: Sequence[int]) -> list[int]:
    """Return the numbers of chips."""
    if isinstance(chips, str) or not isinstance(chips, Iterable):
        raise InputError("evaluate, chips", shown_value(chips), "numbers of chips, such as [0, 1]", "Set the chips.")
    return list(chips)


def _check_numbers(numbers: list[int]) -> None:
    """Raise InputError unless there are numbers of chips."""
    if not numbers:
        raise InputError("evaluate, chips", numbers, "1 or more numbers of 0 or more", "Set the chips.")
    for number in numbers:
        check_whole(number, "evaluate, chips", most=_MOST_CHIPS)


@contextlib.contextmanager
def _images_named(model: str, task: Counted) -> Iterator[None]:
    """Replace an error about images that the network does not take by one that names the model and their size."""
    try:
        yield
    except (RuntimeError, InputError):
        from imc_sim.evaluate._checks import check_images

        check_images(model, task.to_dict())
        raise


def _session(device: str) -> Session:
    from imc_sim.evaluate._session import Session

    return Session.on(device)


def _evaluation(task: Counted) -> Evaluation:
    return importlib.import_module(f"imc_sim.evaluate.{_EVALUATIONS[task.kind]}")  # type: ignore[return-value]


def _runs(numbers: list[int], longest: int) -> list[range]:
    """Group chip numbers into runs of successive ones."""
    runs: list[range] = []
    for n in numbers:
        if runs and runs[-1].stop == n and len(runs[-1]) < longest:
            runs[-1] = range(runs[-1].start, n + 1)
        else:
            runs.append(range(n, n + 1))
    return runs


def _attacks_chips(task: Counted) -> bool:
    """Tell whether each chip has its own attacked images."""
    return isinstance(task, FewShotTask) and task.attack is not None and task.attack.made_on_chips
