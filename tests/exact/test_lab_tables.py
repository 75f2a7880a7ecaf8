"""Tables of laboratories: separators, units, headings and names of states as instruments write them."""

from __future__ import annotations

import gzip
import hashlib
import io
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.io import savemat

from imc_sim import InputError
from imc_sim.device.fit import Table, fit, guess_kind, read_table
from imc_sim.device.fit._columns import named_columns, parse_unit
from imc_sim.device.fit._fit import with_conductance


def read(folder: Path, content: str | bytes, name: str = "cells.csv", **options: Any) -> Table:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_table(path, **options)


PAIRS = "61.037,4.123\n59.5,3.9\n"


@pytest.mark.parametrize(
    "content",
    [
        "LRS (uS),HRS (uS)\n" + PAIRS,
        "LRS (uS);HRS (uS)\n" + PAIRS.replace(",", ";").replace(".", ","),
        "LRS (uS)\tHRS (uS)\n" + PAIRS.replace(",", "\t").replace(".", ","),
        "# LRS_uS HRS_uS\n" + PAIRS.replace(",", " "),
        "# LRS (uS), HRS (uS)\n" + PAIRS.replace(",", " "),
        "Operator: me\nDate;1.2.2025\n\nLRS;HRS\nuS;uS\n" + PAIRS.replace(",", ";"),
        "SetupTitle, levels\nDimension1, 2, 2\nDataName, G_on (uS), G_off (uS)\n"
        + "".join(f"DataValue, {line}\n" for line in PAIRS.splitlines()),
        "state,G (uS)\nSET,61.037\nSET,59.5\nRESET,4.123\nreset,3.9\n",
        "LRS (uS),HRS (uS),\n61.037,4.123,\n59.5,3.9,\n",
        "LRS (uS),HRS (uS)\n61.037,4.123  # checked\n59.5,3.9\n",
        'no;"LRS (nS)";"HRS (nS)"\r\n1;"61.037,0";"4.123,0"\r\n2;"59.500,0";"3.900,0"\r\n',
        gzip.compress(b"LRS (uS),HRS (uS)\n" + PAIRS.encode()),
        ("LRS (\u00b5S),HRS (\u00b5S)\n" + PAIRS).encode("cp1252"),
        ("LRS (\u00b5S),HRS (\u00b5S)\n" + PAIRS).encode("utf-16"),
    ],
)
def test_every_layout_gives_the_same_cells(tmp_path: Path, content: str | bytes) -> None:
    table = read(tmp_path, content)
    assert sorted(table["G"][table["state"] == "LRS"]) == pytest.approx([59.5e-6, 61.037e-6], rel=1e-12)
    assert sorted(table["G"][table["state"] == "HRS"]) == pytest.approx([3.9e-6, 4.123e-6], rel=1e-12)
    data = content if isinstance(content, bytes) else content.encode()
    assert table.source == (("cells.csv", hashlib.sha256(data).hexdigest()),)
    assert guess_kind(table)[0] == "levels"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("state,conductance (uS)\nLRS,61,037\nHRS,4,123\n", "3 cells .* below 2 headings"),
        ("LRS (uS),HRS (uS)\n1,2\n1,2\n1,2,3\n", "1 lines with more cells than the 2 headings"),
        ("0 (uS),1 (uS),2 (uS),3 (us)\n1,2,3,4\n1,2,3,4\n", "'us', in '3 \\(us\\)'"),
        ("LRS (uS),HRS (uF)\n1,2\n1,2\n", "'uF'"),
        ("time (uS),G (uS)\n1,2\n1,2\n", "'uS', in 'time"),
        ("state,G (uS)\nLRS,1\nopen,2\n", "state 'open'"),
        ("state,conductance\nLRS,1\nHRS,2\n", "no unit"),
        ("LRS,HRS\n1,2\n3,4\n", "columns with a unit"),
        ("state,G (uS),R (ohm)\nLRS,1,1\nHRS,1,1\n", "that disagree"),
        ("LRS (uS)\n", "no measurement"),
        ("LRS (uS),HRS (uS)\n60,4\n60,4\nHRS (uS),LRS (uS)\n4,60\n", "a second table, with 'HRS .uS.'"),
        ("LRS (uS),HRS (uS)\n60,4\n60,4\nLRS (nS),HRS (nS)\n6e4,4e3\n", "a second table, with 'LRS .nS.'"),
        ("state,log(R) (ohm)\nLRS,4.1\nHRS,5.2\n", "a logarithm, an error or a limit, in 'log.R. .ohm.'"),
        ("LRS log10 R (ohm),HRS log10 R (ohm)\n4.1,5.2\n4.1,5.2\n", "a logarithm, .*'LRS log10 R .ohm.'"),
        ("state,G (uS),G std (uS)\nLRS,60,2\nHRS,4,1\n", "a logarithm, an error or a limit, in 'G std .uS.'"),
        ("state,R (ohm)\nLRS,16.3k\nHRS,203k\n", "no numbers, such as 'HRS,203k'"),
        ("time (s),G (uS)\n1.2. 10:00,1\n1.2. 11:00,2\n", "such as '1.2. 10:00'"),
    ],
)
def test_tables_that_would_be_misread_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(tmp_path, text)


