"""Commands by their old names, which work for one release."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from imc_sim.cli._console import say

Words = list[str]
#: old words at the start of a command line, and the words that replace them; the longest match counts
_MOVED: dict[tuple[str, ...], str] = {
    ("device", "fit"): "import",
    ("device",): "import",
    ("figure",): "show",
    ("firing",): "show spikes",
    ("forgetting",): "show forgetting",
    ("list", "trainings"): "list sweeps",
    ("plot-device",): "show device",
    ("probe", "signs"): "show sign-flips",
    ("probe",): "show",
    ("schema",): "show schema",
}


def with_new_names(argv: Sequence[str]) -> Words:
    """Return the command line in today's names; where an old one is used, name its successor on stderr."""
    for length in (2, 1):
        old = tuple(argv[:length])
        if old in _MOVED:
            return _renamed(old, _MOVED[old], [*_MOVED[old].split(), *argv[length:]])
    if argv and argv[0] in _REWRITTEN:
        name, rewrite = _REWRITTEN[argv[0]]
        return _renamed((argv[0],), name, rewrite(argv[1:]))
    return list(argv)


def _renamed(old: tuple[str, ...], new: str, words: Words) -> Words:
    say(f"imc-sim: '{' '.join(old)}' is now '{new}'; version 0.3 removes the old name")
    return words


def _combine(rest: Sequence[str]) -> Words:
    """`combine` chose the formats itself unless it was given some."""
    words = [word.replace("--format", "--trials", 1) if word.startswith("--format") else word for word in rest]
    chosen = any(word.startswith("--trials") for word in words)
    return ["report", *words, *([] if chosen or "--help" in words else ["--trials", "all"])]


def _tables(rest: Sequence[str]) -> Words:
    return ["report", *rest]


def _trainings(rest: Sequence[str]) -> Words:
    """The name stood alone; now it is the value of an option."""
    before = ["", *rest]
    words = [["--sweep", word] if _is_name(word, last) else [word] for last, word in zip(before, rest, strict=False)]
    return ["train", *(each for group in words for each in group)]


def _is_name(word: str, last: str) -> bool:
    return not word.startswith("-") and last not in ("--out", "--device")


_REWRITTEN: dict[str, tuple[str, Callable[[Sequence[str]], Words]]] = {
    "combine": ("report --trials", _combine),
    "tables": ("report --page", _tables),
    "trainings": ("train --sweep", _trainings),
}
#: every old name, as it was typed
OLD_NAMES = [*(" ".join(words) for words in _MOVED), *_REWRITTEN]
