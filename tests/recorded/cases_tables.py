"""Recorded tables of a laboratory after reading: separators, units, columns for each state, lines left out, errors."""

from __future__ import annotations

import gzip
import itertools
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from imc_sim.device.fit import Table, read_table
from imc_sim.device.fit._columns import named_columns, parse_heading, parse_unit, state_name
from imc_sim.device.fit._kinds import guess_kind
from imc_sim.device.fit._reader import cell_numbers
from tests.recorded.made import folder, tried, without
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
    texts = ("a=LRS uS", " a b = LRS uS , c=skip,", "R(V=1)=LRS ohm, t=time s", "a", "=b", "a=", "", " , ")
    return {
        "chosen": [tried(named_columns, text) for text in texts]
        + [tried(named_columns, {"a": "b"}), named_columns(None)],
        "units": [None if (u := parse_unit(unit)) is None else short(u) for unit in units],
        "values": [u.to_si(np.array([0.25, 250.0, -3.0])).tolist() for unit in units if (u := parse_unit(unit))],
        "names": [state_name(text) for text in ("LRS", "g on", "Level_07", "l2", "off state", "12", "x1")],
        "headings": [c and [c.role, c.state, c.unit and c.unit.quantity, c.at] for c in columns],
    }


_TEN = "".join(f"{k},{k}.5,7\n" for k in range(10))
#: texts of tables, each with what `--columns` says
LAYOUTS: list[tuple[str, str | None]] = [
    # separators, decimal signs, thousands, comments, units
    ("# LRS_uS HRS_uS\n61.0 4.1\n59.5 3.9\n", None), ("# LRS (uS), HRS (uS)\n61.0 4.1\n59.5 3.9\n", None),
    ("LRS (uS)\tHRS (uS)\n61,5\t4\n\t3,9\n", None), ("LRS (uS),HRS (uS),\n61.0,4.1,\n59.5,3.9,\n", None),
    ("a;b\nstate;R (ohm)\nLRS;1.234,5\nHRS;12.345.678,25\n", None), ("state,R (ohm)\nLRS,1e4\nHRS,1 000\n", None),
    ('no;"LRS (nS)";"HRS (nS)"\r\n1;"61.037,0";"4.123,0"\r\n2;"59.500,0";"3.900,0"\r\n', None),
    ("LRS (uS),HRS (uS)\n61.0,4.1  # checked\n#DIV/0!,3.9\n#NUM!,#N/A\n", None),
    ("DUT,LRS (uS),HRS (uS)\n#1,61,4\n#2,62,5\n# retested\n#3,63,6\n", None), ("G (uS)\n5\n", None),
    ("me\n\nLRS;HRS\n(uS);[nS]\n61.0;4.1\n59.5;3.9\n", None), ("LRS;HRS\nuS;\n61.0;4.1\n59.5;3.9\n", None),
    ("Setup, levels\nDim, 2, 2\nName, G_on (uS), G_off (uS)\nValue, 61.0, 4.1\nValue, 59.5, 3.9\n", None),
    ("G|I\nuS|\n1|2\n", None), ("state,G (uS)\nLRS,16.3k\nHRS,203k\n", None), ("", None), ("LRS (uS)\n", None),
    ("\nwords only\nof nobody\n", None), ("1,2\n3,4\n", None), ("state,G (uS)\nLRS,61,037\nHRS,4,123\n", None),
    ("LRS (uS),HRS (uS)\n1,2\n1,2\n1,2,3\n1,2,3\n", None), ("LRS (uS),HRS (uF)\n1,2\n1,2\n", None),
    ("0 (uS),1 (uS),2 (uS),3 (us)\n1,2,3,4\n1,2,3,4\n", None), ("G (uS);R (kohm)\n50;20\n40;25,1\n", None),
    # names of states, cells and quantities
    ("state,G (uS)\nSET,61\nreset,4\nOn state,60\nlevel 1,5\n", None), ("state,G (uS)\nLRS,1\nopen,2\n", None),
    ("level (uS),G_meas (nS)\n5,5100\n10,10200\n", None), ("state,conductance\nLRS,1\nHRS,2\n", None),
    ("row,col,R_read (kohm),t (K)\n1,a,2,300\n1,b,3,301\n2,a,4,302\n", None), ("LRS,HRS\n1,2\n3,4\n", None),
    ("dut,T (degC),bake time (min),I_read (uA),Vread (mV)\nA,85,1,2,200\nB,85,2,3,200\n", None),
    ("cell,V,I\n1,.1,1e-6\n1,.2,2e-6\n1,.3,1e-31\n", None), ("P,G (uS),tw (us)\n0,5,1\n1,6,1\n", None),
    ("time (uS),G (uS)\n1,2\n1,2\n", None), ("time,G (uS)\n1.2. 10:00,1\n1.2. 11:00,2\n", None),
    ("state,log(R) (ohm)\nLRS,4.1\nHRS,5.2\n", None), ("state,G (uS),G std (uS)\nLRS,60,2\nHRS,4,1\n", None),
    ("state,10 min bake (uS)\nLRS,60\nHRS,4\n", None), ("cell,G max (uS)\n1,60\n2,4\n", "G max (uS)=G uS"),
    # statistics and other tables below the cells
    ("cell;LRS (uS);HRS (uS)\na1;61,5;4,5\na2;62,5;5,5\nMean;62,0;5,0\nSt. Dev. (n=2);0,7;0,7\n", None),
    ("cell,G (uS)\n" + "".join(f"{k},5\n" for k in range(9)) + "all,5\n", None), ("x,G (uS)\n1,5\nb,6\n", None),
    ("value,LRS (uS),HRS (uS)\nmean,61,4\nstd,3,1\n", None), ("state,G (uS)\nLRS,61\nHRS,4\nMean,32\n", None),
    ("cell,LRS (uS),remark\nminA,61,\nref,62,bad probe\nC,63,\n", None), ("LRS (uS)\n60\nLRS (nS)\n6e4\n", None),
    ("LRS (uS),HRS (uS)\n60,4\nLRS (uS),HRS (uS)\n61,5\n", None),
    ("LRS (uS),HRS (uS)\n60,4\n60,4\nHRS (uS),LRS (uS)\n4,60\n", None),
    # columns for each cycle, pulse, time, sweep or channel
    ("cell,LRS cycle 1 (uS),LRS cycle 10 (uS)\nA7,60,61\nB2,62,63\n", None),
    ("LRS 1 cycles (uS);HRS 1e1 cycles (uS)\n60;61\n62;63\n", None), ("t=1 (uS),t=10 (uS)\n60,61\n62,63\n", None),
    ("state,2 h (uS),G after 1.5 d (uS)\nON,60,61\nON,62,63\nOFF,1,2\n", None),
    ("device,pulse_1_uS,pulse_2_uS\nx,60,61\ny,62,63\n", None), ("cycle 1 (uS),pulse 2 (uS)\n60,61\n62,63\n", None),
    ("LRS (uS),cycle 10 (uS)\n60,61\n62,63\n", None), ("LRS (uS),G (uS)\n60,61\n62,63\n", None),
    ("Smu1.V[1][1],Smu1.I[1][1],Smu1.V[1][2],Smu1.I[1][2]\n0.1,1e-6,0.3,3e-6\n0.2,2e-6,0.4,4e-6\n", None),
    ("Smu1.V[1][1],Smu1.I[1][1],Smu2.V[1][1],Smu2.I[1][1]\n1,1e-6,0,-1e-6\n2,2e-6,0,-2e-6\n", None),
    ("Smu1.V,Smu1.I,CH2:V,CH2:I\n1,1e-6,0,-1e-6\n2,2e-6,0,-2e-6\n", "CH2:V=skip,CH2:I=skip"),
    ("AV,AI,I\n0.1,-1e-6,1e-6\n0.2,-2e-6,2e-6\n", None), ("AV,AI,I\n0.1,-1e-6,1e-6\n0.2,-2e-6,2e-6\n", "I=skip"),
    ("V1,V2,I1\n1,2,3\n1,2,3\n", None), ("V1,I1,ID\n0.1,1e-6,1.2e-8\n0.2,2e-6,3.4e-8\n", None),
    ("AV,AI,Time\n0.1,-1e-6,\n0.2,-2e-6,\n", None), ("AV,AI,R\n0.1,-1e-6,5\n0.2,-2e-6,5\n", None),
    ("Cycle,SET#1,SET#1\nIndex,LRS (uS),HRS (uS)\n1,60,4\n2,61,5\n", None),
    ("Pulse number,dev 1 (uS),dev 2 (uS)\n1,5,6\n2,6,7\n", None),
    ("state,G (uS),R (ohm)\nLRS,1,1\nHRS,1,1\n", None), ("state,G (uS),R (kohm)\nLRS,50,20\nHRS,10,100\n", None),
    # columns by number and by meaning
    (_TEN, "1=cell,2=LRS uS,3=HRS nS"), (_TEN, "*=LRS uS"), (_TEN, "2-3=HRS cycle kohm,*=cell"), (_TEN, "2-4=LRS uS"),
    (_TEN, "1-2=LRS uS,2-3=HRS uS"), (_TEN, "3-2=LRS uS"), (_TEN, "0=LRS uS"), (_TEN, "1=LRS uS,1-3=pulse uS"),
    (_TEN, "2=G"), (_TEN, "2=G uF"), (_TEN, "2=nothing uS"), (_TEN, "2=time s,3=G uS"), (_TEN, "2"), (_TEN, "=x"),
    ("a;b\n1,5;2\n3;4\n", "a=LRS kohm,b=HRS Mohm"), ("a;b\n1;2\n3;4\n", "c=LRS uS"), ("a;b\n1;2\n3;4\n", "a=G"),
    ("R(V=1);t\n1;2\n3;4\n", "R(V=1)=LRS ohm, t=time s"), ("a,b\n1,2\n3,4\n", "a=skip,b=level 3 uS"),
]  # fmt: skip


