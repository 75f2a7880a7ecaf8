"""Torch modules that hold crossbars."""

from imc_sim.analog._backends import check_backend, layer_kinds
from imc_sim.analog._conductances import check_names, chip_count, deviations, read_conductances
from imc_sim.analog._gradient import straight_through
from imc_sim.analog._instead import instead
from imc_sim.analog._layers import LAYERS, AnalogConv2d, AnalogLayer, AnalogLinear, Context
from imc_sim.analog._memory import AssociativeMemory
from imc_sim.analog._model import AnalogModel, SharedDigital
from imc_sim.analog._site_layers import SiteConv2d, SiteLayer, SiteLinear
from imc_sim.analog._site_products import SiteCall
from imc_sim.analog._sites import SiteNetwork

__all__ = [
    "LAYERS",
    "AnalogConv2d",
    "AnalogLayer",
    "AnalogLinear",
    "AnalogModel",
    "AssociativeMemory",
    "Context",
    "SharedDigital",
    "SiteCall",
    "SiteConv2d",
    "SiteLayer",
    "SiteLinear",
    "SiteNetwork",
    "check_backend",
    "check_names",
    "chip_count",
    "deviations",
    "instead",
    "layer_kinds",
    "read_conductances",
    "straight_through",
]
