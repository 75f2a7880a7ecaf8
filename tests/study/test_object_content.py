"""Objects of a session are told apart by all that they compute with, and by nothing else."""

from __future__ import annotations

import functools
import runpy
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch import nn

from imc_sim import InputError
from imc_sim.evaluate import _object_digests, object_digest

LEVEL = 1.0


class Data:
    """An object of the user, whose class has methods of every kind."""

    kept = 1

    def __init__(self, value: Any) -> None:
        self.value = value

    def get(self) -> Any:
        return self.value

    def other(self) -> Any:
        return self.value + 1


class Slotted:
    """An object without a dictionary."""

    __slots__ = ("a", "b")

    def __init__(self, a: Any, b: Any = None) -> None:
        self.a = a
        if b is not None:
            self.b = b


def function(code: str) -> Callable[..., Any]:
    """Return the object `f` that code makes, as in a notebook."""
    names: dict[str, Any] = {}
    exec(code, names)
    return names["f"]


def two(code: str, one: str, other: str) -> tuple[Any, Any]:
    return function(code.format(one)), function(code.format(other))


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


DIFFERENT: dict[str, tuple[Any, Any]] = {
    "method": (Data(1).get, Data(2).get),
    "method of another name": (Data(1).get, Data(1).other),
    "keyword of a partial": (functools.partial(int, base=8), functools.partial(int, base=9)),
    "argument of a partial": (functools.partial(max, 1), functools.partial(max, 2)),
    "function of a partial": (functools.partial(max, 1), functools.partial(min, 1)),
    "base": two("class A:\n x = 1\nclass B:\n x = 2\nclass f({}):\n pass", "A", "B"),
    "class variable": two("class f:\n x = {}", "1", "2"),
    "method of a class": two("class f:\n def g(self):\n  return {}", "1", "2"),
    "static method": two("class f:\n @staticmethod\n def g():\n  return {}", "1", "2"),
    "getter": two("class f:\n g = property(lambda s: {}, lambda s, v: 1, lambda s: 1)", "1", "2"),
    "setter": two("class f:\n g = property(lambda s: 1, lambda s, v: {}, lambda s: 1)", "1", "2"),
    "deleter": two("class f:\n g = property(lambda s: 1, lambda s, v: 1, lambda s: {})", "1", "2"),
    "shape": (np.zeros((2, 3)), np.zeros((3, 2))),
    "type of the same bytes": (np.zeros(2, np.float32), np.zeros(2, np.int32)),
    "objects in an array": (np.array([1, "a"], object), np.array([1, "b"], object)),
    "one number": (np.float32(1), np.float32(2)),
    "slot": (Slotted(1, 2), Slotted(1, 3)),
    "missing slot": (Slotted(1), Slotted(1, 3)),
    "global of a function in a function": two("x = {}\ndef f():\n def g():\n  return x\n return g()", "1", "2"),
    "constant of a function in a function": two("def f():\n return (lambda: {})()", "1", "2"),
    "set of constants": two("def f(v):\n return v in {{1, {}}}", "2", "3"),
    "default": two("def f(v={}):\n return v", "1", "2"),
    "keyword default": two("def f(*, v={}):\n return v", "1", "2"),
    "name of an attribute": two("def f(v):\n return v.{}", "a", "b"),
    "order of arguments": two("def f({}):\n return a - b", "a, b", "b, a"),
    "state of a torch generator": (seeded(1), seeded(2)),
    "state of a numpy generator": (np.random.default_rng(1), np.random.default_rng(2)),
    "bytes": (b"a", b"b"),
    "true and one": ([True], [1]),
    "one and one point zero": ([1], [1.0]),
    "text and path": ("a", Path("a")),
    "key": ({"a": 1}, {"b": 1}),
    "value": ({"a": 1}, {"a": 2}),
    "length": ([1, 1], [1]),
    "type of a sequence": ([1], (1,)),
    "dtype": (torch.float32, torch.float64),
    "type of 16 bits": (torch.zeros(2, dtype=torch.bfloat16), torch.zeros(2, dtype=torch.int16)),
    "bfloat16": (torch.zeros(2, dtype=torch.bfloat16), torch.ones(2, dtype=torch.bfloat16)),
    "owner of a method of Python": ({1: 2}.get, {1: 3}.get),
    "method of Python": ("a".upper, "a".lower),
    "array that owns a method": (np.zeros(2).sum, np.ones(2).sum),
    "buffer": (nn.BatchNorm1d(2), nn.BatchNorm1d(2, eps=1e-3)),
}  # fmt: skip


