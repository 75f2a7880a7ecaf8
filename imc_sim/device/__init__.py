"""What one cell does: levels, programming spread, faults and reading."""

from imc_sim.device._device import Device, Faults, Read, look_up
from imc_sim.device._programming import PolynomialSpread, Programming, RelativeSpread

__all__ = ["Device", "Faults", "PolynomialSpread", "Programming", "Read", "RelativeSpread", "look_up"]
