"""Errors that a user can act on: where, what was got, what is allowed, what to do next."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

#: controls but tab and line feed, surrogates, noncharacters: terminals obey them, XML and files cannot hold them
HIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
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
        super().__init__(printable(f"{where}: got {got}; allowed: {allowed}. {next_step}"))

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


class CheckpointError(InputError):
    """A weights file is damaged, unsafe, or of another architecture."""


def reason_of(error: BaseException) -> str:
    """Return the first line of the message of an error, or its type where it has none."""
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__


def nearest(name: str, known: Iterable[str], count: int = 3) -> str:
    """Return the known names closest to `name`, as a phrase for an error; empty if none is close."""
    close = difflib.get_close_matches(name, list(known), n=count, cutoff=0.5)
    return f"Did you mean {' or '.join(repr(c) for c in close)}? " if close else ""
