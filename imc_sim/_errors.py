"""Errors that a user can act on: where, what was got, what is allowed, what to do next."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

#: controls but tab and line feed, surrogates, noncharacters: terminals obey them, XML and files cannot hold them
HIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_BREAK = re.compile(r"[\r\n]+")
_REORDERING = re.compile(r"[\u202a-\u202e\u2066-\u2069]")


def printable(text: object) -> str:
    """Return text with its control characters, and those that reorder a line, as escapes such as \\x1b."""
    escape = lambda match: ascii(match[0])[1:-1]  # noqa: E731
    return _REORDERING.sub(escape, HIDDEN.sub(escape, str(text)))


class ImcSimError(Exception):
    """Base of every error that this package raises on purpose. `exit_code` is that of the command line."""

    exit_code = 2


class InputError(ImcSimError, ValueError):
    """Bad input. The message says where, what was got, what is allowed and what to do next.

    Args:
        where: the place: a file and key, an option or a parameter.
        got: what was found there.
        allowed: what is expected.
        next_step: what the user can do, as a sentence.
    """

    def __init__(self, where: str, got: object, allowed: str, next_step: str) -> None:
        self.where, self.got, self.allowed, self.next_step = where, got, allowed, next_step
        text = f"{where}: got {got}; allowed: {allowed}. {next_step}"
        lines = [line.strip() for line in _BREAK.split(text)] if _BREAK.search(text) else [text]
        super().__init__(printable(" ".join(filter(None, lines))))  # one line, also of other libraries' messages

    def __reduce__(self) -> tuple[type, tuple[str, object, str, str]]:
        return type(self), (self.where, self.got, self.allowed, self.next_step)


class MissingDataError(InputError):
    """A data set is not where it was looked for."""


class ResultsError(InputError):
    """A results folder cannot be used: another study's, a newer version's, or damaged."""


class ImcSimWarning(UserWarning):
    """Base of the warnings that the command line prints as remarks."""


class ShadowedNameWarning(ImcSimWarning):
    """Content of the user has the name of shipped content, and is used in its place."""


class ResultsWarning(ImcSimWarning):
    """Damaged rows were moved out of a results folder, or it was restored otherwise."""


class InsecureWarning(ImcSimWarning):
    """Others may run code as the user, such as through a scheduler without TLS."""


class SlowPrecisionWarning(ImcSimWarning):
    """The processor has no instructions for the precision of a recipe, and emulates it slowly."""


class CheckpointError(InputError):
    """A weights file is damaged, unsafe, or of another architecture."""


def reason_of(error: BaseException) -> str:
    """Return the first line of the message of an error, or its type where it has none."""
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__


def check_whole(
    value: Any, where: str, least: int = 0, most: int | None = None, step: str = "Set such a number."
) -> None:
    """Raise InputError unless a value is a whole number from `least` to `most`.

    Args:
        value: what a user gave.
        where: the parameter.
        least: the smallest number that is allowed.
        most: the largest one; None: no limit.
        step: what the user can do.
    """
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or int(value) < least or (most is not None and int(value) > most):
        span = f"of {least} or more" if most is None or most >= 2**60 else f"from {least} to {most}"
        raise InputError(where, shown_value(value), f"a whole number {span}", step)


def check_positive(value: Any, where: str) -> None:
    """Raise InputError unless a value is a finite number above 0."""
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 < float(value) < float("inf"):
        raise InputError(where, shown_value(value), "a number above 0", "Set such a number.")


def shown_value(value: object) -> str:
    """Return a value as text for an error: at most 80 characters, and not the digits of a huge number."""
    if isinstance(value, int) and abs(value) > 10**40:
        return f"a number of {value.bit_length()} bits"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


def nearest(name: str, known: Iterable[str], count: int = 3) -> str:
    """Return the known names closest to `name`, as a phrase for an error; empty if none is close."""
    close = difflib.get_close_matches(name, list(known), n=count, cutoff=0.5)
    return f"Did you mean {' or '.join(repr(c) for c in close)}? " if close else ""
