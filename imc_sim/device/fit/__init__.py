"""Fits of devices to measurements of laboratories: a reader of tables, and a fit for each kind of measurement."""

from imc_sim.device.fit._fit import DeviceFit, fit, fit_device, read_measurements
from imc_sim.device.fit._kinds import guess_kind
from imc_sim.device.fit._part import PartFit
from imc_sim.device.fit._reader import Table, read_table

__all__ = ["DeviceFit", "PartFit", "Table", "fit", "fit_device", "guess_kind", "read_measurements", "read_table"]
