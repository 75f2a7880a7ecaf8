"""Read a file and build a specification once within a block, such as while all points of a study are resolved.

A study of 1,000 points looks up the same card a thousand times, and needs each chip seven times. Outside of a block
nothing is kept, so that a change of a file is noticed.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, TypeVar

T = TypeVar("T")
#: what is kept of each kind in the block; None: outside of a block
_KEPT: ContextVar[dict[str, OrderedDict[object, Any]] | None] = ContextVar("kept", default=None)
#: most objects of a kind: a chip takes 20 kB
_MOST = 2048


@contextlib.contextmanager
def reading_once() -> Iterator[None]:
    """Keep what is read and built in the block; files must not be changed within it. Blocks may be nested.

    Yields:
        Nothing.
    """
    if _KEPT.get() is not None:
        yield
        return
    token = _KEPT.set({})
    try:
        yield
    finally:
        _KEPT.reset(token)


def once(kind: str, key: object, make: Callable[[], T]) -> T:
    """Return what was made for this key in the block; outside of a block, make it.

    Args:
        kind: what is made.
        key: everything that it depends on.
        make: returns it; errors are not kept.

    Returns:
        An object that other callers hold too; do not change it in place.
    """
    kept = _KEPT.get()
    if kept is None:
        return make()
    known = kept.setdefault(kind, OrderedDict())
    if key in known:
        known.move_to_end(key)
        return known[key]
    made = known[key] = make()
    if len(known) > _MOST:
        known.popitem(last=False)
    return made
