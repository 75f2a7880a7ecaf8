"""One memory cell: levels, programming, faults, ageing and reads."""

from typing import Any

from imc_sim.device._array_map import ArrayMap, MapVariation, chip_of_map, read_map
from imc_sim.device._correlated import Correlated
from imc_sim.device._cycles import CycleToCycle, Endurance
from imc_sim.device._data_driven import DataDriven
from imc_sim.device._device import Device
from imc_sim.device._disturb import ArrayRefresh, CellRefresh, NoRefresh, ReadDisturb, Wear
from imc_sim.device._drift import Drift
from imc_sim.device._faults import Faults
from imc_sim.device._finite import check_finite
from imc_sim.device._levels import CONTINUOUS
from imc_sim.device._linear_ion_drift import LinearIonDrift
from imc_sim.device._measured import MeasuredVariation
from imc_sim.device._programming import PolynomialVariation, Programming, RelativeVariation
from imc_sim.device._pulse_response import PulseResponse
from imc_sim.device._pulsed import PulsedProgramming
from imc_sim.device._pulses import PulseScheme, program_and_verify, sweep, switching_model, switching_names
from imc_sim.device._read import Flicker, Read, Telegraph
from imc_sim.device._relaxation import LogRelaxation, MeasuredRelaxation, Relaxation, StateRelaxation
from imc_sim.device._sample import read_currents, sample_cells
from imc_sim.device._stanford_pku import StanfordPKU
from imc_sim.device._state_law import StatePiece
from imc_sim.device._switching import Switching
from imc_sim.device._tables import look_up
from imc_sim.device._time import Retention, Time
from imc_sim.device._vteam import VTEAM
from imc_sim.device._write_verify import Verification, WriteVerify

# The function replaces the package of the same name as attribute; `from imc_sim.device.fit import …` still works.
from imc_sim.device.fit import DeviceFit, PartFit, Table, fit, fit_device, read_measurements, read_table

__all__ = [
    "CONTINUOUS",
    "VTEAM",
    "ArrayMap",
    "ArrayRefresh",
    "CellRefresh",
    "Correlated",
    "CycleToCycle",
    "DataDriven",
    "Device",
    "DeviceFit",
    "Drift",
    "Endurance",
    "Faults",
    "Flicker",
    "LinearIonDrift",
    "LogRelaxation",
    "MapVariation",
    "MeasuredRelaxation",
    "MeasuredVariation",
    "NoRefresh",
    "PartFit",
    "PolynomialVariation",
    "Programming",
    "PulseResponse",
    "PulseScheme",
    "PulsedProgramming",
    "Read",
    "ReadDisturb",
    "RelativeVariation",
    "Relaxation",
    "Retention",
    "StanfordPKU",
    "StatePiece",
    "StateRelaxation",
    "Switching",
    "Table",
    "Telegraph",
    "Time",
    "Verification",
    "Wear",
    "WriteVerify",
    "check_finite",
    "chip_of_map",
    "fit",
    "fit_device",
    "look_up",
    "program_and_verify",
    "read_currents",
    "read_map",
    "read_measurements",
    "read_table",
    "sample_cells",
    "sweep",
    "switching_model",
    "switching_names",
]

_OLD_NAMES = {"PolynomialSpread": PolynomialVariation, "RelativeSpread": RelativeVariation}


def __getattr__(name: str) -> Any:
    if name in _OLD_NAMES:
        return _OLD_NAMES[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
