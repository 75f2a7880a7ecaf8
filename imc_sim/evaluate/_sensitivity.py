"""Sensitivity by layer: one layer on crossbars at a time, all others digital."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np

from imc_sim._arguments import checked
from imc_sim._errors import InputError
from imc_sim._rng import chip_numbers
from imc_sim._stats import band
from imc_sim.evaluate._run import evaluate_chips

if TYPE_CHECKING:
    from imc_sim.array import Chip

#: called with (parts done, parts in all)
Progress = Callable[[int, int], None]

#: name of the row with everything on crossbars that the policy of the chip maps
TOGETHER = "all together"


@final
@dataclass(frozen=True)
class LayerAccuracy:
    """Accuracy with only one layer on crossbars.

    Args:
        layer: name of the layer.
        accuracies: accuracies of each chip, as fractions.
        digital: accuracy of the digital network.
    """

    layer: str
    accuracies: tuple[float, ...]
    digital: float

    @property
    def median(self) -> float:
        """Return the median over chips."""
        return float(np.median(self.accuracies))

    def band(self) -> tuple[float, float]:
        """Return the ends of the band over chips, see `imc_sim._stats.band`."""
        return band(self.accuracies)


@checked
def layer_sensitivity(
    model: str, chip: Chip | str | dict[str, Any], task: dict[str, Any], chips: int = 16, seed: int = 0,
    progress: Progress | None = None,
) -> list[LayerAccuracy]:  # fmt: skip
    """Evaluate each layer that the policy maps to crossbars alone, then the memory, then all together.

    The cells of a layer are the same alone and together: they are sampled by seed, chip number and layer.

    Args:
        model: name or path of a model.
        chip: chip description.
        task: task as plain data.
        chips: number of chips.
        seed: seed of the chips.
        progress: called with (parts done, total).

    Returns:
        The accuracies, in the order of the network.
    """
    from imc_sim.array import load_chip

    spec = load_chip(chip).to_dict()
    numbers = chip_numbers(chips, "layer_sensitivity")
    variants = _variants(model, spec, task)
    digital = evaluate_chips(model, None, task, [], 0)[0].accuracy
    rows = []
    for done, (name, variant) in enumerate(variants.items(), 1):
        found = evaluate_chips(model, variant, task, numbers, seed)
        rows.append(LayerAccuracy(name, tuple(r.accuracy for r in found), digital))
        if progress is not None:
            progress(done, len(variants))
    return rows


def _variants(model: str, chip: dict[str, Any], task: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return, by name of the row, the chip with only that part on crossbars."""
    from imc_sim.array import load_chip
    from imc_sim.evaluate._checks import probed
    from imc_sim.mapping import map_model

    network, inputs = probed(model, task)
    report = map_model(network, load_chip(chip).without_effects(), engine="native", inputs=inputs).report
    analog = list(report.placed) or [row.layer for row in report.layers if row.place == "crossbar"]
    memory = chip["policy"]["memory"] == "crossbar" and task.get("kind", "few_shot") == "few_shot"
    if not analog and not memory:
        raise InputError("chip.policy", "nothing on crossbars", "one layer at least, or the memory", "Map one.")
    if "memory" in analog:  # pragma: no cover - two rows would have this name
        raise InputError("model", "a layer called memory", "another name", "Rename the layer.")
    variants = {name: _alone(chip, name, analog, "digital") for name in analog}
    if memory:
        variants["memory"] = _alone(chip, "", analog, "crossbar")
    return variants | {TOGETHER: chip}


def _alone(chip: dict[str, Any], wanted: str, analog: list[str], memory: str) -> dict[str, Any]:
    """Return the policy with only `wanted` on crossbars. Names precede the globs of the policy: the first match
    wins.
    """
    places = {name: "crossbar" if name == wanted else "digital" for name in analog}
    policy = chip["policy"]
    layers = places | {glob: place for glob, place in policy["layers"].items() if glob not in places}
    return chip | {"policy": policy | {"layers": layers, "memory": memory}}
