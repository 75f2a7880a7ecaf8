"""Map a network and a chip to an analog network, and import foreign checkpoints as models."""

from imc_sim.mapping._any_network import Probe
from imc_sim.mapping._import import ImportReport, import_checkpoint
from imc_sim.mapping._map import acting_settings, bytes_per_chip, map_model
from imc_sim.mapping._on_chip import check_on_chip
from imc_sim.mapping._preview import preview
from imc_sim.mapping._report import LayerRow, MappingReport

__all__ = [
    "ImportReport",
    "LayerRow",
    "MappingReport",
    "Probe",
    "acting_settings",
    "bytes_per_chip",
    "check_on_chip",
    "import_checkpoint",
    "map_model",
    "preview",
]
