"""Crossbars: encodings, placement on tiles, wires, DACs, ADCs, and the chip that describes them."""

from imc_sim.array._chip import Chip, Policy, known_settings, load_chip
from imc_sim.array._compiled._product import InputBytes, kernel_name
from imc_sim.array._compiled._product import why_not as why_not_compiled
from imc_sim.array._compiled._readout import CompiledReadout
from imc_sim.array._compiled._signs import signs
from imc_sim.array._compiled._warm_up import Compilation, compile_kernels
from imc_sim.array._converter import Converter, Quantiser
from imc_sim.array._cost import STEPS, Circuit, Conversion, Cost, Lines, MultiplyAdds, Write
from imc_sim.array._crossbar import Crossbar
from imc_sim.array._grouped_readout import GroupedReadout
from imc_sim.array._inputs import Inputs
from imc_sim.array._line_conductance import line_conductance
from imc_sim.array._map_cells import MapCells
from imc_sim.array._placement import Placement, Tile
from imc_sim.array._programmed_weights import RESOLUTION, Rounding, operand_bytes
from imc_sim.array._programming import count_pulses
from imc_sim.array._readout import IdealReadout, Readout
from imc_sim.array._tiled_readout import TiledReadout
from imc_sim.array._vectors import InputVectors, Patches, Rows, TileInputs
from imc_sim.array.circuit.conductance import column_conductance, effective_conductance, gated_conductance
from imc_sim.array.circuit.driven_rows import DrivenRows, needs_density
from imc_sim.array.circuit.gates import GatedApproximation, GatingError, approximate_gating, gating_error
from imc_sim.array.circuit.nonlinear import solve_nonlinear
from imc_sim.array.circuit.solve import Solution, solve_currents
from imc_sim.array.circuit.tiles import GatingEstimate
from imc_sim.array.circuit.wires import Wires
from imc_sim.array.encoding.base import Coefficients, Correction, Encoding, Targets, Term
from imc_sim.array.encoding.bnn import BnnI, BnnII, BnnIII, BnnIV, BnnV, BnnVI
from imc_sim.array.encoding.kinds import encodings
from imc_sim.array.encoding.multibit import Differential, Offset, Sliced
from imc_sim.array.encoding.tnn import TnnI, TnnII, TnnIII, TnnIV, TnnV
from imc_sim.array.encoding.unipolar import Unipolar

#: former name
Drives = InputBytes

__all__ = [
    "RESOLUTION",
    "STEPS",
    "BnnI",
    "BnnII",
    "BnnIII",
    "BnnIV",
    "BnnV",
    "BnnVI",
    "Chip",
    "Circuit",
    "Coefficients",
    "Compilation",
    "CompiledReadout",
    "Conversion",
    "Converter",
    "Correction",
    "Cost",
    "Crossbar",
    "Differential",
    "DrivenRows",
    "Drives",
    "Encoding",
    "GatedApproximation",
    "GatingError",
    "GatingEstimate",
    "GroupedReadout",
    "IdealReadout",
    "InputBytes",
    "InputVectors",
    "Inputs",
    "Lines",
    "MapCells",
    "MultiplyAdds",
    "Offset",
    "Patches",
    "Placement",
    "Policy",
    "Quantiser",
    "Readout",
    "Rounding",
    "Rows",
    "Sliced",
    "Solution",
    "Targets",
    "Term",
    "Tile",
    "TileInputs",
    "TiledReadout",
    "TnnI",
    "TnnII",
    "TnnIII",
    "TnnIV",
    "TnnV",
    "Unipolar",
    "Wires",
    "Write",
    "approximate_gating",
    "column_conductance",
    "compile_kernels",
    "count_pulses",
    "effective_conductance",
    "encodings",
    "gated_conductance",
    "gating_error",
    "kernel_name",
    "known_settings",
    "line_conductance",
    "load_chip",
    "needs_density",
    "operand_bytes",
    "signs",
    "solve_currents",
    "solve_nonlinear",
    "why_not_compiled",
]
