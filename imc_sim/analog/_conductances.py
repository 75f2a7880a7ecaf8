"""Conductances of a mapped network in a file: out of the simulation, and in from a laboratory."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imc_sim._compressed import UNREADABLE, load_arrays
from imc_sim._errors import InputError, reason_of
from imc_sim._files import write_file
from imc_sim.analog._layers import AnalogLayer
from imc_sim.array import Chip, Crossbar
from imc_sim.config import user_path

#: ends of the names of arrays
PROGRAMMED, TARGET, ABOUT = "/conductance_S", "/target_S", "metadata"


def write_conductances(
    path: str | os.PathLike[str], analog: Mapping[str, AnalogLayer], chip: Chip, blocks: Sequence[range],
    program: Callable[[range], None],
) -> Path:  # fmt: skip
    """Write the target and programmed conductances of every layer on crossbars to an .npz file.

    Args:
        path: of the file.
        analog: layers on crossbars by name.
        chip: the chip.
        blocks: numbers of the chips that are programmed together.
        program: programs the layers for such chips.

    Returns:
        The path.

    Raises:
        InputError: cells are not single ones, or another backend computes.
    """
    each: dict[str, list[NDArray[np.float64]]] = {name: [] for name in analog}
    arrays: dict[str, NDArray[Any]] = {}
    for chips in blocks:
        program(chips)
        for name, layer in analog.items():
            each[name].append(_crossbar(layer).programmed.numpy())
    layers = {}
    for name, layer in analog.items():
        crossbar = _crossbar(layer)
        arrays[name + PROGRAMMED], arrays[name + TARGET] = np.concatenate(each[name]), crossbar.targets.numpy()
        layers[name] = {"weights": list(crossbar.shape[1:]), "encoding": layer.encoding.to_dict()}
    about = {
        "unit": "S", "axes": ["chip", "tile", "word line", "bit line"],
        "chips": [number for chips in blocks for number in chips], "chip": chip.to_dict(), "layers": layers,
    }  # fmt: skip
    arrays[ABOUT] = np.array(json.dumps(about))
    file = user_path(path, "to_npz")
    write_file(file, lambda opened: np.savez_compressed(opened, **arrays))  # type: ignore[arg-type]
    return file


def read_conductances(path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """Read the programmed conductances of layers by name, in S.

    Args:
        path: .npz file with an array `LAYER/conductance_S` [chip, tile, tile.rows, tile.cols] for every layer.

    Returns:
        The arrays by the name of the layer; their shapes and values are checked when they are mapped.

    Raises:
        InputError: the file is missing, no .npz file, decompresses to too many bytes, or has no such arrays.
    """
    file = user_path(path, "conductances")
    allowed = f"an .npz file with arrays LAYER{PROGRAMMED}"
    try:
        with load_arrays(file) as held:
            found = {key.removesuffix(PROGRAMMED): held[key] for key in held if key.endswith(PROGRAMMED)}
            names = ", ".join(held)
    except InputError:
        raise
    except UNREADABLE as error:
        step = "Write the file with AnalogModel.to_npz, and replace its conductances by those measured."
        raise InputError(f"conductances, {file}", reason_of(error), allowed, step) from error
    if not found:
        step = "Write a file with AnalogModel.to_npz to see the names."
        raise InputError(f"conductances, {file}", f"the arrays {names or 'of an empty file'}", allowed, step)
    return found


def chip_count(measured: Mapping[str, Any]) -> int:
    """Return the number of chips whose cells were all measured; arrays without a chip axis are of one.

    Args:
        measured: conductances by the name of the layer.
    """
    return min(len(each) if each.ndim > 3 else 1 for each in measured.values())


def check_names(measured: Mapping[str, Any], analog: Mapping[str, AnalogLayer]) -> None:
    """Check that conductances are of layers on crossbars.

    Args:
        measured: conductances by the name of the layer.
        analog: layers on crossbars by name.

    Raises:
        InputError: a layer is not on crossbars.
    """
    wrong = next((name for name in measured if name not in analog), None)
    if wrong is not None:
        step = "Leave it out, or set policy.layers: {NAME: crossbar}."
        allowed = f"{', '.join(analog) or 'none'}, the layers on crossbars"
        raise InputError("conductances", f"layer {wrong!r}", allowed, step)


def deviations(analog: Mapping[str, AnalogLayer]) -> dict[str, float]:
    """Return the root mean square deviation of programmed cells from their targets, by layer, in windows.

    Args:
        analog: layers on crossbars by name, with the chips that are programmed.
    """
    found = {}
    for name, layer in analog.items():
        crossbar = _crossbar(layer)
        place = crossbar.placement
        off = place.join(crossbar.programmed) - place.join(crossbar.targets)
        found[name] = float(off.square().mean().sqrt()) / crossbar.chip.device.window_S
    return found


def _crossbar(layer: AnalogLayer) -> Crossbar:
    if isinstance(layer.crossbar, Crossbar):
        return layer.crossbar
    step = "Map the network with the native backend."
    raise InputError(f"layer {layer.name!r}", "a backend without single conductances", "the native backend", step)
