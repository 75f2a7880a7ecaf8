"""The data that this process has in memory, so that a study gets the images that it is about."""

from __future__ import annotations

from collections.abc import Mapping

from imc_sim._errors import InputError
from imc_sim.data import data_digest

#: digests of the data that tasks were evaluated on here
_HELD: dict[str, str] = {}


def hold_data(expected: Mapping[str, str]) -> None:
    """Check that the data on this machine have these digests, and forget what was read of others.

    Each digest is checked once: images in memory stay as they are, and a file of a folder that changes is refused when
    it is decoded.

    Raises:
        InputError: the data are others.
    """
    fresh = {part: digest for part, digest in expected.items() if _HELD.get(part) != digest}
    if not fresh:
        return
    for part, digest in fresh.items():
        found = data_digest(part)
        if found != digest:
            step = "Give this worker the data of the machine that runs the study (IMC_SIM_DATA), and leave them alone."
            raise InputError(f"data {part!r} on this worker", f"content {found[:12]}", digest[:12], step)
    forget_data()
    _HELD.update(fresh)


def forget_data() -> None:
    """Forget every image, and all that was computed of images, so that it is read again from its files."""
    from imc_sim.data import _whitening
    from imc_sim.evaluate._session import Session

    Session.forget_all()
    for kept in _whitening.OF_DATA:
        kept.cache_clear()