def _runs(columns: dict[str, list[Any]]) -> dict[str, Any]:
    """Return columns in one number each, and those of text as each value and how often it follows itself."""
    return {
        role: " ".join(f"{value} x{len(list(same))}" for value, same in itertools.groupby(values))
        if values and isinstance(values[0], str)
        else short(values)
        for role, values in columns.items()
    }


def record_layouts() -> dict[str, Any]:
    """Columns, notes and errors of each layout, and the kind of fit that follows."""
    found: dict[str, Any] = {}
    with folder():
        path = Path("t.csv")
        for text, columns in LAYOUTS:
            path.write_text(text, encoding="utf-8")
            table = tried(lambda c=columns: [_table(read_table(path, columns=c))])
            name = f"{text} {columns or ''}".strip()
            found[name if len(name) < 60 else f"{name[:40]}...{zlib.crc32(name.encode())}"] = (
                table if isinstance(table, str) else [_runs(table[0][0]), *table[0][1:3], " / ".join(table[0][4])]
            )
    return found


def record_files_of_other_formats() -> dict[str, Any]:
    """Arrays, archives, workbooks, compressed and binary files, several files, and cells by their numbers."""
    found: dict[str, Any] = {}
    columns = {"LRS (uS)": np.array([61.0, 60.0]), "HRS (uS)": np.array([4.0, 4.1])}
    array = np.array(list(columns.values())).T
    text = "LRS (\u00b5S),HRS (\u00b5S)\n61.0,4.0\n60.0,4.1\n"
    with folder() as at:
        np.savez("a.npz", **columns)  # type: ignore[arg-type]
        np.save("a.npy", array)
        np.save("b.npy", array[:, 0])
        Path("a.gz").write_bytes(gzip.compress(text.encode()))
        for name in ("cp1252", "utf-16", "utf-8-sig"):
            Path(name).write_bytes(text.encode(name))
        Path("b.bin").write_bytes(bytes(range(256)))
        Path("h5").write_bytes(b"\x89HDF\r\n")
        Path("no.xlsx").write_bytes(b"PK\x03\x04 no workbook")
        Path("other").write_text("cell,G (uS)\n1,2\n")
        Path("level").write_text("G (uS)\n\n7\n9\n")
        calls: dict[str, Any] = {
            each: (each, {"columns": "1=LRS uS,2=HRS uS"} if each == "a.npy" else {"columns": "*=G uS"} if "npy" in each
                   else {})
            for each in ("a.npz", "a.npy", "b.npy", "a.gz", "cp1252", "utf-16", "utf-8-sig", "b.bin", "h5", "no.xlsx",
                         "none", ".")
        }  # fmt: skip
        calls |= {
            "two": (["a.gz", "cp1252"], {}), "other columns": (["a.gz", "other"], {}), "array": (array, {}),
            "named": (array, {"columns": "1=cell,2=LRS nS"}), "one": (array[:, 1], {"columns": "1=G mS"}),
            "levels": (["level", "other"], {"levels": True, "columns": "G (uS)=G uS"}),
            "levels of states": (["a.gz"], {"levels": True}), "lengths": ({"a": [1, 2], "b": [1]}, {}),
            "skipped": ("level", {"skip_lines": 2, "columns": "*=G uS"}),
        }  # fmt: skip
        for name, (data, options) in calls.items():
            table = tried(lambda d=data, o=options: [_table(read_table(d, **o))])
            found[name] = without(table, at) if isinstance(table, str) else table[0]
    cells = Table({"device": np.array([0, 0, 1, 1]), "row": np.array([5, 6, 5, 5]), "G": np.ones(4)})
    found["numbers"] = [cell_numbers(cells).tolist(), cell_numbers(Table({"G": np.ones(3)})).tolist()]
    found["selected"] = [len(cells.select(np.array([0, 3]))), len(Table({})), Table({}).name, "row" in cells]
    found["named"] = Table({}, (("a", ""), ("b", ""), ("c", ""), ("d", ""))).name
    return found
