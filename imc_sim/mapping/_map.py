"""Map a network onto the crossbars of a chip."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from imc_sim._arguments import checked
from imc_sim._errors import InputError, check_whole
from imc_sim._quantities import type_of
from imc_sim._rng import check_seed, chip_numbers
from imc_sim.analog import (
    AnalogLayer,
    AnalogModel,
    Context,
    SharedDigital,
    check_names,
    read_conductances,
)
from imc_sim.array import Chip, load_chip
from imc_sim.config import Engine, as_engine, drop_paths
from imc_sim.mapping._any_network import Probe, map_products
from imc_sim.mapping._placing import bytes_of, chips_together, encoding_of, on_chip_of, on_crossbars
from imc_sim.mapping._report import LayerRow, MappingReport
from imc_sim.nn import ProductLayer
from imc_sim.nn.networks import ContinualNet
from imc_sim.nn.neurons import neurons_of
from imc_sim.sites import own_copy

_WEIGHTED = (nn.Linear, nn.modules.conv._ConvNd, nn.modules.rnn.RNNBase, nn.Embedding)


@checked
@torch.inference_mode(False)  # gradients pass through what is mapped
def map_model(
    model: nn.Module, chip: Chip | str | os.PathLike[str] | Mapping[str, object], chips: int | range = 1,
    seed: int = 0, memory_limit_bytes: int = 2 * 10**9, engine: Engine | str | None = None, inputs: Any = None,
    conductances: str | os.PathLike[str] | Mapping[str, Any] | None = None,
) -> AnalogModel:  # fmt: skip
    """Map a copy of a network onto a chip: product layers to crossbars, or digital, as the chip's policy states.

    Args:
        model: The network; of a `ContinualNet` the last stage is mapped, and its `at` returns the others.
        chip: A chip, or the name, path or data of one.
        chips: Number of chips to sample, or a range of chip numbers.
        seed: Seed of all random numbers.
        memory_limit_bytes: Memory of programmed weights above which chips are programmed in blocks.
        engine: Backend that computes the products of crossbars, `native` or `memtorch`; None for that of the chip.
        inputs: Some real inputs of a network of any modules: one tensor [batch, ...], a tuple of positional arguments
            or a dict of keyword arguments. The products that it makes on them are mapped instead of layers of
            `imc_sim.nn`. A `Probe` finds them once for several mappings.
        conductances: Measured conductances of programmed cells in S of every layer on crossbars, as arrays by layer or
            an .npz file; see `AnalogModel.to_npz` and `Crossbar.from_conductance`. None: cells are simulated.

    Returns:
        The analog network, whose output has a leading chip axis and whose `report` lists the place of each layer.

    Raises:
        InputError: The policy gives a layer no place, or weights are in modules that no crossbar layer can replace.
    """
    chip, model = load_chip(chip), _mapped(model)
    check_seed(seed, "map_model")
    check_whole(memory_limit_bytes, "map_model, memory_limit_bytes", 1)
    numbers = chip_numbers(chips, "map_model")
    backend = chip.engine if engine is None else as_engine(engine)
    measured = read_conductances(conductances) if isinstance(conductances, str | os.PathLike) else conductances
    if measured is not None and not backend.native:
        step = "Set engine: native."
        raise InputError("map_model, conductances", f"with {backend.kind}", "the native backend", step)
    if not backend.native and chip.device.programming.by_position:
        step = "Set engine: native, or device.programming.use: resample."
        raise InputError("map_model, device.programming.use", f"cells with {backend.kind}", "the native backend", step)
    context = Context(backend=backend, measured=measured)
    mapped = _mapped_on(model, inputs, chip, numbers, seed, memory_limit_bytes, context)
    if measured is not None:
        check_names(measured, mapped.analog_layers)
    return mapped


def _mapped_on(
    model: nn.Module, inputs: Any, chip: Chip, numbers: range, seed: int, memory_limit_bytes: int, context: Context
) -> AnalogModel:
    """Map a network by its products where inputs are given, else by its layers."""
    if inputs is not None:
        if not context.backend.native:
            step = "Build the network from imc_sim.nn layers for this backend."
            raise InputError("map_model, backend", context.backend.kind, "native for networks of any modules", step)
        return map_products(Probe.of(model, inputs), chip, numbers, seed, memory_limit_bytes, context)
    network = on_chip_of(own_copy(model).eval(), chip)
    _refuse_unmappable(network, chip)
    block = chips_together(len(numbers), memory_limit_bytes, _layer_bytes(model, chip))
    analog: dict[str, AnalogLayer] = {}
    rows: list[LayerRow] = []
    for name, layer in _named_layers(network):
        placed = _place(name, layer, chip, numbers[:block], seed, context)
        if isinstance(placed, AnalogLayer):
            analog[name] = placed
        rows.append(LayerRow.of(name, layer, placed if isinstance(placed, AnalogLayer) else None))
        network.set_submodule(name, placed)
    return AnalogModel(network, analog, numbers, context, MappingReport(chip, tuple(rows)), block, seed)


@checked
def bytes_per_chip(model: nn.Module, chip: Chip, inputs: Any = None) -> int:
    """Return an upper estimate of the memory of one chip's programmed weights, with the copy for the compiled product.

    Args:
        model: The network.
        chip: The chip.
        inputs: Some inputs of a network of any modules.

    Units:
        Bytes.
    """
    layers = _layers_of(_mapped(model), inputs)
    return sum(bytes_of(name, layer, chip) for site, name, layer in layers if _is_on_crossbar(site, layer, chip))


def acting_settings(model: nn.Module, chip: Chip, keys: str | None, inputs: Any = None) -> dict[str, Any]:
    """Return the settings of a chip that change results of a network: `chip.acting()` without the others.

    An encoding acts where a layer or the key memory uses it, `neurons` where activations are binary, and the policy
    through the places of layers. Levels between HRS and LRS act on many-valued weights, and DACs and the I-V curve on
    real inputs. Without any product on crossbars nothing else acts.

    Args:
        model: The network.
        chip: The chip.
        keys: Form of the keys where a key memory is part of the task.
        inputs: Some inputs of a network of any modules.
    """
    model = _mapped(model)
    layers = [(site, layer) for site, _, layer in _layers_of(model, inputs)]
    places = {name: chip.policy.place(name, layer.kind.chip_kind) for name, layer in layers}
    memory = keys is not None and chip.policy.memory == "crossbar"
    on = [layer for name, layer in layers if places[name] == "crossbar"]
    products = [(encoding_of(layer, chip), layer.binary, layer.exact_operands) for layer in on]
    products += [(chip.encoding, keys != "float", keys != "float")] if memory else []
    used = [encoding for encoding, _, _ in products]
    idle = {key for key in ("encoding", "encoding_multibit") if not any(e is getattr(chip, key) for e in used)}
    idle |= {"neurons"} if next(iter(neurons_of(model)), None) is None else set()
    again = memory or chip.device.time.refreshes > 0  # cells are programmed more than once
    once = frozenset() if again else frozenset({"device.cycle_to_cycle.correlation"})
    settings = drop_paths(chip.acting(), chip.idle_in(products) | once)
    acting = {key: value for key, value in settings.items() if key not in idle and (used or key == "neurons")}
    return acting | {"policy": {"layers": places, "memory": memory}}


def _mapped(model: nn.Module) -> nn.Module:
    """Return the network that is mapped: of a `ContinualNet` the last stage."""
    if not isinstance(model, nn.Module):
        step = "Use imc_sim.load_model(NAME), imc_sim.load_onnx(FILE), or build the network in Python."
        raise InputError("map_model, model", type_of(model), "a torch module", step)
    return model.at() if isinstance(model, ContinualNet) else model


def _named_layers(network: nn.Module) -> list[tuple[str, ProductLayer]]:
    return [(name, module) for name, module in network.named_modules() if isinstance(module, ProductLayer)]


def _layers_of(model: nn.Module, inputs: Any) -> list[tuple[str, str, ProductLayer]]:
    """Return the layers that can be on crossbars, with the names that the policy and the cells know them by."""
    if inputs is not None:
        return [*Probe.of(model, inputs).layers]
    return [(name, name, layer) for name, layer in _named_layers(model)]


def _is_on_crossbar(name: str, layer: ProductLayer, chip: Chip) -> bool:
    return chip.policy.place(name, layer.kind.chip_kind) == "crossbar"


def _layer_bytes(model: nn.Module, chip: Chip) -> list[int]:
    return [bytes_of(name, layer, chip) for name, layer in _named_layers(model) if _is_on_crossbar(name, layer, chip)]


def _place(
    name: str, layer: ProductLayer, chip: Chip, chips: range, seed: int, context: Context
) -> AnalogLayer | SharedDigital:
    """Return the layer that takes the place of a product layer: on crossbars, or digital and shared by all chips."""
    if chip.policy.place(name, layer.kind.chip_kind) == "digital":
        return SharedDigital(layer, context)
    return on_crossbars(name, layer, chip, chips, seed, context)


def _refuse_unmappable(network: nn.Module, chip: Chip) -> None:
    """Raise for layers whose weights no crossbar can hold, unless the policy names them as digital."""
    if isinstance(network, ProductLayer):
        step = "Wrap it: torch.nn.Sequential(layer)."
        raise InputError("map_model", "a single layer", "a network that holds layers", step)
    for name, module in network.named_modules():
        if isinstance(module, _WEIGHTED) and chip.policy.layers.get(name) != "digital":
            step = f"Give inputs= (some real ones) to map all products, or set policy.layers: {{{name!r}: digital}}."
            raise InputError(f"layer {name!r}", type(module).__name__, "imc_sim.nn product layers", step)
    if not _named_layers(network):
        step = "Build the network from imc_sim.nn.Conv2d and Linear."
        raise InputError("map_model", f"{type(network).__name__} without product layers", "at least one", step)
