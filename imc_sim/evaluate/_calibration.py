"""Data on which DACs and ADCs are calibrated: of the training split, never the images of an evaluation.

Limits depend on the digital network and these data only, so those of a chip do not depend on the other chips of a call.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from torch import Tensor, nn

from imc_sim._errors import InputError
from imc_sim.analog import AnalogModel
from imc_sim.array import Chip
from imc_sim.evaluate._episodes import features_of
from imc_sim.evaluate._identity import features_digest, training_split
from imc_sim.evaluate._labelled import drawn_rows
from imc_sim.evaluate._memory_keys import KeyMaker, Keys
from imc_sim.evaluate._sampled_chips import Calibration, SampledChips
from imc_sim.evaluate._session import Session
from imc_sim.evaluate._tasks import AnyTask, ClassificationTask, FewShotTask
from imc_sim.mapping import Probe
from imc_sim.nn import product_layers
from imc_sim.nn.store import inputs_of

#: images that layers see, and images and episodes (one at least) that give a memory its keys, at most
_IMAGES, _KEY_IMAGES, _EPISODES = 100, 1000, 20
#: images on which a network of any modules is mapped
_PROBED = 16
#: added to the seed of a task, so that a task on the training split is calibrated on other episodes
_OTHER = 1_000_003


def calibration_task(task: AnyTask) -> AnyTask:
    """Return the task whose images ranges are calibrated on."""
    changes: dict[str, Any] = {"split": training_split(task.split), "seed": task.seed + _OTHER}
    if isinstance(task, ClassificationTask):
        return task.model_copy(update=changes | {"images": None})
    episodes = min(_EPISODES, _KEY_IMAGES // (task.way * (task.shot + task.queries)))
    return task.model_copy(
        update=changes | {"episodes": max(1, episodes), "classes": None, "instances": None, "attack": None}
    )


def calibration_images(session: Session, task: FewShotTask | ClassificationTask) -> Tensor:
    """Return the images [b, channels, H, W] that layers are calibrated on.

    Networks with statistics of the batch (passes: episodes) get as many as one of their batches has.
    """
    training = calibration_task(task)
    if isinstance(training, ClassificationTask):
        data = session.images(training)
        rows = drawn_rows(len(data.rows), min(_IMAGES, len(data.rows)), training.seed)
        return dataclasses.replace(data, rows=rows).images(0, _IMAGES)
    images = session.episodes(training).images
    return images[: training.batch if training.passes == "episodes" else _IMAGES]


def probe_for(
    session: Session, model: str, network: nn.Module, task: FewShotTask | ClassificationTask
) -> Probe | None:  # fmt: skip
    """Return the products of a network of any modules on inputs of its card, or on images of calibration data.

    Return None for a network of `imc_sim.nn` layers, which is mapped by its layers.

    Args:
        session: session of the device.
        model: name or path of the model.
        network: its network, as the task uses it.
        task: task whose data the images are of.
    """
    inputs = inputs_of(session.model(model))
    if inputs is None and product_layers(session.model(model)):
        return None
    if session.device != "cpu":
        step = "Leave --device out."
        raise InputError("device", f"{session.device} for a network of any modules", "cpu", step)
    inputs = calibration_images(session, task)[:_PROBED] if inputs is None else inputs
    return session.probe(model, network, inputs)


def programmed(
    session: Session, model: str, network: nn.Module, task: FewShotTask | ClassificationTask, chips: SampledChips
) -> tuple[AnalogModel, Calibration]:
    """Map the network of a model onto chips, calibrated on images of the task's training data where they need that.

    Args:
        session: session of the device.
        model: name or path of the model.
        network: its network, as the task uses it.
        task: the task.
        chips: the chips.
    """
    images = calibration_images(session, task) if chips.chip.calibrates else None
    return chips.program(network, images, probe_for(session, model, network, task))


def calibration_keys(session: Session, model: str, chip: Chip, task: FewShotTask) -> Keys | None:
    """Return keys [n, dim] and queries [m, dim] of the digital network for the ranges of a key memory.

    Return None where the memory of the chip needs no calibration.
    """
    if not (chip.calibrates and chip.engine.native and chip.policy.place("memory", "memory") == "crossbar"):
        return None
    training, read_out = calibration_task(task), task.read_out
    key = features_digest(model), training, read_out
    held: Keys | None = session.kept("calibration keys", key)
    if held is not None:
        return held
    data = session.episodes(training)
    features = features_of(session.model(model), data.images, training.batch)
    return session.keep("calibration keys", key, KeyMaker(features, read_out, data.support, data.query).all())
