"""Refuse mappings that leave every product digital where no key memory is on the chip either."""

from __future__ import annotations

from imc_sim._errors import InputError
from imc_sim.mapping._placing import needed_by_real_weights
from imc_sim.mapping._report import LayerRow, MappingReport
from imc_sim.nn import WEIGHT_KINDS

#: kind of the weights of a site -> key of the policy; others are held as whole numbers
_SITES = {"binary": "binary", "real": "float", "bits": "int8", "ternary": "int8", "levels": "int8"}


def check_on_chip(report: MappingReport, memory: bool) -> None:
    """Check that something runs on the chip, or that `policy.layers: {"*": digital}` states that nothing does.

    Args:
        report: how the network was mapped.
        memory: whether the task has a key memory, and it is on the chip.

    Raises:
        InputError: every product is digital.
    """
    policy = report.chip.policy
    if memory or any(row.place == "crossbar" for row in report.layers) or policy.layers.get("*") == "digital":
        return
    keys = [key for row in report.layers if (key := _key(row)) is not None]
    allowed = "one product on crossbars, or a few-shot task with its key memory there"
    if not keys:
        step = "Map a network that multiplies its inputs with weights."
        raise InputError("chip.policy", "a network without a product with weights", allowed, step)
    kinds = " and ".join(f"policy.{key}" for key in dict.fromkeys(keys))
    sites = () if report.products is None else report.products.sites
    needs = needed_by_real_weights(report.chip, sites) if "float" in keys else ""
    real = f" (on crossbars, these real weights also need {needs})" if needs else ""
    step = f"Set {kinds} to crossbar{real}, or policy.layers: {{NAME: crossbar}} for single products; "
    step += 'policy.layers: {"*": digital} states that nothing runs on the chip.'
    raise InputError("chip.policy", f"all products with weights digital ({len(keys)})", allowed, step)


def _key(row: LayerRow) -> str | None:
    """Return the key of the policy that places a row; None for products of two activations."""
    kinds = {name: kind.chip_kind for name, kind in WEIGHT_KINDS.items()}
    return (_SITES | kinds).get(row.policy)
