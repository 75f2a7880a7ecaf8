"""Progress on terminals and in logs, errors of files, and words and options that are refused or expanded."""

from __future__ import annotations

import errno
import io
import sys
from pathlib import Path
from typing import Any

import pytest

from imc_sim import InputError
from imc_sim.cli import _console
from imc_sim.cli._app import _expanded, _explained
from imc_sim.cli._console import progress_bar
from imc_sim.cli._own_network import model_of
from imc_sim.config._trust import check_trusted


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("unit", "counted"), [("", True), ("bytes", False)])
def test_a_terminal_shows_notes_and_counts_what_can_be_counted(
    unit: str, counted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "150")
    monkeypatch.setenv("TERM", "xterm")
    with progress_bar("loading [x]", unit) as update:
        update(0, 8)
        update(4, 8, {"failed": 3})
    text = terminal.getvalue()
    assert "loading [x]" in text
    assert "50%" in text
    assert "failed 3" in text
    assert ("4/8" in text) is counted


def test_a_slow_step_states_the_time_since_its_begin(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first line comes after two seconds, the next ones once a minute; the time counts from the beginning."""
    waited: list[float] = []
    now = iter([100.0, 160.0, 220.0])
    monkeypatch.setattr(_console.time, "monotonic", lambda: next(now))

    class Ended:
        def wait(self, seconds: float) -> bool:
            waited.append(seconds)
            return len(waited) == 4

    _console._report_until("slow", Ended())  # type: ignore[arg-type]
    assert waited == [2.0, 60.0, 60.0, 60.0]
    assert capsys.readouterr().err.splitlines() == ["slow ...", "slow: 0:01:02", "slow: 0:02:02"]


def test_errors_of_files_name_the_file_or_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text, code = _explained(OSError(errno.EIO, "Input/output error"))
    assert code == 2
    assert text == (
        f"an output of this command (started in {str(tmp_path)!r}): Input/output error. "
        "Check the path, its rights and its disk."
    )
    assert _explained(ValueError("x"))[1] == 1
    assert _explained(InputError("a", 1, "2", "Do."))[1] == 2


def test_words_are_expanded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/h")
    assert _expanded("--set=~/a=~/b") == "--set=/h/a=~/b"


@pytest.mark.parametrize("option", ["weights", "inputs", "pairs", "rename", "prefix"])
def test_each_option_of_a_network_is_refused_with_the_name_of_a_model(option: str) -> None:
    given: dict[str, Any] = {"weights": None, "inputs": None}
    given[option] = ["a=b"] if option in ("pairs", "rename") else "x"
    name = {"pairs": "--arg"}.get(option, f"--{option}")
    with pytest.raises(InputError, match=rf"^{name}: got model 'batmann'"), model_of("batmann", **given):
        pass
    with model_of("batmann", None, None, [], [], "") as found:
        assert found == "batmann"


@pytest.mark.parametrize(("network", "stem"), [("./nets.py:Net", "Net"), ("a/b.onnx", "b")])
def test_a_network_is_imported_with_all_its_options(
    network: str, stem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Into a folder that is named after it and is gone at the end; its code is trusted."""
    monkeypatch.delenv("IMC_SIM_TRUST", raising=False)
    calls: list[tuple[Any, ...]] = []

    def imported(*given: Any, **more: Any) -> None:
        check_trusted(tmp_path, "a card")
        calls.append((*given, more))
        if len(calls) > 1:
            raise InputError("inputs, shape", "(3,)", "(4,)", "Reshape them.")

    monkeypatch.setattr("imc_sim.mapping.import_checkpoint", imported)
    in_python = not network.endswith("onnx")
    more = {
        "inputs": Path("x.npy"),
        "renames": [("old", "new")] if in_python else [],
        "prefix": "net." if in_python else None,
    }
    given: tuple[Any, ...] = (Path("w.pt"), Path("x.npy"), ["size=3"], ["old=new"], "net.")
    given = given if in_python else (None, given[1])
    with model_of(network, *given) as folder:
        assert Path(folder).name == stem
        assert Path(folder).parent.is_dir()
        check_trusted(tmp_path, "a card")
    assert not Path(folder).parent.exists()
    assert calls == [(given[0], network, Path(folder), {"size": 3} if in_python else {}, more)]
    with pytest.raises(InputError, match=r"^--inputs x\.npy, shape: got \(3,\)"), model_of(network, *given):
        pass
    with pytest.raises(InputError, match=r"^inputs, shape: got"), model_of(network, None, None):
        pass
    assert calls[-1] == (None, network, calls[-1][2], {}, {"inputs": None, "renames": [], "prefix": None})


@pytest.mark.parametrize("option", ["weights", "pairs", "rename", "prefix"])
def test_each_option_of_a_network_in_python_is_refused_with_an_onnx_file(option: str) -> None:
    given: dict[str, Any] = {"weights": None, "inputs": None}
    given[option] = ["a=b"] if option in ("pairs", "rename") else "x"
    name = {"pairs": "--arg"}.get(option, f"--{option}")
    with pytest.raises(InputError, match=rf"^{name}: got model 'a\.onnx'"), model_of("a.onnx", **given):
        pass