def test_errors_quote_only_some_of_many_headings(tmp_path: Path) -> None:
    row = ",".join(["1"] * 601)
    with pytest.raises(InputError) as error:
        read(tmp_path, ",".join(f"c{i}" for i in range(601)) + f"\n{row}\n{row}\n")
    assert "601 in all" in str(error.value)
    assert len(str(error.value)) < 700


@pytest.mark.parametrize("content", [b"PK\x03\x04 no workbook", b"\x89HDF\r\n", bytes(range(256))])
def test_files_that_are_not_tables_are_named_as_such(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(InputError, match="workbook|HDF5|binary"):
        read(tmp_path, content, "cells.xlsx")


def test_a_workbook_is_read_as_its_text(tmp_path: Path) -> None:
    path = tmp_path / "cells.xlsx"
    rows = [["Operator", "me"], ["LRS (uS)", "HRS (uS)"], [61.037, 4.123], [59.5, 3.9], [None, "#DIV/0!"]]
    pd.DataFrame(rows).to_excel(path, header=False, index=False)
    table = read_table(path)
    assert sorted(table["G"][table["state"] == "LRS"]) == pytest.approx([59.5e-6, 61.037e-6], rel=1e-12)
    assert sorted(table["G"][table["state"] == "HRS"]) == pytest.approx([3.9e-6, 4.123e-6], rel=1e-12)
    assert table.dropped == {"NaN or unread": 2}  # the empty cell and #DIV/0!


def test_values_left_out_are_counted_by_reason(tmp_path: Path) -> None:
    values = ["16", "9.9E37", "inf", "#DIV/0!", "-3", "0", "", "200"]
    table = read(tmp_path, "state,R (kohm)\n" + "".join(f"LRS,{v}\n" for v in values))
    assert table["G"] == pytest.approx([1 / 16e3, 1 / 200e3])
    assert table.dropped == {"overflow": 2, "NaN or unread": 2, "not positive": 2}
    kept = read(tmp_path, "state,G (uS)\nLRS,0\nLRS,5\nLRS,-1\n")
    assert kept["G"].tolist() == [0.0, 5e-6]  # 0 S can be measured


@pytest.mark.parametrize(
    ("unit", "quantity", "scale"),
    [("pS", "S", 1e-12), ("TS", "S", 1e12), ("siemens", "S", 1.0), ("ohm", "ohm", 1.0), ("Ohm", "ohm", 1.0),
     ("kOhm", "ohm", 1e3), ("M\u03a9", "ohm", 1e6), ("us", "s", 1e-6), ("h", "s", 3600.0), ("mA", "A", 1e-3)],
)  # fmt: skip
def test_units_have_all_prefixes(unit: str, quantity: str, scale: float) -> None:
    found = parse_unit(unit)
    assert found is not None
    assert (found.quantity, found.scale) == (quantity, scale)


@pytest.mark.parametrize(
    ("text", "kind", "roles"),
    [
        ("cell,time (h),G (uS),T (\u00b0C)\n1,1,50,85\n2,1,49,85\n", "retention", "cell time G temperature"),
        ("cycle,cell,R_on (kohm),R_off (kohm)\n1,A,10,200\n2,A,11,190\n", "endurance", "cycle cell G state"),
        ("Pulse number,dev 1 (uS),dev 2 (uS)\n1,5,6\n2,6,7\n", "pulses", "pulse device G"),
        ("AV\tAI\tTime\n0.1\t1e-6\t0\n0.2\t2e-6\t1\n0.3\t3e-6\t2\n", "iv", "voltage current time"),
        ("V1 (V),I1 (A),V2 (V),I2 (A)\n.1,1,.1,2\n.2,1,.2,2\n.3,1,.3,2\n", "iv", "voltage current sweep"),
        ("time (ms),I (nA)\n" + "".join(f"{i},5\n" for i in range(99)), "noise", "time current"),
        ("target (uS),G (uS)\n5,5.1\n10,10.2\n", "levels", "target G"),
    ],
)
def test_the_kind_follows_from_the_columns(tmp_path: Path, text: str, kind: str, roles: str) -> None:
    table = read(tmp_path, text)
    assert guess_kind(table)[0] == kind
    assert set(table.columns) == set(roles.split())
    assert all(len(values) == len(table) for values in table.columns.values())


def test_numbers_of_cells_with_a_sharp_are_no_comments(tmp_path: Path) -> None:
    table = read(tmp_path, "DUT,LRS (uS),HRS (uS)\n#1,61,4\n#2,62,5\n# retested\n#3,63,6\n")
    assert table["G"].tolist() == pytest.approx([61e-6, 62e-6, 63e-6, 4e-6, 5e-6, 6e-6])
    assert table["cell"].tolist() == [0.0, 1.0, 2.0] * 2


@pytest.mark.parametrize(
    ("rows", "footer", "names"),
    [
        ("1;61,5;4,5\n2;62,5;5,5\n", ";;\nMittelwert;62,0;5,0\nStdAbw;0,7;0,7\n", "'Mittelwert', 'StdAbw'"),
        ("a1;61,5;4,5\na2;62,5;5,5\n", "Mean;62,0;5,0\nSt. Dev. (n=2);0,7;0,7\n", "'Mean', 'St. Dev. (n=2)'"),
        ("".join(f"{k};61,5;4,5\n{k};62,5;5,5\n" for k in range(9)), "all;62,0;5,0\n", "'all'"),
        ("1;61,5;4,5\n2;62,5;5,5\n", "mean;62,0;5,0\nmean;62,0;5,0\nstd;1,0;1,0\n", "'mean', 'std'"),
    ],
)
@pytest.mark.parametrize("heading", ["cell", "whatever"])
def test_statistics_below_the_cells_are_no_cells(
    tmp_path: Path, rows: str, footer: str, names: str, heading: str
) -> None:
    table = read(tmp_path, f"{heading};LRS (uS);HRS (uS)\n{rows}{footer}")
    assert sorted(set(table["G"])) == [4.5e-6, 5.5e-6, 61.5e-6, 62.5e-6]
    assert any(f"not of cells: {names}" in note for note in table.notes)


def test_statistics_of_states_are_no_state(tmp_path: Path) -> None:
    table = read(tmp_path, "state,G (uS)\nLRS,61\nHRS,4\nMean,32\n")
    assert table["G"].tolist() == [61e-6, 4e-6]
    with pytest.raises(InputError, match="no measurement left .left out: 2 rows not of cells: 'mean', 'std'"):
        fit(read(tmp_path, "value,LRS (uS),HRS (uS)\nmean,61,4\nstd,3,1\n"))


def test_remarks_and_names_of_cells_leave_no_cell_out(tmp_path: Path) -> None:
    table = read(tmp_path, "cell,LRS (uS),HRS (uS),remark\nminA,61,4,\nref,62,5,bad probe\nC,63,6,\n")
    assert len(table) == 6


def test_a_matrix_without_headings_is_read_by_numbers(tmp_path: Path) -> None:
    """Two cells: their names, three cycles of LRS, three of HRS."""
    text = "made by me today in the lab with a tester\n7 61 62 63 4 5 6\n8 71 72 73 14 15 16\n"
    table = read(tmp_path, text, columns="1=cell,2-4=LRS cycle uS,*=HRS cycle uS")
    rows = sorted(zip(*(table[role].tolist() for role in ("state", "cycle", "cell", "G")), strict=True))
    high = [("HRS", cycle, cell, (3 + cycle + 10 * cell) * 1e-6) for cycle in (1, 2, 3) for cell in (0, 1)]
    low = [("LRS", cycle, cell, (60 + cycle + 10 * cell) * 1e-6) for cycle in (1, 2, 3) for cell in (0, 1)]
    assert [row[:3] for row in rows] == [row[:3] for row in high + low]
    assert [row[3] for row in rows] == pytest.approx([row[3] for row in high + low])
    assert guess_kind(table)[0] == "endurance"
    text = "5 6 7\n15 16 17\n"
    assert read(tmp_path, text, columns="*=LRS kohm")["G"] == pytest.approx(
        [1 / (1000 * r) for r in (5, 15, 6, 16, 7, 17)]
    )
    assert guess_kind(read(tmp_path, text, columns="*=pulse uS"))[0] == "pulses"
    table = read(tmp_path, text, columns="1-1=HRS uS,2-3=LRS uS")
    assert table["G"][table["state"] == "HRS"].tolist() == pytest.approx([5e-6, 15e-6])


@pytest.mark.parametrize("columns", ["1-2=LRS uS,2-3=HRS uS", "2-4=LRS uS", "0-1=LRS uS", "3-2=LRS uS"])
def test_ranges_of_columns_that_overlap_or_end_outside_are_refused(tmp_path: Path, columns: str) -> None:
    with pytest.raises(InputError, match="numbers from 1 to 3, ascending, each once"):
        read(tmp_path, "5 6 7\n15 16 17\n", columns=columns)


@pytest.mark.parametrize(
    ("meaning", "unit"),
    [("LRS cycle V", "V"), ("cycle s", "s"), ("HRS cycle uF", "uF"), ("pulse K", "K"), ("LRS V", "V"), ("G s", "s")],
)
def test_values_in_a_wrong_unit_are_refused(tmp_path: Path, meaning: str, unit: str) -> None:
    """Also those of one cycle or pulse a column, which would be left out."""
    with pytest.raises(InputError, match=f"not understood there, '{unit}'"):
        read(tmp_path, "1 5 6\n2 15 16\n", columns=f"1=cell,2=LRS uS,*={meaning}")


@pytest.mark.parametrize(
    "heading",
    [
        "compliance (A)",
        "sigma I (uA)",
        "log10(G) (S)",
        "ln R (ohm)",
        "R error (kohm)",
        "G std (uS)",
        "max (A)",
        "sem (S)",
    ],
)
def test_logarithms_errors_and_limits_are_no_values_of_cells(tmp_path: Path, heading: str) -> None:
    with pytest.raises(InputError, match="no values of cells, but a logarithm, an error or a limit"):
        read(tmp_path, f"LRS (uS),HRS (uS),{heading}\n60,4,1\n61,5,1\n")


@pytest.mark.parametrize("change", [lambda b: b[:2], lambda b: b[:-6], lambda b: b[:12] + b"\xff" + b[13:]])
def test_a_damaged_gzip_file_is_refused(tmp_path: Path, change: Any) -> None:
    (tmp_path / "t.csv.gz").write_bytes(change(gzip.compress(b"LRS (uS),HRS (uS)\n60,4\n" * 9)))
    with pytest.raises(InputError, match=r"t\.csv\.gz: got a damaged gzip file"):
        read_table(tmp_path / "t.csv.gz")


def saved(kind: str) -> bytes:
    columns: dict[str, Any] = {"LRS (uS)": np.linspace(55, 65, 9), "HRS (uS)": np.linspace(3, 5, 9)}
    file = io.BytesIO()
    if kind == "npy":
        np.save(file, np.array([columns], dtype=object), allow_pickle=True)
    elif kind == "mat":
        savemat(file, {"LRS_uS": columns["LRS (uS)"]}, do_compression=True)
    else:
        np.savez_compressed(file, **columns)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["npy", "npz", "mat"])
