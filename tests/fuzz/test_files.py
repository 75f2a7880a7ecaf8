"""Bad chip, study, card, queue, sweep and family files: one error with the line; see `tests/fuzz/harness.py`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import strategies as st

from imc_sim import InputError
from imc_sim.array import load_chip
from imc_sim.config import find_card, find_content
from imc_sim.config._families import read_family
from imc_sim.config._spec import TOGETHER
from imc_sim.nn.store import load_card
from imc_sim.study import load_study, points_of
from imc_sim.train import load_queue, load_trainings
from imc_sim.train._queue import _checked
from imc_sim.train._sweep import points_of as trainings_of
from imc_sim.train._train import recipe_of
from tests.fuzz.harness import NASTY, check, edited, edits, examine, examine_all, places, with_hole, write

STUDY: dict[str, Any] = {
    "name": "x", "summary": "s", "question": "q", "model": "batmann_small_xnor", "chip": "rram_hfo2_1t1r",
    "task": {"dataset": "glyphs", "split": "test", "episodes": 3}, "chip_task": {"episodes": 2}, "engine": "native",
    "cases": [{"name": "a", "set": {"task.keys": "binary"}, "published": 0.5, "note": "n"}, {"name": "b"}],
    "axes": [{"path": "chip.device.programming.sigma", "values": [0.1, 0.2], "labels": ["x", "y"], "scale": 1.0}],
    "derived": {"chip.tile.cols": "chip.tile.rows"}, "skip": [{"case": "a", "chip.device.programming.sigma": 0.1}],
    "chips": {"min": 2, "max": 3, "half_width": 0.1}, "seed": 1, "memory_limit": "2 GB", "set": {"task.shot": 2},
}  # fmt: skip
#: a study on top of the one above, which is in the same folder
DERIVED: dict[str, Any] = {
    "name": "y", "base": "base_f.yaml", "task": {"shot": 3}, "cases": {"a": {"note": "m"}, "b": None},
    "axes": {"chip.device.programming.sigma": {"values": [0.3, 0.4]}}, "set": {"chips.min": 3},
}  # fmt: skip
QUEUE = {"name": "q", "entries": [{"name": "a", "model": "bnn_mnist", "set": {"recipe.epochs": 1}}, {"name": "b",
         "model": "bnn_mnist", "start_from": "a"}]}  # fmt: skip
SWEEP = {
    "name": "s", "model": "bnn_mnist", "set": {"recipe.epochs": 1},
    "cases": [{"name": "a", "set": {"recipe.batch": 9}}],
    "panels": [{"path": "recipe.learning_rate", "label": "l", "values": [0.1]}], "seeds": [0], "measure": "accuracy",
}  # fmt: skip


def _study(path: Path) -> None:
    points_of(load_study(path))


def _card(path: Path) -> None:
    recipe_of(load_card(path)[0], str(path))


def _family(path: Path) -> None:
    for name in read_family(path)["models"]:
        recipe_of(load_card(path.parent / name)[0], str(path))


def _queue(path: Path) -> None:
    queue = load_queue(path)
    for entry in queue.entries:
        _checked(entry, queue)


def _sweep(path: Path) -> None:
    list(trainings_of(load_trainings(path)))


def _chip(name: str) -> dict[str, Any]:
    return yaml.safe_load(find_content("chip", name).read_text(encoding="utf-8"))


def _of_mnist(*without: str) -> dict[str, Any]:
    left_out = ("curve", *without)
    return yaml.safe_load(yaml.safe_dump({k: v for k, v in find_card("bnn_mnist").data.items() if k not in left_out}))


def _models() -> dict[str, Any]:
    rest = _of_mnist("name", "weights", "measured", "recipe")
    bases = {"one": rest, "two": {"base": "one", "recipe": _of_mnist()["recipe"]}}
    return {"bases": bases, "models": {"fuzz_a": {"base": "two"}, "fuzz_b": {"base": "two", "recipe.epochs": 2}}}


#: kind of file -> its name, a good one, and what reads it
FILES: dict[str, tuple[str, dict[str, Any], Callable[[Path], object]]] = {
    "chip": ("f.yaml", _chip("rram_hfo2_1t1r"), load_chip),
    "chip with costs": ("f.yaml", _chip("rram_neurram_core"), load_chip),
    "study": ("f.yaml", STUDY, _study),
    "study with a base": ("f.yaml", DERIVED, _study),
    "card and recipe": ("f.yaml", _of_mnist(), _card),
    "family": ("family.yaml", _models(), _family),
    "queue": ("f.yaml", QUEUE, _queue),
    "sweep": ("f.yaml", SWEEP, _sweep),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder `fuzz`, as models of a family begin with its name."""
    found = tmp_path_factory.mktemp("files") / "fuzz"
    found.mkdir()
    write(found / "base_f.yaml", yaml.safe_dump(STUDY, sort_keys=False))
    return found


