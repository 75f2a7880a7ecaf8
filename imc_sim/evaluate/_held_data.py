"""The data in the memory of a worker, and whether they are those of the study."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar

from imc_sim._errors import InputError
from imc_sim.data import data_digest, data_state

#: state of the files that the images in memory were read from, by part of the data
_READ: dict[str, str] = {}
#: state and digest of parts whose content was checked
_CHECKED: dict[str, tuple[str, str]] = {}
#: called when files changed after their images were read
_FORGET: list[Callable[[], None]] = []
#: the caller has checked the files
_HELD = ContextVar("held", default=False)


@contextlib.contextmanager
def holding(expected: Mapping[str, str]) -> Iterator[None]:
    """Check that the data on this machine have these digests; evaluations in the block do not check files again.

    Content is read only where names, sizes or times of files differ from those of the last check.

    Args:
        expected: part of the data -> digest.

    Yields:
        Nothing.

    Raises:
        InputError: the data differ.
    """
    refresh_data(expected)
    for part, digest in expected.items():
        if _CHECKED.get(part) == (_READ[part], digest):
            continue
        found = data_digest(part)
        if found != digest:
            step = "Give this worker the data of the machine that runs the study (IMC_SIM_DATA), and leave them alone."
            raise InputError(f"data {part!r} on this worker", f"content {found[:12]}", digest[:12], step)
        _CHECKED[part] = _READ[part], digest
    token = _HELD.set(True)
    try:
        yield
    finally:
        _HELD.reset(token)


def forget_with(forget: Callable[[], None]) -> None:
    """Register `forget`, which is called whenever files of data in memory have changed."""
    _FORGET.append(forget)


def refresh_data(parts: Iterable[str]) -> None:
    """Forget all images and everything computed from them, if a file of these parts has changed."""
    if _HELD.get():
        return
    states = {part: data_state(part) for part in parts}
    if any(_READ.get(part, state) != state for part, state in states.items()):
        for forget in _FORGET:
            forget()
        _READ.clear()
    _READ.update(states)
