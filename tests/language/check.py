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


def report(wanted: Iterable[str]) -> Iterator[str]:
    """Yield the findings in these files and folders; in all where none is named."""
    prefixes = tuple(each.rstrip("/") for each in wanted)
    for name, lines in (each for rule in RULES for each in findings(rule).items()):
        if not prefixes or any(name == each or name.startswith(f"{each}/") for each in prefixes):
            yield from lines
