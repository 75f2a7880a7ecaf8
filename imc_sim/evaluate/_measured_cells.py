"""Files of measured conductances, whose cells take the place of simulated ones. Importing this loads no torch."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imc_sim._errors import InputError
from imc_sim._files import file_sha256

if TYPE_CHECKING:
    from numpy.typing import NDArray


def conductances_digest(path: str) -> str:
    """Return the SHA-256 of a file of measured conductances.

    Args:
        path: of the file.

    Raises:
        InputError: there is no such file.
    """
    try:
        return file_sha256(Path(path))
    except OSError as error:
        step = "Fix the path, or write the file with AnalogModel.to_npz and replace its conductances by those measured."
        raise InputError("conductances", f"{path!r} ({error.strerror})", "an .npz file", step) from error


def measured_cells(path: str | None) -> dict[str, NDArray[Any]] | None:
    """Return measured conductances by layer, read again only when the file has changed; None for no file.

    Args:
        path: of the file; None: cells are simulated.
    """
    return None if path is None else _read(path, conductances_digest(path))


@functools.lru_cache(maxsize=2)
def _read(path: str, _sha256: str) -> dict[str, NDArray[Any]]:
    from imc_sim.analog import read_conductances

    return read_conductances(path)


def measured_chips(path: str) -> int:
    """Return the number of chips in a file of measured conductances.

    Args:
        path: of the file.
    """
    from imc_sim.analog import chip_count

    return chip_count(_read(path, conductances_digest(path)))


def check_measured_chips(path: str, chips: int, step: str) -> None:
    """Raise if fewer chips were measured than are to be evaluated.

    Args:
        path: of the file.
        chips: number of chips.
        step: what to do.

    Raises:
        InputError: fewer were measured.
    """
    found = measured_chips(path)
    if chips > found:
        raise InputError(f"conductances, {path}", f"{found} measured chips for {chips}", f"1 to {found} chips", step)
