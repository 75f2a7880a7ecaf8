"""Bad results, weights, tables of cells, inputs of networks and command lines; see `tests/fuzz/harness.py`."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import re
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import strategies as st

from imc_sim.config import digest
from imc_sim.nn.store import load_model, save_model
from imc_sim.runs import lines_of
from imc_sim.study import run
from imc_sim.study._points import place_keys
from imc_sim.testing import stand_in_evaluator
from tests.fuzz.harness import NASTY, check, command, edited, edits, examine, examine_all, places, with_hole, write

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
#: changes of bytes: the place as a share of the length, and what is written there
flips = st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=4), st.booleans()), min_size=1, max_size=3)
#: commands that read a results folder
READERS = [["report"], ["report", "--trials", "csv"], ["status"], ["plot"]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def flipped(content: bytes, changes: list[tuple[float, bytes, bool]]) -> bytes:
    """Return bytes after some changes; the last of a change cuts the rest off."""
    for share, new, cut in changes:
        at = int(share * len(content))
        content = content[:at] + new + (b"" if cut else content[at + len(new) :])
    return content


@pytest.fixture(scope="module")
def results(folder: Path) -> Path:
    run(SMALL, folder / "good", evaluator=stand_in_evaluator)
    return folder / "good"


def _rows(results: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (results / "trials.jsonl").read_text(encoding="utf-8").splitlines()]


def _read_by_all(results: Path, folder: Path, name: str, content: bytes) -> str | None:
    """Return how a command fails that reads the results folder with another file."""
    copy = folder / "x"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(results, copy)
    (copy / name).write_bytes(content)
    line = name == "study.resolved.yaml"
    found = (command([words[0], str(copy), *words[1:]], name if line else "x", line) for words in READERS)
    return next((each for each in found if each is not None), None)


def test_bad_rows_of_results_are_one_error(results: Path, folder: Path) -> None:
    rows = _rows(results)
    fields = [(*at, key) for at, row in [((), rows[0]), (("meta",), rows[0]["meta"])] for key in row]
    more = [("score",), ("scores",), ("ranges",), ("sample",), ("error",)]

    def broken(change: tuple[tuple[str, ...], Any, int]) -> str | None:
        place, bad, which = change
        new = [json.loads(json.dumps(row)) for row in rows]
        (new[which] if len(place) == 1 else new[which]["meta"])[place[-1]] = bad
        return _read_by_all(results, folder, "trials.jsonl", lines_of(new))

    changes = st.tuples(st.sampled_from([*fields, *more]), VALUES, st.integers(0, len(rows) - 1))
    examine("results, rows", 4, changes, broken)


def test_bad_bytes_of_results_are_one_error(results: Path, folder: Path) -> None:
    content = (results / "trials.jsonl").read_bytes()
    broken = lambda changes: _read_by_all(results, folder, "trials.jsonl", flipped(content, changes))  # noqa: E731
    examine("results, bytes of rows", 2, flips, broken)


def test_a_bad_study_of_results_is_one_error(results: Path, folder: Path) -> None:
    text = (results / "study.resolved.yaml").read_text(encoding="utf-8")
    held = yaml.safe_load(text)

    def broken(change: Any) -> str | None:
        new = edited(text, change) if isinstance(change, list) else _study_text(held, *change)
        found = _read_by_all(results, folder, "study.resolved.yaml", new.encode("utf-8", "surrogatepass"))
        # of other points with a digest that fits, the rows are named
        rows = re.search(r"trials\.jsonl, line .*(do not fit its point|is not in the study)", found or "")
        return None if rows else found

    values = st.tuples(st.sampled_from(list(places(held))), st.sampled_from(NASTY), st.booleans())
    examine("results, study", 4, st.one_of(values, edits), broken)


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


def _model_with(model: Path, folder: Path, content: bytes, card: str | None = None) -> Path:
    """Write a model folder with other weights, whose digest the card states, or with another card."""
    shutil.copytree(model, folder / "damaged", dirs_exist_ok=True)
    (folder / "damaged" / "weights.safetensors").write_bytes(content)
    if card is None:
        data = yaml.safe_load((model / "model.yaml").read_text(encoding="utf-8"))
        facts = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        card = yaml.safe_dump({**data, "weights": {**data["weights"], **facts}})
    write(folder / "damaged" / "model.yaml", card)
    return folder / "damaged"


def test_a_bad_header_of_weights_is_one_error(model: Path, folder: Path) -> None:
    raw = (model / "weights.safetensors").read_bytes()
    (size,) = struct.unpack("<Q", raw[:8])
    head = json.loads(raw[8 : 8 + size])
    layers = json.loads(head["__metadata__"]["imc_sim"])
    spots = [("tensor", place) for place in places(head)] + [("layer", place) for place in places(layers)]

    def broken(change: tuple[tuple[str, tuple[Any, ...]], Any]) -> str | None:
        spot, bad = change
        new, own = json.loads(json.dumps(head)), json.loads(json.dumps(layers))
        node = new if spot[0] == "tensor" else own
        for key in spot[1][:-1]:
            node = node[key]
        node[spot[1][-1]] = bad
        if spot[0] == "layer":
            new["__metadata__"]["imc_sim"] = json.dumps(own)
        text = json.dumps(new).encode()
        return check(
            load_model, _model_with(model, folder, struct.pack("<Q", len(text)) + text + raw[8 + size :]), False
        )

    examine("weights, header", 30, st.tuples(st.sampled_from(spots), VALUES), broken)


def test_bad_bytes_of_weights_are_one_error(model: Path, folder: Path) -> None:
    raw = (model / "weights.safetensors").read_bytes()
    broken = lambda new: check(load_model, _model_with(model, folder, flipped(raw, new)), False)  # noqa: E731
    examine("weights, bytes", 10, flips, broken)


def test_a_bad_card_of_weights_is_one_error(model: Path, folder: Path) -> None:
    raw, card = (model / "weights.safetensors").read_bytes(), yaml.safe_load((model / "model.yaml").read_text("utf-8"))

    holed = functools.cache(lambda place: with_hole(card, place, "HOLE"))

    def broken(change: tuple[tuple[Any, ...], str]) -> str | None:
        text = holed(change[0]).replace("HOLE", change[1], 1)
        return check(load_model, _model_with(model, folder, raw, text), False)

    spots = [("arch", "args", "bias_init"), ("arch", "args", "width"), ("arch", "args", "kind"),
             ("weights", "sha256")]  # fmt: skip
    examine_all("weights, card, known faults", [(spot, bad) for spot in spots for bad in NASTY], broken)
    examine("weights, card", 10, st.tuples(st.sampled_from(list(places(card))), st.sampled_from(NASTY)), broken)


CHECKPOINTS = [
    None, 1, "x", (1, 2), [torch.zeros(2)], {}, torch.zeros(0), torch.zeros(1).expand(10**9),
    torch.tensor(float("nan")),
    torch.zeros(3, dtype=torch.complex64), b"x", torch.zeros(2, dtype=torch.int64), torch.zeros(2, 2, device="meta"),
]  # fmt: skip


def test_a_bad_checkpoint_is_one_error(model: Path, folder: Path) -> None:
    state = load_model(model).state_dict()
    buffer = io.BytesIO()
    torch.save(state, buffer)

    def broken(change: Any) -> str | None:
        if isinstance(change, list):
            (folder / "f.pth").write_bytes(flipped(buffer.getvalue(), change))
        else:
            key, bad, whole = change
            torch.save(bad if whole else {**state, key: bad}, folder / "f.pth")
        shutil.rmtree(folder / "mine", ignore_errors=True)
        return command(["import", str(folder / "f.pth"), "--arch", "batmann", "--out", str(folder / "mine")])

    values = st.tuples(st.sampled_from([*state, "x", 1, ""]), st.sampled_from(CHECKPOINTS), st.booleans())
    huge = {"fc1.weight": torch.full_like(state["fc1.weight"], 1e36).index_fill_(1, torch.tensor([0]), -1e36)}
    tiny = {"fc1.weight": torch.full_like(state["fc1.weight"], 1e-38).index_fill_(1, torch.tensor([0]), -1e3)}
    examine_all("checkpoints, known faults", [("x", {**state, **each}, True) for each in (huge, tiny)], broken)
    examine("checkpoints", 10, st.one_of(values, flips), broken)


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

    def broken(change: tuple[str, list[list[str]], str, str, bytes]) -> str | None:
        head, cells, name, separator, junk = change
        text = "\n".join([head.replace(",", separator), *(separator.join(row) for row in cells)])
        (folder / name).write_bytes(junk if junk and len(cells) == 1 else text.encode())
        (folder / "made.yaml").unlink(missing_ok=True)
        return command(["device", "fit", str(folder / name), "--into", str(folder / "made.yaml")], name)

    tables = st.tuples(
        st.sampled_from(HEADS), lines, st.sampled_from(NAMES), st.sampled_from([",", ";", "\t"]), st.binary(max_size=9)
    )
    examine("tables of cells", 15, tables, broken)


#: a network of which `map` and `cost` find the products
NET = """
import torch


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(4, 3)

    def forward(self, x):
        return self.fc(x)
