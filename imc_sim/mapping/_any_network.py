"""Map a network of any modules: the products that it makes on some inputs become sites on crossbars."""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from typing import Any, final

from torch import nn

from imc_sim._errors import InputError
from imc_sim._quantities import number_of
from imc_sim.analog import AnalogLayer, AnalogModel, Context, SiteCall, SiteLayer, SiteNetwork
from imc_sim.array import Chip
from imc_sim.mapping._on_chip import check_on_chip
from imc_sim.mapping._placing import bytes_of, chips_together, needed_by_real_weights, on_chip_of, on_crossbars
from imc_sim.mapping._report import LayerRow, MappingReport
from imc_sim.mapping._rounding import refuse_rounding, weight_error
from imc_sim.mapping._site_layers import layers_of
from imc_sim.nn.neurons import neurons_of
from imc_sim.sites import Arguments, Products, Site, check_watchable, content_of, find_products, own_copy

#: largest number of matrices in a batch of weights
_MATRICES = 256


@final
class Probe:
    """Hold the products that a network of any modules makes on some inputs, for any number of mappings.

    Args:
        model: Any torch module. It must not change between the probe and a mapping.
        inputs: Some real inputs: one tensor, a tuple of positional arguments or a dict of keyword arguments.

    Attributes:
        network: Copy of the network as the passes of the probe left it.
        products: The products.
        form: Shapes of the inputs.
    """

    def __init__(self, model: nn.Module, inputs: Any) -> None:
        given = Arguments.given(inputs)
        self.form = given.form
        self._model, self._content = model, content_of(model)
        check_watchable(model)
        self.network = own_copy(model).eval()
        for _, neuron in neurons_of(self.network):
            neuron.comparator = True  # samples would differ from pass to pass
        self.products = find_products(self.network, *given.args, **given.kwargs)

    @classmethod
    def of(cls, model: nn.Module, inputs: Any) -> Probe:
        """Return the probe of a network.

        Args:
            model: Any torch module.
            inputs: Some real inputs, or a probe.

        Raises:
            InputError: The probe is of another network, or the network has changed.
        """
        if not isinstance(inputs, Probe):
            return cls(model, inputs)
        if inputs._model is not model or inputs._content != content_of(model):
            step = "Probe the network again: Probe(model, inputs)."
            raise InputError("map_model, inputs", "a probe of another network", "of this one, unchanged", step)
        return inputs

    @functools.cached_property
    def layers(self) -> list[tuple[str, str, SiteLayer]]:
        """Return the layers that can be on crossbars, with the names of site and layer."""
        able = [site for site in self.products.sites if site.weight is not None and _unfit(site) is None]
        return [(site.name, name, layer) for site in able for name, layer in layers_of(site)]


def map_products(probe: Probe, chip: Chip, numbers: range, seed: int, limit: int, context: Context) -> AnalogModel:
    """Map the product sites that a network showed.

    Args:
        probe: Products of the network.
        chip: the chip.
        numbers: numbers of the chips.
        seed: seed of all random numbers.
        limit: bytes of programmed weights above which chips are programmed in blocks.
        context: what the layers share; its backend must be the native one.

    Returns:
        The analog network.

    Raises:
        InputError: sites without a place, sites that cannot be on crossbars, weights that cells round too much.
    """
    products = probe.products
    placed = _places(products, chip)
    digital = {site.name: layers_of(site) for site in placed}
    sizes = [bytes_of(name, layer, chip) for layers in digital.values() for name, layer in layers]
    block = chips_together(len(numbers), limit, sizes)
    analog: dict[str, AnalogLayer] = {}
    rows: list[LayerRow] = []
    calls: list[SiteCall] = []
    errors: dict[str, tuple[AnalogLayer, float]] = {}
    for site in products.sites:
        for name, layer in digital.get(site.name, ()):
            analog[name] = on_crossbars(name, layer, chip, numbers[:block], seed, context)
            errors[name] = analog[name], weight_error(analog[name])
            rows.append(replace(LayerRow.of(name, layer, analog[name]), weight_error=errors[name][1]))
        if site.name not in digital:
            rows.append(LayerRow(site.name, kind_of(site), count_of(site), "digital", "-", 0, 0, 0.0))
        calls.append(SiteCall.of(site, [analog[name] for name, _ in digital.get(site.name, ())]))
    if not chip.policy.allow_rounding:
        refuse_rounding(errors)
    rows += [LayerRow(path, function, 0, "digital", "-", 0, 0, 0.0) for path, function in products.opaque]
    report = MappingReport(chip, tuple(rows), products=products, placed=tuple(digital))
    check_on_chip(report, memory=chip.policy.memory == "crossbar")
    shared = context.shared if len(numbers) > 1 else None
    network = on_chip_of(own_copy(probe.network), chip)
    found = SiteNetwork(network, [calls[place] for place in products.order], products, shared, probe.form)
    return AnalogModel(found, analog, numbers, context, report, block, seed)


