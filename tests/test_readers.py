"""Only regular files are read: a named pipe, a socket or a device in place of a file is an error, and nothing hangs."""

from __future__ import annotations

import ast
import os
import re
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from imc_sim import InputError, _files
from imc_sim.cli import main
from imc_sim.data import load_labelled, load_pool
from imc_sim.data._image_folder import decoded
from imc_sim.nn.store import save_model
from imc_sim.study import run
from imc_sim.testing import stand_in_evaluator

PACKAGE = Path(_files.__file__).parent
#: calls that open a file to read it
READERS = {
    "np.load", "np.fromfile", "np.loadtxt", "np.genfromtxt", "np.memmap", "torch.load",
    "safe_open", "load_file", "safetensors.torch.load_file", "zipfile.ZipFile", "tarfile.open", "Image.open",
    "read_csv", "pd.read_csv", "pd.read_excel", "onnx.load", "opener", "gzip.open", "bz2.open", "lzma.open", "open",
}  # fmt: skip
#: what is read otherwise: files of the package, of the system and of the run itself, and contents that are in memory
EXCEPTIONS = {
    "_files.py", "_memory.py", "runs/_processes.py", "study/_probe.py", "report/_html.py", "config/_held.py",
    "runs/_dask.py", "study/_work.py", "testing/_stand_in.py", "data/_cache.py", "data/_fetch.py", "cli/_app.py",
}  # fmt: skip


def readers(path: Path) -> Iterator[str]:
    """Yield calls that read a path which was not checked."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name, first = ast.unparse(node.func), ast.unparse(node.args[0]) if node.args else ""
        reads = name in READERS or name.endswith((".read_bytes", ".read_text"))
        opens = name.endswith(".open") and first in ("", "'rb'", "'r'")
        if (reads or opens) and first != "file" and not any(checked in first for checked in ("regular(", "BytesIO(")):
            yield f"{path.relative_to(PACKAGE)}:{node.lineno} {name}({first})"


def test_every_file_is_checked_before_it_is_read() -> None:
    found = [
        call
        for path in sorted(PACKAGE.rglob("*.py"))
        if str(path.relative_to(PACKAGE)) not in EXCEPTIONS
        for call in readers(path)
    ]
    assert found == []


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise TimeoutError, also out of a call that waits for a file."""

    def late(*_: object) -> None:
        raise TimeoutError("it hangs")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


