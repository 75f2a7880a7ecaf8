"""Arrays of a damaged file are one error with its name in every place that reads them, whichever byte is wrong."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imc_sim import InputError
from imc_sim.analog import read_conductances
from imc_sim.data._own import _of_npz, _read
from imc_sim.device import read_map
from imc_sim.nn.store._inputs import read_inputs

CELLS = np.linspace(1e-6, 1e-4, 24).reshape(1, 6, 4)
READERS: dict[str, tuple[Callable[[Path], object], dict[str, Any] | Any]] = {
    "conductances": (read_conductances, {"fc/conductance_S": CELLS}),
    "map": (read_map, {"conductance_S": CELLS[0], "target_S": CELLS[0]}),
    "images": (lambda p: _of_npz(p, "test", False), {"images": np.zeros((3, 4, 4), np.uint8), "labels": np.arange(3)}),
    "images alone": (_read, CELLS),
    "inputs": (read_inputs, {"a": CELLS[0]}),
    "inputs alone": (read_inputs, CELLS[0]),
}


def saved(arrays: Any, compressed: bool) -> bytes:
    file = io.BytesIO()
    if isinstance(arrays, dict):
        (np.savez_compressed if compressed else np.savez)(file, **arrays)
    else:
        np.save(file, arrays)
    return file.getvalue()


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_inputs_are_finite_in_float32(value: float, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.where(np.eye(4, 6) > 0, value, 0.5))
    with pytest.raises(InputError, match=r"^--inputs: got 4 of 24 values NaN or infinite"):
        read_inputs(tmp_path / "x.npy")


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("name", READERS)
@pytest.mark.filterwarnings("ignore")  # numpy warns of headers that are not of this version
def test_damaged_arrays_are_one_error(name: str, compressed: bool, tmp_path: Path) -> None:
    read, arrays = READERS[name]
    content, random_ = saved(arrays, compressed), random.Random(0)
    path = tmp_path / ("a.npz" if isinstance(arrays, dict) else "a.npy")
    path.write_bytes(content)
    read(path)
    errors: list[str] = []
    for _ in range(150):
        damaged = bytearray(content)
        for _ in range(random_.randint(1, 3)):
            damaged[random_.randrange(len(damaged))] = random_.randrange(256)
        path.write_bytes(damaged)
        try:
            read(path)  # a changed value may be a value
        except InputError as error:
            errors.append(str(error))
    assert errors
    assert all(path.name in error or "--inputs" in error for error in errors)
    for end in range(0, len(content), 7):
        path.write_bytes(content[:end])
        with pytest.raises(InputError, match=path.name):
            read(path)
