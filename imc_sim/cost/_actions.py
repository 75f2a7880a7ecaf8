"""Actions: what a network on a chip does for one input. Numbers only, without energies, times or areas."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Literal, Self, final

from imc_sim.array import Chip, Crossbar, Encoding, Placement


@final
@dataclass(frozen=True)
class Actions:
    """Hold the actions of one layer, or of a whole network, per inference.

    Attributes:
        operations: multiplications and additions of products on crossbars, two per multiply-add.
        vectors: input vectors of products, one per pixel of a convolution.
        passes: times that a vector is applied, by the passes of the encoding, of the DAC and of phases.
        reads: reads of single tiles.
        lines_driven: word lines with a voltage other than 0, over all reads.
        lines_charged: word lines that are charged, over all reads.
        pulses: pulses of driven word lines.
        squared_drive: sum of the squares of word-line voltages over the read voltage, times pulses or relative widths.
        integrations: pulses that circuits behind the bit lines integrate, over all conversions.
        conversions: conversions of ADCs.
        shift_adds: conversions that are shifted and added to another one of the same output and tile.
        additions: additions of sums of several tiles or reads, and of digital corrections.
        outputs: outputs that are scaled, biased or compared with a threshold.
        bits_in: bits of inputs that are moved to tiles.
        bits_out: bits of sums that are moved from tiles.
        multiply_adds: digital multiply-adds.
        pulses_in_sequence: pulses one after the other.
        conversions_in_sequence: conversions one after the other on the busiest ADC.
    """

    operations: float = 0.0
    vectors: float = 0.0
    passes: float = 0.0
    reads: float = 0.0
    lines_driven: float = 0.0
    lines_charged: float = 0.0
    pulses: float = 0.0
    squared_drive: float = 0.0
    integrations: float = 0.0
    conversions: float = 0.0
    shift_adds: float = 0.0
    additions: float = 0.0
    outputs: float = 0.0
    bits_in: float = 0.0
    bits_out: float = 0.0
    multiply_adds: float = 0.0
    pulses_in_sequence: float = 0.0
    conversions_in_sequence: float = 0.0

    def __add__(self, other: Actions) -> Actions:
        return Actions(*(a + b for a, b in zip(self.values(), other.values(), strict=True)))

    @property
    def bits(self) -> float:
        """Return the bits that are moved between buffer and tiles."""
        return self.bits_in + self.bits_out

    def values(self) -> tuple[float, ...]:
        """Return all counts, in the order of the attributes."""
        return tuple(self.__dict__.values())

    def to_dict(self) -> dict[str, float]:
        """Return the counts by name, whole ones as integers."""
        return {k: int(v) if float(v).is_integer() else v for k, v in dataclasses.asdict(self).items()}


@final
@dataclass(frozen=True)
class Programming:
    """Hold what it takes to program the cells of one chip, refreshes included.

    Attributes:
        cells: cells in use.
        pulses: programming pulses.
        verify_reads: reads that verify a pulse.
    """

    cells: float = 0.0
    pulses: float = 0.0
    verify_reads: float = 0.0


@final
@dataclass(frozen=True)
class Scheme:
    """Describe how tiles are read, as far as numbers of actions depend on it.

    Attributes:
        rows_per_read: word lines that are read together; None: all.
        coding: how a DAC codes an input.
        bits_per_phase: bits that `pulses` codes in one phase.
        returns: whether word lines are discharged after every read.
        columns: bit lines that share an ADC.
        word_bits: bits of a number that nothing else states.
        adc_bits: bits of a conversion; None: not stated.
    """

    rows_per_read: int | None = None
    coding: Literal["amplitude", "width", "pulses"] = "amplitude"
    bits_per_phase: int = 16
    returns: bool = True
    columns: int = 1
    word_bits: int = 8
    adc_bits: int | None = None

    @classmethod
    def of(cls, chip: Chip) -> Self:
        """Return the scheme of a chip; the defaults where it states no cost.

        Args:
            chip: the chip.
        """
        cost = chip.cost
        bits = None if chip.converter.is_ideal else chip.converter.bits
        if cost is None:
            return cls(adc_bits=bits)
        adc, lines = cost.converter, cost.lines
        return cls(
            rows_per_read=cost.rows_per_read, coding=cost.coding, bits_per_phase=cost.bits_per_phase,
            returns=lines is None or lines.returns, columns=1 if adc is None else adc.columns, word_bits=cost.word_bits,
            adc_bits=bits if adc is None or adc.bits is None else adc.bits,
        )  # fmt: skip

    def phases(self, bits: int) -> tuple[int, int, int]:
        """Return the phases of an input, the bits of each, and the pulses of each.

        Args:
            bits: bits of the input, sign included.
        """
        if self.coding != "pulses":
            return 1, bits, 1
        phases = -(-bits // self.bits_per_phase)
        each = -(-bits // phases)
        return phases, each, max(1, 2 ** (each - 1) - 1)


@final
@dataclass(frozen=True)
class Layout:
    """Hold what the passes and the tiles of one layer are, which no input changes.

    Attributes:
        chip: the chip.
        scheme: how tiles are read.
        tiles: number of tiles.
        utilisation: cells in use over all cells.
        adcs: ADCs of a tile.
        planes: passes of the DAC and phases of a vector, in each of which all conversions take place.
        charges: times that a driven line is charged in a phase, where it is discharged after every read.
        pulses: pulses in a pass.
        input_bits: bits of an input.
        replicas: copies of the tiles.
        encoding: encoding of the weights.
        placement: places of the cells on tiles.
        factors: factor of each conversion of an output in the result.
        outputs: number of outputs.
    """

    chip: Chip
    scheme: Scheme
    tiles: int
    utilisation: float
    adcs: int
    planes: int
    charges: int
    pulses: int
    input_bits: int
    replicas: int
    encoding: Encoding
    placement: Placement
    factors: tuple[float, ...]
    outputs: int

    @classmethod
    def of(cls, crossbar: Crossbar, chip: Chip, exact: bool, replicas: int = 1) -> Layout:
        """Return the layout of a crossbar.

        Args:
            crossbar: the cells.
            chip: the chip; its ADC may differ from that of the crossbar.
            exact: whether inputs are -1, 0 and +1.
            replicas: copies of the tiles.
        """
        scheme, place, encoding, plan = Scheme.of(chip), crossbar.placement, crossbar.encoding, crossbar.plan
        real = encoding.operands == "real"
        coded = real and not exact
        bits = {"bipolar": 1, "ternary": 2}.get(encoding.operands, 1)
        if coded:
            bits = scheme.word_bits if chip.inputs.is_ideal else chip.inputs.bits
        phases, each, pulses = scheme.phases(bits) if coded and chip.inputs.kind == "levels" else scheme.phases(1)
        charges = each + 1 if scheme.coding == "pulses" else 1
        planes = phases * (len(chip.inputs.factors) if real else 1)
        adcs = -(-chip.tile.cols // scheme.columns)
        return cls(
            chip, scheme, place.tiles, place.utilisation, adcs, planes, charges, pulses, bits, replicas, encoding,
            place, plan.factors, plan.outputs,
        )  # fmt: skip

    @property
    def groups(self) -> list[int]:
        """Return the reads of each row of tiles, one after the other: several where not all rows are read together."""
        rows = [(s.stop - s.start) * self.encoding.rows for s in self.placement.row_slices]
        return [1 if self.scheme.rows_per_read is None else -(-n // self.scheme.rows_per_read) for n in rows]

    def actions(self, vectors: float, lines_driven: float, lines_charged: float, squared_drive: float) -> Actions:
        """Return the actions of some vectors.

        Args:
            vectors: number of input vectors.
            lines_driven: word lines that are driven, in one of the columns of tiles.
            lines_charged: word lines that are charged, in one of the columns of tiles.
            squared_drive: sum of squared drives, in one of the columns of tiles.
        """
        place, encoding, outputs = self.placement, self.encoding, self.outputs
        across, reads = len(place.column_slices), sum(self.groups)
        passes = vectors * self.planes * len(encoding.drives)
        conversions = vectors * self.planes * len(self.factors) * outputs * reads
        kept = vectors * outputs * reads
        correction = encoding.correction
        corrected = outputs * bool(correction.sum_w or correction.count)
        corrected += (outputs + place.inputs) * bool(correction.sum_x)
        each = math.ceil(vectors / self.replicas - 1e-9) * self.planes * max(self.groups)
        return Actions(
            operations=2.0 * vectors * outputs * place.inputs,
            vectors=vectors,
            passes=passes,
            reads=passes * reads * across,
            lines_driven=lines_driven * across,
            lines_charged=lines_charged * across,
            pulses=lines_driven * across * (self.pulses + (self.scheme.coding == "pulses")),
            squared_drive=squared_drive * across,
            integrations=conversions * self.pulses,
            conversions=conversions,
            shift_adds=conversions - kept,
            additions=kept - vectors * outputs + vectors * corrected,
            outputs=vectors * outputs,
            bits_in=vectors * place.inputs * self.input_bits * across,
            bits_out=vectors * outputs * len(place.row_slices) * self.sum_bits,
            pulses_in_sequence=each * len(encoding.drives) * self.pulses,
            conversions_in_sequence=each * sum(self.in_turn),
        )

    @property
    def in_turn(self) -> list[int]:
        """Return the conversions of the busiest ADC in each pass of the encoding, one after the other."""
        place, terms = self.placement, self.encoding.terms
        outputs = max(s.stop - s.start for s in place.column_slices) - self.encoding.referenced
        passes = range(len(self.encoding.drives))
        return [-(-outputs * sum(term.drive == k for term in terms) // self.adcs) for k in passes]

    @property
    def sum_bits(self) -> int:
        """Return the bits of a tile's sum: those of a conversion, and of the sum of all conversions of an output."""
        factors = [abs(f) for f in self.factors]
        if self.encoding.operands == "real":
            factors = [f * abs(g) for f in factors for g in self.chip.inputs.factors]
        gains = sum(factors) / min(factors) * max(self.groups)
        bits = self.scheme.word_bits if self.scheme.adc_bits is None else self.scheme.adc_bits
        return bits + math.ceil(math.log2(gains) - 1e-9)
