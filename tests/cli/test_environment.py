"""Commands in unusual environments: no home, closed streams, another encoding, a deleted working directory."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

NO_USER = """
import pwd

def unknown(*_):
    raise KeyError("getpwuid(): uid not found: 12345")

pwd.getpwuid = unknown
"""


@pytest.fixture
def shell(repository: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a shell command line in `tmp_path`; `imc` is the command."""

    def call(script: str, **changes: str | None) -> subprocess.CompletedProcess[str]:
        changed = os.environ | {"PYTHONPATH": f"{tmp_path}:{repository}", "IMC_SIM_DEBUG": None} | changes
        env = {key: value for key, value in changed.items() if value is not None}
        program = f'imc() {{ "{sys.executable}" -m imc_sim.cli "$@"; }}; {script}'
        argv = ["bash", "-c", program]
        return subprocess.run(argv, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=120)

    return call


def test_commands_work_without_a_home_and_for_an_unknown_user(shell: Callable, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(NO_USER, encoding="utf-8")
    unset = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "IMC_SIM_DATA", "IMC_SIM_CACHE", "USER", "LOGNAME"))
    done = shell("imc data check omniglot", **unset)
    assert done.returncode == 1
    assert "/nonexistent/.cache/imc_sim/data" in done.stdout
    assert "Traceback" not in done.stderr
    shown = shell("imc list chips", **unset, IMC_SIM_PATH="~/x")
    assert shown.returncode == 2
    assert "IMC_SIM_PATH: got '~/x'" in shown.stderr


def test_closed_streams_are_not_written_to(shell: Callable) -> None:
    done = shell("imc map no_such_model no_such_chip 2>&-; echo code $?; imc list archs >&- 2>&- <&-; echo code $?")
    assert done.stdout.splitlines() == ["code 2", "code 0"]
    assert done.stderr == ""


def test_messages_for_a_closed_stderr_reach_no_file_of_the_run(shell: Callable) -> None:
    """Otherwise the first file opened would be file 2, which libraries write their warnings to."""
    code = "from imc_sim.cli import main; import os; main(['list', 'archs']); print(os.open('x', os.O_CREAT))"
    done = shell(f'"{sys.executable}" -c "{code}" 2>&- <&-')
    assert int(done.stdout.splitlines()[-1]) > 2


def test_characters_that_the_encoding_lacks_are_escaped(shell: Callable, tmp_path: Path) -> None:
    chip = tmp_path / "device_configs" / "µ.yaml"
    chip.parent.mkdir()
    chip.write_text("name: µ\n", encoding="utf-8")
    done = shell("imc list chips", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert r"\xb5" in done.stdout


def test_a_deleted_working_directory_is_named(shell: Callable) -> None:
    done = shell("mkdir gone; cd gone; rmdir ../gone; imc list chips; echo code $?")
    assert done.stdout == "code 2\n"
    assert done.stderr.startswith("imc-sim: working directory: got a folder that was deleted")


def test_a_home_folder_in_the_search_path_is_expanded(shell: Callable, tmp_path: Path, repository: Path) -> None:
    own = tmp_path / "own" / "device_configs" / "mine.yaml"
    own.parent.mkdir(parents=True)
    own.write_bytes((repository / "device_configs" / "rram_hfo2_1t1r.yaml").read_bytes())
    done = shell("imc list chips", HOME=str(tmp_path), IMC_SIM_PATH="~/own")
    assert [line for line in done.stdout.splitlines() if line.startswith("mine ")]
