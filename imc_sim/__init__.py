"""imc_sim: will my binarized network survive on an in-memory-computing chip?

    import imc_sim as imc

    chip = imc.load_chip("rram_hfo2_1t1r")
    model = imc.load_model("batmann_5w1s_xnor")
    analog = imc.map_model(model, chip, chips=16, seed=0)

Names are imported when they are first used, so that importing the package loads no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from imc_sim._errors import CheckpointError, ImcSimError, InputError, MissingDataError, ResultsError, ResultsWarning

if TYPE_CHECKING:
    from imc_sim import analog, array, config, data, device, evaluate, mapping, nn, onnx, plotting, report, study, train
    from imc_sim.analog import AnalogConv2d, AnalogLinear, AnalogModel, AssociativeMemory
    from imc_sim.array import Chip, Crossbar, load_chip
    from imc_sim.cost import CostReport, cost
    from imc_sim.device import Device
    from imc_sim.evaluate import FewShotTask
    from imc_sim.mapping import import_checkpoint, map_model
    from imc_sim.nn.store import load_model
    from imc_sim.onnx import load_onnx
    from imc_sim.study import Study, load_study, run, sweep

_HOME = {
    "AnalogConv2d": "analog",
    "AnalogLinear": "analog",
    "AnalogModel": "analog",
    "AssociativeMemory": "analog",
    "Chip": "array",
    "CostReport": "cost",
    "Crossbar": "array",
    "Device": "device",
    "FewShotTask": "evaluate",
    "Study": "study",
    "import_checkpoint": "mapping",
    "load_chip": "array",
    "load_model": "nn.store",
    "load_onnx": "onnx",
    "load_study": "study",
    "map_model": "mapping",
    "run": "study",
    "sweep": "study",
}
_MODULES = (
    "analog", "array", "config", "cost", "data", "device", "evaluate", "mapping", "nn", "onnx", "plotting", "report",
    "study", "train",
)  # fmt: skip

__version__ = "0.2.0"

__all__ = [
    "AnalogConv2d",
    "AnalogLinear",
    "AnalogModel",
    "AssociativeMemory",
    "CheckpointError",
    "Chip",
    "CostReport",
    "Crossbar",
    "Device",
    "FewShotTask",
    "ImcSimError",
    "InputError",
    "MissingDataError",
    "ResultsError",
    "ResultsWarning",
    "Study",
    "analog",
    "array",
    "config",
    "cost",
    "data",
    "device",
    "evaluate",
    "import_checkpoint",
    "load_chip",
    "load_model",
    "load_onnx",
    "load_study",
    "map_model",
    "mapping",
    "nn",
    "onnx",
    "plotting",
    "report",
    "run",
    "study",
    "sweep",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"imc_sim.{_HOME[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"imc_sim.{name}")
    raise AttributeError(f"module 'imc_sim' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
