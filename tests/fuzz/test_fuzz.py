"""Every bad file is one error of the package in time; IMC_SIM_FUZZ=100 tries a hundred times as many of them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imc_sim.array import load_chip
from imc_sim.config import digest, find_card, find_content
from imc_sim.nn.store import load_card, load_model, save_model
from imc_sim.runs import lines_of
from imc_sim.study import load_study, points_of, run
from imc_sim.study._points import place_keys
from imc_sim.testing import stand_in_evaluator
from imc_sim.train import load_queue, load_trainings
from imc_sim.train._queue import _checked
from imc_sim.train._sweep import points_of as trainings_of
from imc_sim.train._train import recipe_of
from tests.fuzz.harness import NASTY, check, command, places, with_hole, write

TIMES = int(os.environ.get("IMC_SIM_FUZZ", "1"))


def fuzz(count: int) -> Any:
    return settings(
        max_examples=count * TIMES, deadline=None, database=None, derandomize=TIMES == 1,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )  # fmt: skip


STUDY: dict[str, Any] = {
    "name": "x", "summary": "s", "question": "q", "model": "batmann_small_xnor", "chip": "rram_hfo2_1t1r",
    "task": {"dataset": "glyphs", "split": "test", "episodes": 3}, "chip_task": {"episodes": 2}, "engine": "native",
    "cases": [{"name": "a", "set": {"task.keys": "binary"}, "published": 0.5, "note": "n"}, {"name": "b"}],
    "axes": [{"path": "chip.device.programming.sigma", "values": [0.1, 0.2], "labels": ["x", "y"], "scale": 1.0}],
    "derived": {"chip.tile.cols": "chip.tile.rows"}, "skip": [{"case": "a", "chip.device.programming.sigma": 0.1}],
    "chips": {"min": 2, "max": 3, "half_width": 0.1}, "seed": 1, "memory_limit": "2 GB", "set": {"task.shot": 2},
}  # fmt: skip
QUEUE = {"name": "q", "entries": [{"name": "a", "model": "bnn_mnist", "set": {"recipe.epochs": 1}}, {"name": "b",
         "model": "bnn_mnist", "start_from": "a"}]}  # fmt: skip
SWEEP = {
    "name": "s", "model": "bnn_mnist", "set": {"recipe.epochs": 1},
    "cases": [{"name": "a", "set": {"recipe.batch": 9}}],
    "panels": [{"path": "recipe.learning_rate", "label": "l", "values": [0.1]}], "seeds": [0], "measure": "accuracy",
}  # fmt: skip
#: what the command line tells of a small study
SMALL = {
    "name": "small", "model": "batmann_5w1s_xnor", "chip": "ideal", "chips": {"min": 2},
    "task": {"dataset": "glyphs", "split": "test", "episodes": 5}, "cases": [{"name": "a"}],
    "axes": [{"path": "chip.device.programming.sigma", "values": [0, 0.2]}],
}  # fmt: skip
#: values in JSON that stand instead of others
VALUES = st.sampled_from([
    None, True, 0, -1, 3.5, "", "x", [], {}, [1], {"a": 1}, 10**30, "\x1b[31m", "0" * 64, [[]], {"seconds": "x"},
    {"seconds": 1, "run": 5, "elapsed": []}, {"seconds": 1, "time": 5}, {"seconds": 1, "versions": {"a": [1]}},
    10**12, "F64", [0, 10**10], [-1], {"dtype": "F32"},
])  # fmt: skip


def _study(path: Path) -> None:
    points_of(load_study(path))


def _card(path: Path) -> None:
    recipe_of(load_card(path)[0], str(path))


def _queue(path: Path) -> None:
    queue = load_queue(path)
    for entry in queue.entries:
        _checked(entry, queue)


def _sweep(path: Path) -> None:
    list(trainings_of(load_trainings(path)))


def _chip() -> dict[str, Any]:
    return yaml.safe_load(find_content("chip", "rram_hfo2_1t1r").read_text(encoding="utf-8"))


def _bnn() -> dict[str, Any]:
    return yaml.safe_load(yaml.safe_dump({k: v for k, v in find_card("bnn_mnist").data.items() if k != "curve"}))


#: kind of file -> a good one, and what reads it
FILES: dict[str, tuple[dict[str, Any], Callable[[Path], object]]] = {
    "chip": (_chip(), load_chip), "study": (STUDY, _study), "card": (_bnn(), _card), "queue": (QUEUE, _queue),
    "sweep": (SWEEP, _sweep),
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.mark.parametrize("kind", FILES)
def test_good_files_are_read(kind: str, folder: Path) -> None:
    good, read = FILES[kind]
    read(write(folder / "good.yaml", yaml.safe_dump(good)))


@pytest.mark.parametrize("kind", FILES)
def test_every_known_kind_of_fault_is_one_error(kind: str, folder: Path) -> None:
    good, read = FILES[kind]
    place = ("name",) if kind == "chip" else ("model",) if "model" in good else ("summary",)
    for bad in NASTY:
        for text in (
            with_hole(good, place, "HOLE").replace("HOLE", bad, 1),
            *([f"{bad}: 1", bad] if kind == "chip" else []),
        ):
            broken = check(lambda path: read(path), write(folder / "f.yaml", text))
            assert broken is None, f"{bad[:80]}: {broken}"


@pytest.mark.parametrize("kind", FILES)
def test_a_bad_value_anywhere_is_one_error(kind: str, folder: Path) -> None:
    good, read = FILES[kind]

    @fuzz(30)
    @given(st.sampled_from(list(places(good))), st.sampled_from(NASTY))
    def holds(place: tuple[Any, ...], bad: str) -> None:
        text = with_hole(good, place, "HOLE").replace("HOLE", bad, 1)
        assert check(read, write(folder / "f.yaml", text)) is None

    holds()


@pytest.fixture(scope="module")
def results(folder: Path) -> Path:
    run(SMALL, folder / "good", evaluator=stand_in_evaluator)
    return folder / "good"


def test_a_bad_results_folder_is_one_error(results: Path, folder: Path) -> None:
    held = yaml.safe_load((results / "study.resolved.yaml").read_text(encoding="utf-8"))
    rows = [json.loads(line) for line in (results / "trials.jsonl").read_text(encoding="utf-8").splitlines()]
    fields = [(*at, key) for at, row in [((), rows[0]), (("meta",), rows[0]["meta"])] for key in row]
    more = [("score",), ("scores",), ("ranges",), ("sample",), ("error",)]

    @fuzz(6)
    @given(
        st.one_of(
            st.tuples(st.sampled_from([*fields, *more]), VALUES, st.integers(0, len(rows) - 1)),
            st.tuples(st.sampled_from(list(places(held))), st.sampled_from(NASTY), st.booleans()),
        )
    )
    def holds(change: tuple[Any, Any, int]) -> None:
        place, bad, which = change
        copy = shutil.copytree(results, folder / "x", dirs_exist_ok=True)
        if isinstance(which, bool):
            write(copy / "study.resolved.yaml", _study_text(held, place, bad, sealed=which))
        else:
            new = [json.loads(json.dumps(row)) for row in rows]
            (new[which] if len(place) == 1 else new[which]["meta"])[place[-1]] = bad
            (copy / "trials.jsonl").write_bytes(lines_of(new))
        for words in (["report"], ["report", "--trials", "csv"]):
            assert command([words[0], str(copy), *words[1:]]) is None

    holds()


def _study_text(held: dict[str, Any], place: tuple[Any, ...], bad: str, sealed: bool) -> str:
    """Return a stored study with a bad value, where possible with a digest that fits it."""
    text = with_hole(held, place, "HOLE").replace("HOLE", bad, 1)
    try:
        data = yaml.safe_load(text)
        data["digest"] = digest({"name": data["name"], "points": place_keys(data["points"])})
        return yaml.safe_dump(data) if sealed else text
    except (yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return text


@pytest.fixture(scope="module")
def model(folder: Path) -> Path:
    made: Any = load_model("batmann_small_xnor")
    save_model(folder / "model", made, made.card)
    return folder / "model"


def test_a_bad_header_of_weights_is_one_error(model: Path, folder: Path) -> None:
    raw = (model / "weights.safetensors").read_bytes()
    (size,) = struct.unpack("<Q", raw[:8])
    head, card = json.loads(raw[8 : 8 + size]), yaml.safe_load((model / "model.yaml").read_text(encoding="utf-8"))
    layers = json.loads(head["__metadata__"]["imc_sim"])
    spots = [("tensor", place) for place in places(head)] + [("layer", place) for place in places(layers)]

    @fuzz(40)
    @given(st.sampled_from(spots), VALUES)
    def holds(spot: tuple[str, tuple[Any, ...]], bad: Any) -> None:
        new, own = json.loads(json.dumps(head)), json.loads(json.dumps(layers))
        node = new if spot[0] == "tensor" else own
        for key in spot[1][:-1]:
            node = node[key]
        node[spot[1][-1]] = bad
        if spot[0] == "layer":
            new["__metadata__"]["imc_sim"] = json.dumps(own)
        text = json.dumps(new).encode()
        content = struct.pack("<Q", len(text)) + text + raw[8 + size :]
        shutil.copytree(model, folder / "m", dirs_exist_ok=True)
        (folder / "m" / "weights.safetensors").write_bytes(content)
        facts = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        write(folder / "m" / "model.yaml", yaml.safe_dump({**card, "weights": {**card["weights"], **facts}}))
        assert check(load_model, folder / "m") is None

    holds()


CHECKPOINTS = [
    None, 1, "x", (1, 2), [torch.zeros(2)], {}, torch.zeros(0), torch.zeros(1).expand(10**9),
    torch.tensor(float("nan")),
    torch.zeros(3, dtype=torch.complex64), b"x", torch.zeros(2, dtype=torch.int64), torch.zeros(2, 2, device="meta"),
]  # fmt: skip


def test_a_bad_checkpoint_is_one_error(model: Path, folder: Path) -> None:
    state = load_model(model).state_dict()

    @fuzz(12)
    @given(st.sampled_from([*state, "x", 1, ""]), st.sampled_from(CHECKPOINTS), st.booleans())
    def holds(key: Any, bad: Any, whole: bool) -> None:
        torch.save(bad if whole else {**state, key: bad}, folder / "f.pth")
        shutil.rmtree(folder / "mine", ignore_errors=True)
        assert command(["import", str(folder / "f.pth"), "--arch", "batmann", "--out", str(folder / "mine")]) is None

    holds()


HEADS = [
    "state,G (uS)",
    "LRS (uS),HRS (uS)",
    "time (s),G (uS)",
    "V (V),I (uA)",
    "pulse,G (S)",
    "g0,g1",
    "",
    "\ufeffa;b",
]
CELLS = ["1", "-1", "nan", "inf", "", "x", "1,5", "=1", "\x1b", "1e400", "'", '"', "0", "9" * 400, "٣", "LRS", "HRS"]
NAMES = ["c.csv", "c.txt", "c.tsv", "c.csv.gz", "c.npy", "c.xlsx"]


def test_a_bad_table_of_cells_is_one_error(folder: Path) -> None:
    lines = st.lists(st.lists(st.sampled_from(CELLS), min_size=0, max_size=3), max_size=6)

    @fuzz(20)
    @given(
        st.sampled_from(HEADS), lines, st.sampled_from(NAMES), st.sampled_from([",", ";", "\t"]), st.binary(max_size=9)
    )
    def holds(head: str, cells: list[list[str]], name: str, separator: str, junk: bytes) -> None:
        text = "\n".join([head.replace(",", separator), *(separator.join(row) for row in cells)])
        (folder / name).write_bytes(junk if junk and len(cells) == 1 else text.encode())
        (folder / "made.yaml").unlink(missing_ok=True)
        assert command(["device", "fit", str(folder / name), "--into", str(folder / "made.yaml")], name) is None

    holds()


WORDS = [
    "run", "status", "plot", "report", "evaluate", "map", "import", "device", "fit", "list", "show", "check",
    "--out", "--set",
    "--chips", "--seed", "--workers", "--executor", "--json", "--trials", "--kind", "--dry-run", "--weights",
    "--help", "--no",
    "", "-1", "0", "..", "/", "nan", "1e9", "9" * 20, "a=b", "=", "chip.x=1", "task.episodes=[", "ideal",
    "rram_hfo2_1t1r",
    "./f.py:g", "f.onnx", "f.pth", "~nouser", "a" * 5000, "\udcff", "\x1b", "chips", "glyphs", "http://[", "dask",
    "cuda:9",
]  # fmt: skip


def test_a_bad_command_line_is_one_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)

    @fuzz(30)
    @given(st.sampled_from(["run", "status", "plot", "report", "map", "import", "device", "list", "show"]),
           st.lists(st.sampled_from(WORDS), max_size=4))  # fmt: skip
    def holds(first: str, rest: list[str]) -> None:
        assert command([first, *rest]) is None

    holds()
