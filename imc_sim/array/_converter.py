"""Analog-to-digital converters (ADCs): bits, range and codes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self, final

import torch
from pydantic import Field, model_validator
from torch import Tensor

from imc_sim._errors import InputError
from imc_sim.config import Spec

#: relative distance to a rounding tie below which a result counts as the tie, which rounds away from zero
_TIE = {torch.float32: 1e-6, torch.float64: 1e-12}


@final
class Converter(Spec):
    """Describe the ADC of every column of a tile (YAML key `converter`).

    Attributes:
        kind: `ideal` returns its input; `sym` has 2^bits - 1 codes around zero (mid-tread) for signed inputs; `pos` has
            2^bits codes from zero for currents of one sign; `auto` is the one that the encoding needs. Halves are
            rounded away from zero.
        range: `max` is the largest current that the word lines of a tile can cause, all physical ones or those in use
            (`rows`); `calibrated` takes limits that the rule `limits` finds in the ADC's inputs over calibration data;
            `unit` is the interval [0, 1] of a layer's output, see the method `unit`.
        accumulator: `real` adds conversions as real numbers; `integer` scales every conversion to units of the weights'
            smallest step and rounds it, halves away from zero, like integer hardware.

    Reference:
        CIM-Explorer, arXiv 2505.14303.
    """

    kind: Literal["ideal", "auto", "sym", "pos"] = "ideal"
    bits: int = Field(default=8, ge=2, le=16, description="resolution")
    range: Literal["max", "calibrated", "unit"] = "max"
    limits: Literal["auto", "minmax", "percentile", "sigma", "mse"] = Field(
        default="auto",
        description="rule of calibrated limits: all, a share, mean -+ sigmas, least mean square error, wider of both",
    )
    percentile: float = Field(default=99.9, gt=50.0, le=100.0, description="of inputs within limits of that rule")
    sigmas: float = Field(
        default=3.0, gt=0.0, le=100.0, description="standard deviations within limits of sigma and auto"
    )
    accumulator: Literal["real", "integer"] = "real"
    rows: Literal["physical", "used"] = Field(default="physical", description="word lines that range max counts")

    @model_validator(mode="after")
    def _outputs_are_real(self) -> Self:
        if self.range == "unit" and self.accumulator == "integer":
            raise ValueError("accumulator real with range unit, after which there is nothing to add")
        return self

    @property
    def is_ideal(self) -> bool:
        """Tell whether the ADC returns its input unchanged."""
        return self.kind == "ideal"

    def idle(self) -> frozenset[str]:
        if self.is_ideal:
            return self.all_but("kind")
        if self.range != "calibrated":
            return frozenset({"limits", "percentile", "sigmas"} | (set() if self.range == "max" else {"rows"}))
        acts = {"auto": {"sigmas"}, "sigma": {"sigmas"}, "percentile": {"percentile"}}.get(self.limits, set())
        return frozenset({"rows", "percentile", "sigmas"} - acts)

    def check(self, signed: bool, encoding: str, where: str) -> None:
        """Refuse an ADC that cannot convert the sums of an encoding.

        Args:
            signed: whether sums have both signs.
            encoding: name of the encoding, for the error.
            where: place that an error names.

        Raises:
            InputError: for a kind that does not fit, or range `unit` outside a layer of a network.
        """
        if self.of_outputs:
            step = "Use range max or calibrated, or policy.memory: digital for a key memory."
            raise InputError(f"{where}, converter.range", "'unit' outside a network's layer", "max, calibrated", step)
        fits = "sym" if signed else "pos"
        if self.kind not in ("ideal", "auto", fits):
            step = f"Set converter.kind to {fits!r} or 'auto'."
            got, allowed = f"{self.kind!r} with encoding {encoding}", f"{fits!r}, 'auto' or 'ideal'"
            raise InputError(f"{where}, converter.kind", got, allowed, step)

    @property
    def of_outputs(self) -> bool:
        """Tell whether the ADC converts a layer's outputs, bias and scales included, instead of column sums."""
        return self.range == "unit" and not self.is_ideal

    def unit(self, z: Tensor) -> Tensor:
        """Return clamp(z, 0, 1) rounded to multiples of 2^-bits.

        Code 2^bits, which is the value 1, is the ADC's overflow. Sums of such values are exact in float32 up to
        2^(24 - bits).

        Args:
            z: outputs of a layer, any shape.
        """
        return Quantiser(2.0**-self.bits, 0.0, 0, 2**self.bits)(z)

    def quantiser(self, low: float, high: float, signed: bool) -> Quantiser:
        """Return the transfer function of this ADC between two limits.

        Args:
            low: lower limit, in the unit of the input.
            high: upper limit.
            signed: whether the codes are those of `sym`.
        """
        if signed:
            top = 2 ** (self.bits - 1) - 1
            limit = max(abs(low), abs(high))
            return Quantiser(limit / top, 0.0, -top, top)
        codes = 2**self.bits - 1
        return Quantiser((high - low) / codes, low, 0, codes)


@final
@dataclass(frozen=True)
class Quantiser:
    """Convert u to base + step * clip(round((u - base) / step), lowest, highest).

    Attributes:
        step: size of a code.
        base: value of code 0.
        lowest: lowest code.
        highest: highest code.
    """

    step: float
    base: float
    lowest: int
    highest: int

    def codes_(self, u: Tensor, gain: float = 1.0, offset: Tensor | None = None) -> Tensor:
        """Return the codes of gain * u + offset, computed in place.

        Args:
            u: values of any shape; overwritten by whole numbers of its type.
            gain: factor of u.
            offset: added to gain * u, broadcast; None for 0.
        """
        factor, shift = self.scaled(u.dtype, gain, offset)
        u.mul_(factor)
        if isinstance(shift, Tensor) or shift:
            u.add_(shift)
        return u.round_().clamp_(self.lowest, self.highest)

    def scaled(self, dtype: torch.dtype, gain: float, offset: Tensor | None) -> tuple[float, Tensor | float]:
        """Return (factor, shift): codes are factor * u + shift, rounded and clipped.

        Args:
            dtype: type of u, which sets how close to a tie a value counts as one.
            gain: as in `codes_`.
            offset: as in `codes_`.
        """
        scale = (1.0 + _TIE[dtype]) / self.step
        return gain * scale, -self.base * scale if offset is None else (offset - self.base) * scale

    def __call__(self, u: Tensor) -> Tensor:
        """Return the converted values as a new tensor.

        Args:
            u: values of any shape.
        """
        return self.codes_(u.clone()) * self.step + self.base
