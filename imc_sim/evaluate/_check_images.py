"""Check before anything runs that a model takes the images of a task and has its labels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from imc_sim._errors import InputError
from imc_sim.data import check_labels
from imc_sim.evaluate._classify import ClassificationData
from imc_sim.evaluate._few_shot import FewShotData
from imc_sim.evaluate._run import _model, asked, sized
from imc_sim.evaluate._tasks import ClassificationTask, FewShotTask, build_task
from imc_sim.nn import Draws, draw_neurons, neurons_of


def check_images(model: str, task: dict[str, Any]) -> None:
    """Pass two images of the task through the model; raise InputError if it does not take them or lacks a label."""
    spec = sized(build_task(task, "task"), model)
    if isinstance(spec, ClassificationTask):
        data = ClassificationData.load(spec)
        network, images, classes = asked(_model(model), spec), data.images(0, 2), len(data.source.class_names)
    else:
        network, images, classes = _model(model), _two_images(spec), 0
    draw_neurons(neurons_of(network), Draws(seed=spec.seed))
    try:
        with torch.no_grad():
            outputs = network(images)
    except (RuntimeError, InputError) as error:
        got = f"images of {' x '.join(map(str, images.shape[1:]))} for model {model!r} ({str(error).splitlines()[0]})"
        size = getattr(_model(model), "size", None)
        allowed = f"{size} pixels a side" if isinstance(size, int) else "the size and channels that the model takes"
        step = "Leave task.size out for the size of the model's card, or choose another data set or model."
        raise InputError("task.size", got, allowed, step) from error
    if isinstance(spec, ClassificationTask):
        check_labels(spec, classes, outputs.shape[-1])


def _two_images(spec: FewShotTask) -> Tensor:
    return FewShotData.load(spec.model_copy(update={"episodes": 1})).images[:2]
