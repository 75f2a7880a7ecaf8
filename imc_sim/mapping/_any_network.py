"""Map a network of any modules: the products that it makes on some inputs become sites on crossbars."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from imc_sim._errors import InputError
from imc_sim.analog import AnalogLayer, AnalogModel, AnalogSite, Context, SiteLinear, SiteNetwork
from imc_sim.array import Chip, Differential, Encoding, Sliced, operand_bytes
from imc_sim.config import Engine
from imc_sim.mapping._report import LayerRow, MappingReport
from imc_sim.sites import Products, Site, find_products

#: relative root mean square error of a layer's weights in cells above which mapping refuses
_ROUNDING = 0.01


def map_products(
    model: nn.Module, inputs: Any, chip: Chip, numbers: range, seed: int, limit: int, backend: Engine
) -> AnalogModel:
    """Map the product sites that a network shows on these inputs.

    Args:
        model: any torch module.
        inputs: some real inputs [batch, ...], floating point.
        chip: the chip.
        numbers: of the chips.
        seed: of all random numbers.
        limit: bytes of programmed weights above which chips are programmed in blocks.
        backend: who computes the products; native only.

    Returns:
        The analog network.

    Raises:
        InputError: sites without a place, sites that cannot be on crossbars, weights that cells round too much.
    """
    if not backend.native:
        step = "Build the network from imc_sim.nn layers for this backend."
        raise InputError("map_model, backend", str(backend.kind), "native for networks of any modules", step)
    if not isinstance(inputs, Tensor) or not inputs.is_floating_point():
        got = str(inputs.dtype) if isinstance(inputs, Tensor) else type(inputs).__name__
        step = "Wrap a network of other inputs in a module whose forward pass takes one such tensor."
        raise InputError("map_model, inputs", got, "one tensor of floating-point numbers, batch first", step)
    network = copy.deepcopy(model).eval()
    products = find_products(network, inputs)
    placed = _places(products, chip)
    context, analog, rows, sites = Context(backend=backend), {}, [], []
    weights = [SiteLinear(site, m, s, p) for site in placed for m, s, p in _matrices(site)]
    sizes = [_bytes(layer, chip) for layer in weights]
    block = len(numbers) if len(numbers) * sum(sizes) <= limit else max(1, limit // (sum(sizes) + max(sizes)))
    for site in products.sites:
        layers: list[AnalogLayer] = []
        parts = _matrices(site) if site in placed else []
        for number, (matrix, scale, padded) in enumerate(parts):
            name = site.name if len(parts) == 1 else f"{site.name}[{number}]"
            digital = SiteLinear(site, matrix, scale, padded)
            layer = AnalogSite(digital, chip, _encoding(digital, chip), numbers[:block], seed, name, context)
            _check_rounding(layer, name)
            analog[name] = layer
            layers.append(layer)
            rows.append(LayerRow.of(name, digital, layer))
        if not parts:
            rows.append(
                LayerRow(site.name, "dynamic" if site.dynamic else _kind(site), _count(site), "digital", "-", 0, 0, 0.0)
            )
        sites.append((site, site.weight, layers))
    rows += [LayerRow(path, function, 0, "digital", "-", 0, 0, 0.0) for path, function in products.opaque]
    calls = [sites[place] for place in products.order]
    report = MappingReport(chip, tuple(rows), products=products, placed=tuple(site.name for site in placed))
    return AnalogModel(SiteNetwork(network, calls), analog, numbers, context, report, block, seed)


def _places(products: Products, chip: Chip) -> list[Site]:
    """Return the sites on crossbars; raise one InputError that names every site without a place."""
    placed, errors = [], []
    for site in products.sites:
        if site.dynamic:
            continue
        kind = {"binary": "binary", "real": "float"}.get(_kind(site), "int8")
        try:
            place = chip.policy.place(site.name, kind)
        except InputError:
            errors.append(f"{site.name!r} ({_kind(site)} weights)")
            continue
        if place == "crossbar" and (reason := _unfit(site)) is not None:
            errors.append(f"{site.name!r} ({reason})")
        elif place == "crossbar":
            placed.append(site)
    for path, function in products.opaque:
        try:
            fits = chip.policy.place(path, "float") == "digital"
        except InputError:
            fits = False
        errors += [] if fits else [f"{path!r} ({function}, whose products cannot be on crossbars)"]
    if errors:
        step = "Set policy.layers: {NAME: digital} or crossbar for each, or policy.int8 and policy.float."
        raise InputError(
            "map_model", f"no place for {len(errors)} sites: {', '.join(errors)}", "a place for each", step
        )
    if not placed:
        step = "Set policy.layers: {NAME: crossbar}, or policy.binary, int8 or float."
        raise InputError("map_model", "no product on crossbars", "one site at least", step)
    return placed


def _unfit(site: Site) -> str | None:
    """Return why a site cannot be on crossbars, or None."""
    if site.kind.startswith("conv_transpose"):
        return "a transposed convolution, which must stay digital"
    if not site.kind.startswith("conv") and len(site.shape) > 2:
        return f"a batch of weights {site.shape}, which must stay digital"
    return None


def _kind(site: Site) -> str:
    return "dynamic" if site.weights is None else site.weights.kind


def _count(site: Site) -> int:
    return 0 if site.weight is None else site.weight.numel()


def _matrices(site: Site) -> list[tuple[Tensor, Tensor, bool]]:
    """Return per group the weights [out, in], the scale of each output, and whether inputs are padded."""
    if site.weight is None or site.weights is None:
        return []
    w, scale, padded = site.weight, site.weights.scale, False
    if site.kind.startswith("conv"):
        padding = site.settings["padding"]
        padded = padding not in (0, "valid") and padding != (0,) * (w.ndim - 2)
        groups = site.settings["groups"]
        return [(m, s, padded) for m, s in zip(w.flatten(1).chunk(groups), scale.chunk(groups), strict=True)]
    matrix = w[None] if w.ndim == 1 else w if site.place == 0 or site.kind == "linear" else w.mT
    return [(matrix, scale, padded)]


def _encoding(layer: SiteLinear, chip: Chip) -> Encoding:
    """Return the chip's encoding for these weights; a differential pair where it cannot take the inputs."""
    if not layer.binary:
        encoding = chip.encoding_multibit
        # Whole numbers are digits already: rounding them to weight_bits would change them.
        return (
            encoding.model_copy(update={"weight_bits": None})
            if layer.whole and isinstance(encoding, Sliced)
            else encoding
        )
    if layer.exact and not (layer.inputs == "bits" and chip.encoding.operands == "bipolar"):
        return chip.encoding
    return chip.encoding if chip.encoding.operands == "real" else Differential()


def _bytes(layer: SiteLinear, chip: Chip) -> int:
    outputs, inputs = layer.weight.shape
    if not layer.exact:
        return layer.weight.numel() * 64
    return operand_bytes(outputs, inputs, _encoding(layer, chip), chip, not layer.zero_operands, "site")


@torch.no_grad()
def _check_rounding(layer: AnalogLayer, name: str) -> None:
    """Refuse cells without effects that hold other weights than the network's own."""
    own, targets = layer.matrix().double(), layer.crossbar.plan.targets
    held = targets.weights.double() * targets.scale
    error = float((held - own).norm() / own.norm().clamp_min(1e-300))
    if error > _ROUNDING:
        step = "Use encoding_multibit {kind: sliced, weight_bits: 8}, more levels of the cell, or leave it digital."
        got = f"weights that {layer.encoding.name} rounds by {100 * error:.1f} % (relative root mean square)"
        raise InputError(f"site {name!r}", got, f"{100 * _ROUNDING:g} % or less", step)
