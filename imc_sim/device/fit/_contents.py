"""Read files of laboratories: tables of binary formats and spreadsheets, and text in its encoding."""

from __future__ import annotations

import contextlib
import io
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from imc_sim._compressed import check_archive, check_matlab
from imc_sim._errors import InputError, reason_of
from imc_sim._quantities import type_of

#: beginnings of zip archives; a text may begin with PK too
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")


def frame_of(data: Any, where: str = "data") -> Any:
    """Return a data frame of an array, a mapping of arrays, or a data frame.

    where: source of the data in errors.
    """
    import pandas as pd

    if isinstance(data, np.ndarray) and data.dtype.names:
        data = {name: data[name] for name in data.dtype.names}
    if isinstance(data, np.ndarray):
        if data.ndim > 2:
            step = "Give a column for each quantity, or one array for each."
            raise InputError(where, f"an array of shape {data.shape}", "one or two dimensions", step)
        data = np.atleast_2d(data).T if data.ndim < 2 else data
        return pd.DataFrame(data, columns=[str(i + 1) for i in range(data.shape[1])])
    if isinstance(data, pd.DataFrame):
        return data
    if not isinstance(data, Mapping):
        step = "Give the path of a file, an array, a mapping of arrays or a data frame."
        raise InputError(where, type_of(data), "a path, an array, a mapping or a data frame", step)
    columns = {str(name): np.ravel(values) for name, values in data.items()}
    sizes = {name: len(values) for name, values in columns.items()}
    if len(set(sizes.values())) > 1:
        got = ", ".join(f"{name!r} with {size}" for name, size in list(sizes.items())[:4])
        step = "Fill up short columns with NaN; or give a column of states and one of all values, state and G (uS)."
        raise InputError(where, f"arrays {got} values", "equally many values in each", step)
    return pd.DataFrame(columns)


def binary_content(content: bytes, path: Path) -> Any:
    """Return the frame of an npy, npz or mat file, the text of a sheet of xlsx, or None for text."""
    check_archive(io.BytesIO(content), str(path))
    if content.startswith((b"\x93NUMPY", *_ZIP)) and path.suffix.lower() not in (".xlsx", ".xlsm", ".ods"):
        with _reading(path, "an npy or npz file"):
            found = np.load(io.BytesIO(content), allow_pickle=False)
            arrays = found if isinstance(found, np.ndarray) else dict(found)
        return frame_of(arrays, str(path))
    if content.startswith(b"MATLAB 5.0"):
        from scipy.io import loadmat

        check_matlab(content, str(path))
        with _reading(path, "a MATLAB file"):
            arrays = loadmat(io.BytesIO(content))
        return frame_of({name: values for name, values in arrays.items() if not name.startswith("__")}, str(path))
    if content.startswith((*_ZIP, b"\xd0\xcf\x11\xe0")):
        return _sheet(content, path)
    if content.startswith(b"\x89HDF"):
        step = "Export the columns as CSV."
        raise InputError(str(path), "an HDF5 file", "text, gz, xlsx, npy, npz or mat (version 5)", step)
    return None


@contextlib.contextmanager
def _reading(path: Path, what: str) -> Iterator[None]:
    """Turn what a library raises for a damaged file into one InputError."""
    try:
        yield
    except Exception as error:  # of numpy, zipfile, zlib or scipy; of memory where a damaged header states a shape
        allowed = f"{what} of numbers, whole"
        raise InputError(str(path), reason_of(error), allowed, "Save it again, without objects, or as CSV.") from error


def _sheet(content: bytes, path: Path) -> str:
    """Return the first sheet of a workbook as text with tabs."""
    import pandas as pd

    try:
        return pd.read_excel(io.BytesIO(content), header=None, dtype=object).to_csv(sep="\t", header=False, index=False)
    except ImportError:
        step = "pip install imc-sim[xlsx], or save the sheet as CSV."
        raise InputError(str(path), "a workbook", "a workbook where openpyxl is installed", step) from None
    except (ValueError, KeyError, zipfile.BadZipFile) as error:  # KeyError: an archive without a workbook
        raise InputError(
            str(path), reason_of(error), "a workbook of a spreadsheet", "Save the sheet as CSV."
        ) from error


def decoded(content: bytes, path: Path) -> str:
    """Return the text of UTF-8, UTF-16 (with its mark), or the western encoding of instruments."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content.decode("utf-16")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp1252", errors="replace")
    if "\x00" in text:
        step = "Export the columns as CSV."
        raise InputError(str(path), "a binary file", "text, gz, xlsx, npy, npz or mat (version 5)", step)
    return text
