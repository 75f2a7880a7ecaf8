"""The wheel: its content, and that it works without the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from imc_sim.config import content_names


@pytest.fixture(scope="module")
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a wheel from the checkout, without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    command = ["-m", "pip", "wheel", str(repository), "--no-deps", "--no-build-isolation", "-w", str(folder), "-q"]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return next(folder.glob("imc_sim-*.whl"))


def test_the_wheel_holds_only_the_package(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"imc_sim"}
    assert not [name for name in names if "__pycache__" in name or "/tests/" in name]
    assert "imc_sim/py.typed" in names
    assert [name for name in names if name.endswith("/licenses/LICENSE")]
    # The style of figures and other files than Python are included.
    root = Path(__file__).resolve().parents[1]
    own = [p for p in (root / "imc_sim").rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    assert {str(p.relative_to(root)) for p in own} <= set(names)


def test_shipped_content_is_found_from_an_installed_wheel(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    (tmp_path / "elsewhere").mkdir()
    program = (
        "import imc_sim, pathlib; from imc_sim.config import content_names, find_content; "
        f"assert pathlib.Path(imc_sim.__file__).is_relative_to({str(site)!r}); "
        "print([content_names(k) for k in ('model', 'chip', 'study')]); "
        "print(*[find_content('chip', n) for n in content_names('chip')])"
    )
    env = os.environ | {"PYTHONPATH": str(site)}
    run = [sys.executable, "-c", program]
    done = subprocess.run(run, capture_output=True, text=True, env=env, cwd=tmp_path / "elsewhere")
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first == str([content_names(kind) for kind in ("model", "chip", "study")])
    assert all(str(site) in path for path in second.split())
    lost = site / "imc_sim/_shipped/device_configs/rram_hfo2_1t1r.yaml"
    lost.unlink()
    run = [sys.executable, "-m", "imc_sim.cli", "map", "batmann_small_xnor", "rram_hfo2_1t1r"]
    done = subprocess.run(run, capture_output=True, text=True, env=env, cwd=tmp_path / "elsewhere")
    assert (done.returncode, f"no {lost}" in done.stderr) == (2, True), done.stderr
