"""The pages of docs/extending are followed literally, in a copy of the checkout."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.warm import run_python

#: pages, and tests that the contract of each one runs at least
PAGES = {"device-effect": 7, "encoding": 6, "executor": 3, "network": 5}
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# file: (\S+)\n")


@pytest.fixture
def checkout(repository: Path, tmp_path: Path) -> Path:
    """Return a copy of the package, compiled code included, next to links to its content."""
    folder = tmp_path / "checkout"
    shutil.copytree(repository / "imc_sim", folder / "imc_sim")
    for name in ("models", "device_configs", "studies"):
        (folder / name).mkdir()
        for path in (repository / name).iterdir():
            (folder / name / path.name).symlink_to(path)
    for name in ("pyproject.toml", "tests/conftest.py", "tests/warm.py"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(repository / name, folder / name)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_page_can_be_followed_literally(page: str, checkout: Path, repository: Path) -> None:
    text = (repository / "docs" / "extending" / f"{page}.md").read_text(encoding="utf-8")
    passed = 0
    for language, block in _BLOCK.findall(text):
        if language == "sh":
            for command in block.strip().splitlines():
                out = _run(command, checkout)
                passed += sum(map(int, re.findall(r"(\d+) passed", out)))
        elif language == "diff":
            _edit(block, checkout)
        else:
            _write(block, checkout)
    assert passed >= PAGES[page]
    written = [path for path in _written(checkout, repository) if path.suffix == ".py"]
    done = subprocess.run([sys.executable, "-m", "ruff", "check", "-q", *written], cwd=checkout, capture_output=True)
    assert done.returncode == 0, done.stdout.decode()


def test_every_page_is_followed(repository: Path) -> None:
    assert {path.stem for path in (repository / "docs" / "extending").glob("*.md")} == set(PAGES)


def _write(block: str, checkout: Path) -> None:
    """Write a block to the file that its first line names."""
    name = _FILE.match(block)
    assert name, f"a block without `# file:`: {block.splitlines()[0]}"
    path = checkout / name[1]
    assert not path.exists(), f"{name[1]} exists already"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(block[name.end() :], encoding="utf-8")


def _edit(block: str, checkout: Path) -> None:
    """Apply a diff: the lines of each part must be in the file, once."""
    head, *parts = re.split(r"^@@\n", block, flags=re.MULTILINE)
    path = checkout / head.splitlines()[1].removeprefix("+++ b/")
    text = path.read_text(encoding="utf-8")
    for part in parts:
        lines = [line or " " for line in part.splitlines()]
        old, new = ("".join(f"{line[1:]}\n" for line in lines if line[0] in f" {sign}") for sign in "-+")
        assert text.count(old) == 1, f"{path.name}: {text.count(old)} places for\n{old}"
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")


def _run(command: str, checkout: Path) -> str:
    """Run a command of the page; it must succeed."""
    program, *words = shlex.split(command)
    start = {"python": [], "imc-sim": ["-m", "imc_sim.cli"]}[program]
    done = run_python(*start, *words, cwd=checkout, env=os.environ | {"PYTHONPATH": str(checkout)})
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _written(checkout: Path, repository: Path) -> Iterator[Path]:
    """Yield files of the copy that the checkout lacks or has otherwise."""
    for folder in ("imc_sim", "tests"):
        for path in (checkout / folder).rglob("*.py"):
            source = repository / path.relative_to(checkout)
            if not source.exists() or source.read_bytes() != path.read_bytes():
                yield path