def test_damaged_arrays_are_one_error(tmp_path: Path, kind: str) -> None:
    """At whatever byte the file ends; an array of objects is refused even whole."""
    content = saved(kind)
    for end in range({"npy": 8, "npz": 4, "mat": 129}[kind], len(content) + (kind == "npy")):
        with pytest.raises(InputError, match=rf"t\.{kind}"):
            read(tmp_path, content[:end], f"t.{kind}")


def test_a_header_that_states_more_than_the_memory_is_one_error(tmp_path: Path) -> None:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (10**14,)})
    with pytest.raises(InputError, match=r"t\.npy: got .*allocate"):
        read(tmp_path, file.getvalue(), "t.npy")


@pytest.mark.parametrize("content", [b"PK;1", b"PK", b"PK,LRS (uS),HRS (uS)\n1,60,4\n2,61,5\n"])
def test_a_text_may_begin_as_an_archive_does(tmp_path: Path, content: bytes) -> None:
    if b"LRS" in content:
        assert sorted(read(tmp_path, content)["G"]) == [4e-6, 5e-6, 60e-6, 61e-6]
    else:
        with pytest.raises(InputError, match=r"cells\.csv"):
            read(tmp_path, content)


def test_values_of_a_cycle_a_column_may_be_resistances(tmp_path: Path) -> None:
    table = read(tmp_path, "7 5 10\n8 20 40\n", columns="1=cell,*=HRS cycle kohm")
    found = dict(zip(zip(table["cell"].tolist(), table["cycle"].tolist(), strict=True), table["G"], strict=True))
    assert found == pytest.approx({(0, 1): 1 / 5e3, (0, 2): 1 / 1e4, (1, 1): 1 / 2e4, (1, 2): 1 / 4e4})


