"""What a crossbar does: encodings, placement on tiles, converters, and the chip that states them all."""

from imc_sim.array._chip import Chip, Policy, load_chip
from imc_sim.array._converter import Converter, Quantiser
from imc_sim.array._crossbar import RESOLUTION, Crossbar
from imc_sim.array._encoding import BnnI, BnnV, BnnVI, Differential, Encoding, Sliced, Targets
from imc_sim.array._placement import Placement, Tile

__all__ = [
    "RESOLUTION",
    "BnnI",
    "BnnV",
    "BnnVI",
    "Chip",
    "Converter",
    "Crossbar",
    "Differential",
    "Encoding",
    "Placement",
    "Policy",
    "Quantiser",
    "Sliced",
    "Targets",
    "Tile",
    "load_chip",
]
