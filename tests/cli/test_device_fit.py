"""`imc-sim device fit` and `imc-sim import CSV`: from measurements of levels to a chip, with the quality of the fit."""

from __future__ import annotations

import hashlib
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
from imc_sim.config import read_yaml, write_yaml
from imc_sim.device import RelativeVariation
from imc_sim.device.fit import fit, fit_device, read_measurements
from imc_sim.plotting import new_figure, style
from imc_sim.plotting._cdf import plot_cdf, plot_sigma

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
    assert lines[0].split("  ")[0] == "quantity"
    assert [line.split("  ")[0] for line in lines[1:5]] == [
        "HRS median", "HRS standard deviation of ln G", "LRS mean", "LRS standard deviation",
    ]  # fmt: skip
    figures = [f"_{name}.{end}" for name in ("cdf", "sigma") for end in ("png", "svg", "csv")]
    assert lines[5:] == [f"device_configs/my_cells{end}" for end in (".yaml", *figures)]
    assert all((here / path).stat().st_size > 100 for path in lines[5:])
    chip = load_chip("my_cells")
    assert chip.name == "my_cells"
    assert "my cells.csv" in chip.source
    assert "KS 0.0" in chip.validity
    assert hashlib.sha256((here / "my cells.csv").read_bytes()).hexdigest()[:16] in chip.source
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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("LRS,HRS\n1,2\n", "with a unit"),
        ("state,conductance\nLRS,2\n", "with a unit"),
        ("LRS (uS),HRS (uS)\n", "no measurement"),
        ("LRS (uS),HRS (uS)\n" + "9,1\n" * 4, "4 values"),
        (
            "LRS (uS),HRS (uS)\n" + "9,x\n" * 9,
            "column 'HRS (uS)', line 2: got 9 cells that are no numbers, such as 'x'",
        ),
        ("LRS (ohm),HRS (ohm)\n" + "9,0\n" * 9, "states LRS"),
        ("LRS (uS),HRS (uS)\n" + "1,9\n" * 9, "which column is which"),
        ("LRS (uS)\n" + "9\n" * 9, "states LRS"),
        ("state,G (uS)\n" + "0,1\n2,2\n" * 9, "without a gap"),
        ("state,G (uS)\n" + "LRS,1\n" * 9 + "open,1\n", "column 'state', line 11: got state 'open'"),
        ("LRS (uS),HRS (uS)\n" + "9,1\n" * 4 + "9" * 400 + ",1\n", "4 values"),
        ("LRS (uS);HRS (uS)\n" + "9,5;1\n" * 4 + "9" * 400 + ";1\n", "4 values"),
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


def test_the_largest_deviations_are_reported(here: Path) -> None:
    bimodal = np.concatenate([HRS_uS[:200] * 0.1, HRS_uS[200:]])
    ran = invoke(str(write(here / "t.csv", "LRS (uS),HRS (uS)", LRS_uS, bimodal)))
    assert ran.exit_code == 0
    first = [line for line in ran.stderr.splitlines() if line.startswith(("HRS,", "LRS,"))]
    assert len(first) == 3
    assert any("uS measured" in line and "uS in the chip" in line for line in first)
    assert load_chip("t").device.programming.kind == "measured"


def test_the_figure_shows_the_cells_and_the_finished_chip(here: Path) -> None:
    found = fit(wide(here))
    data = found.part.figures["cdf"]
    assert list(data) == ["state", "conductance_S", "measured", "fitted"]
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
    assert named[1:] == [data.attrs["LRS"], "chip"]
    with style():
        _, ax = new_figure()
        plot_sigma(ax, found.part.figures["sigma"])
    sigma = found.part.figures["sigma"]
    assert np.asarray(ax.lines[1].get_ydata()).tolist() == sigma["sigma_S"].tolist()
    assert np.asarray(ax.lines[0].get_ydata()) == pytest.approx(sigma["sigma_S"].to_numpy(float), rel=0.03)