def _places(products: Products, chip: Chip) -> list[Site]:
    """Return the sites on crossbars; raise one InputError that names every site without a place."""
    placed, refused, errors, keys = [], [], [], set()
    for site in products.sites:
        place, reason = place_of(site, chip)
        if place == "refused":
            refused.append(site)
            errors.append(f"{site.name!r} ({reason})")
            keys |= set() if _unfit(site) else {f"policy.{_key(site)}"}
        elif place == "crossbar":
            placed.append(site)
    unseen = dict.fromkeys(products.unseen, "a function that was not seen") | dict(products.opaque)
    for path, function in unseen.items():
        fits = policy_place(path, "float", chip) == "digital"
        errors += [] if fits else [f"{path!r} ({function}, whose products cannot be on crossbars)"]
    if errors:
        needs = needed_by_real_weights(chip, refused) if "policy.float" in keys else ""
        real = f" (on crossbars, these real weights also need {needs})" if needs else ""
        all_of = f"{' and '.join(sorted(keys))} to digital or crossbar{real}, or " if keys else ""
        step = f"Set {all_of}policy.layers: {{NAME: digital}} for single sites."
        raise InputError(
            "map_model", f"no place for {number_of(len(errors), 'site')}: {', '.join(errors)}", "a place for each", step
        )
    if needs := needed_by_real_weights(chip, placed):
        step = f"Set {needs}, or keep sites digital by policy.float or policy.layers."
        raise InputError("map_model", "real weights on crossbars", "whole numbers, or a number of bits", step)
    return placed


def place_of(site: Site, chip: Chip) -> tuple[str, str]:
    """Return the place of a site, `crossbar` or `digital`; or `refused`, and why.

    Args:
        site: what the probe found.
        chip: the chip.
    """
    if site.weight is None:
        return "digital", ""
    place = policy_place(site.name, _key(site), chip)
    reason = {"refused": f"{kind_of(site)} weights", "crossbar": _unfit(site)}.get(place)
    return (place, "") if reason is None else ("refused", reason)


def policy_place(name: str, key: str, chip: Chip) -> str:
    """Return the place that a chip's policy gives a product, `crossbar` or `digital`; `refused` where it gives none.

    Args:
        name: name of the site or layer.
        key: kind of its weights, a key of the policy.
        chip: the chip.
    """
    try:
        return chip.policy.place(name, key)
    except InputError:
        return "refused"


def _key(site: Site) -> str:
    """Return the key of the policy that places a site."""
    return {"binary": "binary", "real": "float"}.get(kind_of(site), "int8")


def _unfit(site: Site) -> str | None:
    """Return why a site cannot be on crossbars, or None."""
    count = 1 if site.kind.startswith("conv") or site.stack else math.prod(site.shape[:-2])
    return f"a batch of {count} weights, which must stay digital" if count > _MATRICES else None


def kind_of(site: Site) -> str:
    """Return the kind of the weights of a site, or what it is instead of a product with weights.

    Args:
        site: what the probe found.
    """
    return site.weights.kind if site.weights is not None else "constant" if site.constant else "dynamic"


def count_of(site: Site) -> int:
    """Return the number of weights of a site.

    Args:
        site: what the probe found.
    """
    return 0 if site.weight is None else site.weight.numel()
