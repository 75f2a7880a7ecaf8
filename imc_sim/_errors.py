"""Errors that a user can act on: where, what was got, what is allowed, what to do next."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


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
        super().__init__(f"{where}: got {got}; allowed: {allowed}. {next_step}")

    def __reduce__(self) -> tuple[type, tuple[str, object, str, str]]:
        return type(self), (self.where, self.got, self.allowed, self.next_step)


class MissingDataError(InputError):
    """A data set is not where it was looked for."""


class ResultsError(InputError):
    """A results folder cannot be used: another study's, a newer version's, or damaged."""


class ResultsWarning(UserWarning):
    """Damaged rows were moved out of a results folder, or it was restored otherwise."""


class CheckpointError(InputError):
    """A weights file is damaged, unsafe, or of another architecture."""


def reason_of(error: BaseException) -> str:
    """Return the first line of the message of an error, or its type where it has none."""
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__


def nearest(name: str, known: Iterable[str], count: int = 3) -> str:
    """Return the known names closest to `name`, as a phrase for an error; empty if none is close."""
    close = difflib.get_close_matches(name, list(known), n=count, cutoff=0.5)
    return f"Did you mean {' or '.join(repr(c) for c in close)}? " if close else ""
