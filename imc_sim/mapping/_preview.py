"""Say in short whether a network will map onto a chip, where each of its products runs, and what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from imc_sim._arguments import checked
from imc_sim._errors import InputError
from imc_sim.array import Chip
from imc_sim.mapping._any_network import Probe, count_of, kind_of, place_of, policy_place
from imc_sim.mapping._map import map_model
from imc_sim.nn import ProductLayer, product_layers

#: products that are listed
_MOST = 30
#: name, kind of weights, number of weights and place of a product
_Row = tuple[str, str, str, str]


@checked
def preview(model: nn.Module, chip: Chip, inputs: Any = None) -> str:
    """Return a table of the products of a network with their places on a chip, and a line that says whether it maps.

    Args:
        model: any torch module.
        chip: the chip; its effects play no part.
        inputs: some real inputs of a network of any modules; None: for one of `imc_sim.nn` layers.

    Returns:
        Lines of text.
    """
    if inputs is None and not product_layers(model):
        return "products: not known without inputs. With --inputs FILE, import and map show where each of them runs"
    try:
        inputs = None if inputs is None else Probe(model, inputs)
        rows = _rows(model, chip, inputs)
    except InputError as error:
        return f"the network cannot be mapped: {error}"
    lines, refused = _table(rows, chip), sum(row[3].startswith("refused") for row in rows)
    try:
        report = map_model(model, chip.without_effects(), inputs=inputs, engine="native").report
    except InputError as error:
        why = f"{refused} of {len(rows)} products have no place. {error.next_step}" if refused else str(error)
        return "\n".join([*lines, f"not ready for {chip.name}: {why}"])
    share = report.to_text().splitlines()[-1] if inputs is not None else f"{report.tiles} tiles"
    return "\n".join([*lines, f"ready for {chip.name}; {share}"])


def _table(found: Sequence[_Row], chip: Chip) -> list[str]:
    """Return an aligned table of the products."""
    rows = [("product", "weights", "number", f"on {chip.name}"), *found]
    more = len(rows) - 1 - _MOST
    rows = rows[: _MOST + 1]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [
        f"{name:<{widths[0]}}  {kind:<{widths[1]}}  {count:>{widths[2]}}  {place}" for name, kind, count, place in rows
    ]
    return lines + ([f"… and {more} more"] if more > 0 else [])


def _rows(model: nn.Module, chip: Chip, probe: Probe | None) -> list[_Row]:
    """Return the rows of all products."""
    if probe is None:
        return [
            (name, layer.policy, f"{layer.weight.numel():,}", policy_place(name, layer.kind.chip_kind, chip))
            for name, layer in model.named_modules()
            if isinstance(layer, ProductLayer)
        ]
    rows = []
    for site in probe.products.sites:
        place, reason = place_of(site, chip)
        rows.append((site.name, kind_of(site), f"{count_of(site):,}", f"{place}: {reason}" if reason else place))
    return rows + [(path, function, "-", "cannot be watched") for path, function in probe.products.opaque]