def test_headings_may_be_repeated_between_values(tmp_path: Path) -> None:
    table = read(tmp_path, "LRS (uS),HRS (uS)\n60,4\nLRS (uS),HRS (uS)\n61,5\n")
    assert sorted(table["G"]) == [4e-6, 5e-6, 60e-6, 61e-6]
    assert "G" in read(tmp_path, "state,10 min bake (uS)\nLRS,60\nHRS,4\n")
    assert "G" in read(tmp_path, "state,G max (uS)\nLRS,60\nHRS,4\n", columns="G max (uS)=G uS")


@pytest.mark.parametrize("v_read", [-0.1, 0.0, float("nan")])
def test_read_voltages_that_leave_no_cell_are_refused(v_read: float) -> None:
    with pytest.raises(InputError, match="no measurement left .4 not positive|without a read voltage"):
        fit({"LRS (uA)": [6.0, 6.1], "HRS (uA)": [0.4, 0.5]}, v_read=v_read)


def test_arrays_of_different_lengths_are_refused() -> None:
    with pytest.raises(InputError, match=r"'LRS \(uS\)' with 3, 'HRS \(uS\)' with 2 values.*NaN"):
        read_table({"LRS (uS)": [60.0, 61.0, 62.0], "HRS (uS)": [4.0, 5.0]})


