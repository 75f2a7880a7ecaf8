"""`imc-sim list`: list named content. Loads no torch."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any

import typer

from imc_sim._errors import InputError, nearest
from imc_sim._quantities import number_of
from imc_sim.cli._console import Quiet

#: ends of the summaries of models without weights
_UNTRAINED = "(curve alone, no weights)", "(not trained yet)"
#: number of rows above which the list says how to shorten it
_MANY = 40


class What(StrEnum):
    """Kinds of named content."""

    models = "models"
    chips = "chips"
    studies = "studies"
    sweeps = "sweeps"
    queues = "queues"
    datasets = "datasets"
    archs = "archs"


def list_(
    what: Annotated[What, typer.Argument(help="What to list.")],
    part: Annotated[str, typer.Argument(help="Only names that contain this, such as the family of a model.")] = "",
    trained: Annotated[bool, typer.Option("--trained", help="Only models that have weights.")] = False,
    quiet: Quiet = False,
) -> None:
    """List models, chips, studies and other content.

    Prints a name and a summary for each model, chip, study, training sweep, training queue, data set or architecture.
    Names are used in all other commands, such as `imc-sim run NAME` for a study.

    Examples:
      imc-sim list models batmann --trained
      imc-sim list chips
    """
    from imc_sim.cli._console import print_rows, say, working

    if trained and what is not What.models:
        raise InputError("--trained", f"{what}", "models", "Leave it out.")
    with working(f"searching {what}"):
        every = _ROWS[what]()
    rows = [row for row in every if part in row["name"] and not (trained and row["summary"].endswith(_UNTRAINED))]
    from imc_sim.config import REINSTALL, missing_files

    lost = [] if what in (What.datasets, What.archs) else missing_files()
    if lost:
        say(f"this installation lacks {lost[0]}{f' and {len(lost) - 1} more' if len(lost) > 1 else ''}. {REINSTALL}")
    if every and not rows:
        step = f"{nearest(part, [row['name'] for row in every])}See `imc-sim list {what}`."
        raise InputError(
            f"imc-sim list {what}", f"{part!r}, which no name contains", f"a part of {len(every)} names", step
        )
    if not rows:
        say(f"no {what} found; see `imc-sim doctor` for the folders searched")
        return
    print_rows(rows, _headings(rows) if what is What.models and not quiet else None)
    if len(rows) > _MANY and not quiet:
        say(f"{len(rows)} {what}; `imc-sim list {what} PART` lists those with PART in their name, such as a family")


def _content(kind: Any) -> list[dict[str, str]]:
    from imc_sim.config import content_names, find_content, read_yaml

    def read(name: str) -> dict[str, Any]:
        return read_yaml(find_content(kind, name))

    return [{"name": name, "summary": _summary(read, name)} for name in content_names(kind)]


def _models() -> list[dict[str, str]]:
    """Return a row for each model, and for each family that cannot be read."""
    from imc_sim.config import content_names, find_card, unreadable_families

    def read(name: str) -> dict[str, Any]:
        return find_card(name).data

    rows = [{"name": name, "summary": _summary(read, name)} for name in content_names("model")]
    broken = [{"name": name, "summary": f"(cannot be read: {error})"} for name, error in unreadable_families()]
    return sorted(rows + broken, key=lambda row: row["name"])


def _headings(rows: list[dict[str, str]]) -> dict[int, str]:
    """Return the heading of each family, by the row number of its first model."""
    from imc_sim.config import family_summaries

    names = [row["name"] for row in rows]
    families = family_summaries()
    listed = {family: (summary, [m for m in models if m in names]) for family, (summary, models) in families.items()}
    return {min(map(names.index, models)): f"{family}: {summary} ({number_of(len(models), 'model')})"
            for family, (summary, models) in listed.items() if models}  # fmt: skip


def _summary(read: Callable[[str], dict[str, Any]], name: str) -> str:
    """Return the summary, or the error in its place: one broken file must not hide the others."""
    try:
        data = read(name)
    except InputError as error:
        return f"(cannot be read: {error})"
    text = textwrap.shorten(str(data.get("summary") or data.get("source") or ""), 110, placeholder=" …")
    return f"{text} {_state(data)}".rstrip() if "arch" in data else text


def _state(card: dict[str, Any]) -> str:
    """Return what a card without weights has instead."""
    if "weights" in card:
        return ""
    return _UNTRAINED[0] if "curve" in card else _UNTRAINED[1]


def _datasets() -> list[dict[str, str]]:
    from imc_sim.data import DATASETS

    return [{"name": name, "summary": info.summary} for name, info in DATASETS.items()]


def _archs() -> list[dict[str, str]]:
    from imc_sim.config import ARCHS

    own = {"./FILE.py:NAME": "your own torch module, by path", "./FILE.onnx": "an ONNX or QONNX network, by path"}
    summaries = {name: entry.summary for name, entry in ARCHS.items()} | own
    return [{"name": name, "summary": summary} for name, summary in summaries.items()]


_ROWS = {
    What.models: _models,
    What.chips: lambda: _content("chip"),
    What.studies: lambda: _content("study"),
    What.sweeps: lambda: _content("training"),
    What.queues: lambda: _content("queue"),
    What.datasets: _datasets,
    What.archs: _archs,
}