"""
ARRAYS: list[Any] = [
    np.zeros((5, 4), np.float32), np.ones((5, 4)), np.zeros((5, 3), np.float32), np.zeros((0, 4), np.float32),
    np.zeros(()), np.zeros(4), np.zeros((1, 4)), np.full((5, 4), np.nan), np.full((5, 4), np.inf),
    np.zeros((5, 4), int),
    np.zeros((5, 4), bool), np.zeros((5, 4), complex), np.zeros((5, 4), "U3"), np.zeros((5, 2, 2), np.uint8),
    np.zeros((5, 4), np.float16), np.full((5, 4), 1e38), np.zeros((2, 3, 4, 4), np.float32), np.zeros((5, 0)),
    np.zeros((5, 4), "M8[s]"), np.zeros(3, [("a", "f4")]), np.array([{}], dtype=object),
]  # fmt: skip


def _saved(path: Path, arrays: list[Any]) -> None:
    """Write arrays as the name of the file says; objects as a pickle, which is not read."""
    if path.suffix == ".npy":
        np.save(path, arrays[0], allow_pickle=True)
    elif path.suffix == ".npz":
        np.savez(path, *arrays)
    else:
        plain = [torch.from_numpy(a) if a.dtype.kind in "fiub" else a.tolist() for a in arrays]
        torch.save(plain[0] if len(plain) == 1 else tuple(plain), path)


@pytest.mark.parametrize("verb", ["map", "cost"])
def test_bad_inputs_of_a_network_are_one_error(verb: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    write(folder / "net.py", NET)
    torch.save({"fc.weight": torch.tensor([[1.0, -1.0] * 2] * 3), "fc.bias": torch.zeros(3)}, folder / "net.pth")
    chip = {"map": "ideal", "cost": "rram_neurram_core"}[verb]
    words = [verb, "./net.py:Net", chip, "--weights", "net.pth", "--inputs"]

    def broken(change: tuple[list[int], str, list[tuple[float, bytes, bool]]]) -> str | None:
        numbers, name, bad = change
        _saved(folder / name, [ARRAYS[number] for number in numbers])
        if bad:
            (folder / name).write_bytes(flipped((folder / name).read_bytes(), bad))
        return command([*words, str(folder / name)], name)

    arrays = [([number], name, []) for number in range(len(ARRAYS)) for name in ("x.npy", "x.npz")]
    examine_all(f"inputs of {verb}, known faults", arrays, broken)
    numbers = st.lists(st.integers(0, len(ARRAYS) - 1), min_size=1, max_size=2)
    names = st.sampled_from(["x.npy", "x.npz", "x.pt", "x.safetensors"])
    examine(f"inputs of {verb}", 6, st.tuples(numbers, names, st.one_of(st.just([]), flips)), broken)


WORDS = [
    "run", "cost", "train", "status", "plot", "report", "evaluate", "map", "import", "device", "fit", "list", "show",
    "check", "--out", "--set",
    "--chips", "--seed", "--workers", "--executor", "--json", "--trials", "--kind", "--dry-run", "--weights",
    "--help", "--no",
    "", "-1", "0", "..", "/", "nan", "1e9", "9" * 20, "a=b", "=", "chip.x=1", "task.episodes=[", "ideal",
    "rram_hfo2_1t1r",
    "./f.py:g", "f.onnx", "f.pth", "~nouser", "a" * 5000, "\udcff", "\x1b", "chips", "glyphs", "http://[", "dask",
    "cuda:9",
]  # fmt: skip


def test_a_bad_command_line_is_one_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    commands = [
        "run",
        "status",
        "plot",
        "report",
        "map",
        "cost",
        "train",
        "evaluate",
        "import",
        "device",
        "list",
        "show",
    ]
    words = st.tuples(st.sampled_from(commands), st.lists(st.sampled_from(WORDS), max_size=4))
    examine("command lines", 25, words, lambda change: command([change[0], *change[1]]))
