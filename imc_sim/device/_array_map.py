"""Device variation of an array whose cells were measured with their positions: a map in an .npz file."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from scipy.special import ndtr
from torch import Tensor

from imc_sim._arguments import checked
from imc_sim._compressed import UNREADABLE, load_arrays
from imc_sim._errors import InputError, reason_of
from imc_sim._files import file_sha256
from imc_sim.device._measured import between_levels
from imc_sim.device._programming import Programming

#: ends of the names of arrays, and how many of their unit are 1 S
_UNITS = {"_S": 1.0, "_mS": 1e3, "_uS": 1e6, "_nS": 1e9, "_pS": 1e12}
#: most targets that are levels; cells with more have continuous levels
_LEVELS = 64
#: cells of similar targets that are resampled together where levels are continuous, and most such groups
_GROUP, _GROUPS = 200, 32
#: least slope of the conductances over the targets, and the inverse of the largest; another unit or order is outside
_LEAST_SLOPE = 0.1
_ALLOWED = "arrays conductance_S and target_S (or _mS, _uS, _nS, _pS) [rows, columns], or [maps, rows, columns]"


@final
class MapVariation(Programming):
    """Device variation of a measured map of conductances and their targets.

    resample: a cell takes the deviation from its target of a measured cell of the same target, picked at random. Where
    targets are continuous, cells of similar targets are picked from; targets between two levels or groups have the
    linear mixture of both at equal quantiles.

    cells: a cell takes the deviation in S of the measured cell at its position, of several maps that whose target is
    nearest. The tiles of the layers are placed on the map one after the other, each on other cells; with `repeat` each
    tile begins at a random cell instead, and the map continues at its other side.

    Key memories are resampled in both cases.
    """

    kind: Literal["map"] = "map"
    file: str = Field(description="path of the .npz file; the content counts, not the path")
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="SHA-256 of the file")
    use: Literal["resample", "cells"] = Field(default="resample", description="cells picked at random, or by position")
    repeat: bool = Field(default=False, description="cells: whether tiles may share cells, and begin at a random one")
    scale: float = Field(default=1.0, ge=0.0, le=100.0, description="factor on the deviations from the targets")

    @property
    def is_ideal(self) -> bool:
        return self.scale == 0.0

    @property
    def by_position(self) -> bool:
        """Tell whether cells have the deviations of the measured ones at their positions."""
        return self.use == "cells" and not self.is_ideal

    def idle(self) -> frozenset[str]:
        return super().idle() | ({"file"} if self.use == "cells" else {"file", "repeat"})

    @property
    def map(self) -> ArrayMap:
        """Return the measured map, read again only when the file has changed.

        Raises:
            InputError: the file is missing, is no map, or has another content.
        """
        found = read_map(self.file)
        if found.sha256 != self.sha256:
            step = "Put the file of the study back, or load the chip from the file again."
            got = f"{self.file!r} with content {found.sha256[:12]}"
            raise InputError("device.programming.file", got, self.sha256[:12], step)
        return found

    def unclipped(self, target: Tensor, normal: Tensor, floor: float, window_S: float) -> Tensor:
        found = self.map
        levels = torch.from_numpy(found.groups)
        return between_levels(levels, found.sampled, target, normal, floor, window_S, self.scale)


@final
@dataclass(frozen=True, eq=False)
class ArrayMap:
    """Hold the conductances and targets of measured cells.

    Attributes:
        sha256: SHA-256 of the file.
        conductance_S: measured conductances [maps, rows, columns].
        target_S: their targets [maps, rows, columns].
    """

    sha256: str
    conductance_S: NDArray[np.float64]
    target_S: NDArray[np.float64]

    @functools.cached_property
    def levels(self) -> NDArray[np.float64]:
        """Return the targets in S, ascending."""
        return np.unique(self.target_S)

    @functools.cached_property
    def groups(self) -> NDArray[np.float64]:
        """Return the mean target in S of every group of cells that are resampled together, ascending."""
        return np.array([self.target_S.ravel()[cells].mean() for cells in self._cells])

    @functools.cached_property
    def _cells(self) -> list[NDArray[np.int64]]:
        """Return the cells of every group: those of a level, or of similar targets."""
        order, count = np.argsort(self.target_S, axis=None, kind="stable"), self.target_S.size
        if len(self.levels) > _LEVELS:
            return np.array_split(order, min(max(count // _GROUP, 1), _GROUPS))
        return np.split(order, np.searchsorted(self.target_S.ravel()[order], self.levels[1:]))

    @functools.cached_property
    def _sorted(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the deviations in S of all groups, ascending in each, and the first place and count of each."""
        deviation = (self.conductance_S - self.target_S).ravel()
        each = [np.sort(deviation[cells]) for cells in self._cells]
        counts = torch.tensor([len(cells) for cells in each])
        return torch.from_numpy(np.concatenate(each)), counts.cumsum(0) - counts, counts

    def sampled(self, group: Tensor, normal: Tensor) -> Tensor:
        """Return the deviation in S of the cell of a group at the quantile of each normal number.

        Args:
            group: number of the group (int64), broadcastable to normal.
            normal: standard normal numbers.
        """
        deviations, first, counts = self._sorted
        share = torch.from_numpy(np.asarray(ndtr(normal.double().numpy())))
        rank = (share * counts[group]).long().minimum(counts[group] - 1)
        return deviations[first[group] + rank]

    def at(self, target_S: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        """Return the deviations in S of the measured cells at some positions, and how far their targets are, in S.

        Of several maps, each cell takes the one whose target is nearest.

        Args:
            target_S: targets [lines, cells].
            rows: rows of the map [lines].
            columns: columns of the map [cells].
        """
        place = (slice(None), rows.numpy()[:, None], columns.numpy())
        targets, measured = torch.from_numpy(self.target_S[place]), torch.from_numpy(self.conductance_S[place])
        apart, nearest = (targets - target_S).abs().min(0)
        return (measured - targets).gather(0, nearest[None])[0], apart

    @property
    def size(self) -> tuple[int, int]:
        """Return the rows and columns."""
        return self.target_S.shape[1], self.target_S.shape[2]


@checked
def read_map(path: str | os.PathLike[str]) -> ArrayMap:
    """Read a map of conductances and targets.

    Args:
        path: .npz file.

    Returns:
        The map.

    Raises:
        InputError: the file is missing, or no valid map.
    """
    place, where = Path(path).absolute(), f"map {str(path)!r}"
    try:
        return _read(place, file_sha256(place))
    except OSError as error:
        step = "Put the file there, or fix the path."
        raise InputError(where, error.strerror or reason_of(error), f"an .npz file with {_ALLOWED}", step) from error
    except UNREADABLE as error:
        if isinstance(error, InputError):
            raise InputError(where, error.got, error.allowed, error.next_step) from None
        step = "Write it with numpy.savez."
        raise InputError(where, reason_of(error), f"an .npz file with {_ALLOWED}", step) from error


@functools.lru_cache(maxsize=4)
def _read(path: Path, sha256: str) -> ArrayMap:
    """Return the checked map in a file of this digest."""
    with load_arrays(path) as held:
        if not isinstance(held, np.lib.npyio.NpzFile):
            raise TypeError("a single array (.npy)")
        found, names = {kind: _siemens(held, kind) for kind in ("conductance", "target")}, list(held)
    conductance, target = found["conductance"], found["target"]
    if conductance is None or target is None:
        step = "Add what the cells were programmed to: numpy.savez(FILE, conductance_S=…, target_S=…)."
        if any("/conductance_" in name for name in names):
            step = "Run cells of layers (AnalogModel.to_npz) with the key conductances of studies, or --conductances."
        missing = "no conductances" if conductance is None else "no targets"
        raise InputError("map", f"{missing}, only {', '.join(map(repr, names)) or 'nothing'}", _ALLOWED, step)
    if conductance.shape != target.shape or conductance.ndim not in (2, 3) or not conductance.size:
        got = f"conductances of shape {conductance.shape} and targets of shape {target.shape}"
        raise InputError("map", got, "equal shapes [rows, columns] or [maps, rows, columns]", "Reshape the arrays.")
    _check("conductances", conductance)
    _check("targets", target)
    if len(np.unique(target)) < 2:
        step = "Measure the array in each state, and stack the maps: [maps, rows, columns]."
        raise InputError("map", f"one target, {target.flat[0]:.4g} S", "targets of LRS and of HRS", step)
    centered = target - target.mean()
    slope = float((centered * conductance).sum() / (centered * target).sum())
    if not _LEAST_SLOPE <= slope <= 1 / _LEAST_SLOPE:
        got = f"conductances that rise by {slope:.3g} of their targets"
        step = "Check the units in both names, and that rows and columns of both arrays are in the same order."
        raise InputError("map", got, f"{_LEAST_SLOPE:g} to {1 / _LEAST_SLOPE:g}: cells that follow their targets", step)
    shape = (-1, *target.shape[-2:])
    return ArrayMap(sha256, conductance.reshape(shape), target.reshape(shape))


def _siemens(held: Any, kind: str) -> NDArray[np.float64] | None:
    """Return the array of a kind in S; None where there is none."""
    names = [kind + unit for unit in _UNITS if kind + unit in held]
    if len(names) > 1:
        raise InputError("map", " and ".join(names), f"one array of {kind}s", "Leave one out.")
    if not names:
        return None
    values = held[names[0]]
    if values.dtype.kind not in "fiu":
        raise InputError("map", f"{names[0]} of type {values.dtype}", "numbers", "Convert them to float64.")
    return values.astype(np.float64) / _UNITS[names[0].removeprefix(kind)]


def _check(what: str, values: NDArray[np.float64]) -> None:
    """Raise InputError for values that are no conductances."""
    step = "Fill in 0 for open cells, or cut the map to rows and columns that were measured."
    for bad, name in (
        (~np.isfinite(values), "NaN or infinite"), (values < 0, "negative"), (values > 1.0, "above 1 S"),
    ):  # fmt: skip
        if bad.any():
            first = tuple(int(i) for i in np.argwhere(bad)[0])
            got = f"{int(bad.sum())} {what} that are {name}, the first at {first}"
            raise InputError("map", got, "finite conductances from 0 to 1 S, in the unit of their name", step)


def chip_of_map(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the description of a chip with the levels and the cells of a map.

    Args:
        path: .npz file.

    Returns:
        The content of a chip file.

    Raises:
        InputError: the file is missing, or no valid map.
    """
    found, place = read_map(path), Path(path).absolute()
    levels: dict[str, Any] = {"table_S": found.levels.tolist()}
    if len(found.levels) == 2 or len(found.levels) > _LEVELS:
        levels = {"g_hrs_S": float(found.levels[0]), "g_lrs_S": float(found.levels[-1])}
    if len(found.levels) > _LEVELS:
        levels["levels"] = "continuous"
    maps = f"{len(found.target_S)} maps of " if len(found.target_S) > 1 else ""
    return {
        "name": place.stem, "source": f"{place.name}, SHA-256 {found.sha256}",
        "validity": f"{maps}{found.size[0]} x {found.size[1]} measured cells; all else is ideal unless it is set",
        "device": {**levels, "programming": {"kind": "map", "file": str(place), "sha256": found.sha256}},
    }  # fmt: skip
