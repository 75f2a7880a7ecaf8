"""Headings of a laboratory's tables: which quantity a column holds, of which state, and in which unit."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from imc_sim._errors import InputError

Quantity = Literal["S", "ohm", "V", "A", "s", "K", "Hz"]

_PREFIXES = {
    "f": 1e-15, "p": 1e-12, "n": 1e-9, "u": 1e-6, "\u00b5": 1e-6, "\u03bc": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3,
    "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12,
}  # fmt: skip
#: unit as written, without its prefix -> quantity; words in any case
_SYMBOLS: dict[str, Quantity] = {
    "S": "S", "\u03a9": "ohm", "\u2126": "ohm", "V": "V", "A": "A", "s": "s", "K": "K", "Hz": "Hz",
}  # fmt: skip
_WORDS: dict[str, Quantity] = {
    "siemens": "S", "mho": "S", "mhos": "S", "ohm": "ohm", "ohms": "ohm", "volt": "V", "volts": "V", "amp": "A",
    "amps": "A", "ampere": "A", "amperes": "A", "sec": "s", "second": "s", "seconds": "s", "kelvin": "K",
    "hertz": "Hz",
}  # fmt: skip
_TIMES = {
    "min": 60.0, "minute": 60.0, "minutes": 60.0, "h": 3600.0, "hr": 3600.0, "hrs": 3600.0, "hour": 3600.0,
    "hours": 3600.0, "d": 86400.0, "day": 86400.0, "days": 86400.0,
}  # fmt: skip
_CELSIUS = {"\u00b0c", "\u2103", "degc", "deg c", "celsius", "c"}

#: characters of the longest heading or name of a state; patterns take long in longer text
_LONG = 500
_HEADING = re.compile(r"^\s*(?P<name>.*?)\s*(?:\(\s*(?P<round>[^()]*?)\s*\)|\[\s*(?P<square>[^\[\]]*?)\s*\])?\s*$")
_STATE = re.compile(
    r"^(?:[gri]|conductance|resistance|current)?[ _-]*"
    r"(?P<state>lrs|hrs|on|off|set|reset|low|high|(?:level|lvl|state|l)?[ _-]*\d+)"
    r"[ _-]*(?:[gri]|conductance|resistance|current|state)?$"
)
_NAMES = {
    "lrs": "LRS",
    "on": "LRS",
    "set": "LRS",
    "low": "LRS",
    "hrs": "HRS",
    "off": "HRS",
    "reset": "HRS",
    "high": "HRS",
}
#: role -> names of columns that have it (lower case, `_` and `-` as blanks)
_ROLES = {
    "state": r"state|level|lvl|code|resistance state|level (?:id|number|index)|state name",
    "time": r"t|time|elapsed(?: time)?|timestamp|(?:bake|retention|read|wait) time|delay|t (?:read|bake|wait)",
    "temperature": r"temp|temperature|(?:bake )?temp(?:erature)?|t bake|t (?:k|c)",
    "cycle": r"cycles?|cyc|(?:n |# ?|no )?cycles?|cycle (?:number|no|index|#|count)",
    "cell": r"cell|cell (?:id|no|number|index|name)|dut|bit|addr(?:ess)?|id",
    "row": r"row|wl|word ?line",
    "column": r"col|column|bl|bit ?line",
    "device": r"device|dev|device (?:id|no|number|name)|sample|die|chip",
    "pulse": r"pulses?|n pulses?|pulse (?:number|no|index|#|count)|# ?pulses?|p",
    "sweep": r"sweep|sweep (?:number|no|index|#)|loop|segment",
    "width": r"(?:pulse )?width|tw|t (?:pulse|width)|pulse (?:duration|length)",
    "v_read": r"v ?read|read voltage",
    "voltage": r"v\d*|a ?v|voltage|bias|v (?:te|be|pulse|set|reset|cell|a|amp|d|ds)|(?:pulse )?(?:voltage|amplitude)",
    "current": r"i\d*|a ?i|current|i (?:te|be|cell|read|d|ds|a)|read current",
    "target": r"target|(?:[gr] )?target(?: [gr])?|(?:target|goal) (?:conductance|resistance)|g set|set ?point",
    "G": r"g\d*|conductance|cond|g (?:read|cell|meas|measured)|measured(?: conductance)?",
    "R": r"r\d*|resistance|res|r (?:read|cell|meas|measured)",
}
#: role -> quantities that its unit may be of; roles without one are numbers or names
_UNITS: dict[str, tuple[Quantity, ...]] = {
    "time": ("s",), "temperature": ("K",), "width": ("s",), "v_read": ("V",), "voltage": ("V",), "current": ("A",),
    "target": ("S", "ohm"), "G": ("S",), "R": ("ohm",),
}  # fmt: skip
#: quantity -> role of a column whose name says no other
_OF_UNIT: dict[str | None, str] = {
    "S": "G",
    "ohm": "R",
    "V": "voltage",
    "A": "current",
    "s": "time",
    "K": "temperature",
}
#: (role of the name, quantity) -> role of columns such as `level (uS)` and `pulse (us)`
_WITH_UNIT = {("state", "S"): "target", ("state", "ohm"): "target", ("pulse", "s"): "width"}
#: roles whose values are names
NAMES = ("state", "cell", "device")
#: roles read in SI where they have no unit, which is reported
_SI = {"time": "s", "width": "s", "voltage": "V", "v_read": "V", "current": "A", "temperature": "K"}

#: the channel of an instrument before a name, and the numbers of a run behind it: `Smu1.V[1][1]`, `AV(2)`
_CHANNEL = re.compile(r"^\s*(?P<channel>(?:\w*smu|wgfmu|ch|channel)\s*\d+)\s*[.:/]\s*(?=\w)", re.IGNORECASE)
_RUN = re.compile(r"(?<=\w)\s*(?:(?:\[\d+\])+|\(\d+\)\s*$)")
#: a cycle, a pulse or a time in the heading of a column of values, and the words next to it
_AT = re.compile(
    r"(?:(?P<role>cyc(?:les?)?|pulses?|time|t)\s*[=#:]?\s*)?(?P<number>\d+(?:\.\d+)?(?:e[+-]?\d+)?)\s*(?P<unit>[a-z\u00b5]+)?",
    re.IGNORECASE,
)
_AT_STATE = re.compile(r"\b(?:lrs|hrs|on|off|set|reset)\b", re.IGNORECASE)
_AT_WORDS = re.compile(r"\b(?:[gri]|conductance|resistance|current|at|after)\b|@", re.IGNORECASE)

#: names of columns whose values are no measurements of cells, though they have a unit of them
_NO_VALUE = re.compile(
    r"(?<![a-z])(?:(?:log(?:[ _]?10)?|ln|lg)[ _(]*[rgi](?![a-z])|(?:std|stdev|stddev|sigma|deviation|variance|error|"
    r"sem|uncertainty|(?<!\d)(?<!\d )min|max|minimum|maximum|compliance|icc|limit)(?![a-z]))",
    re.IGNORECASE,
)
#: what `--columns` may call many columns: all others, or those from one number to another
_MANY = re.compile(r"\*|(\d+)-(\d+)")
#: values of one cycle or pulse a column, in `--columns`
_EACH = re.compile(r"(?:(?P<state>.+?)\s+)?(?P<role>cycle|pulse)\s+(?P<unit>\S+)", re.IGNORECASE)

_EXAMPLE = "`state,conductance (uS)` with LRS and HRS in the first column, or `LRS (uS),HRS (uS)`"


@dataclass(frozen=True)
class Unit:
    """A unit: its quantity, the factor to SI, and the zero of the scale in SI."""

    quantity: Quantity
    scale: float = 1.0
    zero: float = 0.0

    def to_si(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return values in SI; below one it divides, so that 250 uS is the double nearest 250e-6."""
        scaled = values * self.scale if self.scale >= 1 else values / round(1 / self.scale)
        return scaled + self.zero if self.zero else scaled