def test_headings_may_contain_equals_signs() -> None:
    assert named_columns("R(V=1)=LRS ohm, t=time s") == {"R(V=1)": "LRS ohm", "t": "time s"}


def test_columns_can_be_named_by_hand(tmp_path: Path) -> None:
    table = read(tmp_path, "a;b\n1,5;2\n3;4\n", columns="a=LRS kohm,b=HRS Mohm")
    assert sorted(table["G"]) == pytest.approx([1 / 4e6, 1 / 2e6, 1 / 3e3, 1 / 1500])
    assert read(tmp_path, "61.0 4.0\n61.0 4.0\n", columns="1=LRS uS,2=HRS uS")["G"].tolist() == [61e-6] * 2 + [4e-6] * 2
    with pytest.raises(InputError, match="'c'"):
        read(tmp_path, "a;b\n1;2\n3;4\n", columns={"c": "LRS uS"})
    with pytest.raises(InputError, match="with a unit"):
        read(tmp_path, "a;b\n1;2\n3;4\n", columns={"a": "G"})


def test_arrays_and_frames_are_read_as_files_are(tmp_path: Path) -> None:
    columns = {"LRS (uS)": [61.0, 60.0], "HRS (uS)": [4.0, 4.1]}
    archive, array = io.BytesIO(), io.BytesIO()
    np.savez(archive, **{name: np.array(values) for name, values in columns.items()})  # type: ignore[arg-type]
    np.save(array, np.array(list(columns.values())).T)
    records, cube, uneven = io.BytesIO(), io.BytesIO(), io.BytesIO()
    np.save(records, np.array(list(zip(*columns.values(), strict=True)), [(name, float) for name in columns]))
    np.save(cube, np.ones((2, 2, 2)))
    np.savez(uneven, a=np.ones(2), b=np.ones(1))
    wanted = [61e-6, 60e-6, 4e-6, 4.1e-6]
    for table in (
        read_table(pd.DataFrame(columns)), read_table(columns), read(tmp_path, archive.getvalue(), "cells.npz"),
        read(tmp_path, array.getvalue(), "cells.npy", columns="1=LRS uS,2=HRS uS"),
        read(tmp_path, records.getvalue(), "records.npy"),
    ):  # fmt: skip
        assert table["G"].tolist() == wanted
    with pytest.raises(InputError, match="shape .2, 2, 2.; allowed: one or two dimensions"):
        read(tmp_path, cube.getvalue(), "cube.npy")
    with pytest.raises(InputError, match=r"uneven\.npz: got arrays 'a' with 2, 'b' with 1 values"):
        read(tmp_path, uneven.getvalue(), "uneven.npz")


