"""Text of the project follows one style: no words to avoid, documented parameters, imperative docstrings.

The words and the rules are in `tests/language/`. From the root of the repository:

    python -m tests.language imc_sim/array docs/wires.md   # findings in these files and folders
"""

from __future__ import annotations

import re

import pytest

from tests.language.check import RULES, files, findings
from tests.language.docstrings import LONG, silent, undocumented
from tests.language.exports import exported
from tests.language.texts import banned_names, banned_words, words_of
from tests.language.words import BANNED


@pytest.mark.parametrize("rule", RULES)
def test_text_follows_the_style(rule: str) -> None:
    assert len(list(files(rule))) > 100
    found = [line for lines in findings(rule).values() for line in lines]
    assert not found, "\n" + "\n".join(found)


SAMPLES = """Cells drawn anew beside others at once. Chips are asked, it is said. Tiles bear 2 ohm and lie on cells.
The spread as it comes is worth what signs are worth. Mend it. A witness on the way, by itself, of its
own, as it is, stands there unnoticed; what a cell makes of it, puts out, in the place of a layer that
speaks in spikes, in a contest, depends on the hour. The contrast of operands is sensed by wired
converters, settled by plain readouts, and an engine with teams, victims, rooms and trainings. What is
firing alike on the task of the chips?"""


def test_every_banned_word_is_found() -> None:
    found = [match for _, match, _ in words_of(SAMPLES)]
    assert not [word for word in BANNED if not any(re.fullmatch(word, each, re.IGNORECASE) for each in found)]


def test_planted_words_are_found_in_every_kind_of_text() -> None:
    code = '"""Cells drawn\nanew."""\nx = f"Mend {x} at once"  # a victim\ny = "as `spread: 1` of a.spread"\n'
    assert sorted(line for line, _ in banned_words(code)) == [1, 2, 3, 3, 3]
    assert [line for line, _ in banned_words("a: drawn anew # twice, beside\n", "x.yaml")] == [1, 1, 1]
    assert [line for line, _ in banned_words("A\n\n```\nanew\n```\nalike, `alike`\n", "x.md")] == [6]
    assert list(banned_words('def f():\n    """What a cell gives."""\n'))
    assert list(words_of("the page of cells", "imc_sim/array/x.py"))
    assert not list(words_of("the page, drawn", "imc_sim/report/x.py"))


def test_planted_names_are_found() -> None:
    code = "def drawn_anew(spread, asked_for):\n    for said in ():\n        firing_rate = asked.said\n"
    assert sorted(line for line, _ in banned_names(code)) == [1, 1, 1, 2]
    assert not list(banned_names("def f(converter):\n    drawn = 1\n", "tests/plotting/x.py"))


def test_older_sections_of_a_changelog_keep_the_words_of_their_time() -> None:
    text = "# Changelog\n\nanew\n\n## 0.2.0\n\nanew\n\n## 0.1.0\n\nanew\n"
    assert [line for line, _ in banned_words(text, "CHANGELOG.md")] == [3, 7]


@pytest.mark.parametrize(
    "text",
    [
        "A stand-in for chips that lie on average",
        "Set `converter.bits`",
        "as asked for, divided by itself",
        "seed_of/x",
    ],
)
def test_legitimate_uses_pass(text: str) -> None:
    assert not list(words_of(text))


GOOD = '''
@dataclass
class Cell:
    """A cell.

    Args:
        g: conductance.
    """

    g: float

    @property
    def r(self) -> float:
        """Resistance."""
        return 1 / self.g

def read(cell, *times, scale=1.0):
    """Read a cell.

    Args:
        cell: what is read.
        *times: when.
        scale: factor.

    Returns:
        The current.

    Raises:
        InputError: where there is no cell.
    """
    if cell is None:
        raise InputError("x")
    return cell
'''


def faults(text: str) -> list[str]:
    return [what for _, what in undocumented(text, public={"Cell", "read"})]


def test_documented_functions_and_classes_pass() -> None:
    assert not faults(GOOD)
    assert not faults('def read(x):\n    """Return x.\n\n    Args:\n        x: that.\n    """\n    return x\n')


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("g: conductance.", "h: conductance.", "Cell: Args or Attributes without g"),
        ('"""Resistance."""', "", "r: no docstring"),
        ("Read a cell.", "The read of a cell.", "read: begins with 'The'"),
        ("        *times: when.\n", "", "read: Args without times"),
        ("Returns:", "Gives:", "read: no Returns"),
        ("    return cell", "    yield cell", ""),
        ("InputError: where", "KeyError: where", "read: Raises without InputError"),
    ],
)
def test_planted_gaps_are_found(old: str, new: str, fault: str) -> None:
    assert old in GOOD
    text = GOOD.replace(old, new)
    assert any(each.startswith(fault) for each in faults(text)) if fault else not faults(text)


def test_long_private_functions_without_a_sentence_are_found() -> None:
    body = "    x = 1\n" * LONG
    assert [what[:2] for _, what in silent(f"def f():\n{body}", public=set())] == ["f:"]
    assert not list(silent(f'def f():\n    """Set x to one."""\n{body}', public=set()))
    assert not list(silent("def f():\n    x = 1\n", public=set()))
    assert not list(silent(f"def f():\n{body}", public={"f"}))


def test_exported_names_are_found_where_they_are_defined() -> None:
    assert "Crossbar" in exported()["imc_sim/array/_crossbar.py"]
    assert "Session" in exported()["imc_sim/evaluate/_session.py"]
    assert "EventProduct" in exported()["imc_sim/nn/events.py"]
    assert "Rule" in exported()["imc_sim/train/_boosting.py"]
    assert "Plan" not in exported()["imc_sim/array/_plan.py"]