def test_a_second_fit_extends_the_chip_and_an_error_leaves_it(here: Path) -> None:
    path, chip = wide(here), here / "chip.yaml"
    command = ["device", "fit", str(path), "--into", str(chip)]
    assert CliRunner().invoke(app, command).exit_code == 0
    data = read_yaml(chip)
    data["device"]["read"] = {"sigma": 0.01}
    data["validity"] += "\nread: a note."
    chip.write_text("# mine\n" + write_yaml(data).replace("sigma: 0.01", "sigma: 0.01  # by hand"), encoding="utf-8")
    levels = write(
        here / "levels.csv", "level,G (uS)", np.repeat([0, 1, 2], N), np.concatenate([HRS_uS, HRS_uS * 3, LRS_uS])
    )
    ran = CliRunner().invoke(app, ["device", "fit", str(levels), "--into", str(chip)])
    assert ran.exit_code == 0, ran.output
    assert "levels: conductances by state" in ran.stderr
    assert "# mine\n" in chip.read_text(encoding="utf-8")
    assert "    sigma: 0.01  # by hand\n" in chip.read_text(encoding="utf-8")
    both = load_chip(str(chip))
    assert both.device.levels == 3
    assert both.device.read.sigma == 0.01
    assert [line.split(": ")[0] for line in both.source.splitlines()] == ["levels"]
    assert "levels.csv" in both.source
    assert "read: a note." in both.validity
    before = {each.name: each.read_bytes() for each in here.iterdir() if each.is_file()}
    bad = write(here / "bad.csv", "LRS (uS),HRS (uS)", HRS_uS, LRS_uS)
    assert isinstance(CliRunner().invoke(app, ["device", "fit", str(bad), "--into", str(chip)]).exception, InputError)
    assert {name: (here / name).read_bytes() for name in before} == before


def test_equal_tables_give_equal_files(here: Path) -> None:
    path = wide(here)
    contents = []
    for folder in ("a", "b"):
        assert invoke(str(path), "--out", f"{folder}/chip.yaml").exit_code == 0
        contents.append({p.name: p.read_bytes() for p in sorted((here / folder).iterdir())})
    assert contents[0] == contents[1]
    assert len(read_csv(here / "a" / "chip_cdf.csv")) == 2 * N  # all cells, as there are fewer than 500


def test_a_fit_says_whose_programming_it_replaces(here: Path) -> None:
    chip, P = here / "chip.yaml", np.arange(30)
    levels = wide(here)
    assert CliRunner().invoke(app, ["device", "fit", str(levels), "--into", str(chip)]).exit_code == 0
    rise = 2 + 70 * (1 - np.exp(-P / 8))
    G = np.concatenate([rise, rise[-1] - 70 * (1 - np.exp(-P / 8))])
    pulses = write(here / "pulses.csv", "pulse,V,G (uS)", np.tile(P, 2), np.repeat([1, -1], 30), G)
    ran = CliRunner().invoke(app, ["device", "fit", str(pulses), "--into", str(chip)])
    assert "programming of the chip: the fit of pulses replaces that of levels" in ran.stderr
    found = load_chip(str(chip))
    assert "levels: device variation replaced by the fit of pulses." in found.validity
    assert found.device.g_lrs_S == pytest.approx(60e-6, rel=0.05), "levels stay"
    ran = CliRunner().invoke(app, ["device", "fit", str(levels), "--into", str(chip)])
    assert "the fit of levels replaces that of pulses" in ran.stderr
    assert "pulses: device variation replaced by the fit of levels." in load_chip(str(chip)).validity


def test_measurements_as_chip_name_both_ways_to_use_them(here: Path) -> None:
    np.save(here / "cells.npy", np.ones((4, 4)))
    with pytest.raises(InputError, match=r"a file of measurements.*device fit ./cells.npy --into chip.yaml.*target_S"):
        load_chip("./cells.npy")
    np.save(here / "cells.npy", np.ones((4, 4, 2)))
    ran = CliRunner().invoke(app, ["device", "fit", "cells.npy"])
    assert str(ran.exception).startswith("cells.npy: got an array of shape (4, 4, 2)")
