"""Translate a chip for MemTorch; reject what MemTorch cannot simulate, by its path in the chip."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

import pydantic
from torch import Tensor

from imc_sim._errors import InputError
from imc_sim.array import Chip, Encoding
from imc_sim.backends.memtorch._settings import CellLaw, MemTorchSettings
from imc_sim.config import Engine
from imc_sim.device import Device, RelativeVariation

#: parts of a chip that the settings follow, or that state where layers run and nothing about cells
_FOLLOWED = (
    "name", "source", "validity", "policy", "engine", "tile", "encoding", "encoding_multibit",
    "device.g_lrs_S", "device.g_hrs_S", "device.levels", "device.temperature_K", "device.programming",
    "device.faults.stuck_lrs", "device.faults.stuck_hrs", "device.read.v_read_V", "device.read.nonlinearity_per_V",
    "device.time.t_s", "device.time.drift.nu", "device.time.drift.t0_s", "device.time.drift.g_max_S",
    "converter.kind", "converter.bits", "converter.range", "converter.rows", "converter.limits", "cost",
)  # fmt: skip
_ENCODINGS = ("differential", "offset")


def translate(chip: Chip, encoding: Encoding, engine: Engine, where: str = "chip") -> MemTorchSettings:
    """Return the settings with which MemTorch simulates a chip.

    Tiles are passed on with ADCs only: without ADCs they change no product.

    Args:
        chip: The chip.
        encoding: Encoding of the weights.
        engine: The backend's settings.
        where: Name of the chip in errors.

    Raises:
        InputError: The chip has a setting that MemTorch cannot simulate.
    """
    if encoding.name not in _ENCODINGS:
        _refuse(where, "encoding.kind", encoding.name, " or ".join(_ENCODINGS), "Change the encoding of this layer.")
    _refuse_others(chip, where)
    device = chip.device
    lrs, hrs = _laws(device, where)
    settings = {
        "g_lrs_S": device.g_lrs_S, "g_hrs_S": device.g_hrs_S, "lrs": lrs, "hrs": hrs,
        "single_column": encoding.name == "offset", **_converter(chip, encoding, engine, where),
        "stuck_lrs": device.faults.stuck_lrs, "stuck_hrs": device.faults.stuck_hrs, "v_read_V": device.read.v_read_V,
        "nonlinearity_per_V": device.read.nonlinearity_per_V, "drift_t_s": device.time.t_s,
        "drift_t0_s": device.time.drift.t0_s, "drift_nu": _exponent(device, where),
    }  # fmt: skip
    try:
        return MemTorchSettings.model_validate(settings)
    except pydantic.ValidationError as error:
        allowed = error.errors()[0]["msg"].removeprefix("Value error, ")
        got, step = "effects that exclude each other there", "Switch one of them off, or use engine: native."
        raise InputError(f"{where} with backend memtorch", got, allowed, step) from None


def check_spread(weights: Tensor, settings: MemTorchSettings, where: str) -> None:
    """Reject weights between the levels of cells with device variation, since MemTorch samples two states only.

    Args:
        weights: The weights.
        settings: The crossbar.
        where: Name of the layer in errors.

    Raises:
        InputError: There are such weights.
    """
    size = weights.abs()
    if settings.varies and not bool(((size == 0) | (size == size.max())).all()):
        step = "Binarize the weights, set the device variation to 0, or use engine: native."
        place = f"{where}, weights on cells with device variation with backend memtorch"
        raise InputError(place, "weights between the levels", "0 and +-max |w|", step)


def _converter(chip: Chip, encoding: Encoding, engine: Engine, where: str) -> dict[str, Any]:
    """Return the settings of tiles and ADCs."""
    converter = chip.converter
    if converter.is_ideal:
        if engine.adc_overflow_rate > 0.0:
            allowed = "0 with converter.kind ideal"
            _refuse(where, "engine.adc_overflow_rate", engine.adc_overflow_rate, allowed, "Set converter.kind to auto.")
        return {}
    converter.check(encoding.signed, encoding.name, where)
    if converter.range != "calibrated":
        step = "MemTorch's ADCs range over their inputs: set converter.range to calibrated."
        _refuse(where, "converter.range", repr(converter.range), "'calibrated'", step)
    if converter.limits in ("percentile", "sigma", "mse"):  # the default counts as not stated
        step = "MemTorch's ADCs range over their inputs: set converter.limits to minmax."
        _refuse(where, "converter.limits", repr(converter.limits), "'minmax'", step)
    cols = chip.tile.cols // 2 if encoding.name == "differential" else chip.tile.cols - 1
    if cols < 1:
        _refuse(where, "tile.cols", chip.tile.cols, "2 or more", "Enlarge the tile.")
    return {
        "tile_rows": chip.tile.rows, "tile_cols": cols, "adc_bits": converter.bits,
        "adc_overflow_rate": engine.adc_overflow_rate,
    }  # fmt: skip


def _exponent(device: Device, where: str) -> float:
    nu = device.time.drift.nu
    if not isinstance(nu, float | int):
        _refuse(where, "device.time.drift.nu", "a law of the state", "one number", "Use one exponent for all cells.")
    return float(nu)


def _laws(device: Device, where: str) -> tuple[CellLaw, CellLaw]:
    """Return the device variation of LRS and HRS; MemTorch samples two resistances per cell only."""
    law = device.programming
    if law.is_ideal:
        return CellLaw(), CellLaw()
    if not isinstance(law, RelativeVariation):
        _refuse(where, "device.programming.kind", repr(law.kind), "'relative'", "Use relative device variation.")
    if device.levels != 2:
        _refuse(where, "device.levels", device.levels, "2 with device variation", "Set levels to 2.")
    for name, allowed in (("sigma_of", "ln_g"), ("target_is", "median")):
        if getattr(law, name) != allowed:
            _refuse(where, f"device.programming.{name}", repr(getattr(law, name)), repr(allowed), f"Use {allowed}.")
    sigma_hrs = law.sigma if law.sigma_hrs is None else law.sigma_hrs
    return CellLaw(law=law.law, sigma=law.sigma), CellLaw(law=law.law_hrs or law.law, sigma=sigma_hrs)


def _refuse_others(chip: Chip, where: str) -> None:
    """Raise for settings that differ from the defaults and are not followed, as any that is added to chips later."""
    device = chip.device
    ideal = Chip(device=Device(g_lrs_S=device.g_lrs_S, g_hrs_S=device.g_hrs_S, levels=device.levels))
    default = dict(_leaves(ideal.to_dict()))
    for path, value in _leaves(chip.to_dict()):
        if any(path == p or path.startswith(f"{p}.") for p in _FOLLOWED) or default.get(path) == value:
            continue
        _refuse(where, path, repr(value), repr(default.get(path)), "Use this value, or engine: native.")


def _leaves(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _refuse(where: str, path: str, got: object, allowed: str, step: str) -> NoReturn:
    raise InputError(f"{where}: {path} with backend memtorch", got, allowed, step)
