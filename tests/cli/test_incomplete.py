"""An installation with missing files names them and says what to do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

import imc_sim
from imc_sim import InputError, load_chip, load_model
from imc_sim._errors import ImcSimError
from imc_sim.cli import main
from imc_sim.config import _installation, find_content
from imc_sim.plotting import style
from imc_sim.report._html import document
from imc_sim.study import load_study

MODEL = "batmann_small_xnor"
OWN = ("plotting/style.mplstyle", "report/style.css", "report/sort.js")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the package folder of an installation with one model, all other files, and pip's record of them."""
    source = Path(imc_sim.__file__).parent
    package = tmp_path / "site" / "imc_sim"
    for name in OWN:
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / name, package / name)
    for kind in ("device_configs", "studies", "models/batmann"):
        shutil.copytree(source.parent / kind, package / "_shipped" / kind)
    monkeypatch.setattr(_installation, "_PACKAGE", package)
    files = [path for path in package.rglob("*") if path.is_file()]
    monkeypatch.setattr(_installation, "_recorded", lambda: files)
    monkeypatch.chdir(tmp_path)
    return package


def _style() -> None:
    with style():
        pass


@pytest.mark.parametrize(
    ("lost", "use"),
    [
        ("plotting/style.mplstyle", _style),
        ("report/style.css", lambda: document("x", [])),
        ("report/sort.js", lambda: document("x", [])),
        ("_shipped/models", lambda: load_model(MODEL)),
        ("_shipped/models/batmann", lambda: load_model(MODEL)),
        ("_shipped/models/batmann/family.yaml", lambda: load_model(MODEL)),
        ("_shipped/models/batmann/results.json", lambda: load_model(MODEL)),
        (f"_shipped/models/batmann/{MODEL}/weights.safetensors", lambda: load_model(MODEL)),
        ("_shipped/device_configs", lambda: load_chip("rram_hfo2_1t1r")),
        ("_shipped/device_configs/rram_hfo2_1t1r.yaml", lambda: load_chip("rram_hfo2_1t1r")),
        ("_shipped/studies", lambda: load_study("quickstart")),
        ("_shipped/studies/quickstart.yaml", lambda: load_study("quickstart")),
        ("_shipped/studies/trainings", lambda: find_content("training", "x")),
        ("_shipped/studies/queues", lambda: find_content("queue", "x")),
    ],
)
def test_what_is_missing_is_named(
    lost: str, use: Callable[[], object], installed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = installed / lost
    assert _installation.missing_files() == []
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    with pytest.raises(ImcSimError) as caught:
        use()
    assert str(path) in str(caught.value)
    assert "pip install --force-reinstall" in str(caught.value)
    assert main(["list", "chips"]) == 0
    assert f"this installation lacks {path}" in capsys.readouterr().err


def test_a_misspelt_name_is_not_reported_as_an_incomplete_installation(installed: Path) -> None:
    with pytest.raises(InputError, match=r"chip: got 'rram_hfo2'; .*Did you mean"):
        load_chip("rram_hfo2")


def test_the_package_in_an_archive_is_named(tmp_path: Path) -> None:
    source, archive = Path(imc_sim.__file__).parent, tmp_path / "imc.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for path in [*source.rglob("*.py"), source / OWN[0]]:
            packed.write(path, path.relative_to(source.parent))
    program = "from imc_sim.config import find_content, package_file\n"
    program += (
        "for call in (lambda: find_content('chip', 'rram_hfo2_1t1r'), lambda: package_file('report/style.css')):\n"
    )
    program += "    try: call()\n    except ValueError as error: print(error)\n"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(archive)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("in an archive, imc.zip; allowed: all files of the package, in a folder") == 2
