"""Results of made-up studies: medians that fall along axes, with digital networks, costs and scores."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from pandas import DataFrame


def made(**parts: Any) -> Any:
    """Return an object with these attributes."""
    return SimpleNamespace(**parts)


def stored(axes: list[dict[str, Any]], cases: list[dict[str, Any]] | None = None, **more: Any) -> Any:
    """Return results of a made-up study: medians that fall along its axes, with digital networks and costs."""
    cases = cases or [{"name": "all", "set": {}, "published": None, "note": ""}]
    filled = [
        {"label": "", "unit": "", "scale": 1.0, "labels": [], "zip": None, "spaced": "linear", "also": []} | axis
        for axis in axes
    ]
    grid: list[list[Any]] = [[]]
    for axis in filled:
        grid = [[*place, value] for place in grid for value in (axis["labels"] or axis["values"])]
    points, rows, stored_rows, trials = [], [], {}, []
    factor = -1.0 if "metric" in more else 1.0
    for c, case in enumerate(cases):
        for n, values in enumerate(grid):
            name = f"{c}-{n}"
            point = {
                "case": case["name"],
                "values": values,
                "id": name,
                "baseline": f"b{c}",
                "model": "m",
                "chip": "chip",
                "chance": 0.2,
                "vary": True,
                "stated": 0.95,
            }
            points.append(point | ({"reference": f"r{c}", "chip_task": {"episodes": 3}} if more.get("reduced") else {}))
            count = 3 + (n + c) % 2
            accuracies = tuple(
                round(0.9 - 0.06 * n - 0.01 * c + factor * 0.005 * ((k * 7) % 5), 4) for k in range(count)
            )
            trials.append(accuracies)
            for k, accuracy in enumerate(accuracies):
                payload = (
                    {"score": accuracy} if "metric" in more else {"correct": round(1000 * accuracy), "total": 1000}
                )
                stored_rows[f"{name}-{k}"] = {"state": "done", "point": name, "chip": k, **payload}
            middle = float(np.median(accuracies))
            row = dict(zip([axis["path"] for axis in filled], values, strict=True))
            rows.append(
                {
                    "case": case["name"],
                    **row,
                    "chips": count,
                    "mean": float(np.mean(accuracies)),
                    "half_width": 0.01 * (n + 1),
                    "median": middle,
                    "p05": min(accuracies),
                    "p95": max(accuracies),
                    "digital": 0.9 - 0.02 * c,
                }
                | (
                    {
                        "energy_J": 1e-9 * (7.5 - n) ** 2 * (c + 1),
                        "energy_J_p05": 0.9e-9 * (7.5 - n) ** 2 * (c + 1),
                        "energy_J_p95": 1.2e-9 * (7.5 - n) ** 2 * (c + 1),
                        "latency_s": 1e-6 / (n + 1),
                        "area_m2": 1e-8,
                        "programming_J": 1e-7 * (n + 1),
                    }
                    if more.get("priced")
                    else {}
                )
            )
        for key in (f"b{c}", f"r{c}"):
            stored_rows[key] = {
                "state": "done",
                "point": key,
                "chip": -1,
                **(
                    {"score": 0.9}
                    if "metric" in more
                    else {
                        "correct": 900 - 20 * c,
                        "total": 1000,
                        "sample": {"of": "episodes", "count": 50 + c, "sd": 0.2, "classes": 40, "class_error": 0.02},
                    }
                ),
            }
    study = {
        "name": "recorded",
        "model": "m",
        "chip": {"name": "chip", "source": "a source", "tile": {"rows": 64, "cols": 32}},
        "task": {
            "kind": "few_shot",
            "way": 5,
            "shot": 1,
            "dataset": "glyphs",
            "split": "test",
            "episodes": 20,
            "attack": None,
        },
        "chip_task": {},
        "axes": filled,
        "cases": cases,
        "points": points,
        "chips": {"min": 3, "max": None, "half_width": 0.02},
        "question": "How?",
        "summary": "",
        "trained": {"m": {"episodes": 5}},
    }
    study |= {"metric": more["metric"]} if "metric" in more else {}
    intervals = tuple((each[0] - 0.01, each[0] + 0.01) for each in trials)
    costs = (
        {
            key: {"point": row["point"], "chip": row["chip"], "not_counted": ["wires", "clocks"], "scaled": ["ADC"]}
            for key, row in stored_rows.items()
            if row["chip"] >= 0
        }
        if more.get("priced")
        else {}
    )
    return SimpleNamespace(
        study=study | more.get("study", {}),
        table=DataFrame(rows),
        rows=stored_rows,
        points=points,
        accuracies=tuple(trials),
        intervals=intervals,
        folder=Path("folder"),
        failed=0,
        costs=costs,
        digest="d" * 64,
        environment={"versions": {"imc-sim": "1", "torch": "2"}, "seconds": 12.6, "finished": "then"},
    )


SIGMA = {"path": "chip.s", "values": [0.1, 0.2, 0.4], "label": "variation", "unit": "%", "scale": 100.0}
BITS = {"path": "chip.bits", "values": [3, 8], "label": "bits"}
CASES = [
    {"name": "first", "set": {}, "published": [0.9, None, 0.7], "note": "a note"},
    {"name": "second", "set": {}, "published": None, "note": ""},
]
STUDIES: dict[str, Any] = {
    "one axis": stored([SIGMA]), "two axes": stored([SIGMA, BITS], priced=True),
    "cases": stored([SIGMA], CASES, reduced=True),
    "log": stored([SIGMA | {"values": [1e-3, 1e-2, 1.0], "spaced": "log", "scale": 1.0}]),
    "very wide": stored([SIGMA | {"values": [1e-6, 1e-2, 1.0], "spaced": "log"}], priced=True),
    "names": stored([{"path": "chip", "values": ["a", "b"], "labels": ["first chip", "second chip"]}, BITS]),
    "no axes": stored([], [{**CASES[0], "published": 0.95}, CASES[1]]), "alone": stored([]),
    "scores": stored([SIGMA], metric={"name": "error", "unit": "V", "better": "lower", "tolerance": 0.05},
    study={"task": {"kind": "function"}}),
    "many cases": stored([BITS], [{"name": f"case {k}", "set": {}, "published": None, "note": ""} for k in range(8)],
    priced=True),
    "attack": stored([{"path": "task.attack.epsilon", "values": [0.0, 0.1, 0.25]}],
    [CASES[0] | {"name": "on chips; x", "set": {"task.attack.space": "normalised"}}, CASES[1]]),
    "zipped": stored([SIGMA | {"zip": "z"}, BITS | {"values": [3, 8, 9], "zip": "z"},
    {"path": "on", "values": [True, False]}]),
}  # fmt: skip
