"""The HTML report of a results folder. No torch."""

from imc_sim.report._answer import answers
from imc_sim.report._report import page, write_report

__all__ = ["answers", "page", "write_report"]
