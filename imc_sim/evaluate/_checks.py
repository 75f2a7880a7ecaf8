"""Checks of models, chips and tasks before an evaluation."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from imc_sim import mapping
from imc_sim._arguments import checked
from imc_sim._errors import InputError, check_whole, reason_of
from imc_sim.analog import check_backend
from imc_sim.array import load_chip
from imc_sim.config import Engine, as_engine
from imc_sim.data import check_labels
from imc_sim.evaluate._calibration import calibration_task, probe_for
from imc_sim.evaluate._classification import configured
from imc_sim.evaluate._episodes import FewShotData
from imc_sim.evaluate._function_task import FunctionTask
from imc_sim.evaluate._labelled import ClassificationData
from imc_sim.evaluate._measured_cells import measured_cells
from imc_sim.evaluate._read_out import check_read_out
from imc_sim.evaluate._scoring import calibration_inputs, check_function, probe_of, stated_inputs
from imc_sim.evaluate._session import Session
from imc_sim.evaluate._tasks import ClassificationTask, FewShotTask, build_task
from imc_sim.evaluate.attacks import Pgd
from imc_sim.mapping import Probe
from imc_sim.nn import Norm
from imc_sim.nn.neurons import Draws, draw_neurons, neurons_of
from imc_sim.nn.store import inputs_of


@checked
def batch_chips(model: str, chip: dict[str, Any], memory_limit_bytes: int, task: dict[str, Any] | None = None) -> int:
    """Return how many chips to evaluate together so that their conductances stay under the limit (at least 1).

    Args:
        model: name or path of a model.
        chip: chip description.
        memory_limit_bytes: limit of the conductances.
        task: task as plain data, for a network of any modules without inputs on its card.
    """
    check_whole(memory_limit_bytes, "batch_chips, memory_limit_bytes", 1)
    network, inputs = probed(model, task)
    return max(1, memory_limit_bytes // max(1, mapping.bytes_per_chip(network, load_chip(chip), inputs)))


def probed(model: str, task: dict[str, Any] | None) -> tuple[nn.Module, Probe | None]:
    """Return the network of a model, and its products if it is one of any modules.

    Args:
        model: name or path of a model.
        task: task as plain data, whose images are taken if the card has no inputs; None: those of the card.

    Returns:
        The network, and the products; None for a network of `imc_sim.nn` layers.
    """
    session = Session.on("cpu")
    network, spec = session.model(model), None if task is None else build_task(task, "task")
    if isinstance(spec, FunctionTask):
        return network, probe_of(session, model, stated_inputs(session, spec))
    if isinstance(spec, FewShotTask | ClassificationTask):
        return network, probe_for(session, model, network, session.sized(spec, model))
    return network, session.probe(model, network, inputs_of(network))


@checked
def check_mapping(
    model: str, chip: dict[str, Any], engine: Engine | str | dict[str, Any] | None = None,
    task: dict[str, Any] | None = None, conductances: str | None = None,
) -> None:  # fmt: skip
    """Raise the errors that mapping this model onto this chip would raise.

    Args:
        model: name or path of a model.
        chip: chip description.
        engine: backend that computes products; None: that of the chip.
        task: task as plain data, for a network of any modules without inputs on its card.
        conductances: file of measured conductances; None: cells are simulated.

    Raises:
        InputError: the model cannot be mapped, or measured cells do not fit.
    """
    spec, measured = load_chip(chip), measured_cells(conductances)
    network, inputs = probed(model, task)
    backend = spec.engine if engine is None else as_engine(engine)
    if measured is not None and not backend.native:
        step = "Set engine: native."
        raise InputError("conductances", f"the backend {backend.kind}", "the native backend", step)
    chip_cells = spec.without_effects()
    if spec.device.programming.by_position:
        chip_cells = chip_cells.replace("device.programming", spec.device.programming.to_dict())
    ideal = mapping.map_model(
        network, chip_cells, engine="native", inputs=inputs, conductances=measured
    )  # fmt: skip
    check_backend(backend, spec, ideal.analog_layers.values())
    if task is not None:
        of_task = isinstance(build_task(task, "task"), FewShotTask)
        mapping.check_on_chip(ideal.report, of_task and spec.policy.memory == "crossbar")


def acting_settings(model: str, chip: dict[str, Any], task: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of the chip that change the answers of this model in this task.

    Args:
        model: name or path of a model.
        chip: chip description.
        task: task as plain data.
    """
    spec = build_task(task, "task")
    keys = spec.read_out.keys if isinstance(spec, FewShotTask) else None
    network, inputs = probed(model, task)
    return mapping.acting_settings(network, load_chip(chip), keys, inputs)


