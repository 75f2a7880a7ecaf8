"""Metadata of rows: when, where and with which software a result was computed."""

from __future__ import annotations

import datetime as dt
import functools
import importlib.metadata
import platform
import time
import traceback
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, final

from imc_sim.runs._row_table import Row, RowTable

#: latest rows that the rate is taken over
_WINDOW = 200


@final
@dataclass(frozen=True)
class RunClock:
    """One run.

    Attributes:
        device: where it computes.
        run: a random number.
        started: its start on a monotonic clock, in s.
    """

    device: str = "cpu"
    run: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    started: float = field(default_factory=time.monotonic)

    def meta(self, seconds: float) -> dict[str, Any]:
        """Return the `meta` of a row that ends now.

        Args:
            seconds: of computing.
        """
        return {
            "seconds": round(seconds, 4), "time": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            "host": platform.node(), "device": self.device, "run": self.run,
            "elapsed": round(time.monotonic() - self.started, 3), "versions": _versions(),
        }  # fmt: skip


def failure(error: BaseException) -> Row:
    """Return the state, message and traceback that the row of a failure stores, as text that UTF-8 can encode.

    Args:
        error: what was raised.
    """
    texts = {"error": str(error), "traceback": "".join(traceback.format_exception(error))}
    return {"state": "failed"} | {key: text.encode("utf-8", "replace").decode() for key, text in texts.items()}


def rate_of(rows: Iterable[Row] | RowTable) -> float | None:
    """Return rows per second over the latest rows of the latest run, on that run's own monotonic clock.

    Args:
        rows: in the order of their file.
    """
    if isinstance(rows, RowTable):
        known = rows.texts("run")
        runs = [known[number] for number in rows.column("run").tolist()]
        ended: list[Any] = rows.column("elapsed").tolist()
    else:
        metas = [row.get("meta", {}) for row in rows]
        runs, ended = ([meta.get(key) for meta in metas] for key in ("run", "elapsed"))
    if not runs or runs[-1] is None:
        return None
    ends = [end for run, end in zip(runs, ended, strict=True) if run == runs[-1]]
    ends = [0.0, *ends][-_WINDOW - 1 :]
    span = ends[-1] - ends[0]
    return (len(ends) - 1) / span if span > 0 else None


@functools.cache
def _versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {n: _version(n) for n in ("imc-sim", "torch", "numpy")}


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
