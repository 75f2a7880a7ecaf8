"""YAML that is not a simple document is one error with its line; finite merges and aliases are read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from imc_sim import InputError
from imc_sim.array import load_chip
from imc_sim.config import _yaml, edit_yaml, find_content, parse_yaml, set_path, write_yaml
from imc_sim.study import load_study

BOMB = "b0: &b0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"b{n}: &b{n} [{', '.join([f'*b{n - 1}'] * 9)}]\n" for n in range(1, 9)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: {{ n }}", "f.yaml, line 1: got a list or mapping as a key"),
        ("a: 1\n? [a, b]\n: 1", "f.yaml, line 2: got a list or mapping as a key"),
        ("a: 1\n2: b", "f.yaml, line 2: got '2' as a key"),
        ("null: b", "got 'null' as a key"),
        ("a: &a [*a]", "f.yaml, line 1: got a value that contains itself"),
        ("a: &a {b: [*a]}", "f.yaml, line 1: got a value that contains itself"),
        ("<<: *t", "undefined alias 't'"),
        ("<<: 5", "expected a mapping"),
        (BOMB, "f.yaml, line 6: got aliases that repeat each other"),
        ("a: !!set {x}", "got the tag !!set"),
        ("a: !!timestamp x", "got the tag !!timestamp"),
        ("a: 1\nb: !!int x", "f.yaml, line 2: got the tag !!int; allowed: plain values"),
        ("a: 1\nb: !!bool x", "f.yaml, line 2: got the tag !!bool"),
        ("a: 1\nb: !!float x", "f.yaml, line 2: got the tag !!float"),
        (f"a: 1\nb: {'9' * 301}", "f.yaml, line 2: got a number of 301 digits; allowed: 300 digits or fewer"),
        ("a: 1\nb: \x01", "f.yaml, line 2: got the character '\\x01'"),
        (f"a: 1\nb: {'[' * 50}{']' * 50}", "f.yaml, line 2: got values that are nested too deeply; allowed: 50 levels"),
        ("[" * 3000, "f.yaml, line 1: got values that are nested too deeply"),
        (f"a: {'[' * 30_000}", "f.yaml, line 1: got values that are nested too deeply"),
        ("a: 1\nb: [", "f.yaml, line 2: got while parsing a flow"),
        (f"a: 1\nb: {'[' * 40}{']' * 40}\nc", "f.yaml, line 3: got while scanning a simple key"),
        ("t: &t {x: 1}\nb:\n  <<: *t\n  y: 1\n  y: 2", "f.yaml, line 5: got a second 'y'"),
    ],
)  # fmt: skip
def test_invalid_documents_are_one_error(text: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        parse_yaml(text, "f.yaml")
    assert message in str(error.value)


@pytest.mark.parametrize("text", ["a\x1b[31mb", "a\x00", "a\rb", "a\x85b", "a\ud800", "a\uffff"])
@pytest.mark.parametrize("place", ["question", "name", "label", "case"])
def test_text_that_cannot_be_shown_is_refused(text: str, place: str) -> None:
    study: dict[str, Any] = {
        "name": "x", "model": "batmann_small_xnor", "chip": "ideal", "task": {"dataset": "glyphs", "split": "test"},
    }  # fmt: skip
    axis = {"path": "chip.device.programming.sigma", "values": [0, 0.1]}
    added = {"label": {"axes": [axis | {"label": text}]}, "case": {"cases": [{"name": text}]}}
    with pytest.raises(InputError, match="text without control characters"):
        load_study(study | added.get(place, {place: text}))


@pytest.mark.parametrize("text", ["a\nb", "a\tb", "a\u2028b", "\U0001f600", "\u202ea"])
def test_other_text_is_read_back_as_written(text: str) -> None:
    question = load_study({"name": "x", "model": "m", "chip": "ideal", "task": {}, "question": text}).question
    assert parse_yaml(write_yaml({"text": question})) == {"text": text}


def test_merges_and_aliases_are_read() -> None:
    text = "x: {y: &t {<<: &b {k: 5, j: 1}, k: 1}}\nz: {<<: *t, k: 2}\nw: [*b, *b]"
    b = {"k": 5, "j": 1}
    assert parse_yaml(text) == {"x": {"y": {"k": 1, "j": 1}}, "z": {"k": 2, "j": 1}, "w": [b, b]}


@pytest.mark.parametrize(
    ("part", "kind", "kept"),
    [
        ("encoding", "sliced", True),
        ("encoding", "differential", False),
        ("programming", "sliced", True),
        ("programming", "relative", False),
        ("converter", "sym", True),
    ],
)
def test_another_kind_drops_keys_where_kinds_have_their_own(part: str, kind: str, kept: bool) -> None:
    data: dict[str, Any] = {"chip": {part: {"kind": "sliced", "bits": 4}}}
    set_path(data, f"chip.{part}.kind", kind, "here")
    assert data == {"chip": {part: {"kind": kind, **({"bits": 4} if kept else {})}}}


@pytest.mark.parametrize(
    ("part", "error"),
    [
        (
            {"programming": {"sigma": 0.1}},
            "programming.kind: got no kind; allowed: relative, polynomial, measured, map, pulses.",
        ),
        (
            {"programming": {"kind": "relativ"}},
            "allowed: relative, polynomial, measured, map, pulses. Did you mean 'relative'?",
        ),
        ({"programming": "relative"}, "got 'relative'; allowed: a mapping of keys to values. Write {kind: relative}."),
        ({"programming": {"kind": "relative", "sigma": -1.0}}, "device.programming.sigma: got -1.0"),
        ({"programming": {"kind": "pulses", "cell": {"kind": "vteam", "k": 1}}}, "device.programming.cell.k: got"),
        ({"programming": {"kind": "pulses", "cell": {}}}, "cell.kind: got no kind; allowed: vteam, stanford_pku"),
        ({"read": 5}, "read: got 5; allowed: a mapping of keys to values. Write `key: value` lines."),
    ],
)
def test_errors_name_the_key_as_written_and_the_known_kinds(part: dict[str, Any], error: str) -> None:
    with pytest.raises(InputError) as caught:
        load_chip({"device": {"g_lrs_S": 1e-4, "g_hrs_S": 1e-5, **part}})
    assert error in str(caught.value)


def test_content_is_found_first_where_one_works_then_in_own_folders_then_among_the_shipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, first, second = (tmp_path / name for name in ("here", "first", "second"))
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("IMC_SIM_PATH", f"{first}{os.pathsep}{second}")
    assert find_content("chip", "ideal").parent not in [folder / "device_configs" for folder in (here, first, second)]
    for folder in (second, first, here):
        (folder / "device_configs").mkdir(parents=True)
        (folder / "device_configs" / "ideal.yaml").write_text("name: mine\n")
        assert find_content("chip", "ideal") == folder / "device_configs" / "ideal.yaml"


EDITED = """# my chip
name: x   # the name
source: |
  line 1

