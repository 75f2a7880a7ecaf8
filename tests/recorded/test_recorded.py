"""Every recorded result is still what the code gives: exact for counts and texts, to a stated error for numbers."""

from __future__ import annotations

import importlib
import json

import numpy as np
import pytest

from tests.recorded.record import FILES, HERE, cases, differences, plain

# Sums in float32 are rounded in another order by each processor; a wrong result is further off than that.
RTOL = 2e-5

CASES = [(file, name) for file in FILES for name in cases(file)]


@pytest.mark.parametrize(("file", "name"), CASES, ids=[f"{file.removeprefix('cases_')}-{name}" for file, name in CASES])
def test_the_result_is_as_recorded(file: str, name: str) -> None:
    recorded = json.loads((HERE / f"{file}.json").read_text(encoding="utf-8"))
    lines = differences(plain(cases(file)[name]()), recorded[name], RTOL)
    again = f"if the change is wanted, run `python -m tests.recorded.record {file}` and say in the commit why"
    assert not lines, "\n".join([*lines, again])


def test_no_record_is_left_without_its_case() -> None:
    for file in FILES:
        assert set(json.loads((HERE / f"{file}.json").read_text(encoding="utf-8"))) == set(cases(file))


def test_no_case_depends_on_those_before_it() -> None:
    """Random numbers of a generator that cases share would follow the selection and the order of tests."""
    for file in FILES:
        shared = vars(importlib.import_module(f"tests.recorded.{file}")).values()
        assert not any(isinstance(each, np.random.Generator) for each in shared), file


def test_a_change_of_a_result_is_noticed() -> None:
    recorded = plain({"a": [1.0, 2.0, 4.0], "n": 3, "text": "x", "none": {}})
    assert not differences(recorded, recorded, RTOL)
    assert len(differences(plain({"a": [1.0, 4.0, 2.0], "n": 4, "text": "y", "none": {}}), recorded, RTOL)) == 4
    assert differences(plain({"a": [1.0, 2.0], "n": 3, "text": "x", "none": {}}), recorded, RTOL)