@dataclass(frozen=True)
class Column:
    """A column of a table: its place, heading, role and unit; state, cycle, pulse or time of a column for each."""

    index: int
    heading: str
    role: str
    state: str | None = None
    unit: Unit | None = None
    at: tuple[str, float] | None = None


def parse_unit(text: str) -> Unit | None:
    """Return the unit that a text names, with any prefix from f to T; None where it is none."""
    text = text.strip()
    if text.lower() in _TIMES:
        return Unit("s", _TIMES[text.lower()])
    if text.lower() in _CELSIUS:
        return Unit("K", 1.0, 273.15)
    for length in (0, 1):
        prefix, rest = text[:length], text[length:]
        quantity = _SYMBOLS.get(rest) or _WORDS.get(rest.lower())
        if prefix in _PREFIXES and quantity is not None:
            return Unit(quantity, _PREFIXES[prefix])
    return None


def state_name(text: str) -> str | None:
    """Return LRS, HRS or the number of a level for any of its usual names; None for other text."""
    match = _STATE.match(text.strip().lower()) if len(text) <= _LONG else None
    if match is None:
        return None
    found = match["state"]
    return _NAMES.get(found) or str(int(re.sub(r"\D", "", found)))


def parse_heading(index: int, heading: str, where: str) -> Column | None:
    """Return the column that a heading names; None for one that no fit uses.

    Raises:
        InputError: the unit is not understood, or is not one of the quantity that the name says.
    """
    if len(heading) > _LONG:
        return None
    match = _HEADING.match(_RUN.sub("", _CHANNEL.sub("", heading)))
    name, text = (match["name"], match["round"] or match["square"] or "") if match else (heading, "")
    if re.search(r"[(\[].*[,;|\t]", name):
        return None  # headings of several columns, at another separator
    unit = parse_unit(text)
    if not text:
        for separator in ("_", "/", " "):
            head, _, tail = name.rpartition(separator)
            if head and (unit := parse_unit(tail)) is not None:
                name = head
                break
    return _column(index, heading, name, unit, text, where)


