"""The number of inputs that were tried, by kind, at the end of `make fuzz`."""

from __future__ import annotations

from typing import Any

from tests.fuzz.harness import TIMES, TRIED


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if TIMES > 1:
        terminalreporter.write_line(f"{sum(TRIED.values()):,} inputs tried")
        for kind, count in sorted(TRIED.items()):
            terminalreporter.write_line(f"  {count:6,} {kind}")
