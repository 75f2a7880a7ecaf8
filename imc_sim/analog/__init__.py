"""Torch modules that hold crossbars."""

from imc_sim.analog._backends import check_backend, layer_kinds
from imc_sim.analog._gradient import straight_through
from imc_sim.analog._instead import instead
from imc_sim.analog._layers import LAYERS, AnalogConv2d, AnalogLayer, AnalogLinear, Context
from imc_sim.analog._memory import AssociativeMemory
from imc_sim.analog._model import AnalogModel, SharedDigital
from imc_sim.analog._sites import AnalogSite, SiteCall, SiteLinear, SiteNetwork

__all__ = [
    "LAYERS",
    "AnalogConv2d",
    "AnalogLayer",
    "AnalogLinear",
    "AnalogModel",
    "AnalogSite",
    "AssociativeMemory",
    "Context",
    "SharedDigital",
    "SiteCall",
    "SiteLinear",
    "SiteNetwork",
    "check_backend",
    "instead",
    "layer_kinds",
    "straight_through",
]
