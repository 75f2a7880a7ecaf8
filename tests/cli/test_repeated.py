"""A finished command is answered from its note, and only while nothing that it read or wrote has changed."""

from __future__ import annotations

import hashlib
import json
import os
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import pytest

from imc_sim.cli import _repeated, _run
from imc_sim.config import find_content, user_cache

_STUDY = """\
name: own
model: batmann_small_xnor
chip: own_chip
task: {dataset: glyphs, split: test, episodes: 1, way: 2, shot: 1}
chips: {min: 1}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a working folder with a chip and a cache folder; files of any age count as old enough."""
    monkeypatch.chdir(tmp_path)
    images = user_cache() / "decoded"  # drawing them again takes seconds
    images.mkdir(parents=True, exist_ok=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    user_cache().mkdir(parents=True)
    (user_cache() / "decoded").symlink_to(images)
    monkeypatch.setattr(_repeated, "_OLD_NS", -(10**15))
    (tmp_path / "device_configs").mkdir()
    (tmp_path / "images").mkdir()
    chip = find_content("chip", "rram_hfo2_1t1r").read_text()
    (tmp_path / "device_configs" / "own_chip.yaml").write_text(chip.replace("rram_hfo2_1t1r", "own_chip"))
    (tmp_path / "own.yaml").write_text(_STUDY)
    return tmp_path


@pytest.fixture
def full_runs(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return the results folders of the runs that were not answered from a note; each lists the folder `images`."""
    found: list[Path] = []
    finish = _run._finish
    monkeypatch.setattr(
        _run, "_finish", lambda results, out: (found.append(out), list(Path("images").iterdir()), finish(results, out))
    )
    return found


def _append(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\n")


def _touch_back(path: Path) -> None:
    """Write the same bytes again, and set the time of the change back."""
    before = path.stat()
    path.write_bytes(path.read_bytes())
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES: dict[str, Callable[[Path], object]] = {
    "study": lambda at: _append(at / "own.yaml"),
    "chip": lambda at: _append(at / "device_configs" / "own_chip.yaml"),
    "chip with the old time": lambda at: _touch_back(at / "device_configs" / "own_chip.yaml"),
    "rows": lambda at: _touch_back(at / "results" / "own" / "trials.jsonl"),
    "no rows": lambda at: (at / "results" / "own" / "trials.jsonl").unlink(),
    "no report": lambda at: (at / "results" / "own" / "report.html").unlink(),
    "other figure": lambda at: _append(at / "results" / "own" / "comparison.png"),
    "shadowing model": lambda at: (at / "models" / "batmann").mkdir(parents=True),
    "shadowing chip": lambda at: (at / "device_configs" / "other.yaml").write_text("{}"),
    "new file in a listed folder": lambda at: (at / "images" / "c.png").touch(),
    "note": lambda at: _append(next((at / "cache" / "imc_sim" / "finished").iterdir())),
}


def _renew(note: Path) -> None:
    """Take the facts of a note again, as a run would that finds the same results."""
    found = json.loads(note.read_bytes().partition(b"\n")[2])
    found["files"] = {path: _repeated._facts(path) for path in found["files"]}
    content = json.dumps(found | {"searched": _repeated._searched()}).encode()
    note.write_bytes(hashlib.sha256(content).hexdigest().encode() + b"\n" + content)


def test_any_change_runs_the_study_again(folder: Path, run: Callable, full_runs: list[Path]) -> None:
    first = run("run", "own.yaml")
    note = next((folder / "cache" / "imc_sim" / "finished").iterdir())
    for name, change in CHANGES.items():
        _renew(note)
        assert run("run", "own.yaml") == (0, first.out, ""), name
        assert len(full_runs) == 1, f"{name}: nothing has changed yet"
        change(folder)
        request = ["own.yaml", None, *{"executor": None, "workers": None, "scheduler": None}.items()]
        assert _repeated.kept_output([*request, ("device", "cpu"), ("batch", 4)]) is None, name
    again = run("run", "own.yaml")
    assert (again.code, again.out, len(full_runs)) == (0, first.out, 2)


OTHER = (
    "--set chips.min=2", "--set seed=1", "--set seed=1 --set chips.min=2", "--out c", "--batch 2", "--device cpu:0",
    "--executor process", "--workers 2", "--scheduler tcp://a:1",
)  # fmt: skip


def test_other_requests_are_not_answered(folder: Path, run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[object] = []
    monkeypatch.setattr(_run, "_run", lambda *request: (runs.append(request), 0))
    monkeypatch.setattr(_run, "_finish", lambda *_: print(f"run {len(runs)}"))
    requests = ["run own.yaml", *(f"run own.yaml {options}" for options in OTHER)]
    for _ in range(2):
        printed = [run(*request.split()).out for request in requests]
        assert printed == [f"run {number}\n" for number in range(1, len(requests) + 1)]
    monkeypatch.setenv("IMC_SIM_PATH", str(folder / "elsewhere"))
    assert run("run", "own.yaml").out == f"run {len(requests) + 1}\n", "another environment"


def test_what_a_repetition_could_change_is_not_noted(
    folder: Path, run: Callable, full_runs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_repeated, "_OLD_NS", 2 * 10**9)
    assert [run("run", "own.yaml").code for _ in range(2)] == [0, 0]
    assert len(full_runs) == 2, "files of this second can change again within it"
    monkeypatch.setattr(_repeated, "_OLD_NS", -(10**15))
    (folder / "score.py").write_text("def score(network, chip):\n    return 0.5\n")
    text = "name: coded\nmodel: batmann_small_xnor\nchip: own_chip\nchips: {min: 1}\n"
    (folder / "coded.yaml").write_text(f"{text}task: {{kind: function, call: './score.py:score', metric: rms}}\n")
    assert [run("run", "coded.yaml", "--trust").code for _ in range(2)] == [0, 0]
    assert len(full_runs) == 4, "code of the user runs each time"


def test_data_and_folders_are_noted_without_being_opened(folder: Path) -> None:
    from imc_sim.data._cache import named_facts

    file = folder / "raw.bin"
    file.write_bytes(b"12")
    for change in (lambda: _append(file), file.unlink):
        with _repeated.keeping_output(["a"]) as keep:
            print("text")
            named_facts([file])
            list((folder / "device_configs").iterdir())
            keep(folder / "results")
        assert _repeated.kept_output(["a"]) == "text\n"
        assert _repeated.kept_output(["b"]) is None
        change()
        assert _repeated.kept_output(["a"]) is None


def test_an_output_is_kept_for_its_environment_and_working_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _repeated.keeping_output(["a"]) as keep:
        print("text")
        keep(folder / "results")
    for name in ("IMC_SIM_DATA", "IMC_SIM_PATH", "IMC_SIM_TRUST", "IMC_SIM_OTHER", "XDG_DATA_HOME", "HOME"):
        with monkeypatch.context() as changed:
            changed.setenv(name, str(folder / "elsewhere"))
            assert _repeated.kept_output(["a"]) is None, name
    with monkeypatch.context() as changed:
        changed.chdir(folder / "images")
        assert _repeated.kept_output(["a"]) is None
    monkeypatch.setenv("UNRELATED", "x")
    assert _repeated.kept_output(["a"]) == "text\n"


def test_files_of_an_environment_behind_a_link_are_not_noted(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(sys.prefix)
    with patch.object(sys, "prefix", str(link)):
        libraries = runpy.run_path(_repeated.__file__)["_LIBRARIES"]
    assert str(link / "lib/x.py").startswith(libraries)
    assert str(Path(sys.prefix).resolve() / "lib/x.py").startswith(libraries)


def test_a_finished_study_needs_no_simulator(folder: Path, python: Callable) -> None:
    program = """\
import sys
from imc_sim.cli import main, _repeated
_repeated._OLD_NS = -(10**15)
code = main(["run", "own.yaml"])
print(sorted({"torch", "matplotlib", "numpy", "pandas"} & set(sys.modules)), file=sys.stderr)
sys.exit(code)
"""
    first, second = (python("-c", program, cwd=folder) for _ in range(2))
    assert (first.code, second.code) == (0, 0), first.err
    assert second.out == first.out != ""
    assert second.err.strip() == "[]", "the second run imports no simulator, and shows no progress"
