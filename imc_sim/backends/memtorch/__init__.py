"""Run crossbars through MemTorch, an independent simulator to compare results with.

Importing this package does not import MemTorch, which is an extra; `why_not` tells if it can be used.
"""

from imc_sim.backends.memtorch._adapter import Patched, on_levels, part, why_not
from imc_sim.backends.memtorch._chip import check_spread, translate
from imc_sim.backends.memtorch._crossbar import MemTorchCrossbar, prepare
from imc_sim.backends.memtorch._global_random import contained
from imc_sim.backends.memtorch._settings import CellLaw, MemTorchSettings

__all__ = [
    "CellLaw",
    "MemTorchCrossbar",
    "MemTorchSettings",
    "Patched",
    "check_spread",
    "contained",
    "on_levels",
    "part",
    "prepare",
    "translate",
    "why_not",
]
