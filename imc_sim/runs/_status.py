"""Progress of a run, read from its folder while it runs or after it ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

from imc_sim.runs._lock import holder
from imc_sim.runs._row_meta import rate_of
from imc_sim.runs._rows_file import RowsFile


@final
@dataclass(frozen=True)
class Status:
    """Rows of a results folder.

    Attributes:
        study: name of the study or training sweep.
        done: finished rows.
        failed: rows whose last attempt failed.
        left: rows not yet attempted.
        at_least: whether the stopping rule may request more than `left`.
        writer: who writes to the folder now.
        rate_per_s: rows per second of the latest run that wrote; None where unknown.
        eta_s: seconds to the end at that rate; None where unknown or if no process writes.
        damaged: damaged lines, with the reason; the next run moves them out and repeats them.
        other_data: data of the study that changed; only determined on request.
        absent_data: data of the study that are missing on this machine; only determined on request.
    """

    study: str
    done: int
    failed: int
    left: int
    at_least: bool
    writer: str | None
    rate_per_s: float | None
    eta_s: float | None
    damaged: tuple[str, ...] = ()
    other_data: tuple[str, ...] = ()
    absent_data: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, study: str, folder: Path, writing: bool, found: RowsFile, wanted: Sequence[str] | Counter[str],
        at_least: bool = False, other_data: tuple[str, ...] = (), absent_data: tuple[str, ...] = (),
    ) -> Status:  # fmt: skip
        """Return the status of a results folder from its rows.

        Args:
            study: name of the study or training sweep.
            folder: results folder.
            writing: whether a process writes to the folder, determined before the rows were read.
            found: rows of the folder.
            wanted: ids of the requested rows, of which those that are not stored are left; or the numbers of requested
                rows that are done, failed and left.
            at_least: whether the stopping rule may request more rows.
            other_data: data that changed.
            absent_data: data that are missing.
        """
        if not isinstance(wanted, Counter):
            wanted = Counter(found.rows[key]["state"] if key in found.rows else "left" for key in wanted)
        done, failed, left = (wanted[state] for state in ("done", "failed", "left"))
        rate = rate_of(found.rows)
        eta = left / rate if writing and rate else None
        writer = (holder(folder) or "another process") if writing else None
        damaged = tuple(map(str, found.damaged))
        return cls(study, done, failed, left, at_least, writer, rate, eta, damaged, other_data, absent_data)

    def to_dict(self) -> dict[str, Any]:
        """Return the status as plain data."""
        return asdict(self)

    @property
    def complete(self) -> bool:
        """Return whether everything is finished and sound."""
        return self.left == 0 and self.failed == 0 and not self.damaged
