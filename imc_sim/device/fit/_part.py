"""Results of a fit of one kind of measurement: settings of a device, and how well these describe the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, final

from imc_sim.config import build
from imc_sim.device._device import Device

if TYPE_CHECKING:
    from pandas import DataFrame


@final
@dataclass(frozen=True)
class Options:
    """Chip and read voltage that a fit may use with its table.

    Attributes:
        device: settings under `device:` of the chip to which the part is added; empty for a new chip.
        v_read_V: read voltage in V, where it is given.
        model: switching model of pulse trains; None: pulse_response.
    """

    device: Mapping[str, Any] = field(default_factory=dict)
    v_read_V: float | None = None
    model: str | None = None

    def finished(self, part: Mapping[str, Any]) -> Device:
        """Return the device of the finished chip: that of the options with a part merged in.

        Args:
            part: settings under `device:`.

        Raises:
            InputError: the settings do not make a device.
        """
        return build(Device, merged(self.device, part), where="fit")


@final
@dataclass(frozen=True)
class PartFit:
    """Fit of one kind of measurement.

    Attributes:
        kind: levels, retention, endurance, pulses, iv or noise.
        part: settings under `device:` of a chip file, with units.
        rows: lines of a table: quantity, n, estimate, low and high (95 % interval), unit.
        deviations: data against cells sampled from the finished chip, in words, the largest first.
        summary: the fit in one sentence, for `validity` of the chip.
        figures: name of a figure -> its data.
        details: further results of a kind, such as the fit of each state.
    """

    kind: str
    part: dict[str, Any]
    rows: list[dict[str, Any]]
    deviations: list[str]
    summary: str
    figures: dict[str, DataFrame] = field(default_factory=dict)
    details: Any = None


def merged(base: Mapping[str, Any], part: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested settings with those of a part.

    A mapping with a `kind` replaces one of another kind. None removes a setting.

    Args:
        base: settings of a chip file.
        part: settings to add or replace.
    """
    found = dict(base)
    for key, value in part.items():
        if value is None:
            found.pop(key, None)
            continue
        held = found.get(key)
        nested = isinstance(value, Mapping) and isinstance(held, Mapping) and value.get("kind") == held.get("kind")
        found[key] = merged(held, value) if nested and isinstance(held, Mapping) else value
    return found
