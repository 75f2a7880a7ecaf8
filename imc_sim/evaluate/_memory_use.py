"""Estimate the memory of an evaluation from its sizes, before anything of it is allocated."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from imc_sim import mapping
from imc_sim._arguments import checked
from imc_sim._errors import check_whole
from imc_sim.array import Chip, load_chip
from imc_sim.data import load_pool
from imc_sim.evaluate._checks import probed
from imc_sim.evaluate._classification import configured
from imc_sim.evaluate._episodes import FewShotData
from imc_sim.evaluate._identity import network_key
from imc_sim.evaluate._labelled import ClassificationData
from imc_sim.evaluate._session import Session
from imc_sim.evaluate._tasks import ClassificationTask, Counted, FewShotTask, build_task
from imc_sim.nn import product_layers
from imc_sim.nn.neurons import Draws, draw_neurons, neurons_of

#: bytes of compiled code, buffers of threads and freed blocks that the allocator keeps
_OVERHEAD = 250 * 10**6
#: bytes of a weight while cells are programmed: conductances, targets and random numbers of a pair in float64
_PROGRAMMING = 100
#: bytes of a value of the vectors that a layer multiplies with: digital, on crossbars, and real ones on crossbars
_DIGITAL, _WHOLE, _REAL = 1, 2, 8
#: copies of the outputs of all layers in a pass, and in a pass with gradients
_COPIES, _COPIES_OF_GRADIENTS = 3, 8
#: images that ranges are calibrated on, episodes that are searched together, and bytes of the indices of an image
_CALIBRATION, _SEARCHED, _INDEX = 100, 50, 64
_FLOAT = 4


@checked
def memory_use(model: str, chip: dict[str, Any] | None, task: dict[str, Any], chips: int) -> int:
    """Return an upper estimate of the bytes that an evaluation takes next to loaded models and data sets.

    What a function of the user holds is not counted.

    Args:
        model: name or path of a model.
        chip: chip description; None: the digital network.
        task: task as plain data.
        chips: number of chips that are evaluated together.
    """
    check_whole(chips, "memory_use, chips")
    spec, on_chip = build_task(task, "task"), None if chip is None else load_chip(chip)
    cells = 0 if on_chip is None else _cells(*probed(model, task), on_chip, chips)
    if not isinstance(spec, FewShotTask | ClassificationTask):
        return _OVERHEAD + cells
    spec = Session.on("cpu").sized(spec, model)
    image, outputs, digital, analog, width = _sizes(model, spec)
    vectors = analog if cells else digital
    calibrates = on_chip is not None and on_chip.calibrates
    batch = max(spec.batch, _CALIBRATION) if calibrates else spec.batch
    if isinstance(spec, ClassificationTask):
        batch = min(batch, spec.images or batch)
        return _OVERHEAD + cells + batch * (_FLOAT * (image + _COPIES * outputs) + vectors)
    images = _image_count(spec)
    copies = _COPIES if spec.attack is None else _COPIES_OF_GRADIENTS
    passes = min(batch, max(images, _CALIBRATION)) * (_FLOAT * copies * outputs + vectors)
    return _OVERHEAD + cells + passes + _episodes(spec, on_chip, images, image, width, chips)


def _cells(network: nn.Module, inputs: Any, chip: Chip, chips: int) -> int:
    """Return the bytes of the cells of all chips, and of programming the largest layer."""
    held = mapping.bytes_per_chip(network, chip, inputs)
    largest = max((layer.weight.numel() for layer in product_layers(network)), default=held)
    return 2 * chips * held + (_PROGRAMMING * largest if held else 0)


def _episodes(task: FewShotTask, chip: Chip | None, images: int, image: int, width: int, chips: int) -> int:
    """Return the bytes of the images and features of all episodes, and of a search in the memory."""
    shown, keys = task.way * (task.shot + task.queries), task.way * task.shot
    queries, width = task.way * task.queries, task.dim or width
    attacked = task.episodes * queries * image * _COPIES if task.attack is not None else 0
    held = _FLOAT * (2 * images * image + attacked) + task.episodes * shown * _INDEX
    features = 2 * _FLOAT * images * width * (chips + 1)
    if chip is None or chip.policy.place("memory", "memory") != "crossbar":
        together = min(task.episodes, _SEARCHED)
        return held + features + _FLOAT * together * (queries * (2 * keys + task.way) + 2 * shown * width)
    return held + features + chips * (keys * width * _PROGRAMMING + 4 * _FLOAT * queries * (keys + width))


def _image_count(task: FewShotTask) -> int:
    """Return the largest number of distinct images of all episodes."""
    shown = task.episodes * task.way * (task.shot + task.queries)
    if task.passes == "episodes":
        return shown
    pool = load_pool(task.dataset, task.split, task.size).images.shape
    classes, instances = task.classes or pool[0], task.instances or pool[1]
    return min(shown, classes * instances * (4 if task.rotations else 1))


def _sizes(model: str, task: Counted) -> tuple[int, ...]:
    """Return for one image: values of the image and of the outputs of all layers, bytes of the vectors of the largest
    layer, digital and on crossbars, and values of the output.
    """
    session = Session.on("cpu")
    network = session.model(model)
    if isinstance(task, ClassificationTask):
        network, images = configured(network, task), ClassificationData.load(task).images(0, 2)
    else:
        images = FewShotData.load(task.model_copy(update={"episodes": 1})).images[:2]
    return session.once("sizes", (network_key(model), task), lambda: _measured(network, images, task.seed))


@torch.no_grad()
def _measured(network: nn.Module, images: Tensor, seed: int) -> tuple[int, ...]:
    """Return the numbers of `_sizes` from a pass."""
    outputs, vectors = dict[nn.Module, int](), [(0, 0)]

    def see(layer: nn.Module, given: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            outputs[layer] = output.numel()
            weight = getattr(layer, "weight", None)
            if isinstance(weight, Tensor) and weight.ndim > 1:
                count = output.numel() // weight.shape[0] * math.prod(weight.shape[1:])
                each = _WHOLE if getattr(layer, "exact_operands", False) else _REAL
                vectors.append((count * _DIGITAL, count * each))

    leaves = [module for module in network.modules() if next(module.children(), None) is None]
    handles = [leaf.register_forward_hook(see) for leaf in leaves]
    try:
        draw_neurons(neurons_of(network), Draws(seed=seed))
        width = network(images).numel()
    finally:
        for handle in handles:
            handle.remove()
    digital, analog = (max(each) for each in zip(*vectors, strict=True))
    each = (images.numel(), sum(outputs.values()), digital, analog, width)
    return tuple(-(-count // len(images)) for count in each)
