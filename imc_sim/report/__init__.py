"""The HTML report of a results folder, and tables of results in documentation pages. Loads no torch."""

from imc_sim.report._answer import answer, answers
from imc_sim.report._comparison import against_published, caption, cells, markdown, read_comparison
from imc_sim.report._pages import fill_made, fill_pages, filled, tables_of
from imc_sim.report._report import Conclusion, conclusion, page, write_report

__all__ = [
    "Conclusion",
    "against_published",
    "answer",
    "answers",
    "caption",
    "cells",
    "conclusion",
    "fill_made",
    "fill_pages",
    "filled",
    "markdown",
    "page",
    "read_comparison",
    "tables_of",
    "write_report",
]