@pytest.mark.parametrize(("one", "other"), DIFFERENT.values(), ids=DIFFERENT)
def test_another_content_has_another_digest(one: Any, other: Any) -> None:
    found = [object_digest(value, "x") for value in (one, other)]
    assert found[0] != found[1]
    assert found == [object_digest(value, "x") for value in (one, other)], "of the same object twice"


GRID = np.arange(12.0).reshape(3, 4)
EQUAL: dict[str, tuple[Any, Any]] = {
    "strides": (GRID.T, GRID.T.copy()),
    "order of a set": ({1, 9, 17, 33}, {33, 17, 9, 1}),
    "slots": (Slotted(1, [2]), Slotted(1, [2])),
    "attributes": (Data([1]), Data([1])),
    "methods": (Data(1).get, Data(1).get),
    "code on other lines": (function("def f(v):\n return v + 1"), function("\n\n# more\ndef f(v):\n return v + 1")),
    "training": (nn.Dropout().train(), nn.Dropout().eval()),
    "gradient": (torch.ones(2), torch.ones(2, requires_grad=True)),
}


@pytest.mark.parametrize(("one", "other"), EQUAL.values(), ids=EQUAL)
def test_the_same_content_has_the_same_digest(one: Any, other: Any) -> None:
    assert object_digest(one, "x") == object_digest(other, "x")


def test_an_object_in_itself_and_twice_is_read_once() -> None:
    loop: list[Any] = [1]
    loop.append(loop)
    again: list[Any] = [1]
    again.append(again)
    assert object_digest(loop, "x") == object_digest(again, "x")
    first = [1]
    assert object_digest([first, first], "x") != object_digest([first, [2]], "x")


def test_objects_that_live_for_a_moment_are_not_taken_for_one_another() -> None:
    """Objects that are made while others are read may have the numbers of those that are gone."""

    class Made(dict[str, Any]):
        def items(self) -> Any:
            return [(key, Data(value)) for key, value in super().items()]

    values = [Made({f"k{n}": n for n in range(50)}), Made({f"k{n}": n // 2 for n in range(50)})]
    assert object_digest(values[0], "x") != object_digest(values[1], "x")


def test_installed_code_counts_with_its_name() -> None:
    assert object_digest(np.mean, "x") == object_digest(np.mean, "x") != object_digest(np.median, "x")
    assert object_digest(len, "x") != object_digest(max, "x")
    assert object_digest(np, "x") != object_digest(torch, "x")
    assert object_digest(np.exp, "x") != object_digest(np.log, "x")
    assert object_digest(torch.exp, "x") != object_digest(torch.log, "x")
    codes = (f"from numpy import {name}\ndef f(m, i):\n return {name}(m)" for name in ("mean", "median"))
    assert len({object_digest(function(code), "x") for code in codes}) == 2


@pytest.mark.parametrize("folder", ["lib/python3/dist-packages", ".local/lib/python3.11/site-packages", "packages"])
def test_code_in_any_folder_of_packages_is_installed(folder: str, tmp_path: Path) -> None:
    """Of a system, of a user, and of an environment that is found by a symbolic link."""
    (tmp_path / folder).mkdir(parents=True)
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    paths = dict.fromkeys(("stdlib", "platstdlib", "purelib", "platlib"), str(link / "packages"))
    with patch.object(sysconfig, "get_paths", lambda: paths):
        fresh = runpy.run_path(_object_digests.__file__)
    codes = [compile(f"def f(m): return {n}", str(link / folder / "theirs.py"), "exec") for n in (1, 2)]
    digests = set()
    for code in codes:
        space: dict[str, Any] = {"__name__": "theirs"}
        exec(code, space)
        digests.add(fresh["object_digest"](space["f"], "x"))
    assert len(digests) == 1, "its name counts alone"


def test_a_function_of_numpy_that_hides_another_needs_a_version() -> None:
    hidden = np.frompyfunc(lambda v: v + 1, 1, 1)
    with pytest.raises(InputError, match=r"numpy\.ufunc, whose content cannot be read"):
        object_digest(hidden, "x")
    assert object_digest(hidden, "x", "1") != object_digest(hidden, "x", "2")


def test_the_version_is_part_of_the_digest() -> None:
    found = {object_digest(GRID, "x", version) for version in ("", "1", "2")}
    assert len(found) == 3
    assert object_digest(GRID, "x", "1") == object_digest(GRID, "y", "1"), "the place is for errors alone"
