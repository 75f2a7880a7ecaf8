"""The layers of the package, as import-linter checks them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest


def test_imports_go_down_only(repository: Path) -> None:
    program = "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"
    done = subprocess.run([sys.executable, "-c", program, "--no-cache"], capture_output=True, text=True, cwd=repository)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"Contracts: [3-9] kept, 0 broken", done.stdout)


@pytest.mark.parametrize("package", ["imc_sim", "imc_sim.config", "imc_sim.cli"])
def test_light_packages_load_no_torch(package: str, repository: Path) -> None:
    program = f"import sys, {package}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=repository).returncode == 0


@pytest.mark.parametrize("package", ["imc_sim.plotting", "imc_sim.report"])
def test_figures_and_reports_load_no_torch(package: str, repository: Path) -> None:
    program = f"import sys, {package}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=repository).returncode == 0


def test_fits_load_no_slow_part_of_scipy(repository: Path) -> None:
    """scipy.stats and numba take 100 MB, a quarter of what a fit of a million cells may take."""
    program = (
        "import sys, numpy as np, imc_sim as imc, imc_sim.array, imc_sim.plotting; x = np.arange(9.0) + 1;"
        "imc.device.fit({'LRS (uS)': x + 60, 'HRS (uS)': x}); sys.exit(bool({'scipy.stats', 'numba'} & {*sys.modules}))"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=repository).returncode == 0


def test_only_one_file_names_modules_of_memtorch(repository: Path) -> None:
    """The adapter imports MemTorch by name, which import-linter does not see."""
    pattern = re.compile(
        r"import_module\(\s*f?[\"']memtorch|modules\[f?[\"']memtorch|^\s*(from|import) memtorch\b", re.MULTILINE
    )
    found = [path for path in (repository / "imc_sim").rglob("*.py") if pattern.search(path.read_text())]
    assert found == [repository / "imc_sim" / "backends" / "memtorch" / "_adapter.py"]
