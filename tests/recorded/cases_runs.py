"""Files of rows and their stores, executors, and progress."""

from __future__ import annotations

import hashlib
import json
import pickle
import re
from collections import deque
from typing import Any
from unittest import mock

import numpy as np

from imc_sim.runs import (
    FolderKind,
    FolderLock,
    RowRules,
    RowStore,
    Status,
    _row_index,
    _row_table,
    failure,
    finished_rows,
    heal,
    holder,
    is_locked,
    lines_of,
    make_executor,
    rate_of,
    read_rows,
    sealed,
    sound_rows,
    table_of,
)  # fmt: skip
from imc_sim.runs._executors import InlineExecutor
from imc_sim.runs._processes import _made
from imc_sim.runs._row_index import is_due, load_index
from imc_sim.runs._rows_file import hash_of
from tests.recorded.made import folder, tried, warned, without


def record_files_of_rows() -> dict[str, Any]:
    """Accepted rows of files, what is repaired, and messages of stores."""
    row = lambda i, state="done", **more: sealed({"id": i, "state": state, **more})  # noqa: E731
    a, b = row("a", x=1), row("b", "failed", x=2)
    files = {
        "sound": a + b, "torn": a + b[:20], "no end": a + b[:-1], "half a number": a + "12", "a word": a + "tru",
        "junk after": a + b[:-1] + "x", "no row": a + '{"a": 1}\n[]\n3\n\n' + b, "empty": "", "a line": "\n",
        "no sum": '{"id":"a","state":"done"}\n' + b, "wrong sum": a.replace(":1", ":2") + b, "twice": a
        + row("a", x=2) + b, "again": a + row("a", "failed", x=5) + b + row("b", x=3),
        "meta": row("m", meta=3) + row("n", meta={"seconds": 1}) + row("o", meta={"seconds": True})
        + row("p", meta={"seconds": 1.0, "run": "r"}) + row("q", meta={"seconds": 1, "time": 3})
            + row("r", meta={"seconds": 1, "versions": 3}),
        "fault": row("bad"), "stateless": sealed({"id": "s"}), "nan": a.replace("1", "NaN", 1),
    }  # fmt: skip
    rules = RowRules(("x",), lambda row: "a bad row" if row["id"] == "bad" else None, step="Step.")
    kind = FolderKind("trials", "head.yaml", "r.jsonl", lambda: "text", rules, lambda folder: False)
    found: dict[str, Any] = {}
    with folder() as at:
        path = at / "r.jsonl"
        for name, content in files.items():
            path.write_text(content)
            read = read_rows(path, rules)
            found[name] = [
                " ".join(f"{i}:{r['state']}:{r.get('x')}" for i, r in read.rows.items()),
                [str(d) for d in read.damaged],
                len(read.columns) - sum("contradict" in each.reason for each in read.damaged),
                read.torn,
            ]
            heal(path)
            found[name] += [
                len(path.read_bytes()) - len(content.encode()),
                without(str(tried(sound_rows, path, rules)), at)[:200] if read.damaged else "",
            ]
        path.write_text("".join(f"x{n}\n" for n in range(12)) + a)
        found["many damaged"] = without(str(tried(sound_rows, path, rules)), at)
        with warned() as texts, RowStore(at, kind) as store:
            store.add([{"id": "c", "state": "failed", "x": 3}, {"id": "a", "state": "done", "x": 1}])
            found["missing"] = [[store.is_missing(i, again) for again in (False, True)] for i in "acd"]
            found["done"] = [store.done(i) is not None for i in "acd"]
            found["conflict"] = tried(store.add, [{"id": "a", "state": "done", "x": 2}])
            found["held"] = [is_locked(at), re.sub(r"\d+ on .*", "N on HOST", holder(at))]
            found["second"] = re.sub(r"\(process.*?\)", "(process)", without(str(tried(FolderLock(at).take)), at))
        found["warned"] = [without(text, at) for text in texts]
        found["after"] = [
            is_locked(at),
            kind.beside("rescued"),
            (at / "head.yaml").read_text(),
            (at / "r.damaged.jsonl").read_text(),
        ]

        def touched(change: Any) -> str:
            def use() -> None:
                with RowStore(at, kind) as store:
                    change()
                    store.add([{"id": "z", "state": "done", "x": 0}])

            return re.sub(r"\d+ bytes instead of \d+", "N bytes instead of N", without(str(tried(use)), at))

        found["removed"] = touched(path.unlink)
        found["replaced"] = touched(lambda: (path.rename(at / "old"), path.write_text(a)))
        found["changed"] = touched(lambda: path.write_text(path.read_text() + "x"))
        found["heading"] = touched((at / "head.yaml").unlink)
        with warned() as texts, RowStore(at, kind) as store:
            found["taken back"] = [list(store.rows), sorted(p.name for p in at.iterdir())]
        restoring = FolderKind("trials", "head.yaml", "r.jsonl", lambda: "text", rules, lambda folder: True)
        with warned() as texts, RowStore(at, restoring):
            pass
        found["restored"] = [without(text, at) for text in texts]
    return found


