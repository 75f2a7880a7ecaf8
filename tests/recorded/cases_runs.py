"""Files of rows and their stores, executors, and progress."""

from __future__ import annotations

import pickle
import re
from collections import deque
from typing import Any

from imc_sim.runs import (
    FolderKind,
    FolderLock,
    RowRules,
    RowStore,
    Status,
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
)  # fmt: skip
from imc_sim.runs._executors import InlineExecutor
from imc_sim.runs._processes import _made
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
    kind = FolderKind("trials", "head.yaml", "r.jsonl", "text", rules, lambda folder: False)
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
        restoring = FolderKind("trials", "head.yaml", "r.jsonl", "text", rules, lambda folder: True)
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