device:  # cells
  # levels of the datasheet
  g_lrs_S: 60 uS      # LRS
  g_hrs_S: 4 uS
  programming: {kind: relative, sigma: 0.05}  # measured
  read:
    sigma: 0.01       # white
    # nothing else

tile: {rows: 128, cols: 128}   # array
"""


def test_an_edit_changes_the_lines_of_changed_keys_alone() -> None:
    data = parse_yaml(EDITED)
    data["source"] = "line 2"
    device = data["device"]
    device |= {"g_lrs_S": "61 uS", "programming": {"kind": "measured", "targets_S": [1e-6]}, "time": {"t_s": 3.0}}
    del device["g_hrs_S"]
    device["read"]["v_read_V"] = 0.3
    changes = {
        "source: |\n  line 1": "source: line 2", "60 uS": "61 uS", "  g_hrs_S: 4 uS\n": "",
        "{kind: relative, sigma: 0.05}": "{kind: measured, targets_S: [1.0e-06]}",
        "    # nothing else\n": "    # nothing else\n    v_read_V: 0.3\n  time:\n    t_s: 3.0\n",
    }  # fmt: skip
    expected = EDITED
    for old, new in changes.items():
        expected = expected.replace(old, new)
    assert edit_yaml(EDITED, data) == expected
    assert edit_yaml(EDITED, parse_yaml(EDITED)) == EDITED
    assert edit_yaml("b: 1\n", {"b": 1, "z": 2, "a": 3}) == "b: 1\nz: 2\na: 3\n", "new keys in their order"


@pytest.mark.parametrize(
    "text",
    [
        "a: &x {b: 1}\nc: *x\n",
        "a: &x\n  b: 1\n  d: 2\nc:\n  <<: *x\n  e: 3\n",
        "a: {b: 1}\nc: {b: 1}  # flow\n",
        "{a: {b: 1}, c: {b: 1}}\n",
    ],
)
def test_a_text_of_any_form_holds_the_values_that_are_wanted(text: str) -> None:
    """One that cannot be edited in place is written again."""
    old = parse_yaml(text)
    for data in (old | {"a": {"b": 2}}, old | {"c": {"b": 5}}, {"c": old["c"]}, {"a": old["a"]}, old | {"f": "x"}):
        assert parse_yaml(edit_yaml(text, data)) == data


TREES = st.recursive(
    st.integers(0, 9), lambda inner: st.dictionaries(st.sampled_from("abcde"), inner, min_size=1, max_size=4)
)


def commented(data: dict[str, Any], path: str = "") -> list[str]:
    """Return the lines of a text with the path of each key as a comment."""
    lines = []
    for key, value in data.items():
        here = f"{path}.{key}"
        inner = commented(value, here) if isinstance(value, dict) else []
        lines += [f"{key}:{'' if inner else f' {value}'}  # {here}", *(f"  {line}" for line in inner)]
    return lines


def paths(data: dict[str, Any], path: str = "") -> dict[str, bool]:
    """Return the path of each key, and whether it holds a mapping."""
    found = {f"{path}.{key}": isinstance(value, dict) for key, value in data.items()}
    for key, value in data.items():
        found |= paths(value, f"{path}.{key}") if isinstance(value, dict) else {}
    return found


def read_in_python(text: str) -> str:
    """Return what `parse_yaml` does where PyYAML has no parser in C."""
    with patch.object(_yaml, "_FastLoader", side_effect=yaml.YAMLError):
        return outcome(text)


def outcome(text: str) -> str:
    """Return the repr of the mapping that a text holds, or the error."""
    try:
        return repr(parse_yaml(text))
    except InputError as error:
        return str(error)


@given(st.dictionaries(st.text("ab:-#,{[&*!|>'\"% \n\u2028é~0.e?", min_size=1), TREES, max_size=4), st.booleans())
def test_both_parsers_read_back_what_was_written(data: dict[str, Any], one_line: bool) -> None:
    text = write_yaml(data, one_line)
    assert outcome(text) == read_in_python(text) == repr(data)


VALUES = st.recursive(
    st.one_of(st.integers(0, 9), st.sampled_from(["text", "0.5", "a?", "it's", "two\nlines\n", True, None, 2.5])),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("abc"), inner, max_size=3)),
)
PARTS = [*"ab1 \n\t:-?,[]{}#&*!|>'\"%@\\~\ufeff\u2028\u0085µ", "\n  ", "\n- ", ": ", "a? ", "{a: b?}", "*a", "1e-3"]


@given(VALUES, st.lists(st.tuples(st.integers(0, 60), st.sampled_from(PARTS)), max_size=4), st.booleans())
@example(["b", 2], [(7, "?")], True).via("the parser in C reads a question mark in brackets")
@example([1, 2], [(5, "!")], True).via("the parser in C gives a tag without a name to a text")
@example(1, [(3, "|#\n ")], False).via("the parser in C reads a comment next to the bar of a text")
@example(1, [(3, "\t")], False).via("the parser in C reads a tab before a value")
def test_altered_texts_are_the_same_to_both_parsers(tree: Any, changes: list[tuple[int, str]], one_line: bool) -> None:
    text = write_yaml({"x": tree}, one_line)
    for place, part in changes:
        text = f"{text[:place]}{part}{text[place:]}"
    assert outcome(text) == read_in_python(text)


@given(*[st.dictionaries(st.sampled_from("abcde"), TREES, min_size=1, max_size=4)] * 2)
def test_edits_hold_the_new_values_and_keep_comments_of_keys_that_stay(
    old: dict[str, Any], new: dict[str, Any]
) -> None:
    text = "\n".join(commented(old)) + "\n"
    found = edit_yaml(text, new)
    assert parse_yaml(found) == new
    before, after = paths(old), paths(new)
    kept = {path for path, mapping in before.items() if after.get(path) == mapping}
    kept = {path for path in kept if set(paths_above(path)) <= kept}
    assert {line.split("# ")[1] for line in found.splitlines() if "# " in line} >= kept


def paths_above(path: str) -> list[str]:
    keys = path.split(".")[1:]
    return ["." + ".".join(keys[:n]) for n in range(1, len(keys))]
