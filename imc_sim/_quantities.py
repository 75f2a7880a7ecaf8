"""Numbers with units, counts and types as text."""

from __future__ import annotations

_PREFIXES = ((1e-15, "f"), (1e-12, "p"), (1e-9, "n"), (1e-6, "u"), (1e-3, "m"), (1.0, ""), (1e3, "k"), (1e6, "M"))


def with_unit(value: float | None, unit: str, digits: int = 3) -> str:
    """Return a number with its unit, such as 1.24 uJ; `-` for None.

    Args:
        value: number in the unit.
        unit: such as J; for m2 the number is shown in mm2, below 0.001 mm2 in um2.
        digits: significant digits.
    """
    if value is None:
        return "-"
    if unit == "m2" and 0.0 < abs(value) < 0.9995e-9:
        return f"{value * 1e12:.{digits}g} um2"
    if unit == "m2":
        return f"{value * 1e6:.{digits}g} mm2"
    scale, prefix = next(
        ((s, p) for s, p in reversed(_PREFIXES) if abs(value) >= s * 0.9995), _PREFIXES[0] if value else (1.0, "")
    )
    return f"{value / scale:.{digits}g} {prefix}{unit}"


def number_of(count: int, noun: str) -> str:
    """Return a count with its noun, such as 1 site or 2,000 sites.

    Args:
        count: number of things.
        noun: one of them; the plural has an s at its end, or before ` of `.
    """
    first, of, rest = noun.partition(" of ")
    return f"{count:,} {first}{'' if count == 1 else 's'}{of}{rest}"


def type_of(value: object) -> str:
    """Return the type of a value with its article, such as an int."""
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIO' else 'a'} {name}"


def shown_bytes(number: int) -> str:
    """Return a number of bytes as text in MB or GB.

    Args:
        number: of bytes.
    """
    if number < 1e9:
        return f"{number / 1e6:.0f} MB"
    return f"{number / 1e9:.2g} GB" if number < 9.95e9 else f"{number / 1e9:.0f} GB"
