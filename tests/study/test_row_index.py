"""Rows as columns, read with and without an index, against a reader that holds every row as a dict."""

from __future__ import annotations

import json
import os
import shutil
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imc_sim._errors import ResultsError
from imc_sim.config import canonical_json, digest
from imc_sim.runs import Row, RowRules, _row_index, _stored_column, lines_of, read_rows, sealed
from imc_sim.runs._row_table import _all_differ
from imc_sim.study import Results, status, trials_table
from imc_sim.study._point import trial_id
from imc_sim.study._store import results_digest
from imc_sim.study._trials_file import TRIALS, rules_of

BASE = digest("base")
POINTS = [{"id": digest(p), "case": p, "values": [v, None], "baseline": BASE} for p, v in (("a", 0), ("b", 0.5))]
STUDY = {"schema": 2, "points": POINTS}
RULES = rules_of(STUDY)
Read = tuple[list[tuple[str, Row]], list[tuple[int, str, bytes]], bool]


def simple(path: Path, rules: RowRules) -> Read:
    """Return rows, damaged lines and whether the last line is torn, as earlier versions read them."""
    lines = path.read_bytes().split(b"\n")
    torn = bool(lines[-1]) and fault_of(lines[-1], rules) == "something that is no JSON"
    whole = lines[:-1] if torn or not lines[-1] else lines
    checked = {number: fault_of(line, rules) for number, line in enumerate(whole, 1)}
    parsed = {number: row for number, row in checked.items() if isinstance(row, dict)}
    damaged = {number: fault for number, fault in checked.items() if isinstance(fault, str)}
    groups: dict[Any, list[int]] = {}
    for number, row in parsed.items():
        if row["state"] == "done":
            groups.setdefault(rules.identity(row), []).append(number)
    for numbers in groups.values():
        if len({canonical_json([parsed[n]["id"], *map(parsed[n].get, rules.payload)]) for n in numbers}) > 1:
            text = f"one of several results that contradict each other (lines {', '.join(map(str, numbers))})"
            damaged |= dict.fromkeys(numbers, text)
    rows: dict[str, Row] = {}
    for number, row in parsed.items():
        known = rows.get(row["id"])
        if number not in damaged and (known is None or known["state"] != "done"):
            rows.pop(row["id"], None)
            rows[row["id"]] = row
    return list(rows.items()), [(n, damaged[n], lines[n - 1]) for n in sorted(damaged)], torn


def fault_of(line: bytes, rules: RowRules) -> Row | str:
    if not line:
        return "an empty line"
    try:
        row = json.loads(line)
    except ValueError:
        return "something that is no JSON"
    if not isinstance(row, dict) or not {"id", "state"} <= row.keys():
        return "JSON that is no row"
    content = {key: value for key, value in row.items() if key != "checksum"}
    if "checksum" not in row and rules.sealed:
        return "a row without a checksum"
    if "checksum" in row and row["checksum"] != digest(content)[:16]:
        return "a row that does not fit its checksum"
    return rules.fault(row) or row


def found_in(path: Path, rules: RowRules = RULES) -> Read:
    found = read_rows(path, rules)
    return list(found.rows.items()), [(d.line, d.reason, d.content) for d in found.damaged], found.torn


def row(point: int, chip: int, **more: Any) -> Row:
    """Return a row of one of two points, or of their digital baseline (point 2)."""
    place = POINTS[point % 2] | ({"id": BASE, "values": []} if point == 2 else {})
    found = {"id": trial_id(str(place["id"]), chip), "point": place["id"], "chip": chip, "case": place["case"]}
    meta = {"seconds": 0.25, "time": f"t{chip % 3}", "run": "r", "elapsed": float(chip), "host": "ü", "device": "cpu"}
    return found | {"values": place["values"], "state": "done", "meta": meta} | more


