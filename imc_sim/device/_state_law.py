"""Parameters that depend on a cell's state: a number, or a law in pieces of x = G / g_max.

Fits to measured arrays come as polynomials of x, as a ln x + b or as a power of x, held between limits, and with
one law below a certain x and another above it. All of them are lists of `StatePiece`.
"""

from __future__ import annotations

import itertools
from typing import Annotated, Literal, Self, final

import torch
from pydantic import Field, model_validator
from torch import Tensor

from imc_sim.config import Siemens, Spec

#: x is taken to be at least this: logarithms and negative powers of a cell at 0 S.
_LEAST = 1e-7
_MOST_EXPONENT = 10.0


@final
class StatePiece(Spec):
    """One law of x = G / g_max, for the x under `below` that no earlier piece covers.

    Attributes:
        law: polynomial: c0 + c1 x + c2 x^2 + …; logarithm: c0 + c1 ln x + c2 (ln x)^2 + …; power: c0 x^c1. The value is
            then limited to `low` … `high`.
    """

    law: Literal["polynomial", "logarithm", "power"] = "polynomial"
    coefficients: tuple[Annotated[float, Field(ge=-1e3, le=1e3)], ...] = Field(min_length=1, description="c0, c1, …")
    low: float | None = Field(default=None, ge=-1e3, le=1e3, description="least value")
    high: float | None = Field(default=None, ge=-1e3, le=1e3, description="largest value")
    below: float | None = Field(default=None, ge=1e-9, le=10.0, description="x where the piece ends; None: no end")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.law == "power" and len(self.coefficients) != 2:
            raise ValueError("two coefficients (factor and exponent) for a power law")
        if self.law == "power" and abs(self.coefficients[1]) > _MOST_EXPONENT:
            raise ValueError(f"an exponent of a power law from {-_MOST_EXPONENT:g} to {_MOST_EXPONENT:g}")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError("low of at most high")
        return self

    def __call__(self, x: Tensor) -> Tensor:
        """Return the values of the law, shaped as x.

        Args:
            x: conductances over g_max, any shape; values below 1e-7 count as 1e-7.
        """
        x = x.clamp_min(_LEAST)
        if self.law == "power":
            value = self.coefficients[0] * x.pow(self.coefficients[1])
        else:
            value = polynomial(self.coefficients, x.log() if self.law == "logarithm" else x)
        return value if self.low is None and self.high is None else value.clamp(self.low, self.high)


#: A number for every state, or pieces from low to high conductance.
StateLaw = float | tuple[StatePiece, ...]


def polynomial(coefficients: tuple[float, ...], x: Tensor) -> Tensor:
    """Return c0 + c1 x + c2 x^2 + …, shaped as x."""
    value = torch.zeros_like(x)
    for c in reversed(coefficients):
        value = value * x + c
    return value


def is_zero(law: StateLaw) -> bool:
    """Tell whether the law is 0 for every state."""
    return law == 0.0 if isinstance(law, float | int) else not any(any(p.coefficients) or p.low or p.high for p in law)


def evaluate(law: StateLaw, x: Tensor) -> Tensor | float:
    """Return the values at x = G / g_max, in its shape, or the number itself. Above the last piece's end the last
    one holds.
    """
    if isinstance(law, float | int):
        return float(law)
    value = law[-1](x)
    for piece in reversed(law[:-1]):
        value = value if piece.below is None else torch.where(x < piece.below, piece(x), value)
    return value


def check_pieces(law: StateLaw, g_max_S: float | None, name: str, most: float) -> None:
    """Raise ValueError unless pieces are in order, all but the last end somewhere, and g_max_S is given.

    most: the largest magnitude of a law, for x from 0.01 to 1 where it is in pieces.
    """
    if isinstance(law, float | int):
        if abs(law) > most:
            raise ValueError(f"{name} from {-most:g} to {most:g} (got {law:g})")
        return
    if not law:
        raise ValueError(f"{name}: a number, or one piece or more")
    if g_max_S is None:
        raise ValueError(f"g_max_S together with a {name} that depends on the state")
    ends = [p.below for p in law[:-1]]
    if None in ends or sorted(e for e in ends if e is not None) != ends:
        raise ValueError(f"{name}: pieces in rising order of `below`, which only the last may leave out")
    values = torch.as_tensor(evaluate(law, torch.linspace(0.01, 1.0, 34, dtype=torch.float64)))
    if float(values.abs().max()) > most:
        raise ValueError(f"{name} from {-most:g} to {most:g} (got {float(values.abs().max()):.3g} within its pieces)")


#: conductances of the states that values are given for
States = tuple[Annotated[Siemens, Field(ge=0.0, le=1.0)], ...]


def between_states(values: float | tuple[float, ...], states_S: States, G: Tensor) -> Tensor | float:
    """Return one number for all states, or values given per state: linear in G between states, constant outside."""
    if isinstance(values, float | int):
        return float(values)
    if len(values) == 1:
        return float(values[0])
    x, y = (torch.tensor(numbers, dtype=G.dtype, device=G.device) for numbers in (states_S, values))
    k = torch.searchsorted(x, G.contiguous()).clamp(1, len(values) - 1)
    share = ((G - x[k - 1]) / (x[k] - x[k - 1])).clamp(0.0, 1.0)
    return torch.lerp(y[k - 1], y[k], share)


def check_states(states_S: States, **values: float | tuple[float | None, ...] | None) -> None:
    """Raise ValueError unless the states rise and every list of values has one number for each of them."""
    if any(b <= a for a, b in itertools.pairwise(states_S)):
        raise ValueError("states_S that rise")
    for name, each in values.items():
        if isinstance(each, tuple) and len(each) != len(states_S):
            raise ValueError(f"{name}: a number, or one for each of the {len(states_S)} states_S (got {len(each)})")