def idle_in_task(model: str, calibrates: bool, task: dict[str, Any]) -> frozenset[str]:
    """Return the paths of settings of the task that change no answer of this model.

    The batch acts on norms with statistics of the batch. The seed of a whole split acts on stochastic neurons and on
    calibration.

    Args:
        model: name or path of a model.
        calibrates: whether chips are calibrated on training data.
        task: task as plain data.
    """
    spec, network = build_task(task, "task"), Session.on("cpu").model(model)
    if isinstance(spec, FunctionTask):
        return frozenset()
    seeded, attack = True, None
    if isinstance(spec, ClassificationTask):
        network, joined = configured(network, spec), False
        seeded = spec.images is not None or calibrates or next(iter(neurons_of(network)), None) is not None
    else:
        joined, attack = calibrates and spec.passes == "episodes", spec.attack
    joined |= any(_joins_images(module) for module in network.modules())
    acts = {"batch": joined, "seed": seeded, "attack.seed": not isinstance(attack, Pgd) or attack.random_start}
    return frozenset(path for path, there in acts.items() if not there)


def _joins_images(module: nn.Module) -> bool:
    """Tell whether a module normalises by statistics of the batch at inference."""
    if isinstance(module, Norm):
        return module.statistics == "batch"
    return isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None


@checked
def check_task(task: dict[str, Any], chip: dict[str, Any] | None = None) -> None:
    """Raise the errors that this task would raise, for example a missing data set or too few classes for an episode.

    Args:
        task: task as plain data.
        chip: chip description; None: digital only.
    """
    spec = build_task(task, "task")
    if isinstance(spec, FunctionTask):
        if chip is not None:
            calibration_inputs(Session.on("cpu"), spec, load_chip(chip))
        return
    if chip is not None and load_chip(chip).calibrates:
        check_task(calibration_task(spec).to_dict())
    if isinstance(spec, ClassificationTask):
        ClassificationData.load(spec)
        return
    FewShotData.load(spec.model_copy(update={"episodes": 1}))
    if chip is not None:
        check_read_out(spec.read_out, load_chip(chip))


def check_images(model: str, task: dict[str, Any]) -> None:
    """Pass two images of the task through the model, or score it by the function of the task.

    Args:
        model: name or path of a model.
        task: task as plain data.

    Raises:
        InputError: the model does not take the images, or has no output for a label; the function fails.
    """
    session, what = Session.on("cpu"), build_task(task, "task")
    if isinstance(what, FunctionTask):
        check_function(session, model, what)
        return
    spec, network = session.sized(what, model), session.model(model)
    if isinstance(spec, ClassificationTask):
        data = ClassificationData.load(spec)
        network, images, classes = configured(network, spec), data.images(0, 2), len(data.source.class_names)
    else:
        images, classes = FewShotData.load(spec.model_copy(update={"episodes": 1})).images[:2], 0
    draw_neurons(neurons_of(network), Draws(seed=spec.seed))
    try:
        with torch.no_grad():
            outputs = network(images)
    except (RuntimeError, InputError) as error:
        known = isinstance(error, InputError) and error.where == "images"  # it says the same
        reason = "" if known else f" ({reason_of(error)})"
        got = f"images of {' x '.join(map(str, images.shape[1:]))} for model {model!r}{reason}"
        size = getattr(session.model(model), "size", None)
        allowed = f"{size} pixels a side" if isinstance(size, int) else "the size and channels that the model takes"
        step = "Leave task.size out for the size of the model's card, or choose another task.dataset or model."
        raise InputError("task.size", got, allowed, step) from error
    if isinstance(spec, ClassificationTask):
        check_labels(spec, classes, outputs.shape[-1])
