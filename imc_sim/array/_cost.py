"""Energy, time and area of the circuits of a chip: the optional part `cost` of a chip file."""

from __future__ import annotations

from typing import Annotated, Literal, Self, final

from pydantic import Field, model_validator

from imc_sim.config import Ampere, Farad, Joule, Meter, Seconds, Spec, SquareMeter, Volt

_MOST_J, _MOST_M2, _MOST_S = 1.0, 1.0, 1e6
#: steps in a conversion of b bits, by kind of ADC: of its energy, and of its time
STEPS = {
    "sar": (lambda b: b, lambda b: b),
    "flash": (lambda b: 2**b - 1, lambda _: 1),
    "ramp": (lambda b: 2**b, lambda b: 2**b),
    "sense_amplifier": (lambda _: 1, lambda _: 1),
    "survey": (lambda _: 0, lambda _: 0),
}


class _Stated(Spec):
    """A circuit whose energy and area a source states, possibly for another technology node.

    Attributes:
        energy_J: energy of one action; None: not counted.
        area_m2: area; None: not counted.
        scaled_from_m: node that the values are stated for, where it is another one. Energies are then multiplied by the
            ratio of the nodes, areas by its square, times by the ratio (capacitance, area and delay of constant-field
            scaling, Dennard et al., JSSC 1974, at an unchanged supply).
        scaled_from_V: supply that the values are stated for; energies are also multiplied by the square of the ratio of
            the supplies.
        source: where the values are from.
    """

    energy_J: Joule | None = Field(default=None, ge=0.0, le=_MOST_J, description="energy of one action")
    area_m2: SquareMeter | None = Field(default=None, ge=0.0, le=_MOST_M2, description="area of one circuit")
    scaled_from_m: Meter | None = Field(default=None, gt=0.0, le=1e-3, description="node that values are stated for")
    scaled_from_V: Volt | None = Field(default=None, gt=0.0, le=100.0, description="supply that values are stated for")
    source: str = Field(default="", description="where the values are from")


@final
class Circuit(_Stated):
    """A circuit with an energy per action and an area."""


@final
class Lines(Spec):
    """Word lines: an energy C V^2 each time that a line is charged.

    Attributes:
        capacitance_F: capacitance of a word line per cell.
        swing_V: swing of a word line; None: the supply.
        returns: whether a line is discharged after every read; otherwise only a changed drive charges it.
        source: where the values are from.
    """

    capacitance_F: Farad = Field(gt=0.0, le=1e-9, description="capacitance of a word line per cell")
    swing_V: Volt | None = Field(default=None, gt=0.0, le=100.0, description="swing of a word line; null: the supply")
    returns: bool = Field(default=True, description="whether lines are discharged after every read")
    source: str = Field(default="", description="where the values are from")


@final
class Conversion(_Stated):
    """The ADC of a tile's bit lines.

    A conversion takes energy_J + n step_energy_J, where n are the comparisons of its kind: b of a SAR of b bits,
    2^b - 1 of a flash ADC, 2^b of a ramp, 1 of a sense amplifier. It lasts time_s + m step_time_s, with m = b, 1, 2^b
    and 1. The energy and the area of kind `survey` follow from a regression on published ADCs at the sampling rate.

    Attributes:
        kind: kind of the ADC.
        step_energy_J: energy of one comparison.
        time_s: time of a conversion; None with kind `survey`: all conversions of a read take as long as the read.
        step_time_s: time of one step.
        columns: bit lines that share an ADC.
        bits: resolution; None: that of the chip's ADC.
    """

    kind: Literal["sar", "flash", "ramp", "sense_amplifier", "survey"] = Field(description="kind of the ADC")
    step_energy_J: Joule | None = Field(default=None, ge=0.0, le=_MOST_J, description="energy of one comparison")
    time_s: Seconds | None = Field(default=None, ge=0.0, le=_MOST_S, description="time of a conversion")
    step_time_s: Seconds | None = Field(default=None, ge=0.0, le=_MOST_S, description="time of one step")
    columns: int = Field(default=1, ge=1, le=2**20, description="bit lines that share an ADC")
    bits: int | None = Field(default=None, ge=1, le=16, description="resolution; null: that of the chip's ADC")

    @model_validator(mode="after")
    def _nothing_ignored(self) -> Self:
        if self.kind == "survey":
            for name in ("energy_J", "step_energy_J", "step_time_s", "scaled_from_m", "scaled_from_V"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} left out with kind 'survey', whose energy is that of published ADCs")
        return self

    @property
    def any_bits(self) -> bool:
        """Tell whether the energy of a conversion is the same for all numbers of bits that the chip's ADC may have."""
        return self.energy_J is not None and not self.step_energy_J and self.bits is None


