"""Folders of the data sets and of their decoded copies."""

from __future__ import annotations

import os
from pathlib import Path

from imc_sim._arguments import checked
from imc_sim.config import user_cache, user_path


@checked
def data_root(root: Path | None = None) -> Path:
    """Return the folder that holds the data sets.

    Each data set has the layout of its unpacked official archive in it, which is also the layout of torchvision.

    Args:
        root: the folder, `~` allowed; None: `$IMC_SIM_DATA` or, if that is not set, `data` in the user's cache folder
            of imc_sim.

    Returns:
        The folder; it need not exist.

    Raises:
        InputError: the path begins with `~` and the home folder is unknown.
    """
    named = root or os.environ.get("IMC_SIM_DATA")
    return user_path(named, "IMC_SIM_DATA") if named else user_cache() / "data"


def cache_folder() -> Path:
    """Return the folder of decoded data sets: `$IMC_SIM_CACHE`, or `decoded` in the user's cache folder of imc_sim.

    The folder can be deleted at any time.

    Returns:
        The folder; it need not exist.

    Raises:
        InputError: the path begins with `~` and the home folder is unknown.
    """
    named = os.environ.get("IMC_SIM_CACHE")
    return user_path(named, "IMC_SIM_CACHE") if named else user_cache() / "decoded"
