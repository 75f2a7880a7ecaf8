"""Recorded results of key memories, of small networks on chips, and of the keys and data that calibrate them."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch
from torch import nn

import imc_sim as imc
from imc_sim.analog import AnalogModel, AssociativeMemory
from imc_sim.analog._gradient import straight_through
from imc_sim.analog._patches import output_sizes, patches
from imc_sim.evaluate import FewShotData, FewShotTask
from imc_sim.evaluate._calibration import calibration_task
from imc_sim.evaluate._memory_keys import KeyMaker, centred_forms, minus_squared_distance, projected
from imc_sim.evaluate._read_out import crossbar_answers, digital_answers
from imc_sim.evaluate._sampled_chips import SampledChips
from imc_sim.nn import BinaryActivation, Conv2d, ConvBlock, Linear, Norm
from tests.recorded.cases_array import AGED, ALL_NOISE, AUTO, CELLS, LINES, NOISE, chip, numbers
from tests.recorded.short import short

CALIBRATED = AUTO | {"range": "calibrated", "bits": 4}
CHIPS: dict[str, dict[str, Any]] = {
    "cells": {},
    "noise, ADC": {"device": CELLS | {"read": ALL_NOISE}, "converter": AUTO},
    "calibrated": {"converter": CALIBRATED, "inputs": {"kind": "levels", "bits": 5}, "device": CELLS | {"levels": 8}},
    "aged": {"device": CELLS | {"time": AGED, "verify": {"tolerance": 0.05, "max_pulses": 3}},
             "encoding": {"kind": "offset"}},
    "wires": {"wires": LINES, "encoding": {"kind": "bnn_i"}, "converter": CALIBRATED},
}  # fmt: skip


def record_memory() -> dict[str, Any]:
    found: dict[str, Any] = {}
    keys, queries = numbers(1, 6, 29), numbers(2, 5, 29) * 1.5
    labels = torch.tensor([2, 0, 1, 1, 3, 0])
    each = torch.stack([keys, -keys.flip(1)])
    for (name, settings), form in itertools.product(CHIPS.items(), ("bipolar", "binary", "float")):
        if name == "wires" and form != "bipolar":
            continue
        memory = AssociativeMemory(chip(**settings), 29, range(1, 3), 3, form, "keys")
        memory.calibrate(keys * 0.9 + 0.1, queries[:4])
        memory.write(keys, labels)
        first = [memory.similarity(queries), memory.search(queries[:3])]
        memory.skip_reads(2)
        rows = memory.driven_rows
        ranges = [memory.limits, memory.input_limit, None if rows is None else rows.shares]
        memory.write(each, labels.flip(0), epoch=5)
        found[f"{name}, {form}"] = [
            first, ranges, memory.search(torch.stack([queries, queries.flip(0)])), memory.write_pulses(),
        ]  # fmt: skip
    return short(found)


class Small(nn.Module):
    """A network of every kind of product layer."""

    def __init__(self) -> None:
        super().__init__()
        norm = Norm(6)
        self.block = ConvBlock(Conv2d(2, 6, 3, "xnor", padding=1), norm, 2, BinaryActivation())
        self.second = Conv2d(6, 5, 2, "int8", stride=2)
        self.third = Linear(5 * 2 * 1, 7, "sign", bias=False)
        self.last = Linear(7, 3, "float")
        for k, parameter in enumerate(self.parameters()):
            parameter.data = numbers(20 + k, *parameter.shape) * 0.5 + 0.1
        norm.running_mean.copy_(numbers(40, 6))
        norm.running_var.copy_(numbers(41, 6).square() + 0.5)
        for layer in (self.third,):
            layer.constrain()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.second(self.block(x)).flatten(1)
        return self.last(self.third(torch.where(h > 0, 1.0, -1.0)))


def network() -> Small:
    torch.manual_seed(0)
    return Small().eval()


MAPPED: dict[str, dict[str, Any]] = {
    "cells": {"policy": {"float": "digital", "int8": "crossbar"}, "encoding_multibit": {"kind": "differential"}},
    "all on crossbars": {"policy": {"float": "crossbar", "int8": "crossbar"}, "encoding_multibit": {"kind": "offset"},
                         "device": CELLS | {"levels": 16, "read": NOISE}, "inputs": {"kind": "levels", "bits": 6},
                         "converter": CALIBRATED},
    "one layer digital": {"policy": {"float": "digital", "int8": "digital", "layers": {"thi*": "digital"}},
                          "device": CELLS | {"time": AGED}, "converter": AUTO},
    "outputs": {"converter": {"kind": "auto", "bits": 4, "range": "unit"}, "tile": {"rows": 64, "cols": 64},
                "policy": {"float": "digital", "memory": "digital"}},
    "sampled": {"policy": {"float": "digital"}, "neurons": "comparator", "device": CELLS | {"read": ALL_NOISE}},
}  # fmt: skip


def everything(analog: AnalogModel, x: torch.Tensor) -> dict[str, Any]:
    """Return what a mapped network measures, holds, reports and computes."""
    limits = analog.calibrate(x[:4] * 0.8) if analog.report.chip.calibrates else {}
    found: dict[str, Any] = {"output": [analog(x), analog(x)], "limits": limits, "rows on": analog.rows_on}
    analog.batch = 2
    found["parts"] = analog(x)
    found["one chip"] = analog.on_chip(1, x)
    images = x.clone().requires_grad_()
    straight_through(analog, images, 1).square().sum().backward()
    found["gradient"] = images.grad
    found["layers"] = {
        name: [layer.input_limit, layer.exact_operands, layer.crossbar.conductance, list(layer.crossbar.shape)]
        for name, layer in analog.analog_layers.items()
    }
    found["report"] = [[list(vars(row).values())[:3] for row in analog.report.layers]]
    return found


def record_networks() -> dict[str, Any]:
    x = numbers(7, 5, 2, 8, 4)
    found: dict[str, Any] = {"digital": network()(x).detach()}
    for name, settings in MAPPED.items():
        model = network()
        if name == "sampled":
            model.block.act = BinaryActivation(stochastic=True)
        found[name] = everything(imc.map_model(model, chip(**settings), range(1, 4), 8, memory_limit_bytes=9000), x)
    return {name: short(_texts(each)) for name, each in found.items()}


def _texts(value: Any) -> Any:
    """Return a result whose unusual objects are their text."""
    if isinstance(value, dict):
        return {k: _texts(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_texts(v) for v in value]
    return value if value is None or isinstance(value, torch.Tensor | np.ndarray | int | float | str) else str(value)


def record_patches() -> dict[str, Any]:
    x, found = numbers(3, 2, 3, 7, 6), {}
    for padding, stride, dilation in ((0, 1, 1), ((1, 2), (2, 1), 1), ("same", 1, (2, 1)), ("valid", 2, 1)):
        settings = {"padding": padding, "stride": stride, "dilation": dilation}
        found[f"{padding}, {stride}, {dilation}"] = [*patches(x, (3, 2), settings), output_sizes(x, (3, 2), settings)]
    return short(found)


def _task(**settings: Any) -> FewShotTask:
    plain = {"way": 4, "shot": 3, "queries": 2, "episodes": 7, "rotations": False, "dataset": "omniglot"}
    return FewShotTask.model_validate(plain | settings)


def record_keys() -> dict[str, Any]:
    """Keys, queries and answers by each setting of the read-out, digital and on crossbars."""
    index = np.random.Generator(np.random.Philox(3)).permuted(np.tile(np.arange(50), (7, 1)), axis=1)
    index = index[:, :20].reshape(7, 4, 5)
    data = FewShotData(torch.zeros(50, 1, 1, 1), index[..., :3], index[..., 3:])
    features, found = numbers(4, 50, 21) + 0.6, {}
    settings = {
        f"{keys}, {prototypes}, {threshold}, {dim}": {
            "keys": keys, "prototypes": prototypes, "threshold": threshold, "dim": dim
        }
        for keys, prototypes, threshold, dim in itertools.product(
            ("bipolar", "binary", "float"), ("none", "mean", "majority"), ("zero", "support_mean"), (None, 13)
        )
        if (keys, prototypes) != ("float", "majority")
    }  # fmt: skip
    for similarity, sharpening in itertools.product(
        ("cosine", "dot", "l2"), ("softabs", "softabs_exp", "softmax", "none")
    ):
        if similarity != "l2" or not sharpening.startswith("softabs"):
            settings[f"{similarity}, {sharpening}"] = {"similarity": similarity, "sharpening": sharpening}
    for name, each in settings.items():
        task = _task(**each)
        maker = KeyMaker(features, task, data.support, data.query)
        found[name] = [*maker.one(2), *maker.all(), maker.labels, digital_answers(features, task, data)]
        if "cosine" not in name and "l2" not in name and "dot" not in name and "support" in name:
            chips = SampledChips(chip(converter=CALIBRATED), range(2), 5)
            answers, ranges = crossbar_answers(features, task, data, chips, maker.all())
            found[name] += [answers, list(ranges.ranges.values())]
    found["projected"] = [projected(features, 5, 3), centred_forms(features, _task(threshold="support_mean", dim=9))]
    found["distance"] = minus_squared_distance(numbers(5, 3, 4), numbers(6, 5, 4))
    return short(found)


def record_calibration_tasks() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for way, shot, queries, prototypes in itertools.product((5, 20, 150), (1, 5), (1, 4), ("none", "mean")):
        task = calibration_task(_task(way=way, shot=shot, queries=queries, prototypes=prototypes, seed=3, classes=200))
        found[f"{way} way, {shot} shot, {queries} queries, {prototypes}"] = [
            task.episodes, task.seed, task.split, task.classes, task.way, task.shot
        ]  # fmt: skip
    return found
