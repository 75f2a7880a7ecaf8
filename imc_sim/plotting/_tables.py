"""Reading the tables of figures."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from pandas import DataFrame


def numbers(data: DataFrame, name: str) -> NDArray[np.float64]:
    """A column as numbers; what is empty is NaN."""
    return np.asarray(data[name], dtype=np.float64)


def where(data: DataFrame, name: str, value: Any) -> DataFrame:
    """The rows whose column has this value."""
    return cast("DataFrame", data[data[name] == value])


def distinct(data: DataFrame, name: str) -> list[Any]:
    """The values of a column, each once, in the order of their first appearance."""
    return list(dict.fromkeys(data[name].tolist()))


def chip_count(data: DataFrame) -> str:
    """How many chips stand behind the rows: `30`, or `30-200` where they differ."""
    least, most = int(numbers(data, "chips").min()), int(numbers(data, "chips").max())
    return f"{least}" if least == most else f"{least}-{most}"
