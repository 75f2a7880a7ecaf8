"""A chip in MemTorch's terms, and the refusal of what MemTorch cannot simulate, each by its path in the chip."""

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

#: Parts of a chip that the settings follow, or that say where layers run and nothing of their cells.
_FOLLOWED = (
    "name", "source", "validity", "policy", "engine", "tile", "encoding", "encoding_multibit",
    "device.g_lrs_S", "device.g_hrs_S", "device.levels", "device.temperature_K", "device.programming",
    "device.faults.stuck_lrs", "device.faults.stuck_hrs", "device.read.v_read_V", "device.read.nonlinearity_per_V",
    "device.time.t_s", "device.time.drift.nu", "device.time.drift.t0_s", "device.time.drift.g_max_S",
    "converter.kind", "converter.bits", "converter.range", "converter.rows", "converter.limits",
)  # fmt: skip
_ENCODINGS = ("differential", "offset")


def translate(chip: Chip, encoding: Encoding, engine: Engine, where: str = "chip") -> MemTorchSettings:
    """What MemTorch has to simulate for this chip and encoding; InputError for whatever it cannot, naming the key.

    Tiles are handed over where converters stand at their ends: without, they change no product.
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
        got, step = "effects that exclude each other there", "Switch one of them off, or use the native engine."
        raise InputError(f"{where} with engine memtorch", got, allowed, step) from None


def check_spread(weights: Tensor, settings: MemTorchSettings, where: str) -> None:
    """Refuse weights between the levels where cells have a spread: MemTorch draws two states and no others."""
    size = weights.abs()
    if settings.spread and not bool(((size == 0) | (size == size.max())).all()):
        step = "Binarize the weights, set the spread to 0, or use the native engine."
        raise InputError(f"{where}, weights on cells with a spread with engine memtorch", "weights between the levels",
                         "0 and +-max |w|", step)  # fmt: skip


def _converter(chip: Chip, encoding: Encoding, engine: Engine, where: str) -> dict[str, Any]:
    """Tiles, bits and overflow rate."""
    converter = chip.converter
    if converter.is_ideal:
        if engine.adc_overflow_rate > 0.0:
            allowed = "0 with converter.kind ideal"
            _refuse(where, "engine.adc_overflow_rate", engine.adc_overflow_rate, allowed, "Set converter.kind to auto.")
        return {}
    converter.check(encoding.signed, encoding.name, where)
    if converter.range != "calibrated":
        step = "MemTorch's converters range over what they see: set converter.range to calibrated."
        _refuse(where, "converter.range", repr(converter.range), "'calibrated'", step)
    if converter.limits in ("percentile", "sigma", "mse"):  # the default counts as not stated
        step = "MemTorch's converters range over what they see: set converter.limits to minmax."
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
        _refuse(where, "device.time.drift.nu", "a law of the state", "one number", "Give one exponent for all cells.")
    return float(nu)


def _laws(device: Device, where: str) -> tuple[CellLaw, CellLaw]:
    """Spread of LRS and HRS; MemTorch draws two resistances per cell and no others."""
    law = device.programming
    if law.is_ideal:
        return CellLaw(), CellLaw()
    if not isinstance(law, RelativeVariation):
        _refuse(where, "device.programming.kind", repr(law.kind), "'relative'", "Use a relative spread.")
    if device.levels != 2:
        _refuse(where, "device.levels", device.levels, "2 where cells have a spread", "Set levels to 2.")
    for name, allowed in (("sigma_of", "ln_g"), ("target_is", "median")):
        if getattr(law, name) != allowed:
            _refuse(where, f"device.programming.{name}", repr(getattr(law, name)), repr(allowed), f"Use {allowed}.")
    sigma_hrs = law.sigma if law.sigma_hrs is None else law.sigma_hrs
    return CellLaw(law=law.law, sigma=law.sigma), CellLaw(law=law.law_hrs or law.law, sigma=sigma_hrs)


def _refuse_others(chip: Chip, where: str) -> None:
    """Whatever differs from a plain chip and is not followed, so that a field added to chips is refused at first."""
    device = chip.device
    plain = Chip(device=Device(g_lrs_S=device.g_lrs_S, g_hrs_S=device.g_hrs_S, levels=device.levels))
    default = dict(_leaves(plain.to_dict()))
    for path, value in _leaves(chip.to_dict()):
        if any(path == p or path.startswith(f"{p}.") for p in _FOLLOWED) or default.get(path) == value:
            continue
        _refuse(where, path, repr(value), repr(default.get(path)), "Leave it at that, or use the native engine.")


def _leaves(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _refuse(where: str, path: str, got: object, allowed: str, step: str) -> NoReturn:
    raise InputError(f"{where}: {path} with engine memtorch", got, allowed, step)
