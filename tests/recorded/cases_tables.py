"""Recorded tables of a laboratory after reading: separators, units, columns for each state, and lines left out."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from imc_sim.device.fit import Table, read_table
from imc_sim.device.fit._columns import parse_heading, parse_unit, state_name
from imc_sim.device.fit._kinds import guess_kind
from tests.recorded.short import short

TEXTS: dict[str, tuple[str, dict[str, Any]]] = {
    "commas": ("state,conductance (uS)\nLRS,250\nHRS,12.5\nON,9.9E37\nOFF,-3\nset,x\n", {}),
    "decimal commas": ("cell;time_s;R [kohm]\n3;1,5;20,25\n4;2,5;1.020,5\n3;60,0;0,5\n", {}),
    "instrument": ("Model 4200\n# run 3\n\nV\tI\n(mV)\t(nA)\n-100\t-20\n0\t0.1\n100\t21\n", {}),
    "blanks": ("LRS (kohm)  HRS (Mohm)\n4.0 1.5\n 4.2 1.4\n4.1 2.5\n", {}),
    "chosen": ("a|b|c\n1|2|3\n4|5|6\n7|8|9\n", {"columns": "a=LRS uS,3=HRS nS"}),
    "skipped": ("1,2\nt (min),G (mS),cycle\n1,2,0\n2,4,7\n3,6,9\n", {"skip_lines": 1}),
    "temperature": ("T (degC),t (h),dut,G_read uS\n85,1,b,20\n125,2,a,30\n85,24,b,10\n", {}),
    "repeated": ("V (V),I1 (uA),I2 (uA)\n0.1,1,2\n0.2,3,5\n0.3,5,9\n", {}),
}


def _table(table: Table) -> list[Any]:
    columns = {
        role: [str(v) for v in values] if values.dtype.kind in "OU" else values.tolist()
        for role, values in table.columns.items()
    }
    try:
        kind = list(guess_kind(table))
    except ValueError as error:
        kind = [str(error)[:80]]
    return [columns, dict(table.dropped), list(table.notes), table.name, kind]


def record_files() -> dict[str, Any]:
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (text, options) in TEXTS.items():
            path = Path(folder) / f"{name.replace(' ', '_')}.csv"
            path.write_text(text, encoding="utf-8")
            found[name] = _table(read_table(path, **options))
        several = [Path(folder) / f"level{k}.csv" for k in range(3)]
        for k, path in enumerate(several):
            path.write_text(
                "G (uS)\n" + "\n".join(f"{(7 * k) % 5 + j / 10}" for j in range(4)) + "\n", encoding="utf-8"
            )
        found["levels"] = _table(read_table(several, levels=True))
    found["arrays"] = _table(read_table({"G (S)": np.array([1e-6, -1.0, np.inf, np.nan, 0.0]), "cycle": np.arange(5)}))
    return found


def record_headings() -> dict[str, Any]:
    units = ("uS", "kohm", "MΩ", "mV", "GHz", "min", "degC", "fA", "Xs", "ms", "k", "days")
    heads = ("G_LRS (uS)", "R off [kohm]", "level 3 nS", "Vread (V)", "level (uS)", "pulse (us)", "t (K)", "id", "note")
    columns = [parse_heading(k, head, "here") for k, head in enumerate(heads)]
    return {
        "units": [None if (u := parse_unit(unit)) is None else short(u) for unit in units],
        "values": [u.to_si(np.array([0.25, 250.0, -3.0])).tolist() for unit in units if (u := parse_unit(unit))],
        "names": [state_name(text) for text in ("LRS", "g on", "Level_07", "l2", "off state", "12", "x1")],
        "headings": [c and [c.role, c.state, c.unit and c.unit.quantity, c.at] for c in columns],
    }
