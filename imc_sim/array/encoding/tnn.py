"""Ternary weights and inputs: TNN I to V. d is the window, H the current of a driven HRS cell.

Reference: CIM-Explorer, arXiv 2505.14303, with its numbering.
"""

from __future__ import annotations

import abc
from typing import Literal, final

from imc_sim.array.encoding.base import MINUS, NONZERO, PLUS, ZERO, Correction, Term
from imc_sim.array.encoding.signs import Signs

_PAIR = (1.0, -1.0)


class _Ternary(Signs, abc.ABC):
    """Hold weights of -1, 0 and +1 in cells at HRS and LRS."""

    operands = "ternary"


@final
class TnnI(_Ternary):
    """The 2 x 2 block of BNN VI; w = 0: all cells HRS, x = 0: both rows off. y = q / d."""

    kind: Literal["tnn_i"] = "tnn_i"
    bits = ("pm", "mp")
    signed = True
    drives = ((PLUS, MINUS),)
    terms = (Term(0, _PAIR, gain=1.0),)


class _ColumnPair(_Ternary, abc.ABC):
    """Hold p and m in a column pair."""

    bits = ("p", "m")
    signed = True


@final
class TnnII(_ColumnPair):
    """Passes [x != 0] and [x = -1]: y = q0 / d - 2 q1 / d."""

    kind: Literal["tnn_ii"] = "tnn_ii"
    drives = ((NONZERO,), (MINUS,))
    terms = (Term(0, _PAIR, gain=1.0), Term(1, _PAIR, gain=-2.0))


@final
class TnnIII(_ColumnPair):
    """Passes are the bits of x + 1: y = q0 / d + 2 q1 / d - sum w."""

    kind: Literal["tnn_iii"] = "tnn_iii"
    drives = ((ZERO,), (PLUS,))
    terms = (Term(0, _PAIR, gain=1.0), Term(1, _PAIR, gain=2.0))
    correction = Correction(sum_w=1.0)


class _Bits(_Ternary, abc.ABC):
    """Hold the low and the high bit of a code of w in two columns; passes v+ and v-."""

    signed = False
    drives = ((PLUS,), (MINUS,))


@final
class TnnIV(_Bits):
    """Two's complement, low [w != 0], high [w = -1], of currents l and m:

    y = (q(l+ + H sum x / 2) - q(l- - H sum x / 2) - 2 q(m+) + 2 q(m-)) / d.
    """

    kind: Literal["tnn_iv"] = "tnn_iv"
    bits = ("n", "m")
    terms = (
        Term(0, (1.0, 0.0), gain=1.0, sum_x=0.5),
        Term(1, (1.0, 0.0), gain=-1.0, sum_x=-0.5),
        Term(0, (0.0, 1.0), gain=-2.0),
        Term(1, (0.0, 1.0), gain=2.0),
    )


@final
class TnnV(_Bits):
    """Bits of w + 1: y = (q(l+) - q(l- + 3 H sum x) + 2 q(m+) - 2 q(m-)) / d - sum x."""

    kind: Literal["tnn_v"] = "tnn_v"
    bits = ("z", "p")
    terms = (
        Term(0, (1.0, 0.0), gain=1.0),
        Term(1, (1.0, 0.0), gain=-1.0, sum_x=3.0),
        Term(0, (0.0, 1.0), gain=2.0),
        Term(1, (0.0, 1.0), gain=-2.0),
    )
    correction = Correction(sum_x=1.0)
