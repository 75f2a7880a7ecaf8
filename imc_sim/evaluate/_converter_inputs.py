"""Histograms of the ADC inputs of every layer, with the levels of the ADCs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from imc_sim._arguments import checked
from imc_sim._errors import InputError, check_whole
from imc_sim.array import Chip, Crossbar, load_chip
from imc_sim.evaluate._calibration import calibration_keys, programmed
from imc_sim.evaluate._episodes import FewShotData, features_of
from imc_sim.evaluate._memory_keys import KeyMaker, Keys
from imc_sim.evaluate._read_out import memory_of
from imc_sim.evaluate._sampled_chips import SampledChips
from imc_sim.evaluate._session import Session
from imc_sim.evaluate._tasks import FewShotTask, build_task, few_shot

if TYPE_CHECKING:
    from imc_sim.analog import AnalogLayer, AnalogModel

#: the ADC that replaces ideal ones, which have inputs but no levels
_PROBE = {"kind": "auto", "bits": 16, "range": "max"}
_BINS = 80


@final
@dataclass(frozen=True)
class Levels:
    """The levels of an ADC: first_A + k step_A for k = 0 … count - 1."""

    first_A: float
    step_A: float
    count: int

    @property
    def last_A(self) -> float:
        return self.first_A + (self.count - 1) * self.step_A


@final
@dataclass(frozen=True)
class ConverterInputs:
    """Histogram of the ADC inputs of one layer over images, tiles, columns and passes, on one chip.

    Args:
        layer: name of the layer.
        edges_A: [bins + 1]; the first and the last are the extremes.
        counts: [bins].
        levels: levels of the first row of tiles; None for ideal ADCs.
        clipped: fraction of inputs more than half a step beyond the levels of their ADC.
    """

    layer: str
    edges_A: NDArray[np.float64]
    counts: NDArray[np.int64]
    levels: Levels | None
    clipped: float


@checked
@torch.no_grad()
def converter_inputs(
    model: str, chip: Chip | str | dict[str, Any], task: dict[str, Any], number: int = 0, seed: int = 0
) -> list[ConverterInputs]:
    """Compute histograms for every layer on crossbars, the memory last, over the images of the first episode of a task.

    Currents include device variation, IR drop and read noise of the chip. ADCs are calibrated as in an evaluation.

    Args:
        model: name or path of a model.
        chip: chip description.
        task: few-shot task as plain data.
        number: number of the chip.
        seed: seed of the chip.

    Returns:
        A histogram per layer.

    Raises:
        InputError: no layer runs on crossbars, or the backend is not the native one.
    """
    check_whole(number, "converter_inputs, number")
    session, spec = Session.on("cpu"), load_chip(chip)
    few = session.sized(few_shot(build_task(task, "task"), "the inputs of ADCs"), model)
    if not spec.engine.native:
        step = "Use the chip with engine: native."
        raise InputError("chip.engine", spec.engine.kind, "native, whose currents are known", step)
    if spec.converter.of_outputs:
        step = "Take range max or calibrated."
        raise InputError("chip.converter.range", "'unit', of outputs", "max or calibrated, ranges of columns", step)
    data, one = session.episodes(few), SampledChips(spec, range(number, number + 1), seed)
    analog, _ = programmed(session, model, session.model(model), few, one)
    found = _of_layers(analog, data.images[_images(data, 1)], spec)
    if one.searches:
        found.append(_of_memory(analog, few, data, one, calibration_keys(session, model, spec, few)))
    if not found:
        raise InputError("chip.policy", "nothing on crossbars", "one layer at least, or the memory", "Map one.")
    return found


def _images(data: FewShotData, episodes: int) -> Tensor:
    """Return the rows of the distinct images of the first episodes."""
    both = np.concatenate([data.support[:episodes].ravel(), data.query[:episodes].ravel()])
    return torch.from_numpy(np.unique(both))


def _probing(chip: Chip) -> Chip:
    return chip.replace("converter", _PROBE) if chip.converter.is_ideal else chip


def _of_layers(analog: AnalogModel, images: Tensor, chip: Chip) -> list[ConverterInputs]:
    """Return the histograms of the layers on crossbars, in the order in which the images pass them."""
    found: list[ConverterInputs] = []

    def record(layer: AnalogLayer, inputs: tuple[Tensor, ...]) -> None:
        """Count the ADC inputs of a layer before it computes."""
        crossbar = layer.crossbar
        if chip.converter.is_ideal:  # sums of tiles may be merged without ADCs: program the same cells tile by tile
            crossbar = layer._programmed(_probing(chip), layer.crossbar.chips)
            if layer.input_limit is not None:
                crossbar.set_input_limit(layer.input_limit)
        operand = crossbar.lines.voltages(layer.operand(inputs[0]))
        running = layer.context.running
        probe = _Probe(crossbar, len(operand), 0 if running is None else running.first_read, chip.converter.is_ideal)
        probe.profile(layer.tile_inputs(operand))
        found.append(probe.result(layer.name))

    hooks = [layer.register_forward_pre_hook(record) for layer in analog.analog_layers.values()]
    try:
        analog(images)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _of_memory(
    analog: AnalogModel, task: FewShotTask, data: FewShotData, one: SampledChips, calibration: Keys | None
) -> ConverterInputs:
    """Return the ADC inputs of the memory when the queries of the first episode are searched among its keys."""
    rows = _images(data, 1)
    found = features_of(analog, data.images[rows], task.batch)[0]
    features = found.new_zeros(len(data.images), found.shape[-1])
    features[rows] = found
    maker = KeyMaker(features, task, data.support, data.query)
    memory = memory_of(maker, dataclasses.replace(one, chip=_probing(one.chip)), calibration)
    keys, applied = maker.one(0)
    memory.write(keys, maker.labels, epoch=0)
    crossbar = memory._crossbars[0]
    queries = crossbar.lines.voltages(applied)
    probe = _Probe(crossbar, len(queries), 0, one.chip.converter.is_ideal)
    probe.profile(lambda part: queries[:, part])
    return probe.result("memory")


class _Probe:
    """Profile the ADCs of a crossbar: receive every tile's inputs and count what is converted."""

    def __init__(self, crossbar: Crossbar, reads: int, first_read: int, ideal: bool) -> None:
        self.readout, self.reads, self.first_read, self.ideal = crossbar.tiled, reads, first_read, ideal
        plan, device = crossbar.plan, crossbar.chip.device
        self.unit_A = device.read.v_read_V * device.window_S / plan.targets.steps
        self.edges, self.counts, self.clipped = np.zeros(_BINS + 1), np.zeros(_BINS, dtype=np.int64), 0.0

    def profile(self, inputs: Callable[[slice], Tensor]) -> tuple[float, float]:
        """Find the extremes in a first pass, and count between them in a second."""
        low, high = np.inf, -np.inf
        for _, u in self._inputs(inputs):
            low, high = min(low, float(u.min())), max(high, float(u.max()))
        if low == high:  # a histogram needs a width
            low, high = low - 0.5, high + 0.5
        quantisers, outside, total = self.readout.quantisers(), 0, 0
        edges = np.linspace(low, high, _BINS + 1)
        for tile, u in self._inputs(inputs):
            self.counts += np.histogram(u.numpy(), edges)[0]
            q = quantisers[tile]
            inside = (u >= q.base + q.step * (q.lowest - 0.5)) & (u <= q.base + q.step * (q.highest + 0.5))
            outside, total = outside + int((~inside).sum()), total + u.numel()
        self.edges, self.clipped = edges * self.unit_A, outside / total
        return low, high

    def _inputs(self, inputs: Callable[[slice], Tensor]) -> Iterator[tuple[int, Tensor]]:
        """Yield (row of tiles, inputs of its ADCs in windows / steps), with their read noise."""
        for tile, u in self.readout.converter_inputs(inputs, self.first_read, self.reads):
            yield tile, u.double()

    def result(self, layer: str) -> ConverterInputs:
        q = self.readout.quantisers()[0]
        first, step = (q.base + q.step * q.lowest) * self.unit_A, q.step * self.unit_A
        levels = None if self.ideal else Levels(first, step, q.highest - q.lowest + 1)
        return ConverterInputs(layer, self.edges, self.counts, levels, 0.0 if self.ideal else self.clipped)
