"""Run the command line, in this process and in a new one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from imc_sim.cli import main
from tests.warm import run_python


class Ran(NamedTuple):
    """The result of a command."""

    code: int
    out: str
    err: str


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    """Run `imc-sim …` in this process."""
    monkeypatch.delenv("IMC_SIM_DEBUG", raising=False)

    def call(*argv: str) -> Ran:
        code = main([str(a) for a in argv])
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return call


@pytest.fixture
def python(repository: Path) -> Callable[..., Ran]:
    """Run a Python program in a new process that can import the package."""

    def call(*argv: str, cwd: Path | None = None) -> Ran:
        env = os.environ | {"PYTHONPATH": str(repository)}
        done = subprocess.run([sys.executable, *argv], capture_output=True, text=True, env=env, cwd=cwd, timeout=120)
        return Ran(done.returncode, done.stdout, done.stderr)

    return call


@pytest.fixture
def warm_python() -> Callable[..., Ran]:
    """Run a Python program in a process that begins with torch and the package imported."""

    def call(*argv: str | Path, cwd: Path | None = None) -> Ran:
        done = run_python(*argv, cwd=cwd)
        return Ran(done.returncode, done.stdout, done.stderr)

    return call
