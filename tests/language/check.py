"""Apply the rules of language to the files of the project."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path

from tests.language.docstrings import silent, undocumented
from tests.language.exports import ROOT, short
from tests.language.texts import READERS, Finding, banned_names, banned_words

#: rule -> folders; public names of the package keep resolving, so that its names are not checked
FOLDERS = {
    "words": ("imc_sim", "tests", "benchmarks", "docs", "models", "studies", "device_configs"),
    "names": ("tests", "benchmarks"),
    "public": ("imc_sim",),
    "private": ("imc_sim",),
}
#: files that have to quote the words to avoid
QUOTING = ("tests/test_language.py", "tests/language/words.py")
#: files that do not follow the rules yet, and which rules; lines may only be removed
TABLE = ROOT / "tests" / "language_pending.txt"

RULES: dict[str, Callable[[str, str], Iterator[Finding]]] = {
    "words": banned_words,
    "names": banned_names,
    "public": undocumented,
    "private": silent,
}


def files(rule: str) -> Iterator[Path]:
    """Yield the files that a rule is about."""
    if rule == "words":
        yield from sorted(ROOT.glob("*.md"))
    for folder in FOLDERS[rule]:
        suffixes = READERS if rule == "words" else (".py",)
        yield from (path for path in sorted((ROOT / folder).rglob("*")) if path.suffix in suffixes)


@cache
def findings(rule: str) -> dict[str, list[str]]:
    """Return what a rule finds, by file, as lines `file:line: text`."""
    found: dict[str, list[str]] = {}
    for path in files(rule):
        name = short(path)
        if name not in QUOTING:
            text = path.read_text(encoding="utf-8")
            found[name] = [f"{name}:{line}: {what}" for line, what in sorted(RULES[rule](text, name))]
    return {name: lines for name, lines in found.items() if lines}


def pending() -> dict[str, set[str]]:
    """Return the rules that each file of the table does not follow yet."""
    lines = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    return {name: set(rules.split()) for name, _, rules in (line.partition(": ") for line in lines)}


def prune() -> None:
    """Remove from the table what passes; a comment between folders lets changes in two of them merge."""
    lines = ["# Files that do not follow tests/test_language.py yet: which rules. Lines may only be removed."]
    before = ""
    for name, rules in sorted(pending().items()):
        left = [rule for rule in RULES if rule in rules and name in findings(rule)]
        folder = "/".join(name.split("/")[: 2 if name.startswith(("imc_sim/", "tests/")) else 1])
        lines += [f"# -- {folder}"] * bool(left and folder != before)
        lines += [f"{name}: {' '.join(left)}"] * bool(left)
        before = folder if left else before
    TABLE.write_text("\n".join(lines) + "\n", encoding="utf-8")


def report(wanted: Iterable[str]) -> Iterator[str]:
    """Yield the findings in these files and folders; in all where none is named."""
    prefixes = tuple(each.rstrip("/") for each in wanted)
    for name, lines in (each for rule in RULES for each in findings(rule).items()):
        if not prefixes or any(name == each or name.startswith(f"{each}/") for each in prefixes):
            yield from lines
