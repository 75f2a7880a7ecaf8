"""Energy and area of an ADC by a regression on the published ones.

Coefficients: B. Murmann's ADC performance survey (BSD-3), as fitted by the ADC plug-in of Accelergy (MIT), whose
successor is hwcomponents-adc.
"""

from __future__ import annotations

import math

from imc_sim._arguments import checked

#: Schreier figure of merit in dB at a high rate: intercept, per ln of the frequency in Hz
_FOM, _FOM_PER_LN_HZ = 213.7806687348118, -2.8719030399529957
#: its bound in dB for 0 bits, per effective bit
_BOUND, _BOUND_PER_BIT = 128.3068287398817, 3.220511533904291
#: ln of the area in um2: intercept, per ln of the node in nm, of the frequency in Hz, of the energy in pJ
_AREA = (1.3461916439910742, 0.9932794744745022, 0.18071538424508238, 0.29912426192653485)


@checked
def survey_energy_J(bits: float, rate_Hz: float) -> float:
    """Return the energy of a conversion.

    FOM = SNDR + 10 log10(f / (2 P)), SNDR = 6.02 bits + 1.76 dB, energy P / f.

    Args:
        bits: effective bits.
        rate_Hz: conversions per second.
    """
    fom = min(_FOM + _FOM_PER_LN_HZ * math.log(rate_Hz), _BOUND + _BOUND_PER_BIT * bits)
    return 0.5 * 10 ** ((6.02 * bits + 1.76 - fom) / 10)


@checked
def survey_area_m2(node_m: float, rate_Hz: float, energy_J: float) -> float:
    """Return the area of an ADC.

    Args:
        node_m: technology node.
        rate_Hz: conversions per second.
        energy_J: energy of a conversion.
    """
    logs = (1.0, math.log(node_m * 1e9), math.log(rate_Hz), math.log(energy_J * 1e12))
    return 1e-12 * math.exp(sum(a * b for a, b in zip(_AREA, logs, strict=True)))
