"""Run a network on chips, and tally what every layer does."""

from __future__ import annotations

import contextlib
import fnmatch
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast, final

import torch
from torch import Tensor, nn

from imc_sim._errors import InputError
from imc_sim.analog import AnalogLayer, AnalogModel, AssociativeMemory, SharedDigital
from imc_sim.array import Chip, Crossbar, Rows, count_pulses, line_conductance
from imc_sim.cost._actions import Actions, Layout, Programming
from imc_sim.cost._tally import Tally
from imc_sim.mapping import MappingReport
from imc_sim.sites import Arguments


@final
@dataclass(frozen=True)
class Counted:
    """Hold what one layer does for one inference on each chip.

    Attributes:
        layer: name of the layer.
        actions: of each chip.
        siemens: sum of the squares of word-line voltages over the square of the read voltage, times the conductances
            and the pulses, of each chip in S.
        layout: passes and tiles; None for a digital layer.
        programming: of each chip; empty where it was not counted.
    """

    layer: str
    actions: tuple[Actions, ...]
    siemens: tuple[float, ...]
    layout: Layout | None = None
    programming: tuple[Programming, ...] = ()

    @property
    def mean(self) -> Actions:
        """Return the mean of the actions over the chips."""
        counts = zip(*(each.values() for each in self.actions), strict=True)
        return Actions(*(sum(each) / len(each) for each in counts))


@final
@dataclass
class Observer:
    """Tally the inputs of every layer on every chip.

    Attributes:
        chip: the chip.
        programming: whether programming pulses are counted.
        tallies: drives by layer and number of the chip.
        lines: conductance on each word line.
        programmed: what programming takes.
    """

    chip: Chip
    programming: bool
    tallies: dict[str, dict[int, Tally]] = field(default_factory=dict)
    lines: dict[str, dict[int, Tensor]] = field(default_factory=dict)
    programmed: dict[str, dict[int, Programming]] = field(default_factory=dict)
    _ideal: tuple[Crossbar, Tensor] | None = None

    def __call__(self, layer: AnalogLayer, index: int, a: Tensor) -> None:
        """Add the inputs of a product on the chip at a position."""
        self.add(layer.name, layer.crossbar, index, layer.tile_inputs(a), layer.exact_operands)

    def add(self, name: str, crossbar: Crossbar, index: int, inputs: Any, exact: bool) -> None:
        """Add the input vectors of a crossbar's product.

        Args:
            name: name of the layer.
            crossbar: the cells.
            index: position of the chip.
            inputs: the input vectors.
            exact: whether they are -1, 0 and +1.
        """
        number = crossbar.chips[index]
        held = self.tallies.setdefault(name, {})
        if number not in held:
            replicas = {} if self.chip.cost is None else self.chip.cost.replicas
            copies = next((n for glob, n in replicas.items() if fnmatch.fnmatchcase(name, glob)), 1)
            held[number] = Tally.empty(Layout.of(crossbar, self.chip, exact, copies))
            self.lines.setdefault(name, {})[number] = self._sums(crossbar, index)
            if self.programming:
                self.programmed.setdefault(name, {})[number] = programming(crossbar, index)
        held[number].add(crossbar, inputs, exact)

    def _sums(self, crossbar: Crossbar, index: int) -> Tensor:
        """Return the conductance on each word line; ideal cells conduct the same on all chips of a crossbar."""
        if not crossbar.plan.cells_are_ideal:
            return line_conductance(crossbar, index)
        if self._ideal is None or self._ideal[0] is not crossbar:
            self._ideal = crossbar, line_conductance(crossbar, index)
        return self._ideal[1]

    def counted(self, name: str, samples: int) -> Counted:
        """Return what a layer does for one sample on each chip.

        Args:
            name: name of the layer.
            samples: number of samples that were added.
        """
        tallies = self.tallies[name]
        sums = [float((t.drive * self.lines[name][c]).sum()) / samples for c, t in tallies.items()]
        each = self.programmed.get(name, {})
        return Counted(
            name, tuple(t.actions(samples) for t in tallies.values()), tuple(sums),
            next(iter(tallies.values())).layout, tuple(each.values()),
        )  # fmt: skip


