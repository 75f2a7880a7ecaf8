"""The HTML report of a results folder. No torch."""

from imc_sim.report._answer import answer, answers
from imc_sim.report._report import page, write_report

__all__ = ["answer", "answers", "page", "write_report"]