STUDY: dict[str, Any] = {
    "name": "small", "model": "batmann_5w1s_xnor", "chip": "rram_hfo2_1t1r", "chips": {"min": 2},
    "task": {"dataset": "glyphs", "split": "test", "episodes": 5},
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a results folder, a model and images, to be copied."""
    folder = tmp_path_factory.mktemp("made")
    run(STUDY, folder / "results", evaluator=stand_in_evaluator)
    from imc_sim import load_model

    model: Any = load_model("batmann_small_xnor")
    save_model(folder / "models" / "mine", model, model.card)
    for each in ("val/a", "val/b", "train/a", "train/b"):
        (folder / "data/images" / each).mkdir(parents=True)
        for number in range(3):
            from PIL import Image

            Image.fromarray(np.full((32, 32), 60 * number, np.uint8)).save(
                folder / "data/images" / each / f"{number}.png"
            )
    torch.save({"fc.weight": torch.ones(2, 2)}, folder / "w.pth")
    (folder / "net.py").write_text("import torch\n\n\ndef make():\n    return torch.nn.Linear(2, 2)\n")
    return folder


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(made, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "here"


#: name of the pipe, and the words of a command that reads it
COMMANDS = {
    "study": ("x.yaml", "run x.yaml"),
    "dry run": ("x.yaml", "run x.yaml --dry-run"),
    "study in ./studies": ("studies/x.yaml", "run x"),
    "chip": ("x.yaml", "map batmann_small_xnor x.yaml"),
    "chip of cost": ("x.yaml", "cost batmann_small_xnor x.yaml"),
    "chip that is shown": ("x.yaml", "show device x.yaml"),
    "map of cells": ("x.npz", "evaluate batmann_small_xnor --chip x.npz"),
    "card": ("models/mine/model.yaml", "map mine rram_hfo2_1t1r"),
    "weights": ("models/mine/weights.safetensors", "map mine rram_hfo2_1t1r"),
    "conductances": ("x.npz", "evaluate batmann_small_xnor --chip rram_hfo2_1t1r --conductances x.npz"),
    "conductances that are mapped": ("x.npz", "map batmann_small_xnor rram_hfo2_1t1r --conductances x.npz"),
    "checkpoint": ("x.pth", "import x.pth --arch batmann --out y"),
    "safetensors": ("x.safetensors", "import x.safetensors --arch batmann --out y"),
    "ONNX": ("x.onnx", "import x.onnx --out y"),
    "code": ("x.py", "import x.py:make --out y"),
    "weights of code": ("x.pth", "import net.py:make --weights x.pth --out y"),
    "inputs of code": ("x.npy", "import net.py:make --weights w.pth --inputs x.npy --out y"),
    "inputs of code in a zip": ("x.npz", "import net.py:make --weights w.pth --inputs x.npz --out y"),
    "recipe": ("x.yaml", "train x.yaml"),
    "queue": ("x.yaml", "train --queue x.yaml"),
    "sweep": ("x.yaml", "train --sweep x.yaml"),
    "measurements": ("x.csv", "device fit x.csv --into y.yaml"),
    "workbook": ("x.xlsx", "device fit x.xlsx --into y.yaml"),
    "array": ("x.npy", "device fit x.npy --into y.yaml"),
    "compressed measurements": ("x.csv.gz", "device fit x.csv.gz --into y.yaml"),
    "rows, status": ("results/trials.jsonl", "status results"),
    "rows, plot": ("results/trials.jsonl", "plot results"),
    "rows, report": ("results/trials.jsonl", "report results"),
    "rows, table": ("results/trials.jsonl", "report results --trials csv"),
    "stored study": ("results/study.resolved.yaml", "status results"),
    "page": ("x.md", "report --page x.md"),
    "training log": ("models/mine/training.jsonl", "show forgetting mine --out y"),
}


@pytest.mark.parametrize("case", COMMANDS)
def test_a_named_pipe_in_place_of_a_file_is_an_error(case: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name, words = COMMANDS[case]
    path = here / name
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    with limited(20):
        assert main(words.split()) in (1, 2)
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert "it hangs" not in error
    assert re.search(r"imc-sim: .*: got .*; allowed: |not a regular file", error), error
    assert Path(name).stem in error or "mine" in error or "results" in error, error


@pytest.mark.parametrize("words", ["list models", "list chips", "list studies", "doctor"])
def test_named_pipes_in_the_working_folder_break_no_list(
    words: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("studies/x.yaml", "device_configs/x.yaml", "models/x/model.yaml"):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(here / name)
    with limited(20):
        assert main(words.split()) in (0, 1)
    assert "it hangs" not in "".join(capsys.readouterr()), "the row or line of an error"


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("data/images/val/a/1.png", lambda: decoded(Path("data/images/val/a/1.png"), 16)),
        ("x.npz", lambda: load_pool("x.npz", "test", 16)),
        ("data/MNIST/raw/t10k-images-idx3-ubyte.gz", lambda: load_labelled("mnist", "test")),
        ("data/cifar-10-batches-bin/test_batch.bin", lambda: load_labelled("cifar10", "test")),
        ("data/USPS/usps.t.bz2", lambda: load_labelled("usps", "test")),
    ],
)
def test_a_named_pipe_in_place_of_data_is_an_error(
    name: str, read: Callable[[], Any], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMC_SIM_DATA", str(here / "data"))
    (here / name).parent.mkdir(parents=True, exist_ok=True)
    (here / name).unlink(missing_ok=True)
    os.mkfifo(here / name)
    with limited(20), pytest.raises(InputError) as caught:
        read()
    assert re.search("not a regular file|no file|got no ", str(caught.value)), caught.value


@pytest.mark.parametrize("what", ["pipe", "socket", "device", "folder", "link to a device"])
def test_what_is_no_regular_file(what: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    if what == "pipe":
        os.mkfifo(path)
    elif what == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(path))
    elif what == "folder":
        path.mkdir()
    elif what == "device":
        path = Path("/dev/zero")
    else:
        path.symlink_to("/dev/zero")
    for call in (_files.regular, _files.read_file, _files.file_sha256):
        with limited(5), pytest.raises(OSError, match=rf"{re.escape(str(path))}|No such device"):
            call(path)
    (tmp_path / "y").write_bytes(b"y")
    assert _files.regular(tmp_path / "y") == tmp_path / "y"
    assert _files.regular(tmp_path / "absent") == tmp_path / "absent"
