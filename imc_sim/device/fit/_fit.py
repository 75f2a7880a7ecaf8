"""Fit a chip to a laboratory's measurements, one kind at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np

from imc_sim._arguments import checked
from imc_sim._errors import InputError
from imc_sim.config import read_yaml
from imc_sim.device._device import Device
from imc_sim.device.fit._kinds import fit_part, guess_kind
from imc_sim.device.fit._level_data import StateFit
from imc_sim.device.fit._levels import Samples, samples_of
from imc_sim.device.fit._part import Options, PartFit, merged
from imc_sim.device.fit._reader import MOST_S, Table, read_table

_VALIDITY = "Fitted to measured cells; effects that no line below names are off until they are set."


@final
@dataclass(frozen=True)
class DeviceFit:
    """Device fitted to measured cells.

    Attributes:
        device: the device of the finished chip.
        data: its settings as a YAML mapping, with units.
        part: the fit: settings that it adds, estimates with intervals, deviations from the data, figures.
        table: the measurements.
        reason: how the kind was found, in words.
        base: content of the chip file to which the part is added; empty for a new chip.
    """

    device: Device
    data: dict[str, Any]
    part: PartFit
    table: Table
    reason: str = ""
    base: Mapping[str, Any] = ()  # type: ignore[assignment]

    @property
    def states(self) -> tuple[StateFit, ...]:
        """Return the fit of each state, from the lowest to the highest conductance; empty for kinds without."""
        return self.part.details if self.part.kind == "levels" else ()

    @property
    def replaced(self) -> str:
        """Return the kind whose device variation this one replaces: levels or pulses; empty where none is lost."""
        kind, old = self.part.kind, dict(self.base).get("device", {}).get("programming")
        if kind not in ("levels", "pulses") or old is None:
            return ""
        earlier = "pulses" if old.get("kind") == "pulses" else "levels"
        return "" if earlier == kind else earlier

    def chip(self, name: str) -> dict[str, Any]:
        """Return the finished chip, as in a file of device_configs/.

        `source` and `validity` have a line for each kind that was fitted.

        Args:
            name: name of the chip.
        """
        kind, base = self.part.kind, dict(self.base)
        files = ", ".join(f"{file} (sha256 {digest[:16]})" for file, digest in self.table.source) or "arrays"
        validity = base.get("validity", _VALIDITY)
        if self.replaced:
            validity = _with_line(validity, self.replaced, f"device variation replaced by the fit of {kind}.")
        return base | {
            "name": name,
            "source": _with_line(base.get("source", ""), kind, f"imc-sim device fit {files}"),
            "validity": _with_line(validity, kind, self.part.summary),
            "device": self.data,
        }


def _with_line(text: str, kind: str, line: str) -> str:
    """Return a text with a line for a kind, which replaces an earlier one of the same kind."""
    kept = [each for each in text.splitlines() if not each.startswith(f"{kind}: ")]
    return "\n".join([*kept, f"{kind}: {line}"])


@checked
def fit(
    data: Any, kind: str | None = None, into: str | Path | Mapping[str, Any] | None = None, v_read: float | None = None,
    columns: Mapping[str, str] | str | None = None, skip_lines: int = 0, levels: bool = False,
    model: str | None = None,
) -> DeviceFit:  # fmt: skip
    """Fit a device to measurements of cells.

    Args:
        data: a path or several, a pandas DataFrame, a mapping of arrays, or a `Table`.
        kind: levels, retention, endurance, pulses, iv or noise; None: guessed from the columns.
        into: chip to which the fit is added: a path of its file, or its content; None: a new chip.
        v_read: read voltage in V, which turns currents into conductances.
        columns: meaning of columns by heading, such as `{"R_on": "LRS ohm"}`.
        skip_lines: lines to leave out at the beginning of each file.
        levels: whether each file holds one level.
        model: switching model of pulse trains, pulse_response or vteam; None: pulse_response.

    Returns:
        The fit, whose `chip(name)` is the content of a chip file.

    Raises:
        InputError: the measurements cannot be read, are of no kind, or do not make a device.
    """
    table = data if isinstance(data, Table) else read_table(data, columns, skip_lines, levels)
    base = into if isinstance(into, Mapping) else {} if into is None else read_yaml(Path(into))
    _check_rows(table)
    found, reason = (kind, "as requested") if kind is not None else guess_kind(table)
    table = table if found == "iv" else with_conductance(table, v_read)
    _check_rows(table)
    held = dict(base.get("device", {}))
    part = fit_part(table, found, Options(held, v_read, model))
    data = merged(held, part.part)
    return DeviceFit(Options(held).finished(part.part), data, part, table, reason, base)


def _check_rows(table: Table) -> None:
    """Raise InputError for a table without rows, with what was left out."""
    if not len(table):
        left_out = [note for note in table.notes if note.startswith("left out")]
        got = ", ".join([*(f"{count} {reason}" for reason, count in table.dropped.items()), *left_out]) or "no rows"
        raise InputError(table.name, f"no measurement left ({got})", "rows of numbers", "Check the file.")


def with_conductance(table: Table, v_read: float | None) -> Table:
    """Return a table with the conductances of its currents at a read voltage; the same table where it has conductances.

    Args:
        table: the measurements.
        v_read: read voltage in V; None: the column `v_read` or `voltage`.

    Raises:
        InputError: there are currents, but no read voltage.
    """
    if "G" in table or "current" not in table:
        return table
    column = next((role for role in ("v_read", "voltage") if role in table), None)
    voltage = v_read if v_read is not None or column is None else table[column]
    if voltage is None or not np.all(voltage) or not np.all(np.isfinite(voltage)):
        step = "Add --v-read V."
        raise InputError(table.name, "currents without a read voltage", "conductances, or a read voltage", step)
    G = table["current"] / voltage
    dropped = dict(table.dropped)
    for reason, count in (("not positive", int((G < 0.0).sum())), ("above 1 S", int((G > MOST_S).sum()))):
        if count:
            dropped[reason] = dropped.get(reason, 0) + count
    return replace(table, columns=table.columns | {"G": G}, dropped=dropped).select((G >= 0.0) & (G <= MOST_S))


def fit_device(samples: Samples) -> DeviceFit:
    """Fit levels and device variation to measured conductances.

    Args:
        samples: conductances in S of each state, from the lowest to the highest.

    Returns:
        The device, its YAML mapping, and the quality of the fit of each state.
    """
    names = np.concatenate([np.full(len(values), name) for name, values in samples.items()])
    return fit(Table({"state": names, "G": np.concatenate(list(samples.values()))}), "levels")


def read_measurements(path: Path) -> Samples:
    """Read the conductances of each state from a file.

    Args:
        path: file with a column of states and one of values, or a column of values for each state.

    Returns:
        Conductances in S by state, from HRS (level 0) to LRS, each array sorted.

    Raises:
        InputError: the file cannot be read, or states are missing.
    """
    return samples_of(read_table(path))
