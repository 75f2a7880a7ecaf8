"""model + chip -> analog model and a report of what went where."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from imc_sim._errors import InputError
from imc_sim._rng import check_seed, chip_numbers
from imc_sim.analog import AnalogLayer, AnalogModel, Context, SharedDigital, layer_kinds
from imc_sim.array import Chip, Differential, Encoding, load_chip, operand_bytes
from imc_sim.config import Engine, as_engine
from imc_sim.mapping._report import LayerRow, MappingReport
from imc_sim.nn import ProductLayer, fold_in_place
from imc_sim.nn.networks import ContinualNet
from imc_sim.nn.neurons import neurons_of

_WEIGHTED = (nn.Linear, nn.modules.conv._ConvNd, nn.modules.rnn.RNNBase, nn.Embedding)


@torch.inference_mode(False)  # gradients pass through what is mapped
def map_model(
    model: nn.Module, chip: Chip | str | os.PathLike[str] | Mapping[str, object], chips: int | range = 1,
    seed: int = 0, memory_limit_bytes: int = 2 * 10**9, engine: Engine | str | None = None,
) -> AnalogModel:  # fmt: skip
    """The network of `model` with its product layers on crossbars, as the chip's policy says.

    chips: a count, or a range of chip numbers. engine: who computes the products of crossbars, this package or
    MemTorch (see `imc_sim.config.Engine`); None: the chip's own. Of a `ContinualNet` the last stage is mapped; `at`
    gives the others. The model itself is left as it is. Raises InputError for a layer that the policy gives no place,
    and for weights in modules that no crossbar layer can take.
    """
    chip, model = load_chip(chip), _mapped(model)
    check_seed(seed, "map_model")
    numbers = chip_numbers(chips, "map_model")
    network, context = copy.deepcopy(model).eval(), Context(engine=chip.engine if engine is None else as_engine(engine))
    for _, neuron in neurons_of(network):
        neuron.comparator = chip.neurons == "comparator"
    fold_in_place(network)
    _refuse_unmappable(network, chip)
    block = _block(len(numbers), memory_limit_bytes, _layer_bytes(model, chip))
    analog: dict[str, AnalogLayer] = {}
    rows: list[LayerRow] = []
    for name, layer in [(n, m) for n, m in network.named_modules() if isinstance(m, ProductLayer)]:
        placed = _place(name, layer, chip, numbers[:block], seed, context)
        if isinstance(placed, AnalogLayer):
            analog[name] = placed
        rows.append(LayerRow.of(name, layer, placed if isinstance(placed, AnalogLayer) else None))
        _replace(network, name, placed)
    return AnalogModel(network, analog, numbers, context, MappingReport(chip, tuple(rows)), block, seed)


def bytes_per_chip(model: nn.Module, chip: Chip) -> int:
    """Memory that one chip's programmed contrasts take, in bytes, with the copy for the compiled product.

    An upper estimate while programming.
    """
    return sum(_layer_bytes(_mapped(model), chip))


def acting_settings(model: nn.Module, chip: Chip, memory: bool) -> dict[str, Any]:
    """Return the settings of the chip that change results of this model: `chip.acting()` without the others.

    Encodings act where a layer or, with `memory`, a key memory takes them; `neurons` where some fire at random; the
    policy through the places that it gives. Without any product on crossbars nothing else is left.
    """
    model = _mapped(model)
    layers = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, ProductLayer)]
    places = {name: chip.policy.place(name, layer.kind.chip_kind) for name, layer in layers}
    memory = memory and chip.policy.memory == "crossbar"
    taken = [_encoding(layer, chip) for name, layer in layers if places[name] == "crossbar"]
    taken += [chip.encoding] if memory else []
    idle = {key for key in ("encoding", "encoding_multibit") if not any(e is getattr(chip, key) for e in taken)}
    idle |= {"neurons"} if next(iter(neurons_of(model)), None) is None else set()
    acting = {key: value for key, value in chip.acting().items() if key not in idle and (taken or key == "neurons")}
    return acting | {"policy": {"layers": places, "memory": memory}}


def _mapped(model: nn.Module) -> nn.Module:
    return model.at() if isinstance(model, ContinualNet) else model


def _layer_bytes(model: nn.Module, chip: Chip) -> list[int]:
    return [
        _bytes(name, layer, chip)
        for name, layer in model.named_modules()
        if isinstance(layer, ProductLayer) and chip.policy.place(name, layer.kind.chip_kind) == "crossbar"
    ]


def _bytes(name: str, layer: ProductLayer, chip: Chip) -> int:
    weights = layer.weight.numel()
    if not layer.exact_operands:
        return weights * 64
    outputs, steady = layer.weight.shape[0], not layer.zero_operands
    encoding, where = _encoding(layer, chip), f"layer {name!r}"
    return operand_bytes(outputs, weights // outputs, encoding, chip, steady, where)


def _block(chips: int, limit: int, layer_bytes: list[int]) -> int:
    """Chips held at once. Where they come in blocks, a layer is programmed anew beside its old cells."""
    if chips * sum(layer_bytes) <= limit:
        return chips
    return max(1, limit // (sum(layer_bytes) + max(layer_bytes)))


def _place(
    name: str, layer: ProductLayer, chip: Chip, chips: range, seed: int, context: Context
) -> AnalogLayer | SharedDigital:
    if chip.policy.place(name, layer.kind.chip_kind) == "digital":
        return SharedDigital(layer, context)
    return layer_kinds(context.engine)[type(layer)](layer, chip, _encoding(layer, chip), chips, seed, name, context)


def _encoding(layer: ProductLayer, chip: Chip) -> Encoding:
    """The chip's own by the kind of weight.

    +-1 weights take one differential pair each where it cannot drive their inputs: real ones (rbnn, latent), or the 0
    of padding and of bits (sign, latent) under an encoding of -1 and +1 alone.
    """
    if not layer.binary:
        return chip.encoding_multibit
    if not layer.exact_operands:
        return chip.encoding if chip.encoding.operands == "real" else Differential()
    # Padding of policy xnor is refused by its analog layer instead.
    zeros = not layer.kind.makes_inputs and layer.zero_operands and chip.encoding.operands == "bipolar"
    return Differential() if zeros else chip.encoding


def _replace(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(network.get_submodule(parent), leaf, module)


def _refuse_unmappable(network: nn.Module, chip: Chip) -> None:
    """A layer with weights that no crossbar can hold must be declared digital by name."""
    if isinstance(network, ProductLayer):
        step = "Wrap it: torch.nn.Sequential(layer)."
        raise InputError("map_model", "a single layer", "a network that holds layers", step)
    found = False
    for name, module in network.named_modules():
        found = found or isinstance(module, ProductLayer)
        if isinstance(module, _WEIGHTED) and chip.policy.layers.get(name) != "digital":
            step = f"Use imc_sim.nn.Conv2d or Linear, or set policy.layers: {{{name!r}: digital}}."
            raise InputError(f"layer {name!r}", type(module).__name__, "imc_sim.nn product layers", step)
    if not found:
        step = "Build the network from imc_sim.nn.Conv2d and Linear."
        raise InputError("map_model", f"{type(network).__name__} without product layers", "at least one", step)