def _column(index: int, heading: str, name: str, unit: Unit | None, text: str, where: str) -> Column | None:
    """Return the column of a name and a unit; `text` is what the brackets hold."""
    plain = re.sub(r"[\s_-]+", " ", name.strip().lower())
    state = state_name(name)
    if state is None and unit is not None and unit.quantity in ("S", "ohm", "A") and (at := _at(name, heading, where)):
        return _of_state(index, heading, at[2], unit, text, where, (at[0], at[1]))
    role = next((role for role, names in _ROLES.items() if re.fullmatch(names, plain)), None)
    quantity = None if unit is None else unit.quantity
    if plain == "t" and quantity == "K":
        role = "temperature"
    elif role is not None and role not in _UNITS and quantity is not None and quantity in _OF_UNIT:
        role = _WITH_UNIT.get((role, quantity), _OF_UNIT[quantity])
    elif role is None and state is None:
        role = _OF_UNIT.get(quantity)
    if unit is not None and unit.quantity in ("S", "ohm", "A") and _NO_VALUE.search(name):
        step = f'Convert it to values of cells, or leave it out: --columns "{heading}=skip".'
        got = f"no values of cells, but a logarithm, an error or a limit, in {heading!r}"
        raise InputError(f"{where}, headings", got, "conductances, resistances or currents", step)
    if state is not None and (role is None or (role in ("G", "R") and (text or unit))):
        return _of_state(index, heading, state, unit, text, where)
    if role is None:
        return None
    allowed = _UNITS.get(role, ())
    if text and (unit is None or unit.quantity not in allowed) and allowed:
        raise _unit_error(heading, text, " or ".join(allowed), where)
    return Column(index, heading, role, None, unit if allowed else None)


def channel_of(heading: str) -> str:
    """Return the channel of an instrument in a heading such as `Smu1.V[1][1]`, in lower case; empty for others."""
    match = _CHANNEL.match(heading) if len(heading) <= _LONG else None
    return "" if match is None else match["channel"].lower()


def _at(name: str, heading: str, where: str) -> tuple[str, float, str | None] | None:
    """Return role, number and state of `cycle 10`, `LRS 1000 cycles` or `t=10 s`; None for other names.

    Raises:
        InputError: a time has no unit.
    """
    words = re.sub(r"[\s_]+", " ", name)
    state = _AT_STATE.search(words)
    match = _AT.fullmatch(_AT_WORDS.sub(" ", _AT_STATE.sub(" ", words)).strip(" -,;"))
    if match is None:
        return None
    number, kind, unit = float(match["number"]), (match["role"] or "").lower(), match["unit"] or ""
    held = None if state is None else state_name(state[0])
    counted = kind if kind not in ("", "t", "time") else unit.lower()
    for role in ("cycle", "pulse"):
        if counted.startswith(role[:3]):
            return role, number, held
    of_time = parse_unit(unit)
    if of_time is not None and of_time.quantity == "s":
        return "time", number * of_time.scale, held
    if kind:
        step = "Write the unit of the time, such as `t=10 s (uS)`."
        raise InputError(f"{where}, headings", f"a time without a unit in {heading!r}", "s, min, h, days", step)
    return None


def _of_state(
    index: int, heading: str, state: str | None, unit: Unit | None, text: str, where: str,
    at: tuple[str, float] | None = None,
) -> Column | None:  # fmt: skip
    """Return the column of the values of one state, or of one cycle, pulse or time."""
    if unit is None and not text:
        return None
    if unit is None or unit.quantity not in ("S", "ohm", "A"):
        raise _unit_error(heading, text, "S, ohm or A", where)
    return Column(index, heading, {"S": "G", "ohm": "R", "A": "current"}[unit.quantity], state, unit, at)


def _unit_error(heading: str, text: str, allowed: str, where: str) -> InputError:
    step = 'Correct the unit in the heading, or state it with --columns "HEADING=ROLE UNIT".'
    got = f"a unit that is not understood there, {text!r}, in {heading!r}"
    return InputError(f"{where}, headings", got, f"{allowed}, with a prefix from f to T", step)


