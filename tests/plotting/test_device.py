"""Figures of a switching model show what their tables hold; the command writes them."""

import numpy as np
import pytest
import typer
from pandas import DataFrame
from scipy.integrate import trapezoid
from typer.testing import CliRunner

from imc_sim import InputError
from imc_sim.array import load_chip
from imc_sim.cli._show_device import _drawn, device
from imc_sim.config import write_yaml
from imc_sim.device._pulses import switching_model, switching_names
from imc_sim.plotting import new_figure, style
from imc_sim.plotting._cells import CELLS, cells_data, iv_of_levels
from imc_sim.plotting._device import draw_device, iv_data, plot_iv, plot_pulses, pulse_data
from imc_sim.plotting._figure import log_if_wide


def column(data: DataFrame, name: str, cycle: int | None = None) -> np.ndarray:
    return np.asarray((data if cycle is None else data[data["cycle"] == cycle])[name], dtype=float)


@pytest.mark.parametrize("name", switching_names())
def test_default_sweep_shows_a_pinched_loop(name: str) -> None:
    data = iv_data(switching_model(name), cycles=2)
    drive = switching_model(name).typical
    assert data.attrs["model"].lower() == name.replace("_", "")
    v, current, g = (column(data, key, 2) for key in ("v_V", "current_A", "conductance_S"))
    assert (v.min(), v.max()) == pytest.approx((-drive.sweep_V, drive.sweep_V))
    assert np.abs(current[v == 0]).max() < 1e-9 * np.abs(current).max()
    lobe = np.where(v > 0, current, 0.0)  # the lobes of a loop that crosses the origin would cancel
    assert abs(trapezoid(lobe, v)) > 0.01 * drive.sweep_V * lobe.max()
    assert g.max() > 1.4 * g.min()
    sets = v * drive.set_V > 0
    assert np.abs(current[sets]).max() <= drive.compliance_A * (1 + 1e-9)
    assert np.abs(current).max() < 3 * drive.compliance_A  # 140 mA without compliance, for a cell of Stanford-PKU


def test_both_states_of_stanford_pku_are_visible() -> None:
    data = iv_data(switching_model("stanford_pku"), cycles=1)
    g = column(data, "conductance_S")
    assert g.max() > 20 * g.min()
    limited = iv_data(switching_model("stanford_pku"), cycles=1, compliance_A=3e-4)
    assert column(limited, "conductance_S").max() < 0.3 * g.max()
    low, high = (pulse_data(switching_model("stanford_pku"), compliance_A=i) for i in (3e-4, 1e-3))
    assert column(low, "conductance_S").max() < 0.6 * column(high, "conductance_S").max()
    with style():
        _, left = new_figure()
        plot_iv(left, data)
        _, right = new_figure()
        plot_pulses(right, pulse_data(switching_model("stanford_pku")))
        figure, below = new_figure()
        plot_iv(below, limited)
        figure.canvas.draw()
    assert (left.get_yscale(), right.get_yscale()) == ("log", "log")
    assert [np.asarray(line.get_ydata())[0] for line in below.lines if line.get_linestyle() == ":"] == [3e-4]
    assert "compliance of sets, 300 \u00b5A" in [line.get_label() for line in below.lines]


@pytest.mark.parametrize(("values", "wide"), [([1, -9.9], False), ([0, 1, 2], False), ([-1, 10], True), ([], False)])
def test_axes_of_a_decade_are_logarithmic(values: list[float], wide: bool) -> None:
    with style():
        _, ax = new_figure()
        assert log_if_wide(ax, "y", values, "A") is wide
        assert ax.get_yscale() == ("log" if wide else "linear")


def test_sweep_takes_amplitude_and_period() -> None:
    data = iv_data(switching_model("linear_ion_drift"), amplitude_V=0.4, period_s=2.0, cycles=1)
    assert column(data, "v_V").max() == pytest.approx(0.4)
    assert column(data, "time_s").max() == pytest.approx(2.0)
    assert set(column(data, "cycle")) == {1}


@pytest.mark.parametrize("name", switching_names())
def test_pulse_trains_rise_and_fall(name: str) -> None:
    data = pulse_data(switching_model(name), count=20)
    assert list(data["train"]) == ["set"] * 21 + ["reset"] * 21
    g = column(data, "conductance_S")
    up, down = g[:21], g[21:]
    assert (np.diff(up) >= 0).all()
    assert up[-1] > 1.1 * up[0] > 0
    assert down[0] == up[-1]
    assert (np.diff(down) <= 0).all()


def test_figures_show_their_tables() -> None:
    model = switching_model("vteam")
    iv, pulses = iv_data(model), pulse_data(model, count=10)
    with style():
        _, left = new_figure()
        plot_iv(left, iv)
        _, right = new_figure()
        plot_pulses(right, pulses)
    drawn = [line.get_ydata() for line in left.lines if line.get_linestyle() != ":"]
    assert np.array_equal(np.concatenate(drawn), iv["current_A"].abs())
    assert np.array_equal(np.concatenate([line.get_ydata() for line in right.lines]), pulses["conductance_S"])
    assert [line.get_label() for line in right.lines] == ["set (-0.25 V, 2 ns)", "reset (+1 V, 2 ns)"]


