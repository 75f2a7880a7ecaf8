"""Leave settings that were added to chips later, and that have no effect, out of the ids of stored results."""

from __future__ import annotations

from typing import Any

#: later keys of encodings, with the values that have no effect
_LATER = {"weight_bits": None, "copies": 1}


def _part(key: str, value: Any) -> Any:
    """Return an encoding or the ADC without later keys that have no effect."""
    if key == "converter":
        unused = {"limits", "percentile", "sigmas"}
        if value["range"] == "calibrated" and value["kind"] != "ideal":
            acts = {"auto": "sigmas", "sigma": "sigmas"}.get(value["limits"], value["limits"])
            unused -= {"limits", acts}
        return {k: v for k, v in value.items() if k not in unused}
    if key not in ("encoding", "encoding_multibit"):
        return value
    return {k: v for k, v in value.items() if k not in _LATER or v != _LATER[k]}


#: later keys of chips and of programming laws, with such values
_LATER_OF_CHIPS = {"neurons": "bernoulli", "compute": "float32", "draws": "cells"}
_LATER_OF_LAWS = {"sigma_of": "ln_g", "target_is": "median"}


#: later effects of devices, and settings that switch them off
_OFF_OF_DEVICES: dict[str, dict[str, Any]] = {
    "cycle_to_cycle": {"share": 1.0, "correlation": 0.0}, "endurance": {"cycles": 0.0},
}  # fmt: skip


def _has(settings: dict[str, Any], some: dict[str, Any]) -> bool:
    """Tell whether settings have some values."""
    return all(settings.get(key) == value for key, value in some.items())


def as_stored(chip: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a chip without later keys that have no effect.

    Globs of the policy become a list, because the first matching one applies and JSON objects have no order.
    """
    policy = {key: value for key, value in chip["policy"].items() if key != "allow_rounding"}  # it changes no result
    if len(policy["layers"]) > 1:
        policy["layers"] = [list(pair) for pair in policy["layers"].items()]
    chip = {**chip, "policy": policy}
    acts = {key for key, value in chip.items() if key not in _LATER_OF_CHIPS or value != _LATER_OF_CHIPS[key]}
    wires = chip["wires"]
    if wires["density"] is None and not _measures_rows(chip):  # the value before density could be measured
        wires = {**wires, "density": 0.5}
    chip = {key: _part(key, value) for key, value in chip.items() if key in acts} | {"wires": wires}
    law = chip["device"]["programming"]
    own = {"file"} if law["kind"] == "map" else set()  # its content counts
    law = {key: value for key, value in law.items() if _LATER_OF_LAWS.get(key) != value and key not in own}
    off = _OFF_OF_DEVICES
    device = {key: value for key, value in chip["device"].items() if key not in off or not _has(value, off[key])}
    device |= {"programming": law}
    time = {key: value for key, value in device["time"].items() if key != "refresh_s" or value is not None}
    lost = {key: value for key, value in time["retention"].items() if key != "states_S" or value is not None}
    return {**chip, "device": {**device, "time": {**time, "retention": lost}}}


def _measures_rows(chip: dict[str, Any]) -> bool:
    """Return whether results depend on a measured fraction of driven rows."""
    if not any(chip["wires"][name] for name in chip["wires"] if name.endswith("_ohm")):
        return False
    from imc_sim.array import Chip, needs_density
    from imc_sim.config import build

    spec = build(Chip, chip, "chip")
    return any(needs_density(encoding, spec.wires) for encoding in (spec.encoding, spec.encoding_multibit))
