"""Aliases shared by all layers."""

from __future__ import annotations

import os
from collections.abc import Callable

#: A path or a name as a user gives it.
PathLike = str | os.PathLike[str]

#: Called with (done, total) while something long runs; drawing the bar is the command line's business.
Progress = Callable[[int, int], None]
