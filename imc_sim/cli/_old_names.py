"""Old names of commands, which work for one release."""

from __future__ import annotations

from collections.abc import Sequence

from imc_sim.cli._console import say

#: old beginning of a command line -> the new one; two words before one
OLD_NAMES = {
    "combine": "report --trials",
    "figure": "show",
    "firing": "show spikes",
    "forgetting": "show forgetting",
    "list trainings": "list sweeps",
    "plot-device": "show device",
    "probe": "show",
    "probe signs": "show sign-flips",
    "schema": "show schema",
    "tables": "report",
    "trainings": "train --sweep",
}


def with_new_names(argv: Sequence[str]) -> list[str]:
    """Return the command line in today's names; where an old one is used, print the new one to stderr."""
    for length in (2, 1):
        old, rest = " ".join(argv[:length]), list(argv[length:])
        if old in OLD_NAMES:
            new = OLD_NAMES[old]
            say(f"imc-sim: '{old}' is now '{new}'; version 0.3 removes the old name")
            special = {"combine": _combine, "trainings": _trainings}.get(old)
            return special(rest) if special else [*new.split(), *rest]
    return list(argv)


def _combine(rest: list[str]) -> list[str]:
    """Rename --format to --trials; `combine` wrote all formats by default."""
    words = [word.replace("--format", "--trials", 1) if word.startswith("--format") else word for word in rest]
    chosen = "--help" in words or any(word.startswith("--trials") for word in words)
    return ["report", *words, *([] if chosen else ["--trials", "all"])]


def _trainings(rest: list[str]) -> list[str]:
    """Put --sweep before the name of the sweep, the first word that is neither an option nor its value."""
    names = (
        i for i, word in enumerate(rest) if word[:1] != "-" and (not i or rest[i - 1] not in ("--out", "--device"))
    )
    place = next(names, len(rest))
    if place < len(rest):
        rest.insert(place, "--sweep")
    return ["train", *rest]
