"""`imc-sim import CSV`: from a table of measurements to a chip that can be simulated, with the goodness of the fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pandas import read_csv
from scipy.special import ndtri
from typer.testing import CliRunner

from imc_sim import InputError
from imc_sim.array import load_chip
from imc_sim.cli import app
from imc_sim.device import PolynomialVariation, RelativeVariation
from imc_sim.device.fit import fit_device, read_measurements
from imc_sim.plotting import new_figure, style
from imc_sim.plotting._cdf import cdf_data, plot_cdf

N = 400
HRS_uS = 4.0 * np.exp(0.3 * ndtri((np.arange(N) + 0.5) / N))
LRS_uS = 60.0 * (1 + 0.05 * ndtri((np.arange(N) + 0.5) / N))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def invoke(*argv: str) -> Any:
    return CliRunner().invoke(app, ["import", *argv])


def write(path: Path, head: str, *columns: object) -> Path:
    rows = zip(*columns, strict=True)
    path.write_text("\n".join([head, *(",".join(str(cell) for cell in row) for row in rows)]) + "\n", encoding="utf-8")
    return path


def wide(folder: Path) -> Path:
    return write(folder / "my cells.csv", "cell,LRS (uS),HRS [uS]", range(N), LRS_uS, HRS_uS)


def test_a_table_becomes_a_chip_with_figures(here: Path) -> None:
    ran = invoke(str(wide(here)))
    assert ran.exit_code == 0, ran.output
    lines = ran.stdout.splitlines()
    assert lines[0].split("  ")[0] == "state"
    assert [line.split()[0] for line in lines[1:3]] == ["HRS", "LRS"]
    assert lines[3:] == [f"device_configs/my_cells{end}" for end in (".yaml", "_cdf.png", "_cdf.svg", "_cdf.csv")]
    assert all((here / path).stat().st_size > 500 for path in lines[3:])
    chip = load_chip("my_cells")
    assert chip.name == "my_cells"
    assert "my cells.csv" in chip.source
    assert "KS 0.0" in chip.validity
    programming = chip.device.programming
    assert isinstance(programming, RelativeVariation)
    assert (programming.law, programming.law_hrs) == ("gaussian", "log_normal")
    assert chip.device.g_lrs_S == pytest.approx(60e-6, rel=1e-4)
    assert chip.device.g_hrs_S == pytest.approx(4e-6, rel=1e-4)
    assert programming.sigma == pytest.approx(0.05, rel=0.01)
    assert programming.sigma_hrs == pytest.approx(0.3, rel=0.01)


def test_the_chip_is_the_fit_and_no_file_is_overwritten(here: Path) -> None:
    path = wide(here)
    assert invoke(str(path), "--out", "x/chip.yaml", "--name", "other").exit_code == 0
    chip = load_chip("x/chip.yaml")
    assert chip.name == "other"
    assert chip.device == fit_device(read_measurements(path)).device
    again = invoke(str(path), "--out", "x/chip.yaml")
    assert isinstance(again.exception, InputError)
    assert "a file that exists" in str(again.exception)


@pytest.mark.parametrize(
    ("head", "columns"),
    [
        ("LRS_uS,HRS_nS", (LRS_uS, HRS_uS * 1000)),
        ("HRS (S), note ,LRS (mS)", (HRS_uS / 1e6, ["x"] * N, LRS_uS / 1000)),
        ("HRS (Mohm),LRS (kOhm)", (1 / HRS_uS, 1000 / LRS_uS)),
        ("HRS (M\u03a9),LRS (\u00b5S)", (1 / HRS_uS, LRS_uS)),
        (
            "State,conductance (uS),day",
            (["hrs"] * N + ["LRS"] * N, np.concatenate([HRS_uS, LRS_uS]), ["monday"] * 2 * N),
        ),
        ("level,R_ohm", (["1"] * N + ["0"] * N, 1e6 / np.concatenate([LRS_uS, HRS_uS]))),
    ],
)
def test_units_and_layouts_give_the_same_chip(here: Path, head: str, columns: tuple) -> None:
    samples = read_measurements(write(here / "t.csv", head, *columns))
    hrs, lrs = samples.values()
    np.testing.assert_allclose(hrs, HRS_uS / 1e6, rtol=1e-12)
    np.testing.assert_allclose(lrs, LRS_uS / 1e6, rtol=1e-12)


def test_more_levels_become_a_table_and_a_polynomial(here: Path) -> None:
    levels = np.array([1.0, 5.0, 12.0, 20.0])
    std = 0.1 + 0.4 * (levels / 20) - 0.2 * (levels / 20) ** 2
    z = ndtri((np.arange(100) + 0.5) / 100)
    z /= z.std(ddof=1)
    cells = np.concatenate([g + s * z for g, s in zip(levels, std, strict=True)])
    path = write(here / "t.csv", "level,G (uS)", np.repeat(np.arange(4), 100), cells)
    fit = fit_device(read_measurements(path))
    assert fit.device.table_S == pytest.approx(levels * 1e-6, rel=1e-4)
    assert fit.device.levels == 4
    assert isinstance(fit.device.programming, PolynomialVariation)
    assert fit.device.programming.coefficients_S == pytest.approx([1e-7, 4e-7, -2e-7], rel=1e-3)
    assert [s.sigma * s.center_S for s in fit.states] == pytest.approx(std * 1e-6, rel=1e-3)
    assert all(s.distance < 0.02 for s in fit.states)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("LRS,HRS\n1,2\n", "with a unit"),
        ("state,conductance\nLRS,2\n", "with a unit"),
        ("LRS (uS),HRS (uS)\n", "no measurement"),
        ("LRS (uS),HRS (uS)\n" + "9,1\n" * 4, "4 values"),
        ("LRS (uS),HRS (uS)\n" + "9,x\n" * 9, "states LRS"),
        ("LRS (ohm),HRS (ohm)\n" + "9,0\n" * 9, "states LRS"),
        ("LRS (uS),HRS (uS)\n" + "1,9\n" * 9, "which column is which"),
        ("LRS (uS)\n" + "9\n" * 9, "states LRS"),
        ("state,G (uS)\n" + "0,1\n2,2\n" * 9, "without a gap"),
        ("state,G (uS)\n" + "open,1\n" * 9, "state 'open'"),
        ("state,G (uS),R (ohm)\n" + "LRS,1,1\n" * 9, "2 columns of values"),
    ],
)
def test_tables_that_cannot_be_fitted_are_refused_with_the_reason(here: Path, text: str, message: str) -> None:
    (here / "t.csv").write_text(text, encoding="utf-8")
    ran = invoke("t.csv")
    assert isinstance(ran.exception, InputError)
    assert message in str(ran.exception)
    assert [path.name for path in here.iterdir()] == ["t.csv"]


def test_invalid_names_are_refused(here: Path) -> None:
    ran = invoke(str(wide(here)), "--name", "../x")
    assert isinstance(ran.exception, InputError)
    assert isinstance(invoke("absent.csv").exception, InputError)


def test_a_bad_fit_is_reported(here: Path) -> None:
    bimodal = np.concatenate([HRS_uS[:200] * 0.1, HRS_uS[200:]])
    ran = invoke(str(write(here / "t.csv", "LRS (uS),HRS (uS)", LRS_uS, bimodal)))
    assert ran.exit_code == 0
    assert "HRS: a" in ran.stderr
    assert "does not fit (p = 0.001)" in ran.stderr


def test_the_figure_shows_every_cell_and_the_fitted_law(here: Path) -> None:
    fit = fit_device(read_measurements(wide(here)))
    data = cdf_data(fit)
    assert list(data) == ["state", "conductance_S", "measured", "fitted"]
    assert len(data) == 2 * N
    assert set(data["state"]) == {"HRS", "LRS"}
    assert data["measured"].tolist() == [*((np.arange(N) + 0.5) / N)] * 2
    assert np.abs(data["measured"].to_numpy(float) - data["fitted"].to_numpy(float)).max() < 0.01
    with style():
        figure, ax = new_figure()
        plot_cdf(ax, data)
    points, law = ax.lines[0], ax.lines[1]
    assert np.array_equal(np.asarray(points.get_xdata()), data["conductance_S"][:N])
    np.testing.assert_allclose(np.asarray(points.get_ydata()), ndtri(data["measured"][:N]))
    np.testing.assert_allclose(np.asarray(law.get_ydata()), ndtri(data["fitted"][:N]))
    assert ax.get_xscale() == "log"
    named = [str(text.get_text()) for text in figure.legends[0].get_texts()]
    assert named[0].startswith("HRS: log-normal, KS 0.0")
    assert named[1:] == [data.attrs["LRS"], "fit"]


def test_equal_tables_give_equal_files(here: Path) -> None:
    path = wide(here)
    contents = []
    for folder in ("a", "b"):
        assert invoke(str(path), "--out", f"{folder}/chip.yaml").exit_code == 0
        contents.append({p.name: p.read_bytes() for p in sorted((here / folder).iterdir())})
    assert contents[0] == contents[1]
    assert len(read_csv(here / "a" / "chip_cdf.csv")) == 2 * N
