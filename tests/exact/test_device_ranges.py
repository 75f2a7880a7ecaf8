"""Values that no device has are refused by name before anything runs; what overflows is no result."""

import pytest
import torch

from imc_sim import InputError
from imc_sim.array import load_chip
from imc_sim.device import Device, LogRelaxation, PolynomialSpread, Time


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("levels", 65536), ("g_lrs_S", 1e3), ("temperature_K", 1e5), ("programming.sigma", 1e9),
        ("programming.sigma_hrs", 50), ("correlated.gradient", 1e100), ("correlated.chip", 1e9),
        ("read.bandwidth_Hz", 1e100), ("read.sigma", 1e300), ("read.v_read_V", 1e6), ("read.flicker.q", 1e9),
        ("read.telegraph.spread", 1e9), ("time.t_s", 1e100), ("time.drift.nu", 1e100), ("time.drift.nu_std", 50.0),
        ("time.retention.rate_Hz", 1e100), ("time.retention.activation_eV", 1e9), ("time.relaxation.sigma_S", 1e9),
        ("time.relaxation.shift_S", -1e9), ("faults.dead_S", 1e9),
    ],
)  # fmt: skip
def test_values_beyond_the_physical_range_are_refused(path: str, value: float) -> None:
    with pytest.raises(InputError, match=path.rsplit(".", maxsplit=1)[-1]):
        load_chip("rram_hfo2_1t1r").replace(f"device.{path}", value)


@pytest.mark.parametrize("sign", ["u", "\u00b5", "\u03bc"])
def test_every_mu_is_micro(sign: str) -> None:
    assert load_chip("rram_hfo2_1t1r").replace("device.g_hrs_S", f"50 {sign}S").device.g_hrs_S == 50e-6


def test_an_overflow_is_an_error() -> None:
    law = PolynomialSpread(coefficients_S=(1e308, 1e308), g_max_S=1e-9, scale=100.0)
    with pytest.raises(InputError, match=r"device\.programming: got an overflow"):
        Device(g_lrs_S=1e-4, g_hrs_S=2e-5, programming=law).table(1)
    late = Time(t_s=1e9, relaxation=LogRelaxation(sigma_S=1.0))
    g = torch.full((4,), 1e308, dtype=torch.float64)
    with pytest.raises(InputError, match=r"device\.time: got an overflow"):
        Device(g_lrs_S=1.0, g_hrs_S=0.0, time=late.model_copy(update={"drift": late.drift})).settle(
            g * 1e308, 1, 0, "l", 0
        )
