"""docs/cost.md can be followed: its program prints the sums that it states, its commands run."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.mark.slow
def test_the_page_can_be_followed(
    repository: Path, run: Callable, python: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    page = (repository / "docs" / "cost.md").read_text(encoding="utf-8")
    for name, text in re.findall(r"^```(?:python|yaml)\n# file: (\S+)\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        Path(name).write_text(text)
    printed = python(Path("priced.py"))
    assert printed.code == 0, printed.err
    cells, lines, adc, latency, left_out = printed.out.splitlines()
    assert [float(x) for x in (cells, lines, adc, latency)] == pytest.approx([1.65e-12, 17.28e-15, 4e-12, 14e-9])
    assert "driver (energy, area)" in left_out
    table, as_json = (run(*shlex.split(line)[1:]) for line in re.findall(r"^imc-sim cost .*$", page, re.MULTILINE))
    assert "chip rram_neurram_core: " in table.out
    assert "not counted: multiply_add (energy, time, area)" in table.out
    assert Path("results/cost/cost.png").exists()
    assert len(json.loads(as_json.out)["energies_J"]) == 2