def test_files_of_one_level_each_are_numbered_by_their_medians(tmp_path: Path) -> None:
    paths = []
    for name, value in (("g1.csv", 20), ("g0.csv", 50), ("g2.csv", 5)):
        paths.append(tmp_path / name)
        paths[-1].write_text(f"G (uS)\n{value}\n{value}\n")
    table = read_table(paths, levels=True)
    assert {s: float(np.median(table["G"][table["state"] == s])) for s in "012"} == {"0": 5e-6, "1": 20e-6, "2": 50e-6}
    assert [name for name, _ in table.source] == ["g1.csv", "g0.csv", "g2.csv"]


def test_a_table_in_pieces_is_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """States and cells that are not in every piece, and text among decimal commas, are read as in one piece."""
    states = ["LRS", "LRS", "LRS", "HRS", "HRS", "LRS", "SET"]
    rows = [f"d{(5 * k) % 3};{s};{60 + k},25" for k, s in enumerate(states)]
    content = "\n".join(["device;state;G (uS)", *rows, "d9;HRS;open"])
    whole = read(tmp_path, content)
    monkeypatch.setattr(import_module("imc_sim.device.fit._reader"), "_ROWS", 3)
    parts = read(tmp_path, content)
    assert whole["G"].tolist() == [(60.25 + k) / 1e6 for k in range(7)]
    assert whole["state"].tolist() == [*states[:6], "LRS"]
    assert whole["device"].tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert whole.dropped == {"NaN or unread": 1}
    assert {role: values.tolist() for role, values in parts.columns.items()} == {
        role: values.tolist() for role, values in whole.columns.items()
    }