@pytest.mark.parametrize("kind", FILES)
def test_good_files_are_read(kind: str, folder: Path) -> None:
    name, good, read = FILES[kind]
    read(write(folder / name, yaml.safe_dump(good)))


@pytest.mark.parametrize("kind", FILES)
def test_every_known_kind_of_fault_is_one_error(kind: str, folder: Path) -> None:
    _, good, _ = FILES[kind]
    place = next((key,) for key in ("model", "summary", "name", "models") if key in good)
    text = with_hole(good, place, "HOLE")
    texts = [text.replace("HOLE", bad, 1) for bad in NASTY]
    texts += [each for bad in NASTY for each in (f"{bad}: 1", bad)] if kind == "chip" else []
    examine_all(f"{kind}, known faults", texts, _reader(kind, folder))


def _reader(kind: str, folder: Path) -> Callable[[str], str | None]:
    name, _, read = FILES[kind]
    return lambda text: check(read, write(folder / name, text))


@pytest.mark.parametrize("kind", FILES)
def test_bad_values_anywhere_are_one_error(kind: str, folder: Path) -> None:
    _, good, _ = FILES[kind]
    holes = st.lists(st.tuples(st.sampled_from(list(places(good))), st.sampled_from(NASTY)), min_size=1, max_size=2)
    read = _reader(kind, folder)

    def broken(found: list[tuple[tuple[Any, ...], str]]) -> str | None:
        text = with_hole(good, found[0][0], "HOLE").replace("HOLE", found[0][1], 1)
        for _, bad in found[1:]:  # a value in another place: the document with the first is no more a plain one
            at = sum(map(ord, bad[:20])) % (text.count("\n") + 1)
            lines = text.split("\n")
            lines[at] = f"{lines[at].partition(':')[0]}: {bad}"
            text = "\n".join(lines)
        return read(text)

    examine(f"{kind}, values", 25, holes, broken)


@pytest.mark.parametrize("kind", FILES)
def test_bad_text_anywhere_is_one_error(kind: str, folder: Path) -> None:
    text = yaml.safe_dump(FILES[kind][1], sort_keys=False)
    read = _reader(kind, folder)
    examine(f"{kind}, text", 10, edits, lambda changes: read(edited(text, changes)))


@pytest.mark.parametrize("kind", sorted({*FILES} - {"study with a base"}))  # its axes and cases have no numbers
def test_the_line_is_that_of_the_bad_value(kind: str, folder: Path) -> None:
    name, good, read = FILES[kind]

    def broken(hole: tuple[tuple[Any, ...], str]) -> str | None:
        text = with_hole(good, hole[0], "HOLE")
        path = write(folder / name, text.replace("HOLE", hole[1], 1))
        line = text[: text.index("HOLE")].count("\n") + 1
        try:
            read(path)
        except InputError as error:
            at_value = error.where.startswith(f"{path}, line {line}:") or error.where == f"{path}, line {line}"
            return None if at_value or error.got == TOGETHER else f"line {line}: {error}"[:300]
        return None

    unfit = st.sampled_from(["[[{zzz: 1}]]", "!!int a"])  # wrong almost everywhere, whatever the other values are
    examine(f"{kind}, lines", 6, st.tuples(st.sampled_from(list(places(good))), unfit), broken)


@pytest.mark.parametrize("kind", ["chip", "study", "queue", "sweep"])
@pytest.mark.parametrize("what", ["folder", "fifo", "binary", "empty", "link"])
def test_things_that_are_no_text_file_are_one_error(kind: str, what: str, folder: Path) -> None:
    path, read = folder / f"{what}.yaml", FILES[kind][2]
    if not os.path.lexists(path):
        made = {"folder": path.mkdir, "fifo": lambda: os.mkfifo(path), "link": lambda: path.symlink_to("nowhere"),
                "binary": lambda: path.write_bytes(b"\xff\xfe\0"), "empty": lambda: path.write_bytes(b"")}  # fmt: skip
        made[what]()
    assert check(read, path, line=what == "empty") is None


def test_a_chain_of_500_bases_is_one_error_in_time(folder: Path) -> None:
    for number in range(500):
        write(folder / f"b{number}.yaml", f"name: b{number}\nbase: b{number + 1}.yaml\n")
    write(folder / "b500.yaml", "name: last\nmodel: x\n")
    found = check(_study, folder / "b0.yaml", line=False)
    assert found is not None
    assert "b21.yaml, line 2: base: got more than 20 bases" in found
