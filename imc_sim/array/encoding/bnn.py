"""Binary weights and inputs: BNN I to VI. d is the window, H the current of a driven HRS cell.

Reference: CIM-Explorer, arXiv 2505.14303, with its numbering.
"""

from __future__ import annotations

import abc
from typing import Literal, final

from imc_sim.array.encoding.base import MINUS, PLUS, Correction, Term
from imc_sim.array.encoding.signs import Signs


class _Bipolar(Signs, abc.ABC):
    """Hold weights of -1 and +1 in cells at HRS and LRS."""

    operands = "bipolar"


@final
class BnnI(_Bipolar):
    """Column pair p, m; v = (x + 1) / 2: u = sum (p - m) v, y = 2 q - sum w."""

    kind: Literal["bnn_i"] = "bnn_i"
    bits = ("p", "m")
    signed = True
    drives = ((PLUS,),)
    terms = (Term(0, (1.0, -1.0), gain=2.0),)
    correction = Correction(sum_w=1.0)


@final
class BnnII(_Bipolar):
    """Column pair m, p; v = (1 - x) / 2: u = sum (m - p) v, y = 2 q + sum w."""

    kind: Literal["bnn_ii"] = "bnn_ii"
    bits = ("m", "p")
    signed = True
    drives = ((MINUS,),)
    terms = (Term(0, (1.0, -1.0), gain=2.0),)
    correction = Correction(sum_w=-1.0)


@final
class BnnIII(_Bipolar):
    """One cell p, passes v+ and v-: A, B = sum p v+-; y = 2 q(A - H sum x) / d - 2 q(B) / d - sum x."""

    kind: Literal["bnn_iii"] = "bnn_iii"
    bits = ("p",)
    signed = False
    drives = ((PLUS,), (MINUS,))
    terms = (Term(0, (1.0,), gain=2.0, sum_x=-1.0), Term(1, (1.0,), gain=-2.0))
    correction = Correction(sum_x=1.0)


@final
class BnnIV(_Bipolar):
    """One cell m, passes v+ and v-: A, B = sum m v+-; y = 2 q(B) / d - 2 q(A - H sum x) / d + sum x."""

    kind: Literal["bnn_iv"] = "bnn_iv"
    bits = ("m",)
    signed = False
    drives = ((PLUS,), (MINUS,))
    terms = (Term(0, (1.0,), gain=-2.0, sum_x=-1.0), Term(1, (1.0,), gain=2.0))
    correction = Correction(sum_x=-1.0)


@final
class BnnV(_Bipolar):
    """XNOR row pair in one column: v+ drives p, v- drives m; y = 2 q(I - n H) / d - n."""

    kind: Literal["bnn_v"] = "bnn_v"
    bits = ("pm",)
    signed = False
    drives = ((PLUS, MINUS),)
    terms = (Term(0, (1.0,), gain=2.0, count=-1.0),)
    correction = Correction(count=1.0)


@final
class BnnVI(_Bipolar):
    """2 x 2 block p m / m p, rows driven by v+ and v-, column pair: u = sum (p - m)(v+ - v-), y = q / d."""

    kind: Literal["bnn_vi"] = "bnn_vi"
    bits = ("pm", "mp")
    signed = True
    drives = ((PLUS, MINUS),)
    terms = (Term(0, (1.0, -1.0), gain=1.0),)
