"""Numbers with units in YAML, plain SI in code.

A field whose name ends in a unit (`g_lrs_S`, `t_read_s`) takes a number in SI or a string such as `250 uS`.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator

_PREFIXES = {
    "": 1.0,
    "a": 1e-18,
    "f": 1e-15,
    "p": 1e-12,
    "n": 1e-9,
    "u": 1e-6,
    "\u00b5": 1e-6,
    "\u03bc": 1e-6,
    "m": 1e-3,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
}
_TEXT = re.compile(
    r"^\s*([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?)\s*([a-zA-Z\u00b5\u03bc%]*2?)\s*$"
)  # the micro sign and the Greek letter


def _converter(unit: str, example: str = "", power: int = 1) -> BeforeValidator:
    """Return the validator that reads numbers with this unit; power: 2 where the prefix is of a length, as in um2."""

    def convert(value: Any) -> Any:
        """Convert text with a unit to SI; leave anything else for pydantic."""
        if not isinstance(value, str):
            return value
        match = _TEXT.match(value)
        prefix = match.group(2).removesuffix(unit) if match and match.group(2).endswith(unit) else None
        if match is None or prefix not in _PREFIXES:
            raise ValueError(f"a number in {unit} or a string such as '{example or f'20 u{unit}'}'")
        # Divided, not multiplied, below one: '250 uS' is then exactly the double nearest 250e-6.
        scale = _PREFIXES[prefix]
        number = float(match.group(1))
        return number * scale**power if scale >= 1 else number / round(1 / scale) ** power

    return BeforeValidator(convert)


Siemens = Annotated[float, _converter("S")]
Seconds = Annotated[float, _converter("s")]
Ampere = Annotated[float, _converter("A", "100 uA")]
Volt = Annotated[float, _converter("V")]
Kelvin = Annotated[float, _converter("K", "300 K")]
ElectronVolt = Annotated[float, _converter("eV", "1.2 eV")]
Hertz = Annotated[float, _converter("Hz", "1 MHz")]
Joule = Annotated[float, _converter("J", "1.2 pJ")]
Farad = Annotated[float, _converter("F", "0.2 fF")]
Meter = Annotated[float, _converter("m", "90 nm")]
SquareMeter = Annotated[float, _converter("m2", "1200 um2", power=2)]
