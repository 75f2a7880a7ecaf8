"""Read the tables of figures."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from pandas import DataFrame


def numbers(data: DataFrame, name: str) -> NDArray[np.float64]:
    """Return a column as numbers; empty cells are NaN.

    Args:
        data: table.
        name: of the column.
    """
    return np.asarray(data[name], dtype=np.float64)


def where(data: DataFrame, name: str, value: Any) -> DataFrame:
    """Return the rows whose column has this value."""
    return cast("DataFrame", data[data[name] == value])


def distinct(data: DataFrame, name: str) -> list[Any]:
    """Return the distinct values of a column in the order of first appearance.

    Args:
        data: table.
        name: of the column.
    """
    return list(dict.fromkeys(data[name].tolist()))


def chip_count(data: DataFrame) -> str:
    """Return the number of chips of the rows: `30`, or `30-200` where they differ.

    Args:
        data: table with a column `chips`.
    """
    least, most = int(numbers(data, "chips").min()), int(numbers(data, "chips").max())
    return f"{least}" if least == most else f"{least}-{most}"