def programming(crossbar: Crossbar, index: int) -> Programming:
    """Return what it takes to program the cells of one chip, refreshes included.

    Args:
        crossbar: the cells.
        index: position of the chip.
    """
    device, cells = crossbar.chip.device, crossbar.plan.cells.numel()
    once = device.one_draw or (device.verify.is_ideal and device.programming.kind != "pulses")
    pulses = count_pulses(crossbar.plan, crossbar.addresses[index])
    return Programming(cells, pulses, 0.0 if once else pulses)


@torch.no_grad()
def count_actions(analog: AnalogModel, inputs: Any, programming: bool = True) -> list[Counted]:
    """Count what a network on chips does for one of some inputs, layer by layer and chip by chip.

    Every chip runs on these inputs, as in an evaluation; its reads are not counted as reads of the model.

    Args:
        analog: mapped network, calibrated where its chip needs it.
        inputs: some inputs: images [batch, ...], or the arguments of a network of any modules.
        programming: count the pulses that program the cells as well.

    Returns:
        Layers on crossbars and digital layers, in the order of the network.

    Raises:
        InputError: another backend computes, or there are no inputs.
    """
    if not analog.context.backend.native:
        step = "Map the network with the native backend."
        raise InputError("cost", f"backend {analog.context.backend.kind}", "native", step)
    given = Arguments.given(inputs)
    observer = Observer(analog.report.chip, programming)
    with _digital(analog.network) as digital, analog.observed(observer):
        analog(*given.args, **given.kwargs)
    found = {name: observer.counted(name, given.batch) for name in observer.tallies}
    own, chips = analog.report.products is None, len(analog.chips)
    rest = {name: n / given.batch / chips for name, n in digital.items()} if own else _unmapped(analog.report)
    for name, count in rest.items():
        found[name] = Counted(name, (Actions(multiply_adds=count),) * chips, (0.0,) * chips)
    order = [row.layer for row in analog.report.layers]
    return sorted(found.values(), key=lambda each: order.index(each.layer) if each.layer in order else len(order))


@contextlib.contextmanager
def _digital(network: nn.Module) -> Iterator[dict[str, int]]:
    """Yield the multiply-adds by digital layer, which grow while the network runs."""
    counts: dict[str, int] = {}

    def counter(name: str, weight: Tensor) -> Any:
        def count(module: nn.Module, inputs: Any, output: Tensor) -> None:
            counts[name] = counts.get(name, 0) + output.numel() * (weight.numel() // len(weight))

        return count

    hooks = []
    for name, module in network.named_modules():
        layer = module.digital if isinstance(module, SharedDigital) else module
        if isinstance(module, SharedDigital | nn.Linear | nn.modules.conv._ConvNd):
            hooks.append(module.register_forward_hook(counter(name, cast("Tensor", layer.weight))))
    try:
        yield counts
    finally:
        for hook in hooks:
            hook.remove()


def _unmapped(report: MappingReport) -> dict[str, float]:
    """Return the multiply-adds per sample of the products of a network of any modules that stay digital."""
    products = report.products
    if products is None:
        return {}
    rest = {s.name: s.multiply_adds / products.batch for s in products.sites if s.name not in report.placed}
    unseen = max(0, products.counted - products.seen) / products.batch
    return {name: count for name, count in rest.items() if count} | ({"other functions": unseen} if unseen else {})


@torch.no_grad()
def count_search(memory: AssociativeMemory, queries: Tensor, programming: bool = True) -> Counted:
    """Count what a key memory does for one query, and for writing its keys.

    Args:
        memory: memory with keys.
        queries: [batch, dim], or [chip, batch, dim].
        programming: count the pulses that write the keys as well.

    Returns:
        The actions of a search, and of writing all keys.

    Raises:
        InputError: another backend computes, no keys are stored, or for queries of another shape or none.
    """
    if not memory.engine.native or not memory.crossbars:
        allowed = "keys written on the native backend"
        raise InputError("cost, memory", "no keys to read", allowed, "Call write first.")
    q, observer, position = memory.query_vectors(queries), Observer(memory.chip, programming), 0
    if not q.shape[-2]:
        raise InputError("cost, memory", "no queries", "1 or more", "Give some queries of the memory.")
    for crossbar in memory.crossbars:
        for index in range(len(crossbar.chips)):
            observer.add("memory", crossbar, index, Rows(q if q.ndim == 2 else q[position]), memory.form != "float")
            position += 1
    return observer.counted("memory", q.shape[-2])
