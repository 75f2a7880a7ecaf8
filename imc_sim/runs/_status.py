"""Progress of a run, read from its folder while it runs or after it ended."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, final


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

    def to_dict(self) -> dict[str, Any]:
        """Return the status as plain data."""
        return asdict(self)

    @property
    def complete(self) -> bool:
        """Return whether everything is finished and sound."""
        return self.left == 0 and self.failed == 0 and not self.damaged