@final
class MultiplyAdds(_Stated):
    """Digital multiply-adds of layers that are not on crossbars.

    Attributes:
        time_s: time of one multiply-add.
        units: multipliers that work in parallel.
    """

    time_s: Seconds | None = Field(default=None, ge=0.0, le=_MOST_S, description="time of one multiply-add")
    units: int = Field(default=1, ge=1, le=2**30, description="multipliers that work in parallel")


@final
class Write(Spec):
    """Programming pulses: an energy per pulse, or V I t of a pulse; a verifying read is one conversion.

    Attributes:
        energy_J: energy of a pulse; None: voltage_V x current_A x time_s.
        voltage_V: voltage of a pulse.
        current_A: current of a pulse.
        time_s: width of a pulse.
        source: where the values are from.
    """

    energy_J: Joule | None = Field(default=None, ge=0.0, le=_MOST_J, description="energy of a pulse")
    voltage_V: Volt | None = Field(default=None, gt=0.0, le=100.0, description="voltage of a pulse")
    current_A: Ampere | None = Field(default=None, gt=0.0, le=1.0, description="current of a pulse")
    time_s: Seconds | None = Field(default=None, gt=0.0, le=_MOST_S, description="width of a pulse")
    source: str = Field(default="", description="where the values are from")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        parts = [self.voltage_V, self.current_A, self.time_s]
        if self.energy_J is None and None in parts:
            raise ValueError("energy_J, or voltage_V, current_A and time_s")
        if self.energy_J is not None and (self.voltage_V is not None or self.current_A is not None):
            raise ValueError("energy_J without voltage_V and current_A, which it replaces")
        return self

    @property
    def pulse_J(self) -> float:
        """Return the energy of a pulse in J."""
        if self.energy_J is not None:
            return self.energy_J
        return (self.voltage_V or 0.0) * (self.current_A or 0.0) * (self.time_s or 0.0)