@pytest.mark.parametrize(
    "content",
    [
        "Smu1.V[1][1],Smu1.I[1][1],Smu1.V[1][2],Smu1.I[1][2]\n0.1,1e-6,0.3,3e-6\n0.2,2e-6,0.4,4e-6\n",
        "Smu1.V[1][1] (mV);Smu1.I[1][1] (uA);Smu1.V[1][2] (mV);Smu1.I[1][2] (uA)\n100;1;300;3\n200;2;400;4\n",
        "AV,AI,AV(1),AI(1)\n0.1,1e-6,0.3,3e-6\n0.2,2e-6,0.4,4e-6\n",
        "CH1:V,CH1:I,CH1:V(2),CH1:I(2)\n0.1,1e-6,0.3,3e-6\n0.2,2e-6,0.4,4e-6\n",
    ],
)
def test_runs_of_an_analyzer_are_sweeps(tmp_path: Path, content: str) -> None:
    table = read(tmp_path, content)
    assert table["voltage"] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert table["current"] == pytest.approx([1e-6, 2e-6, 3e-6, 4e-6])
    assert table["sweep"].tolist() == [0, 0, 1, 1]


def test_two_channels_are_refused_until_one_is_left_out(tmp_path: Path) -> None:
    content = "Smu1.V[1][1],Smu1.I[1][1],Smu2.V[1][1],Smu2.I[1][1]\n1,1e-6,0,-1e-6\n2,2e-6,0,-2e-6\n"
    with pytest.raises(InputError, match=r'columns of smu1 and smu2.*--columns "Smu2.V\[1\]\[1\]=skip'):
        read(tmp_path, content)
    table = read(tmp_path, content, columns="Smu2.V[1][1]=skip,Smu2.I[1][1]=skip")
    assert table["current"].tolist() == [1e-6, 2e-6]


WIDE = {
    "cycle": ("cell,LRS cycle 1 (uS),LRS cycle 10 (uS)\nA7,60,61\nB2,62,63\n", [1, 1, 10, 10], "endurance"),
    "cycles": ("LRS 1 cycles (uS);LRS 10 cycles (uS)\n60;61\n62;63\n", [1, 1, 10, 10], "endurance"),
    "cycle_": ("G_on_cycle1_uS,G_on_cycle10_uS\n60,61\n62,63\n", [1, 1, 10, 10], "endurance"),
    "units": ("dut,LRS cycle 1,LRS cycle 10\n,uS,uS\n0,60,61\n1,62,63\n", [1, 1, 10, 10], "endurance"),
    "time": ("t=1 s (uS),t=10 min (uS)\n60,61\n62,63\n", [1, 1, 600, 600], "retention"),
    "hours": ("state,2 h (uS),G after 1e2 h (uS)\nON,60,61\nON,62,63\n", [7200, 7200, 360e3, 360e3], "retention"),
    "pulse": ("device,pulse_1_uS,pulse_2_uS\nx,60,61\ny,62,63\n", [1, 1, 2, 2], "pulses"),
}