def many(count: int = 96) -> list[bytes]:
    """Return lines of rows of all kinds: finished, failed, repeated, and of a baseline."""
    random, lines = np.random.Generator(np.random.Philox(3)), [sealed(row(2, -1, correct=4, total=5)).encode()]
    for n in range(count):
        point, chip, kind = int(random.integers(2)), int(random.integers(count // 4)), int(random.integers(4))
        more = (
            {"state": "failed", "error": f"no {n}"} if kind == 0 else {"correct": (7 * chip + point) % 50, "total": 50}
        )
        line = sealed(row(point, chip, **more)).encode()
        lines += [line] * (1 + (kind == 3))
    return lines


LINES = many()
BROKEN: dict[str, bytes] = {
    "empty": b"\n",
    "no JSON": b"{no}\n",
    "no row": b'{"a":1}\n',
    "flipped": LINES[5].replace(b'"total":50', b'"total":51').replace(b"no ", b"on "),
    "no checksum": json.dumps(row(0, 3, correct=1, total=2)).encode() + b"\n",
    "spaces": json.dumps(json.loads(LINES[7])).encode() + b"\n",
    "contradiction": b"".join(lines_of([row(0, 7000, correct=c, total=9)]) for c in (1, 2)),
    "impossible": lines_of([row(0, 2, correct=60, total=50)]),
    "another study": lines_of([row(0, 2, correct=6, total=50) | {"point": "0" * 64}]),
}  # fmt: skip


@pytest.fixture(autouse=True)
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write indices of short files as well."""
    monkeypatch.setattr(_row_index, "_WORTH", 1)
    monkeypatch.setattr(_row_index, "_SHARE", 10**9)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / TRIALS


def index_of(path: Path) -> Path:
    return path.with_name("trials.index")


@pytest.mark.parametrize("broken", [None, *BROKEN])
@pytest.mark.parametrize("end", [b"", LINES[9][:70], LINES[9][:-1]], ids=["whole", "torn", "without its end"])
def test_rows_are_read_as_before_with_an_index_of_any_part(broken: str | None, end: bytes, path: Path) -> None:
    for place in (0, 40, len(LINES)) if broken else (0,):
        lines = [*LINES[:place], BROKEN.get(str(broken), b""), *LINES[place:], end]
        path.write_bytes(b"".join(lines))
        expected = simple(path, RULES)
        index_of(path).unlink(missing_ok=True)
        assert found_in(path) == expected, "without an index"
        for covered in (0, 1, 60, len(lines)):
            path.write_bytes(b"".join(lines[:covered]))
            index_of(path).unlink(missing_ok=True)
            read_rows(path, RULES)
            path.write_bytes(b"".join(lines))
            assert found_in(path) == expected, f"with an index of {covered} lines"
            assert found_in(path) == expected, "with an index of all lines, where it was written"


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.sampled_from([*range(40), *BROKEN]), max_size=12), st.integers(0, 12))
def test_rows_in_any_order_are_read_as_before(path: Path, chosen: list[int | str], covered: int) -> None:
    lines = [BROKEN[n] if isinstance(n, str) else LINES[n] for n in chosen]
    index_of(path).unlink(missing_ok=True)
    for part in (lines[:covered], lines):
        path.write_bytes(b"".join(part))
        assert found_in(path) == simple(path, RULES)


def test_rows_of_version_1_and_without_rules_are_read_as_before(path: Path) -> None:
    plain = [json.dumps(json.loads(line) | {"id": f"{n:064x}"}).encode() for n, line in enumerate(LINES[:50])]
    bare = [json.dumps({k: v for k, v in json.loads(line).items() if k != "checksum"}).encode() for line in plain]
    path.write_bytes(b"\n".join([*bare, *bare[:5], b""]))
    for rules in (rules_of(STUDY | {"schema": 1}), rules_of(), RULES):
        assert found_in(path, rules) == simple(path, rules)
        assert found_in(path, rules) == simple(path, rules), "with the index"


def test_what_an_index_covers_is_not_parsed_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(b"".join(LINES[:-1]))
    read_rows(path, RULES)
    checked: list[bytes] = []
    reader = "imc_sim.runs._rows_file._checked"
    from imc_sim.runs import _rows_file

    check = _rows_file._checked
    monkeypatch.setattr(reader, lambda line, rules: checked.append(line) or check(line, rules))
    with path.open("ab") as file:
        file.write(LINES[-1])
    found = read_rows(path, RULES)
    assert [line + b"\n" for line in checked] == LINES[-1:]
    assert (found.size, found.indexed) == (path.stat().st_size,) * 2
    checked.clear()
    read_rows(path, RULES, index=False)
    assert len(checked) == len(LINES)


def spoilt(path: Path) -> Iterator[str]:
    """Damage the index, or what it stands for, in each way."""
    data = index_of(path).read_bytes()
    for place in (3, 200, len(data) // 2, len(data) - 1):
        changed = bytearray(data)
        changed[place] ^= 4
        index_of(path).write_bytes(changed)
        yield f"byte {place}"
    for rest in (0, 1, 32, 33, 100, len(data) - 1):
        index_of(path).write_bytes(data[:rest])
        yield f"{rest} bytes"
    index_of(path).write_bytes(data + b"x")
    yield "longer"
    index_of(path).unlink()
    index_of(path).mkdir()
    yield "a folder"
    index_of(path).rmdir()
    os.mkfifo(index_of(path))
    yield "a named pipe"
    index_of(path).unlink()
    (path.parent / "other").write_bytes(data)
    index_of(path).symlink_to(path.parent / "other")
    yield "a link"
    assert (path.parent / "other").read_bytes() == data
    index_of(path).unlink()


def test_an_index_that_changes_after_it_was_opened_is_an_error(path: Path) -> None:
    path.write_bytes(b"".join(LINES))
    read_rows(path, RULES)
    found, data = read_rows(path, RULES).rows, bytearray(index_of(path).read_bytes())
    data[70] ^= 1
    with index_of(path).open("r+b") as file:
        file.write(data)
    with pytest.raises(ResultsError, match=r"trials\.index: got an index that was changed"):
        found.column("id")
    with pytest.raises(ResultsError, match="a line that was changed"):
        list(found.values())


def test_rows_of_an_index_take_little_memory(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_row_index, "_BLOCK", 2**12)
    monkeypatch.setattr(_stored_column, "_BYTES", 2**12)
    sizes = {}
    for count in (2000, 22000):
        path.write_bytes(lines_of(row(0, chip, correct=chip % 40, total=50) for chip in range(count)))
        read_rows(path, RULES)
        tracemalloc.start()
        rows = read_rows(path, RULES).rows
        read = tracemalloc.get_traced_memory()[1]
        results_digest(rows)
        assert len(rows.column("id")) == count
        sizes[count] = read, tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
    most, kept = ((large - small) / 20000 for small, large in zip(*sizes.values(), strict=True))
    assert most < 190, "bytes a row while reading; with all columns it would be 260"
    assert kept < 25, "bytes a row that are kept: without the columns of the index"


def test_a_damaged_index_is_ignored(path: Path) -> None:
    path.write_bytes(b"".join(LINES))
    expected = found_in(path)
    for what in spoilt(path):
        assert found_in(path) == expected, what
        if not index_of(path).is_file() or index_of(path).is_symlink():
            continue
        assert read_rows(path, RULES).indexed, "it is written again"


def test_an_index_of_other_rows_rules_or_versions_is_ignored(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(b"".join(LINES))
    read_rows(path, RULES)
    index = index_of(path).read_bytes()
    path.write_bytes(b"".join(reversed(LINES)))
    assert found_in(path) == simple(path, RULES), "rows of the same length in another order"
    path.write_bytes(b"".join(LINES[:80]))
    index_of(path).write_bytes(index)
    assert found_in(path) == simple(path, RULES), "fewer rows than it covers"
    path.write_bytes(b"".join(LINES))
    index_of(path).write_bytes(index)
    less = rules_of(STUDY | {"points": POINTS[:1]})
    assert found_in(path, less) == simple(path, less)
    assert len(read_rows(path, less).damaged) > 40
    index_of(path).write_bytes(index)
    monkeypatch.setattr(_row_index, "_VERSION", _row_index._VERSION + 1)
    with path.open("rb") as file:
        assert _row_index.load_index(path, file, RULES.columns, str(RULES.key)) is None


def test_single_flipped_bits_are_found_behind_an_index(path: Path) -> None:
    data = b"".join(LINES[:30])
    path.write_bytes(data)
    read_rows(path, RULES)
    index, random = index_of(path).read_bytes(), np.random.Generator(np.random.Philox(1))
    for bit in random.integers(0, 8 * len(data), 100).tolist():
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        index_of(path).write_bytes(index)
        found = found_in(path)
        assert found[1] or found[2], f"bit {bit}"
        if found[1] and b"\n" not in (flipped[bit // 8 : bit // 8 + 1], data[bit // 8 : bit // 8 + 1]):
            assert [line for line, *_ in found[1]] == [data[: bit // 8].count(b"\n") + 1]


def test_results_are_the_same_with_an_index(complete: Results, tmp_path: Path) -> None:
    folder = shutil.copytree(complete.folder, tmp_path / "x")
    index_of(folder / TRIALS).unlink(missing_ok=True)
    for has_index in (False, True):
        assert index_of(folder / TRIALS).exists() is has_index
        found = Results.load(folder)
        assert (found.digest, found.environment, found.accuracies) == (
            complete.digest, complete.environment, complete.accuracies,
        )  # fmt: skip
        assert list(found.rows.items()) == list(complete.rows.items()) == list(simple(folder / TRIALS, rules_of())[0])
        assert found.table.equals(complete.table)
    tables, states = [], []
    for has_index in (True, False):
        states.append(status(folder))
        tables.append(trials_table(folder))
        if has_index:
            index_of(folder / TRIALS).unlink()
    assert states[0] == states[1]
    assert tables[0].equals(tables[1])


def test_a_reader_that_may_not_write_reads(complete: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shutil.copytree(complete.folder, tmp_path / "x")

    def refuse(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    index_of(folder / TRIALS).unlink(missing_ok=True)
    monkeypatch.setattr(_row_index, "write_file", refuse)
    assert Results.load(folder).digest == complete.digest
    assert not index_of(folder / TRIALS).exists()


def test_files_of_one_folder_have_their_own_indexes() -> None:
    places = {_row_index.place_of_index(Path("a") / name) for name in ("trials.jsonl", "costs.jsonl")}
    assert places == {Path("a/trials.index"), Path("a/costs.index")}


@pytest.mark.parametrize(("ids", "differ"), [("ab", True), ("abb", False), ("aba", False), ("a", True), ("", True)])
def test_ids_differ_only_where_no_two_are_equal(ids: str, differ: bool) -> None:
    assert _all_differ(np.array_split(np.array([each * 16 for each in ids], "S16"), 2)) is differ