@final
class Cost(Spec):
    """State what circuits of a chip take in energy, time and area. It changes no result of a simulation.

    What is left out is reported as not counted, never as zero.

    Attributes:
        source: where the values are from.
        technology_m: technology node.
        supply_V: supply voltage.
        read_pulse_s: duration of a read, or of each pulse with coding `pulses`.
        conduct_s: part of a read or pulse during which cells conduct; None: all of it.
        rows_per_read: word lines that are read together; None: all of a tile. Sums of several reads are added
            digitally. The simulated ADC converts the sum of all rows of a tile.
        coding: how a DAC codes an input. `amplitude`: by the voltage of a pulse. `width`: by the duration of a pulse at
            the read voltage. `pulses`: by 2^(b - 1) - 1 pulses for b bits, sign included, which are integrated before
            one conversion; each phase begins with one more pulse, and a line is charged once per bit and once more.
        bits_per_phase: bits that `pulses` codes in one phase; inputs of more bits take several, each converted.
        access: `hold`: all bit lines are read together, and ADCs convert the held sums one after the other. `select`:
            only the bit lines that the ADCs convert are read, then the next ones; a conversion runs during its read.
        word_bits: bits of a digital number where nothing else states them, as of real inputs without a DAC.
        replicas: glob of a layer's name -> copies of its tiles, which share its vectors; the first match counts.
        lines: word lines.
        driver: driver or DAC of a word line, per pulse; area per word line.
        hold: sample-and-hold or integrator, per pulse and conversion; area per bit line.
        converter: ADCs; `adc` in files and paths too.
        shift_add: per conversion that is shifted and added to another of the same output; area per ADC.
        adder: per addition of sums of several tiles or reads, and of digital corrections; area per tile.
        neuron: per output of a layer on crossbars (scale, bias, threshold); area per ADC.
        buffer: per bit that is read or written; area of the whole chip.
        bus: per bit that is moved between buffer and tiles; area of the whole chip.
        multiply_add: multiply-adds of digital layers; area per multiplier.
        cell_area_F2: area of a cell in squares of the technology node.
        write: programming pulses.
    """

    source: str = Field(default="", description="where the values are from")
    technology_m: Meter | None = Field(default=None, ge=1e-9, le=1e-4, description="technology node")
    supply_V: Volt | None = Field(default=None, gt=0.0, le=100.0, description="supply voltage")
    read_pulse_s: Seconds | None = Field(default=None, gt=0.0, le=_MOST_S, description="duration of a read or pulse")
    conduct_s: Seconds | None = Field(default=None, ge=0.0, le=_MOST_S, description="time that cells conduct in it")
    rows_per_read: int | None = Field(default=None, ge=1, le=2**20, description="word lines read together; null: all")
    coding: Literal["amplitude", "width", "pulses"] = Field(default="amplitude", description="how a DAC codes an input")
    bits_per_phase: int = Field(default=16, ge=1, le=16, description="bits that pulses code in one phase")
    access: Literal["hold", "select"] = Field(default="hold", description="which bit lines a read connects")
    word_bits: int = Field(default=8, ge=1, le=64, description="bits of a digital number where nothing states them")
    replicas: dict[str, Annotated[int, Field(ge=1, le=2**20)]] = Field(
        default_factory=dict, description="glob of a layer's name -> copies of its tiles"
    )
    lines: Lines | None = None
    driver: Circuit | None = Field(default=None, description="driver or DAC of a word line")
    hold: Circuit | None = Field(default=None, description="sample-and-hold or integrator")
    converter: Conversion | None = None
    shift_add: Circuit | None = None
    adder: Circuit | None = None
    neuron: Circuit | None = Field(default=None, description="scale, bias and threshold of an output")
    buffer: Circuit | None = None
    bus: Circuit | None = None
    multiply_add: MultiplyAdds | None = None
    cell_area_F2: float | None = Field(default=None, gt=0.0, le=1e6, description="area of a cell over node squared")
    write: Write | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        """Refuse values that need another one."""
        scaled = [c for c in self._stated if c.scaled_from_m is not None]
        needs = {
            "technology_m with scaled_from_m": scaled and self.technology_m is None,
            "supply_V with scaled_from_V": self._from_supply and self.supply_V is None,
            "supply_V or lines.swing_V": self.lines and self.lines.swing_V is None and self.supply_V is None,
            "technology_m with cell_area_F2": self.cell_area_F2 is not None and self.technology_m is None,
            "technology_m with kind 'survey'": self._surveyed and self.technology_m is None,
            "conduct_s of at most read_pulse_s": (self.conduct_s or 0.0) > (self.read_pulse_s or 0.0),
            "read_pulse_s, or converter.time_s with kind 'survey'": self._surveyed and self._timeless,
        }
        for text, missing in needs.items():
            if missing:
                raise ValueError(text)
        return self

    @property
    def _stated(self) -> list[_Stated]:
        return [value for value in self.__dict__.values() if isinstance(value, _Stated)]

    @property
    def _from_supply(self) -> bool:
        return any(each.scaled_from_V is not None for each in self._stated)

    @property
    def _surveyed(self) -> bool:
        return self.converter is not None and self.converter.kind == "survey"

    @property
    def _timeless(self) -> bool:
        return self.read_pulse_s is None and self.converter is not None and self.converter.time_s is None

    def scaling(self, circuit: _Stated) -> tuple[float, float, float]:
        """Return the factors on energy, area and time of a circuit whose values are stated for another node or supply.

        Args:
            circuit: one of the circuits.

        Reference:
            Dennard et al., JSSC 9, 1974: capacitance and delay are proportional to the feature size.
        """
        node = 1.0
        if circuit.scaled_from_m is not None and self.technology_m is not None:
            node = self.technology_m / circuit.scaled_from_m
        supply = 1.0
        if circuit.scaled_from_V is not None and self.supply_V is not None:
            supply = self.supply_V / circuit.scaled_from_V
        return node * supply**2, node**2, node