def record_executors() -> dict[str, Any]:
    """Order of batches, failures, rates, progress, and refused executors."""

    class Wide(InlineExecutor):  # type: ignore[misc]  # final, which nothing enforces
        width = 2

    started: list[Any] = []

    def start(items: list[int]) -> Any:
        started.append(list(items))
        return Wide().submit(lambda: 1 / 0 if 3 in items else items)

    def batches() -> list[Any]:
        rows = finished_rows(
            deque([[1, 2], [3, 4, 5], [6]]),
            Wide(),
            start,
            lambda items, result: [{"id": i, "of": len(result)} for i in items],
            lambda item, error: {"id": item, "error": str(error)},
        )
        return sorted(row["id"] for batch in rows for row in batch)

    found: dict[str, Any] = {"rows": batches(), "started": sorted(map(str, started))}
    for name, options in {
        "unknown": ("proces", None, None),
        "workers": ("inline", 2, None),
        "no workers": ("process", 0, None),
        "scheduler": ("inline", None, "tcp://a"),
        "both": ("dask", 2, "tcp://a"),
    }.items():
        found[name] = tried(make_executor, *options)
    found["inline"] = make_executor("inline", 1).width
    meta = lambda run, *times: [{"id": str(t), "meta": {"run": run, "elapsed": t, "seconds": 1}} for t in times]  # noqa: E731
    runs = {
        "none": [],
        "old": [{"id": "a"}],
        "one": meta("r", 4.0),
        "three": meta("r", 1.0, 2.0, 4.0),
        "of two runs": meta("q", 50.0) + meta("r", 2.0, 5.0),
        "instant": meta("r", 0.0),
        "many": meta("r", *[0.5 * n for n in range(1, 260)]),
    }
    found["rates"] = {name: rate_of(rows) for name, rows in runs.items()}
    with folder() as at:
        rows = [
            {"id": "a", "state": "done"},
            {"id": "b", "state": "failed"},
            *({**r, "state": "done"} for r in meta("r", 1.0, 3.0)),
        ]
        (at / "r").write_bytes(lines_of(rows) + b"x\n")
        read = read_rows(at / "r", RowRules(()))
        for writing in (False, True):
            now = Status.of("s", at, writing, read, ["a", "b", "c", "d", "1.0"], True, ("o",), ("p",))
            found[f"writing {writing}"] = now.to_dict() | {"complete": now.complete}
    found["failure"] = {k: v for k, v in failure(ValueError("a")).items() if k != "traceback"}
    answer = pickle.loads(_made(pickle.dumps((divmod, (7, 2)))))
    wrong = pickle.loads(_made(pickle.dumps((divmod, (7, 0)))))
    found["worker"] = [
        list(answer[1]),
        answer[0],
        answer[2],
        wrong[0],
        type(wrong[1]).__name__,
        wrong[2].splitlines()[-1],
    ]
    return found


_KEYED = RowRules(("x",), lambda row: "a bad row" if row["id"] == "bad" else None, key="k")


def _rows(*ids: str, state: str = "done", x: float = 1.0) -> bytes:
    meta = {"run": "r", "elapsed": 2.5, "seconds": 1.0}
    return lines_of({"id": each, "state": state, "x": x, "meta": meta} for each in ids)


