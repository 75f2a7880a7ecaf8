"""How product layers are placed on crossbars: encoding, memory, and how many chips are held together."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from imc_sim._errors import InputError
from imc_sim.analog import AnalogLayer, Context, SiteLayer, layer_kinds
from imc_sim.array import Chip, Differential, Encoding, Sliced, operand_bytes
from imc_sim.mapping._rounding import bits_for
from imc_sim.mapping._site_layers import layers_of
from imc_sim.nn import ProductLayer, fold_in_place
from imc_sim.nn.neurons import neurons_of
from imc_sim.sites import Site


def on_chip_of(network: nn.Module, chip: Chip) -> nn.Module:
    """Return a network with the neurons of a chip, and with norms before binary activations as comparators.

    Args:
        network: The network, which is changed.
        chip: The chip.
    """
    for _, neuron in neurons_of(network):
        neuron.comparator = chip.neurons == "comparator"
    fold_in_place(network)
    return network


def encoding_of(layer: ProductLayer, chip: Chip) -> Encoding:
    """Return the chip's encoding for the kind of weights of a layer.

    Weights of +-1 get a differential pair each where the chip's encoding cannot encode their inputs: real ones (rbnn,
    latent), or the 0 of padding and of bits (sign, latent) with an encoding of -1 and +1 alone. Whole numbers of a site
    are digits already, which rounding to `weight_bits` would change.

    Args:
        layer: The digital layer.
        chip: The chip.
    """
    if not layer.binary:
        encoding = chip.encoding_multibit
        whole = isinstance(layer, SiteLayer) and layer.whole and isinstance(encoding, Sliced)
        return encoding.model_copy(update={"weight_bits": None}) if whole else encoding
    if not layer.exact_operands:
        return chip.encoding if chip.encoding.operands == "real" else Differential()
    # Padding of policy xnor is refused by its analog layer instead.
    zeros = not layer.kind.makes_inputs and layer.zero_operands and chip.encoding.operands == "bipolar"
    return Differential() if zeros else chip.encoding


def needed_by_real_weights(chip: Chip, sites: Iterable[Site]) -> str:
    """Return the setting that real weights on crossbars need; empty where the chip's encoding takes them.

    Args:
        chip: The chip.
        sites: Products without a place.
    """
    encoding = chip.encoding_multibit
    if not isinstance(encoding, Sliced) or encoding.weight_bits is not None:
        return ""
    real = (site for site in sites if site.weights is not None and not site.weights.exact)
    bits = [bits_for(layer.weight.detach().double()) for site in real for _, layer in layers_of(site)]
    if None in bits:
        return "device.levels: continuous with encoding_multibit: {kind: differential}"
    return f"encoding_multibit: {{kind: sliced, weight_bits: {max(b or 0 for b in bits)}}}" if bits else ""


def bytes_of(name: str, layer: ProductLayer, chip: Chip) -> int:
    """Return an upper estimate of the memory of one chip's programmed weights of a layer.

    Args:
        name: Name of the layer.
        layer: The digital layer.
        chip: The chip.
    """
    weights = layer.weight.numel()
    if not layer.exact_operands:
        return weights * 64
    outputs, encoding = layer.weight.shape[0], encoding_of(layer, chip)
    return operand_bytes(outputs, weights // outputs, encoding, chip, not layer.zero_operands, f"layer {name!r}")


def chips_together(chips: int, limit: int, layer_bytes: list[int]) -> int:
    """Return how many chips are held together; with fewer than all, a layer is programmed again next to its cells.

    Args:
        chips: Number of chips.
        limit: Largest number of bytes of programmed weights.
        layer_bytes: Bytes of each layer on crossbars of one chip.
    """
    if chips * sum(layer_bytes) <= limit:
        return chips
    return max(1, limit // (sum(layer_bytes) + max(layer_bytes)))


def on_crossbars(name: str, layer: ProductLayer, chip: Chip, chips: range, seed: int, context: Context) -> AnalogLayer:
    """Return the layer on crossbars that takes the place of a product layer.

    Args:
        name: Name of the layer.
        layer: The digital layer.
        chip: The chip.
        chips: Numbers of the chips.
        seed: Seed of all random numbers.
        context: What the layers share.
    """
    kinds = layer_kinds(context.backend)
    if type(layer) not in kinds:
        step = "Give inputs, so that the products of the network are mapped, or keep the layer digital."
        raise InputError(f"layer {name!r}", type(layer).__name__, "a layer of imc_sim.nn, no subclass", step)
    return kinds[type(layer)](layer, chip, encoding_of(layer, chip), chips, seed, name, context)
