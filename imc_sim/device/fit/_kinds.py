"""Kinds of measurements, and how to recognise them by their columns."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from imc_sim._errors import InputError
from imc_sim.device.fit._endurance import fit_endurance
from imc_sim.device.fit._iv import fit_iv
from imc_sim.device.fit._levels import fit_levels
from imc_sim.device.fit._noise import fit_noise
from imc_sim.device.fit._part import Options, PartFit
from imc_sim.device.fit._pulses import fit_pulses
from imc_sim.device.fit._reader import Table
from imc_sim.device.fit._retention import fit_retention

#: kind -> its fit
FITS: dict[str, Callable[[Table, Options], PartFit]] = {
    "levels": fit_levels, "retention": fit_retention, "endurance": fit_endurance,
    "pulses": fit_pulses, "iv": fit_iv, "noise": fit_noise,
}  # fmt: skip


def guess_kind(table: Table) -> tuple[str, str]:
    """Return the kind of measurement in a table, and the reason in words.

    Args:
        table: the measurements.

    Raises:
        InputError: the columns fit no kind.
    """
    has = table.columns.keys()
    value = "G" in has or "current" in has
    if "pulse" in has and value:
        return "pulses", "a column of pulses"
    if "cycle" in has and value:
        return "endurance", "a column of cycles"
    if {"voltage", "current"} <= has and len(np.unique(table["voltage"])) > 2:
        return "iv", "currents at several voltages"
    if "time" in has and value:
        cells = len(np.unique(table["cell"])) if "cell" in has else 1
        most = len(table) / max(cells, 1)
        if "state" not in has and most >= 64 and _even(table["time"]):
            return "noise", f"{most:.0f} evenly spaced times"
        return "retention", "a column of times"
    if ("state" in has or "target" in has) and value:
        return "levels", "conductances by state"
    got = f"columns {', '.join(has) or 'none'}"
    allowed = (
        "levels (state, G), retention (time, G), endurance (cycle, G), pulses (pulse, G), iv (V, I), noise (time, G)"
    )
    step = 'Name what is missing, --columns "HEADING=state,…"; or state the kind, --kind levels.'
    raise InputError(table.name, got, allowed, step)


def fit_part(table: Table, kind: str, options: Options) -> PartFit:
    """Fit one kind of measurement.

    Args:
        table: the measurements.
        kind: levels, retention, endurance, pulses, iv or noise.
        options: what the fit may use besides the table.

    Raises:
        InputError: the kind is unknown, or the table lacks what it needs.
    """
    if kind not in FITS:
        raise InputError("--kind", repr(kind), ", ".join(FITS), "Choose one of these.")
    return FITS[kind](table, options)


def _even(times: np.ndarray) -> bool:
    """Tell whether times are evenly spaced."""
    steps = np.diff(np.unique(times))
    return len(steps) > 0 and bool(steps.max() < 1.5 * np.median(steps))
