"""The speed table runs: every line, at a size that says nothing about speed."""

import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_every_line_of_the_speed_table(repository: Path) -> None:
    argv = [sys.executable, "benchmarks/performance.py", "--smoke"]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=repository)
    assert done.returncode == 0, done.stderr
    lines = [re.split(r"\s{2,}", line.strip()) for line in done.stdout.splitlines()[2:]]
    errors = {line[0].rpartition(", ")[::2]: float(line[-1]) for line in lines}
    assert len(errors) == 13
    for (work, compute), error in errors.items():
        coarse = compute == "int8" and not work.endswith("vectors")
        assert (1e-4 if coarse else 0.0) < error < (0.05 if coarse else 0.01)