def record_indices() -> dict[str, Any]:
    """Indices next to files of rows: when they are written, what they hold, and which changes make them useless."""
    found: dict[str, Any] = {"due": [is_due(*each) for each in ((2**20, 0), (2**20 - 1, 0), (2**24, 2**24 - 2**20),
        (2**25, 2**25 - 2**21), (2**25, 2**25 - 2**21 + 1), (0, 0))]}  # fmt: skip
    content = _rows(*(f"{n:064x}" for n in range(9))) + _rows("b" * 64, state="failed") + _rows("c" * 64, x=2.0)
    with folder() as at, mock.patch.object(_row_index, "_WORTH", 1), mock.patch.object(_row_index, "_BLOCK", 700):
        path, index = at / "r.jsonl", at / "r.index"

        def used() -> list[Any]:
            read = read_rows(path, _KEYED)
            return [read.indexed, read.size, len(read.rows), len(read.damaged), read.torn, len(read.columns)]

        def loaded(rules: str = "k") -> Any:
            with path.open("rb") as file:
                known = load_index(path, file, _KEYED.columns, rules)
                return [None if known is None else [known.size, len(known.columns)], file.tell()]

        path.write_bytes(content)
        found["none yet"] = [read_rows(path, _KEYED, index=False).indexed, index.exists(), *used()]
        data = index.read_bytes()
        length = int.from_bytes(data[-40:-32], "big")
        about = json.loads(data[-40 - length : -32 - 8])
        found["held"] = [about.pop("sha256") == hashlib.sha256(content).hexdigest(), about.pop("rules"), len(data)]
        columns = [each[:3] for each in about.pop("columns")]
        found["about"] = [columns, about, loaded(), loaded("other rules"), used()]
        later = {
            "longer": _rows("d" * 64), "torn": b'{"id":"e', "no end": _rows("e" * 64)[:-1],
            "failed again": _rows("b" * 64, state="failed"), "contradiction": _rows("c" * 64),
        }  # fmt: skip
        for name, more in later.items():
            path.write_bytes(content + more)
            index.write_bytes(data)
            found[name] = [loaded(), used()]
        path.write_bytes(content)
        for place in (0, len(data) // 3, len(data) - 41, len(data) - 40, len(data) - 33, len(data) - 1):
            index.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
            found[f"changed {place - len(data) if place > 99 else place}"] = loaded()
        for name, change in {"short": data[:30], "empty": b"", "moved": b"x" + data}.items():
            index.write_bytes(change)
            found[name] = loaded()
        index.write_bytes(data)
        path.write_bytes(content.replace(b"2.5", b"2.4", 1))
        found["other rows"] = [loaded(), used()[:4]]
        path.write_bytes(content)
        index.unlink()
        (at / "other").write_bytes(data)
        index.symlink_to(at / "other")
        found["a link"] = loaded()
        index.unlink()
        kind = FolderKind("trials", None, "r.jsonl", str, _KEYED, lambda folder: False)
        with RowStore(at, kind) as store:
            store.add([{"id": "f" * 64, "state": "done", "x": 4.0}])
            found["while open"] = [index.exists(), len(store.rows)]
        found["closed"] = [index.exists(), *used()]
    same = np.array([1.5, 1.5, 1.5])
    found["short columns"] = [len(_row_index._short(each)) for each in (same, same[:0], np.array([0.0, -0.0]))]
    return found


def record_tables_of_rows() -> dict[str, Any]:
    """Which lines count, rows by id and column, parts of tables, and lines that were changed."""
    found: dict[str, Any] = {}
    row = lambda i, state="done", x=1, run="r": {  # noqa: E731
        "id": i, "state": state, "x": x, "meta": {"run": run, "elapsed": 1.0 * x, "seconds": 1.0},
    }  # fmt: skip
    orders: dict[str, list[Any]] = {
        "different": [row("a"), row("b"), row("c")], "none": [], "one": [row("a", "failed")],
        "failed, done, failed": [row("a", "failed"), row("b"), row("a", x=2), row("a", "failed", 3)],
        "failed twice": [row("b", "failed"), row("a", "failed", 1), row("a", "failed", 2), row("b", "failed", 4)],
        "done twice": [row("a", x=1), row("b"), row("a", x=1), row("c", "failed"), row("c", x=7)],
        "long": [row("a" * 16), row("b" * 16), row("a" * 16, "failed"), row("a" * 8 + "b" * 8, run="q")],
    }  # fmt: skip
    rules = RowRules(("x",))
    for name, rows in orders.items():
        table = table_of(rows, rules)
        found[name] = [
            table.positions.tolist(), list(table), [each["x"] for each in table.values()], table.texts("state"),
            table.has("state", "done").tolist(), [each["x"] for each in table.where("run", "q")],
            [each["id"] for _, each in table.select(table.has("state", "done")).items()],
            table.column("elapsed").tolist(), ["a" in table, "aa" in table, 3 in table, "c" in table],
        ]  # fmt: skip
        found[f"{name}, accepted"] = _row_table.counting(table.columns, np.arange(1, max(1, len(rows)))).tolist()
    table = table_of(orders["different"], rules)
    line = table.line(1)
    changed = {
        "same": line, "other id": line.replace(b'"b"', b'"c"'), "other value": line.replace(b'"x":1', b'"x":2'),
        "text": b"x",
    }  # fmt: skip
    found["parsed"] = {name: tried(rules.parse, each, "b") for name, each in changed.items()}
    found["missing"] = tried(table.__getitem__, "z")
    found["hash"] = [hash_of(each) for each in ([1.0, None], {"a": 1}, [])]
    with mock.patch.object(_row_table, "_BLOCK", 2):
        found["in blocks"] = list(table_of(orders["done twice"], rules))
    return found
