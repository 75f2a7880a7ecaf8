"""Rules by which content and code of users are found, each by a small case: imports, aliases, installed files."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from imc_sim import InputError
from imc_sim.analog._outputs import ChipOutputs
from imc_sim.config import load_function, parse_yaml, run_folder, user_path
from imc_sim.config._installation import _PACKAGE, missing_files
from imc_sim.nn.networks._archs import size_of


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_a_training_is_named_by_the_folder_of_its_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place := tmp_path / "mine" / "inner").mkdir(parents=True)
    monkeypatch.chdir(place)
    found = {model: run_folder(model) for model in (".", "..", "../..", "x", "a/x", str(tmp_path / "x"), "./y/../x")}
    names = ["inner", "mine", tmp_path.name, *["x"] * 4]
    assert found == {model: Path("runs") / name for model, name in zip(found, names, strict=True)}


NET = """
import os.path
import ns.mod
import pkg.inner
from ns import late
from pkg import other
from pkg.inner import y as again
import pkg.sub.leaf as leaf

def make():
    import lazy
    return pkg.x, pkg.inner.y, again, ns.mod.z, late.z, other.w, leaf.v, lazy.u, os.path.sep
"""
FILES = {
    "net.py": NET, "pkg/__init__.py": "x = 1", "pkg/inner.py": "from .deep import y", "pkg/deep.py": "y = 2",
    "pkg/other.py": "from . import x\nfrom .deep import y\nw = x + y", "pkg/sub/leaf.py": "from ..deep import y as v",
    "ns/mod.py": "z = 4", "ns/late.py": "from ns.mod import z", "lazy.py": "u = 5",
}  # fmt: skip


def test_every_form_of_import_finds_the_files_next_to_the_code(tmp_path: Path) -> None:
    """Packages, folders without `__init__`, submodules that nothing imported yet, and imports inside of functions."""
    write(tmp_path, FILES)
    make, file = load_function(f"{tmp_path / 'net.py'}:make", "here")
    assert make() == (1, 2, 2, 4, 4, 3, 2, 5, "/")
    assert file == str(tmp_path / "net.py")


def test_files_of_one_name_belong_to_the_code_next_to_them(tmp_path: Path) -> None:
    for place in ("a", "b"):
        write(tmp_path / place, {"net.py": "import part\ndef make():\n    return part.x", "part.py": f"x = {place!r}"})
    made = [load_function(f"{tmp_path / place / 'net.py'}:make", "here")[0] for place in ("a", "b")]
    assert [make() for make in made] == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("import absent_of_a_test\ndef make():\n    pass", "ModuleNotFoundError while running"),
        ("from part import absent\ndef make():\n    pass", "ImportError while running"),
        ("raise SystemExit(0)", "code that ends the program"),
        ("def other():\n    pass", "'make'"),
    ],
)
def test_code_that_cannot_run_is_one_clear_error(text: str, match: str, tmp_path: Path) -> None:
    write(tmp_path, {"net.py": text, "part.py": ""})
    with pytest.raises(InputError, match=match):
        load_function(f"{tmp_path / 'net.py'}:make", "here")


@pytest.mark.parametrize(("most", "fits"), [(14, True), (13, False)])
def test_values_are_counted_with_every_alias_written_out(
    most: int, fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list of three numbers is 4 values, one of two such lists 9, and the document one more; characters are free."""
    text = "a: &a [1, 2, 3]\nb: [*a, *a]"
    monkeypatch.setattr("imc_sim.config._yaml._ALIASED", most - len(text))
    if fits:
        assert parse_yaml(text) == {"a": [1, 2, 3], "b": [[1, 2, 3]] * 2}
        return
    with pytest.raises(InputError, match=r"line 1: got aliases that repeat each other; allowed: 13 values"):
        parse_yaml(text)


def test_missing_files_are_those_that_pip_recorded_and_nobody_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["absent.py", "__pycache__/absent.pyc", "_errors.py", "array", "../outside/absent.py"]
    found: Any = SimpleNamespace(files=names, locate_file=lambda name: _PACKAGE / name)
    monkeypatch.setattr(importlib.metadata, "distribution", lambda _: found)
    assert missing_files() == [_PACKAGE / "absent.py"]

    def none(_: str) -> None:
        raise importlib.metadata.PackageNotFoundError

    monkeypatch.setattr(importlib.metadata, "distribution", none)
    assert missing_files() == []


@pytest.mark.parametrize(("size", "wanted"), [(28, 28), (torch.ones(2), None), ((3, 4), None)])
def test_only_a_whole_number_is_the_size_of_images(size: Any, wanted: int | None) -> None:
    network = nn.Module()
    network.size = size
    assert size_of(network) == wanted
    assert size_of(nn.Module()) is None


def test_outputs_of_chips_have_the_shape_of_the_first() -> None:
    found = ChipOutputs(torch.ones(4, 3), chips=2, batch=4, parts=1)
    found.put(0, 0, torch.ones(4, 3))
    for wrong in (torch.ones(3, 3), torch.ones(4, 1), torch.ones(4, 3, 1)):
        with pytest.raises(InputError, match=r"allowed: \(4, 3\) as on the first chip"):
            found.put(1, 0, wrong)
    parts = ChipOutputs(torch.ones(3, 2), chips=1, batch=5, parts=2)
    parts.put(0, 0, torch.full((3, 2), 1.0))
    parts.put(0, 3, torch.full((2, 2), 2.0))
    assert parts.result()[0, :, 0].tolist() == [1.0, 1.0, 1.0, 2.0, 2.0]


@pytest.mark.parametrize(
    ("leaves", "wanted"),
    [(("a", "a"), "a"), ((1, 2), (1, 2)), ((None, None), None), (({1}, {1}), ({1}, {1})), ((1.5, 1.5), 1.5)],
)
def test_other_outputs_are_one_where_all_chips_agree(leaves: tuple[Any, Any], wanted: Any) -> None:
    found = ChipOutputs(leaves[0], chips=2, batch=4, parts=1)
    for position, leaf in enumerate(leaves):
        found.put(position, 0, leaf)
    assert found.result() == wanted


@pytest.mark.parametrize("part", ["a" * 256, "\u00e4" * 128, "a\0b"])
def test_names_that_no_file_can_have_are_refused(part: str) -> None:
    """Names of files have 255 bytes at most, not characters."""
    for text in (part, f"x/{part}/y"):
        with pytest.raises(InputError, match="allowed: a path that can exist"):
            user_path(text, "here")
    assert user_path("a" * 255 + "/" + "\u00e4" * 127, "here").name == "\u00e4" * 127
