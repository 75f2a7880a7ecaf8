"""Import matplotlib whatever backend the environment names: only Agg draws the figures of this package.

Jupyter passes MPLBACKEND=module://matplotlib_inline.backend_inline on to the commands that it starts, and importing
matplotlib fails with it where that package is not installed.
"""

from __future__ import annotations

import contextlib
import os
import sys


def import_matplotlib() -> None:
    """Import matplotlib without $MPLBACKEND, then apply the variable as matplotlib does, unless it is invalid."""
    backend = None if "matplotlib" in sys.modules else os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib as mpl
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    if backend:
        with contextlib.suppress(ValueError):
            mpl.rcParams["backend"] = backend


import_matplotlib()
