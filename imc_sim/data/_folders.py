"""Where data sets lie, and where their decoded copies are kept."""

from __future__ import annotations

import os
from pathlib import Path

from imc_sim.config import user_path

#: the home folder of a user who has none, as Debian calls it: nothing is found there, and nothing can be kept
_NO_HOME = Path("/nonexistent")


def _user_cache() -> Path:
    xdg = os.environ.get("XDG_CACHE_HOME")
    return (user_path(xdg, "XDG_CACHE_HOME") if xdg else _home() / ".cache") / "imc_sim"


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:  # no HOME, and a user without an entry, as in a container that was started with --user
        return _NO_HOME


def data_root(root: Path | None = None) -> Path:
    """The folder that holds the data sets: the argument, else `$IMC_SIM_DATA`, else the user's cache folder.

    Each set lies in it as its official archive unpacks, and as torchvision lays it out.
    """
    named = root or os.environ.get("IMC_SIM_DATA")
    return user_path(named, "IMC_SIM_DATA") if named else _user_cache() / "data"


def cache_folder() -> Path:
    """The folder of decoded copies: `$IMC_SIM_CACHE`, else the user's cache folder. It can be deleted at any time."""
    named = os.environ.get("IMC_SIM_CACHE")
    return user_path(named, "IMC_SIM_CACHE") if named else _user_cache() / "decoded"
