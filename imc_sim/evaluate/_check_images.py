"""Whether a model takes the images of a task, found before anything runs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from imc_sim._errors import InputError
from imc_sim.evaluate._classify import ClassificationData
from imc_sim.evaluate._few_shot import FewShotData
from imc_sim.evaluate._run import _model, asked, sized
from imc_sim.evaluate._tasks import ClassificationTask, Task, build_task
from imc_sim.nn import Draws, draw_neurons, neurons_of


def check_images(model: str, task: dict[str, Any]) -> None:
    """Pass two images of the task through the model, and raise an InputError if it does not take them."""
    spec = sized(build_task(task, "task"), model)
    network = asked(_model(model), spec) if isinstance(spec, ClassificationTask) else _model(model)
    images = _two_images(spec)
    draw_neurons(neurons_of(network), Draws(seed=spec.seed))
    try:
        with torch.no_grad():
            network(images)
    except (RuntimeError, InputError) as error:
        got = f"images of {' x '.join(map(str, images.shape[1:]))} for model {model!r} ({str(error).splitlines()[0]})"
        size = getattr(_model(model), "size", None)
        allowed = f"{size} pixels a side" if isinstance(size, int) else "the size and channels that the model takes"
        step = "Leave task.size out for the size of the model's card, or choose another data set or model."
        raise InputError("task.size", got, allowed, step) from error


def _two_images(spec: Task) -> Tensor:
    if isinstance(spec, ClassificationTask):
        return ClassificationData.load(spec).images(0, 2)
    return FewShotData.load(spec.model_copy(update={"episodes": 1})).images[:2]
