"""`imc-sim status`: show the progress of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imc_sim.cli._console import Quiet

if TYPE_CHECKING:
    from imc_sim.study import Status


def status(
    results: Annotated[Path, typer.Argument(help="A results folder of `imc-sim run` or of a training sweep.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a line.")] = False,
    check: Annotated[
        bool,
        typer.Option("--check", help="List damaged rows, and data that changed since; exit code 1 if there are any."),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Show the progress of a run.

    Prints the number of trials done, failed and left, with rate and remaining time, during a run or after it.

    Examples:
      imc-sim status results/quickstart
      imc-sim status results/quickstart --check
    """
    import json

    from imc_sim.cli._console import working

    with working(f"reading {results}"):
        if (results / "trainings.yaml").is_file():
            from imc_sim.train import sweep_status

            found = sweep_status(results)
        else:
            from imc_sim.study import status as study_status

            found = study_status(results, check_data=check)
    print(json.dumps(found.to_dict(), indent=2) if as_json else _line(found))
    if check and not as_json:
        print("\n".join(found.damaged) or "all rows are sound")
        untrusted = ", or is code in a folder that is not trusted (IMC_SIM_TRUST)"
        absent = [f"{part!r} is not here{untrusted if '.py:' in part else ''}" for part in found.absent_data]
        print("\n".join([*found.other_data, *absent] or ["same data"]))
    if check and (found.damaged or found.other_data):
        raise typer.Exit(1)


def _line(s: Status) -> str:
    """Format the progress as one line."""
    from imc_sim._quantities import number_of
    from imc_sim.cli._console import duration

    parts = [f"{s.done} done", f"{s.failed} failed", f"{'at least ' if s.at_least else ''}{s.left} left"]
    if s.damaged:
        them = "it" if len(s.damaged) == 1 else "them"
        parts.append(f"{number_of(len(s.damaged), 'damaged row')} (--check lists {them})")
    if s.rate_per_s is not None:
        parts.append(f"{s.rate_per_s:.3g} trials/s")
    if s.eta_s is not None:
        parts.append(f"ETA {duration(s.eta_s)}")
    end = f"complete, {s.failed} failed" if s.failed else "complete"
    state = f"running, {s.writer}" if s.writer else end if s.left == 0 else "stopped"
    return f"{s.study} ({state}): {', '.join(parts)}"
