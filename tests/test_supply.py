"""Pinned versions: the lock has those of constraints.txt with hashes, and audits fail without their database."""

from __future__ import annotations

import runpy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def supply(repository: Path) -> dict[str, Any]:
    return runpy.run_path(str(repository / ".ci" / "supply.py"))


def test_the_lock_has_the_versions_of_the_constraints(supply: dict[str, Any], repository: Path) -> None:
    assert supply["lock_faults"](repository) == []
    text = (repository / "requirements.lock").read_text(encoding="utf-8")
    assert text.count("--hash=sha256:") > 500, "of the wheels of all systems"
    assert "nvidia-cublas==" in text, "what torch needs on Linux"


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda text: text.replace("numpy==", "numpy==0."), "numpy: requirements.lock has 0."),
        (lambda text: text.replace("\nnumpy==", "\nnompy=="), "numpy: requirements.lock has nothing"),
        (lambda text: "some==1.0\n" + text, "some==1.0: no hash"),
        (lambda text: "-f wheels\n" + text, "a place of packages: -f wheels"),
        (lambda text: "# file://wheels\n" + text, "a place of packages: # file"),
        (lambda text: "x @ file:///x.whl\n" + text, "a place of packages: x @"),
    ],
)
def test_faults_of_a_lock(
    change: Callable[[str], str], fault: str, supply: dict[str, Any], repository: Path, tmp_path: Path
) -> None:
    shutil.copy(repository / "constraints.txt", tmp_path)
    lock = (repository / "requirements.lock").read_text(encoding="utf-8")
    (tmp_path / "requirements.lock").write_text(change(lock), encoding="utf-8")
    assert any(found.startswith(fault) for found in supply["lock_faults"](tmp_path))


def test_an_audit_without_its_database_does_not_pass(supply: dict[str, Any]) -> None:
    good, unknown = {"name": "a", "version": "1", "vulns": []}, {"name": "b", "skip_reason": "not found"}
    bad = {"name": "c", "version": "2", "vulns": [{"id": "PYSEC-1"}]}
    verdict = supply["audit_verdict"]
    assert verdict({"dependencies": [good]}) == (0, ["1 of 1 packages were audited"])
    code, lines = verdict({"dependencies": [good, unknown]})
    assert (code, lines[0]) == (2, "1 of 2 packages were audited")
    assert "was not reached" in lines[1]
    code, lines = verdict({"dependencies": [bad, unknown]})
    assert (code, lines[0]) == (1, "c 2: PYSEC-1")
