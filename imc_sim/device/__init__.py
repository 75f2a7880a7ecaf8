"""What one cell does: levels, programming, faults, time and reading."""

from imc_sim.device._correlated import Correlated
from imc_sim.device._device import Device, look_up
from imc_sim.device._disturb import ArrayRefresh, CellRefresh, NoRefresh, ReadDisturb, Wear
from imc_sim.device._drift import Drift
from imc_sim.device._faults import Faults
from imc_sim.device._programming import PolynomialSpread, Programming, RelativeSpread
from imc_sim.device._read import Flicker, Read, Telegraph
from imc_sim.device._relaxation import LogRelaxation, MeasuredRelaxation, Relaxation
from imc_sim.device._state_law import StatePiece
from imc_sim.device._time import Retention, Time
from imc_sim.device._write_verify import Verification, WriteVerify

__all__ = [
    "ArrayRefresh",
    "CellRefresh",
    "Correlated",
    "Device",
    "Drift",
    "Faults",
    "Flicker",
    "LogRelaxation",
    "MeasuredRelaxation",
    "NoRefresh",
    "PolynomialSpread",
    "Programming",
    "Read",
    "ReadDisturb",
    "RelativeSpread",
    "Relaxation",
    "Retention",
    "StatePiece",
    "Telegraph",
    "Time",
    "Verification",
    "Wear",
    "WriteVerify",
    "look_up",
]