def named_columns(text: str | Mapping[str, str] | None) -> dict[str, str]:
    """Return heading -> `ROLE UNIT` of `--columns "R_on=LRS ohm,t=time s"`, or the mapping itself."""
    if text is None or isinstance(text, Mapping):
        return dict(text or {})
    pairs = [part.rpartition("=") for part in text.split(",") if part.strip()]
    if any(not head.strip() or not tail.strip() for head, _, tail in pairs):
        raise InputError(
            "--columns", repr(text), '"HEADING=ROLE UNIT,…"', 'Write, for example, "R_on=LRS ohm,t=time s".'
        )
    return {head.strip(): tail.strip() for head, _, tail in pairs}


def names_numbers(key: str) -> bool:
    """Tell whether a key of `--columns` names columns by number: `3`, `2-50`, or `*` for all others."""
    return key.isdecimal() or _MANY.fullmatch(key) is not None


def _one_by_one(chosen: Mapping[str, str], heads: list[str]) -> dict[int, tuple[str, int]]:
    """Return column -> (meaning, place among the columns of its key), for keys of one column or of many.

    Raises:
        InputError: a key names no column.
    """
    found: dict[int, tuple[str, int]] = {}
    many = [key for key in chosen if key not in heads and _MANY.fullmatch(key)]
    for key in (k for k in chosen if k not in many):
        place = heads.index(key) if key in heads else int(key) - 1 if key.isdecimal() else -1
        if not 0 <= place < len(heads):
            raise InputError("--columns", repr(key), f"a heading: {shown(heads)}", "Correct the name.")
        found[place] = chosen[key], 1
    single = set(found)
    for key in sorted(many, reverse=True):  # `*` last
        first, _, last = key.replace("*", f"1-{len(heads)}").partition("-")
        within = range(int(first) - 1, int(last))
        if not 1 <= int(first) <= int(last) <= len(heads) or (key != "*" and not found.keys() & within <= single):
            allowed = f"numbers from 1 to {len(heads)}, ascending, each once"
            raise InputError("--columns", repr(key), allowed, "Correct them.")
        others = [i for i in within if i not in found]
        found |= {i: (chosen[key], place) for place, i in enumerate(others, 1)}
    return found


def chosen_column(index: int, heading: str, meaning: str, place: int = 1) -> Column | None:
    """Return the column that `--columns` declares: a role or a state, with a unit where it needs one; None for skip.

    `LRS cycle uS` is the LRS of one cycle; its number is the place of the column among those of the same key.
    """
    if meaning.strip().lower() == "skip":
        return None
    each = _EACH.fullmatch(meaning.strip())
    if each is not None:
        state = None if each["state"] is None else state_name(each["state"])
        if each["state"] is None or state is not None:
            at, unit = (each["role"].lower(), float(place)), parse_unit(each["unit"])
            return _of_state(index, heading, state, unit, each["unit"], "--columns", at)
    name, _, tail = meaning.partition(" ")
    unit = parse_unit(tail) if tail else None
    where = f"--columns, {heading!r}"
    if tail and unit is None:
        raise _unit_error(heading, tail, "S, ohm, V, A, s, K", where)
    role = next((role for role in _ROLES if role.lower() == name.lower()), None)
    role = {None: role, "G": "R" if unit and unit.quantity == "ohm" else "G"}.get(role, role)
    if role is not None:
        allowed = _UNITS.get(role, ())
        if unit is not None and unit.quantity not in allowed:
            raise _unit_error(heading, tail, " or ".join(allowed) or "no unit", where)
        if unit is None and role in ("G", "R", "target"):
            raise InputError(
                where, repr(meaning), f"{role} with a unit", f'Write "{heading}={role} uS" or another unit.'
            )
        return Column(index, heading, role, None, unit)
    state = state_name(name)
    column = None if state is None else _of_state(index, heading, state, unit, tail, where)
    if column is None:
        allowed = f"a state (LRS, HRS, 0, 1, …) with a unit, {', '.join(_ROLES)}, or skip"
        raise InputError(where, repr(meaning), allowed, 'Write, for example, "R_on=LRS ohm" or "t=time s".')
    return column


def parse_headings(heads: list[str], chosen: Mapping[str, str], where: str) -> list[Column]:
    """Return the columns that headings name, or that `chosen` (heading or number from 1 -> meaning) declares.

    Raises:
        InputError: a chosen column is absent, or a unit is not understood.
    """
    meanings = _one_by_one(chosen, heads)
    found = (
        chosen_column(i, head, *meanings[i]) if i in meanings else parse_heading(i, head, where)
        for i, head in enumerate(heads)
    )  # fmt: skip
    return [column for column in found if column is not None]


def shown(items: list[Any], most: int = 8) -> str:
    """Return the first items as text, and how many there are where that is not all."""
    text = ", ".join(f"{item!r}"[:60] for item in items[:most])
    return text if len(items) <= most else f"{text}, … ({len(items)} in all)"