def test_command_writes_figure_and_tables_twice_the_same(tmp_path) -> None:
    app = typer.Typer()
    app.command()(device)
    done = CliRunner().invoke(
        app, ["vteam", "--out", str(tmp_path), "--amplitude", "0.5", "--period", "1e-7", "--compliance", "3e-4"]
    )
    assert done.exit_code == 0, done.output
    written = sorted(path.name for path in tmp_path.iterdir())
    assert written == [f"vteam_switching{end}" for end in (".png", ".svg", "_iv.csv", "_pulses.csv")]
    assert sorted(line.rsplit("/", 1)[-1] for line in done.stdout.split()) == written
    again = draw_device(switching_model("vteam"), tmp_path / "again" / "vteam_switching", 0.5, 1e-7, 3e-4)
    assert all(path.read_bytes() == (tmp_path / path.name).read_bytes() for path in again)


def of_level(data: DataFrame, level: int = 1) -> np.ndarray:
    return np.asarray(data["conductance_S"], dtype=float)[np.asarray(data["level"]) == level]


def test_cells_are_those_of_the_device() -> None:
    chip = load_chip("rram_hfo2_1t1r").replace("device.read.nonlinearity_per_V", 3.0)
    data = cells_data(chip.device)
    lrs = of_level(data)
    assert len(data) == 2 * CELLS
    assert (np.diff(lrs) >= 0).all()
    assert lrs.mean() == pytest.approx(225e-6, rel=4 * 0.01214 / CELLS**0.5)  # 4 sigma: a false alarm in 16,000
    assert lrs.std() == pytest.approx(0.01214 * 225e-6, rel=0.1)
    iv = iv_of_levels(chip.device, data)
    last = iv[iv["level"] == 1].iloc[-1]
    assert last["v_V"] == pytest.approx(0.2)
    assert last["median_A"] == pytest.approx(0.2 * np.median(lrs), rel=1e-6)  # G is that at the read voltage
    half = iv[(iv["level"] == 1) & np.isclose(iv["v_V"], 0.1)].iloc[0]
    assert half["median_A"] / last["median_A"] == pytest.approx(np.sinh(0.3) / np.sinh(0.6), rel=1e-9)
    noisy = chip.replace("device.read.sigma", 0.2).replace("device.programming.sigma", 0.0)
    noisy_cells = cells_data(noisy.device)
    assert of_level(noisy_cells).std() == pytest.approx(0.2 * 225e-6, rel=0.1)


def test_command_draws_chips_and_refuses_what_they_lack(tmp_path) -> None:
    app = typer.Typer()
    app.command()(device)
    assert CliRunner().invoke(app, ["rram_stanford_pku", "--out", str(tmp_path)]).exit_code == 0
    ends = [f"_cells{end}" for end in (".png", ".svg", "_iv.csv", "_spread.csv")]
    ends += [f"_switching{end}" for end in (".png", ".svg", "_iv.csv", "_pulses.csv")]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f"rram_stanford_pku{end}" for end in ends)
    refused = CliRunner().invoke(app, ["ideal", "--out", str(tmp_path / "no"), "--amplitude", "1"])
    assert isinstance(refused.exception, InputError)
    assert not (tmp_path / "no").exists()


def test_an_option_takes_precedence_over_the_scheme_of_the_chip(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    scheme = {"set_V": 1.6, "reset_V": -1.5, "width_s": 1e-9, "compliance_A": 3e-4}
    own = load_chip("rram_stanford_pku").replace("device.programming.scheme", scheme).to_dict()
    (tmp_path / "own.yaml").write_text(write_yaml(own))
    found: list[tuple[object, ...]] = []
    stems: list[object] = []
    monkeypatch.setattr("imc_sim.plotting.draw_cells", lambda *args: stems.append(args[1]) or [])
    monkeypatch.setattr(
        "imc_sim.plotting.draw_device", lambda *args: (stems.append(args[1]), found.append(args[2:]))[2:] or []
    )
    for given in ((None, None, None), (1.5, None, None), (None, 1e-7, None), (None, None, 2e-4), (1.5, 1e-7, 2e-4)):
        _drawn(str(tmp_path / "own.yaml"), tmp_path, *given)
        assert found.pop() == (*given[:2], given[2] or 3e-4)
        _drawn("vteam", tmp_path, *given)
        assert found.pop() == given
    names = ("own_cells", "own_switching", "vteam_switching")
    assert stems == [tmp_path / name for name in names] * 5


@pytest.mark.parametrize("given", [(1.0, None, None), (None, 1e-7, None), (None, None, 1e-4)])
def test_each_option_of_switching_is_refused_for_cells_that_do_not_switch(given: tuple, tmp_path) -> None:
    with pytest.raises(InputError, match="chip 'ideal' without a switching model"):
        _drawn("ideal", tmp_path, *given)
    assert not list(tmp_path.iterdir())