@pytest.mark.parametrize(("content", "at", "kind"), WIDE.values(), ids=WIDE)
def test_a_row_for_each_cell_with_a_column_for_each_reading(
    tmp_path: Path, content: str, at: list[float], kind: str
) -> None:
    table = read(tmp_path, content)
    assert table["G"] == pytest.approx([60e-6, 62e-6, 61e-6, 63e-6])
    assert guess_kind(table)[0] == kind
    role = {"endurance": "cycle", "retention": "time", "pulses": "pulse"}[kind]
    who = "device" if kind == "pulses" else "cell"
    assert table[role].tolist() == at
    assert table[who].tolist() == [0, 1, 0, 1]
    assert f"a row for each {who}, a column for each {role}" in table.notes


def test_rows_of_each_state_number_the_same_cells(tmp_path: Path) -> None:
    table = read(tmp_path, "state;1e3 cycles (kOhm)\nON;20\nON;25\nOFF;200\nOFF;250\n")
    assert table["cell"].tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("t=1 (uS),t=10 (uS)\n60,61\n62,63\n", "a time without a unit in 't=1 .uS.'.*`t=10 s .uS.`"),
        ("LRS (uS),cycle 10 (uS)\n60,61\n62,63\n", 'with and without a state, cycle or time.*"HEADING=skip'),
        ("cycle 1 (uS),pulse 2 (uS)\n60,61\n62,63\n", "with and without a state, cycle or time"),
    ],
)
def test_readings_that_do_not_go_together_are_refused(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(tmp_path, content)


def test_headings_in_two_lines_with_groups_above_names(tmp_path: Path) -> None:
    content = "Cycle,SET#1,SET#1,SET#1\nIndex,LRS (uS),HRS (uS),VSET\n1,60,4,1.1\n2,61,5,1.2\n"
    table = read(tmp_path, content)
    assert table["G"][table["state"] == "LRS"] == pytest.approx([60e-6, 61e-6])
    assert table["cycle"].tolist() == [1, 2, 1, 2]
    assert "headings in two lines" in table.notes


@pytest.mark.parametrize(
    ("content", "message", "columns"),
    [
        ("V1,I1,ID\n0.1,1e-6,1.2e-8\n0.2,2e-6,3.4e-8\n",
         "column 'ID': got numbers that are not whole, such as 1.2e-08.*\"ID=skip\"", "ID=skip"),
        ("AV,AI,I\n0.1,-1e-6,1e-6\n0.2,-2e-6,2e-6\n",
         "'AI' and 'I', which hold the same values.*\"I=skip\"", "I=skip"),
        ("AV,AI,Time\n0.1,-1e-6,\n0.2,-2e-6,\n", "column 'Time': got no numbers.*\"Time=skip\"", "Time=skip"),
        ("AV,AI,R\n0.1,-1e-6,5\n0.2,-2e-6,5\n", "heading 'R': got no unit.*\"…=skip\"", "R=skip"),
    ],
)  # fmt: skip
def test_columns_that_are_not_what_they_are_called_can_be_left_out(
    tmp_path: Path, content: str, message: str, columns: str
) -> None:
    """As exports of Keithley analyzers have them."""
    with pytest.raises(InputError, match=message):
        read(tmp_path, content)
    table = read(tmp_path, content, columns=columns)
    assert table["voltage"].tolist() == [0.1, 0.2]
    assert np.abs(table["current"]).tolist() == [1e-6, 2e-6]


def test_numbers_in_the_footer_of_an_instrument_are_no_cells(tmp_path: Path) -> None:
    content = "no,LRS (A),HRS (A)\na1,6e-6,4e-7\na2,6.1e-6,5e-7\nCycles,1000,\n"
    table = with_conductance(read(tmp_path, content), 0.1)
    assert table["G"].max() == pytest.approx(61e-6)
    assert table.dropped["above 1 S"] == 1
    with pytest.raises(InputError, match="no measurement left .2 above 1 S"):
        fit({"LRS (S)": [60.0], "HRS (S)": [4.0]})
