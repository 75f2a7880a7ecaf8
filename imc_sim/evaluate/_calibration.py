"""Data that DACs and converters are calibrated on: of the training split, never the images of an evaluation.

Limits are a property of the digital network and of that data, so that a chip's are the same in every company.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, final

from torch import Tensor

from imc_sim.array import Chip
from imc_sim.config import build, canonical_json
from imc_sim.evaluate._few_shot import FewShotData, features_of
from imc_sim.evaluate._identity import training_split
from imc_sim.evaluate._memory_keys import KeyMaker, Keys
from imc_sim.evaluate._tasks import ClassificationTask, FewShotTask

if TYPE_CHECKING:
    from imc_sim.analog import AnalogModel

#: images that layers see, keys that a memory holds, and images behind them, at most (one episode at least)
_IMAGES, _KEYS, _KEY_IMAGES, _EPISODES = 100, 2000, 1000, 20
#: added to the seed of a task, so that a task on the training split itself is calibrated on other draws
_OTHER = 1_000_003


def calibration_task(task: FewShotTask | ClassificationTask) -> FewShotTask | ClassificationTask:
    """Return the task whose images ranges are calibrated on."""
    changes: dict[str, Any] = {"split": training_split(task.split), "seed": task.seed + _OTHER}
    if isinstance(task, ClassificationTask):
        return task.model_copy(update=changes | {"images": None})
    each = 1 if task.prototypes != "none" else task.shot
    episodes = min(_EPISODES, _KEYS // (task.way * each), _KEY_IMAGES // (task.way * (task.shot + task.queries)))
    return task.model_copy(
        update=changes | {"episodes": max(1, episodes), "classes": None, "instances": None, "attack": None}
    )


def calibration_images(task: FewShotTask | ClassificationTask, device: str = "cpu") -> Tensor:
    """Return the images [b, channels, H, W] that layers are calibrated on.

    Networks with statistics of the batch (passes: episodes) see as many as one of their batches has.
    """
    from imc_sim.evaluate._classify import drawn_rows
    from imc_sim.evaluate._run import _data_key, _data_on, _images, _images_key

    asked = calibration_task(task)
    if isinstance(asked, ClassificationTask):
        data = _images(_images_key(asked), device)
        rows = drawn_rows(len(data.rows), min(_IMAGES, len(data.rows)), asked.seed)
        return dataclasses.replace(data, rows=rows).images(0, _IMAGES)
    images = _data_on(_data_key(asked), device).images
    return images[: asked.batch if asked.passes == "episodes" else _IMAGES]


@final
@dataclass(frozen=True)
class Calibration:
    """Properties of layers that were measured on calibration data, by the name of the layer.

    ranges: limits of the converters' inputs, in windows. rows_on: share of the rows that inputs switch on, of every row
    of tiles and every pass.
    """

    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    rows_on: dict[str, list[list[float]]] = field(default_factory=dict)


def calibrate(
    analog: AnalogModel, chip: Chip, task: FewShotTask | ClassificationTask, device: str = "cpu"
) -> Calibration:
    """Calibrate the layers of a network on the training data of a task, where its chip needs that."""
    if not (chip.calibrates and analog.analog_layers):
        return Calibration()
    return Calibration(analog.calibrate(calibration_images(task, device)), analog.rows_on)


def calibration_keys(model: str, chip: Chip, task: FewShotTask, device: str = "cpu") -> Keys | None:
    """Return keys [n, dim] and queries [m, dim] of the digital network for the ranges of a key memory.

    None where the chip's memory needs no calibration.
    """
    if not (chip.calibrates and chip.engine.native and chip.policy.place("memory", "memory") == "crossbar"):
        return None
    asked, read_out = calibration_task(task), task.read_out
    return _keys(model, canonical_json(asked.to_dict()), canonical_json(read_out.to_dict()), device)


@functools.lru_cache(maxsize=4)
def _keys(model: str, asked: str, read_out: str, device: str) -> Keys:
    from imc_sim.evaluate._run import _data_key, _data_on, _model_on

    task = build(FewShotTask, json.loads(asked), "task")
    data: FewShotData = _data_on(_data_key(task), device)
    features = features_of(_model_on(model, device), data, task.batch)
    return KeyMaker(features, build(FewShotTask, json.loads(read_out), "task"), data.support, data.query).all()


#: what is kept of images
OF_DATA = (_keys,)
