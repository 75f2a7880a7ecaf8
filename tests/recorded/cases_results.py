"""Results folders: rows, tables, progress, damage, merged folders, dry runs, executors, and errors of all of them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from pandas import Series

from imc_sim import InputError
from imc_sim._rng import Stream
from imc_sim.config import digest
from imc_sim.evaluate import ChipCost, ChipResult
from imc_sim.runs import (
    RunClock,
    lines_of,
    sealed,
    table_of,
)  # fmt: skip
from imc_sim.study import Results, combine, dry_run, load_study, merge, points_of, run, status, trials_table
from imc_sim.study import _dry_run as estimates
from imc_sim.study import _probe as probe
from imc_sim.study._combine import _formats
from imc_sim.study._costs_file import RULES as COST_RULES
from imc_sim.study._costs_file import _fault as cost_fault
from imc_sim.study._costs_file import costs_of, has_costs
from imc_sim.study._dry_run import shown_bytes, shown_seconds
from imc_sim.study._point import cost_id, trial_id
from imc_sim.study._results import _bands, _interval, _prices
from imc_sim.study._rows import Writer
from imc_sim.study._stopping import by_point
from imc_sim.study._store import _no_results, results_digest
from imc_sim.study._table_parts import _of_one_type
from imc_sim.study._trials_file import rules_of
from tests.recorded.cases_study import SWEPT, short
from tests.recorded.made import folder, parts, tried, warned, without

#: columns that hold ids, times and the machine
OF_THIS_RUN = ("seconds", "time", "host", "point", "id")


def score(model: str, chip: Any, task: dict[str, Any], chips: Sequence[int], seed: int) -> list[ChipResult]:
    """Return counts that follow from the arguments; chip 3 of one point fails."""
    swept = (
        None
        if chip is None
        else [chip["tile"], chip["device"]["programming"].get("sigma"), chip["device"]["time"]["t_s"]]
    )
    stream = Stream(seed, digest([model, swept, task.get("way"), task.get("keys")]), "recorded")
    if chip is not None and chip["tile"]["rows"] == 40 and 3 in chips:
        raise InputError("chip 3", "nothing", "something", "Look.")
    share = 0.9 if chip is None else 0.8 - float(chip["device"]["programming"].get("sigma", 0))
    counts = [round(40 * (share + 0.2 * float(stream.uniform(1, n + 1)[0]) - 0.1)) for n in chips]
    ranges = {} if chip is None else {"fc": (-0.5, 0.25)}
    return [
        ChipResult(n, count, 40, 0.25, ranges, rows_on={"fc": [[0.5]]} if n == 0 else {})
        for n, count in zip(chips, counts, strict=True)
    ]


def measured(model: str, chip: Any, task: dict[str, Any], chips: Sequence[int], seed: int) -> list[ChipResult]:
    """Return scores."""
    return [
        ChipResult(n, 0, 0, 0.5, scores={"error": 1.5 - 0.25 * n, "gain": 2.0}, score=1.5 - 0.25 * n) for n in chips
    ]


def lines_of_table(table: Any) -> list[str]:
    return re.sub(
        r"(\d\.\d{8})\d+", r"\1", table.drop(columns=[c for c in OF_THIS_RUN if c in table]).to_csv(index=False)
    ).splitlines()


def record_a_run() -> dict[str, Any]:
    """Everything that a run stores and that is read from its folder, with failed chips."""
    found: dict[str, Any] = {}
    with folder() as at:
        progress: list[str] = []
        show = lambda p: progress.append(f"{p.done} of {p.total}, {p.failed} failed")  # noqa: E731
        results = run(SWEPT, at / "a", evaluator=score, progress=show, batch=3)
        found["progress"] = progress
        found["table"] = lines_of_table(results.table)
        found["file"] = short((at / "a" / "table.csv").read_text().splitlines()[0])
        found["failure"] = without(results.failure, at)
        found["intervals"] = [list(each) for each in results.intervals]
        found["accuracies"] = [list(each) for each in results.accuracies]
        found["numbers"] = [results.failed, results.environment["seconds"], results.environment["command"]]
        row = next(row for row in results.rows.values() if row["chip"] == 0)
        found["row"] = {key: value for key, value in row.items() if key not in ("id", "point", "meta", "checksum")}
        found["keys"] = [list(row), list(row["meta"])]
        table = trials_table(at / "a")
        found["trials"] = [
            lines_of_table(table)[0],
            short(lines_of_table(table)),
            *lines_of_table(table)[1:9],
            [str(t).replace("str", "object") for t in table.dtypes],
        ]
        now = status(at / "a")
        found["status"] = {k: v for k, v in now.to_dict().items() if k != "rate_per_s"} | {"complete": now.complete}
        again: list[str] = []
        run(SWEPT, at / "a", evaluator=score, progress=lambda p: again.append(f"{p.done} of {p.total}"))
        run(
            SWEPT,
            at / "a",
            evaluator=score,
            progress=lambda p: again.append(f"{p.done} of {p.total}"),
            retry_failed=True,
        )
        found["again"] = again
        more = SWEPT | {"chips": {"min": 6}}
        run(more, at / "b", evaluator=score)
        found["combined"] = [path.name for path in combine([at / "a", at / "b"], at / "c", ["csv"])]
        both = Results.load(at / "c")
        found["merged"] = [both.failed, len(both.rows), both.study["chips"]["min"], lines_of_table(both.table)[1]]
        found["files"] = sorted(str(path.relative_to(at / "c")) for path in (at / "c").rglob("*") if path.is_file())
        run(SWEPT | {"axes": SWEPT["axes"][:1], "derived": {}, "skip": [], "name": "other"}, at / "d", evaluator=score)
        lines = (at / "a" / "trials.jsonl").read_text().splitlines()
        twin = json.loads(next(line for line in lines if '"state":"done"' in line and '"chip":0' in line))
        changed = {**twin, "correct": twin["correct"] + 1}
        (at / "e").mkdir()
        (at / "e" / "study.resolved.yaml").write_bytes((at / "a" / "study.resolved.yaml").read_bytes())
        (at / "e" / "trials.jsonl").write_text(
            "\n".join([sealed(changed).strip(), lines[1][:-9], lines[2]]) + "\n" + lines[3][:30]
        )
        calls = {
            "other study": lambda: merge([at / "a", at / "d"], at / "f"), "nothing": lambda: combine([]),
            "no out": lambda: combine([at / "a", at / "b"]),
            "format": lambda: combine([at / "a"], formats=["xls"]), "no folder": lambda: status(at / "q"),
            "damaged": lambda: trials_table(at / "e"),
            "other settings": lambda: run(SWEPT | {"seed": 9}, at / "a", evaluator=score),
            "a file": lambda: run(SWEPT, at / "e" / "trials.jsonl", evaluator=score),
            "batch": lambda: run(SWEPT, at / "a", evaluator=score, batch=0),
            "a lambda": lambda: run(SWEPT, evaluator=lambda *_: []),
        }  # fmt: skip
        for name, call in calls.items():
            text = re.sub(r" at 0x[0-9a-f]+", "", without(str(tried(call)), at))
            found[name] = re.sub(r"(recorded|other)' [0-9a-f]{12}", r"\1' ID", text)
        found["seen damaged"] = [re.sub(r"[0-9a-f]{12}", "ID", line) for line in status(at / "e").damaged]
        with warned() as texts:
            run(SWEPT, at / "e", evaluator=score)
        found["repaired"] = [without(text, at) for text in texts] + sorted(path.name for path in (at / "e").iterdir())
        (at / "f.py").write_text("def score(network, chip):\n    return 0.5\n")
        scored = run(FUNCTION, at / "g", evaluator=measured)
        found["scores"] = [
            lines_of_table(scored.table),
            lines_of_table(trials_table(at / "g")),
            [list(each) for each in scored.intervals],
        ]
    return found


FUNCTION = {
    "name": "scored", "model": "batmann_small_xnor", "chip": "rram_hfo2_1t1r", "chips": {"min": 3},
    "task": {"kind": "function", "call": "./f.py:score", "metric": "error", "unit": "V", "better": "lower"},
    "axes": [{"path": "chip", "values": ["rram_hfo2_1t1r", "ideal"]}],
}  # fmt: skip


def record_rows() -> dict[str, Any]:
    """Rows of writers, and what is wrong with damaged ones."""
    point = points_of(load_study(SWEPT))[1]
    writer = Writer(RunClock("cuda", "run", 0.0))
    cost = ChipCost(1e-9, 2e-6, None, 3e-9)
    trials = [point.trial(n) for n in (2, 5)]
    done = writer.done(trials, [*score("m", None, {}, [2], 1), *measured("m", None, {}, [5], 1)])
    failed = writer.failed(trials[1], ValueError("no\ud800 way"))
    costs = [*writer.costs(trials, [None, cost]), writer.failed_cost(trials[0], KeyError("x"))]
    found: dict[str, Any] = {}
    for name, rows in {"done": done, "failed": [failed], "costs": costs}.items():
        found[name] = [
            {k: v for k, v in row.items() if k not in ("meta", "traceback")} | {"device": row["meta"]["device"]}
            for row in rows
        ]
    found["sealed"] = [sealed({"id": "a", "state": "done", "x": 1.5}), lines_of([{"id": "ä"}]).decode()]
    i, p = trial_id("p", 3), {"id": "p", "case": "c", "values": [1], "baseline": "b"}
    rules = rules_of({"points": [p], "schema": 2})
    row = {"id": i, "state": "done", "point": "p", "chip": 3, "case": "c", "values": [1], "correct": 3, "total": 4}
    changes: list[dict[str, Any]] = [
        {}, {"state": "half"}, {"id": "x"}, {"id": 3}, {"point": None}, {"point": "q" * 20}, {"chip": -2},
            {"chip": True}, {"chip": -1}, {"chip": 4}, {"case": "d"}, {"values": [2]},
        {"correct": 5}, {"correct": -1}, {"correct": 4}, {"total": 0, "correct": 0}, {"correct": 1.0},
            {"correct": None}, {"state": "failed"}, {"state": "failed", "error": "e"}, {"score": 1.0},
        {"scores": {}}, {"ranges": []}, {"rows_on": 3}, {"point": "b", "id": trial_id("b", 3)},
            {"point": "b", "chip": -1, "id": trial_id("b", -1), "values": []},
    ]  # fmt: skip
    for change in changes:
        found[f"row {change}"] = rules.fault({**row, **change})
    scores = {k: v for k, v in row.items() if k not in ("correct", "total")}
    for more in (
        {"score": 1.0, "scores": {"a": 1.0}},
        {"score": 2.0, "scores": {"a": 1.0}},
        {"score": 1.0, "scores": {"a": "1"}},
        {"score": float("nan"), "scores": {"a": float("nan")}},
    ):
        found[f"score {more}"] = rules.fault({**scores, **more})
    steps = [rules_of(each) for each in (None, {"points": [], "schema": 1}, {"points": [], "schema": 2})]
    found["steps"] = [[each.step, each.sealed, each.payload, each.fault(row)] for each in steps]
    priced = {"trial": i, "id": cost_id(i, "c"), "cost": "c", "point": "p", "chip": 3, "state": "done", "energy_J": 1.0}
    for change in (
        {},
        {"state": "x"},
        {"chip": 4},
        {"trial": None},
        {"energy_J": -1.0},
        {"latency_s": float("inf")},
        {"area_m2": "1"},
        {"state": "failed"},
        {"state": "failed", "error": "e"},
        {"energy_J": 0},
    ):
        found[f"cost {change}"] = cost_fault({**priced, **change})
    return found


def record_summaries() -> dict[str, Any]:
    """Statistics of points, prices, formats, digests and kinds of folders."""
    values = [0.5, 0.25, 0.75, 0.625, 0.5]
    found: dict[str, Any] = {
        "bands": parts(_bands(values)),
        "one": parts(_bands([0.5])),
        "two": parts(_bands([0.25, 0.5])),
    }
    found["intervals"] = [
        list(_interval({"vary": vary}, each)) for vary in (True, False) for each in (values, [0.5, 0.5], [0.5])
    ] + [list(_interval({}, [0.5]))]
    rows = [
        {
            "point": p,
            "chip": c,
            "energy_J": e,
            "latency_s": 1.0 + c,
            "area_m2": None,
            "programming_J": 2.0 if c else None,
        }
        for p, c, e in (("p", 1, 3.0), ("q", 0, 1.0), ("p", 0, 2.0), ("p", 2, 7.0))
    ]
    rest = {"state": "done", "trial": "t", "cost": "c"}
    priced = table_of(({"id": str(n), **rest, **row} for n, row in enumerate(rows)), COST_RULES)
    found["prices"] = {p: _prices(priced, each) for p, each in by_point(priced).items()}
    unpriced = table_of([{"id": "0", **rest, "point": "p", "chip": 0, "area_m2": 1.0}], COST_RULES)
    found["unpriced"] = _prices(unpriced, by_point(unpriced)["p"])
    columns: list[list[Any]] = [[1, 2.5, None], [1, "a", None], [True, 1], ["a", "b"], [[1], [2]], [True, False, None]]
    found["of one type"] = [[repr(v) for v in _of_one_type(Series(each, dtype=object)).tolist()] for each in columns]
    found["formats"] = [tried(_formats, each) for each in (["csv"], ["csv", "x"], [])]
    done = {
        "a": {"state": "done", "correct": 1, "total": 2, "x": 3},
        "b": {"state": "failed"},
        "c": {"state": "done", "score": 1.0, "scores": {"s": 1.0}},
    }
    found["digest"] = results_digest(done)
    with folder() as at:
        for name in ("model.yaml", "training.jsonl", "family.yaml", "other"):
            (at / name[:3]).mkdir()
            (at / name[:3] / name).touch()
            found[name] = without(str(_no_results(at / name[:3])), at)
        study = {"points": [{"id": "p", "cost": "c"}, {"id": "q"}], "name": "s"}
        (at / "costs.jsonl").write_bytes(
            lines_of(
                [
                    {
                        "id": cost_id(t, c),
                        "trial": t,
                        "cost": c,
                        "point": "p",
                        "chip": n,
                        "state": "done",
                        "energy_J": 1.0,
                    }
                    for n, c in ((0, "c"), (1, "c"), (2, "old"))
                    for t in [trial_id("p", n)]
                ]
            )
        )
        trials = table_of(
            ({"id": trial_id("p", n), "state": "done", "point": "p", "chip": n} for n in (0, 2)), rules_of()
        )
        found["costs"] = [row["chip"] for row in costs_of(at, study, trials).values()] + [
            has_costs(study),
            dict(costs_of(at, {"points": []}, trials)),
        ]
    return found


def record_dry_runs() -> dict[str, Any]:
    """Estimates of time and memory with an evaluator of known costs."""
    clock = {"now": 0.0, "calls": 0}

    def evaluate(model: str, chip: Any, task: dict[str, Any], chips: Sequence[int], seed: int) -> list[ChipResult]:
        clock["calls"] += 1
        clock["now"] += len(chips) * (
            0.5 if chip is None else 2.0 + chip["tile"]["rows"] / 8 + (chip["device"]["programming"]["sigma"] > 0)
        )
        return [ChipResult(n, 1, 2, 0.0) for n in chips]

    found: dict[str, Any] = {}
    kept = (estimates.perf_counter, probe.perf_counter, probe.peak_bytes)
    estimates.perf_counter = probe.perf_counter = lambda: clock["now"]
    probe.peak_bytes = lambda: 5 * 10**8
    try:
        swept = SWEPT | {"chips": {"min": 3, "max": 8, "half_width": 0.1}}
        for name, options in {
            "whole": {},
            "some": {"probes": 3, "workers": 3},
            "one": {"probes": 1},
            "short": {"budget_s": 12.0, "batch": 2},
        }.items():
            made = dry_run(swept, evaluator=evaluate, **options)
            found[name] = parts(made) | {
                "note": made.note,
                "rows": [" | ".join(row.values()) for row in made.rows()],
                "points": made.points,
                "chips": made.chips,
                "seconds": made.seconds,
                "bytes": made.memory_bytes,
                "calls": clock["calls"],
            }
    finally:
        estimates.perf_counter, probe.perf_counter, probe.peak_bytes = kept
    found["seconds"] = [
        shown_seconds(s)
        for s in (0.123, 99.4, 99.9, 100.0, 5960.0, 5999.0, 6000.0, 356000.0, 359999.0, 360000.0, 864000.0)
    ]
    found["bytes"] = [
        shown_bytes(n)
        for n in (
            0,
            499_999,
            500_001,
            999_999_999,
            10**9,
            1_560_000_000,
            9_960_000_000,
            12_345_000_000,
            1_234_567_000_000,
        )
    ]
    return found
