"""Compressed files of users that decompress to far more than they hold: one error, before it takes memory."""

from __future__ import annotations

import bz2
import gzip
import lzma
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from imc_sim import _compressed
from imc_sim._errors import InputError
from imc_sim.analog import read_conductances
from imc_sim.config import read_stored
from imc_sim.data import load_classes
from imc_sim.data._readers import read_idx, read_usps
from imc_sim.device import read_table
from imc_sim.device._array_map import read_map
from imc_sim.nn.store import read_checkpoint
from imc_sim.nn.store._inputs import read_inputs

#: bytes that each file decompresses to at least
SIZE = 2**23


def table(count: int) -> bytes:
    """Return a table of cells whose lines are equal."""
    return b"state,G (uS)\n" + b"LRS,100.00\nHRS,10.000\n" * (count // 22)


def zipped(path: Path, name: str) -> None:
    """Write a zip archive of zeros."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, bytes(SIZE))


def torch_file(path: Path) -> None:
    """Write a torch file whose members are compressed."""
    torch.save({"a": torch.zeros(SIZE // 4)}, path.with_suffix(".whole"))
    with (
        zipfile.ZipFile(path.with_suffix(".whole")) as whole,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in whole.namelist():
            packed.writestr(name, whole.read(name))


def matlab(path: Path) -> None:
    """Write a compressed MATLAB file."""
    from scipy.io import savemat

    savemat(path, {"G (uS)": np.zeros(SIZE // 8)}, do_compression=True)


ZEROS, SAVE = np.zeros(SIZE // 8), cast("Any", np.savez_compressed)
#: name of the file -> writes it, reads it
FILES: dict[str, tuple[Callable[[Path], object], Callable[[Path], Any]]] = {
    "table.csv.gz": (lambda path: path.write_bytes(gzip.compress(table(SIZE))), read_table),
    "table.npz": (lambda path: SAVE(path, **{"G (uS)": ZEROS}), read_table),
    "table.xlsx": (lambda path: zipped(path, "xl/worksheets/sheet1.xml"), read_table),
    "table.mat": (matlab, read_table),
    "images.gz": (lambda path: path.write_bytes(gzip.compress(bytes(SIZE))), lambda path: read_idx((path, path))),
    "usps.bz2": (lambda path: path.write_bytes(bz2.compress(bytes(SIZE))), lambda path: read_usps((path,))),
    "own.npz": (
        lambda path: SAVE(path, test_images=ZEROS, test_labels=ZEROS),
        lambda path: load_classes(str(path), "test"),
    ),
    "inputs.npz": (lambda path: SAVE(path, x=ZEROS), read_inputs),
    "map.npz": (lambda path: SAVE(path, conductance_S=ZEROS, target_S=ZEROS), read_map),
    "cells.npz": (lambda path: SAVE(path, **{"a/conductance_S": ZEROS}), read_conductances),
    "weights.pt": (torch_file, read_checkpoint),
    "weights.shuffled.xz": (lambda path: path.write_bytes(lzma.compress(bytes(SIZE), preset=0)), read_stored),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_what_decompresses_to_far_more_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, read = FILES[name]
    write(tmp_path / name)
    monkeypatch.setattr(_compressed, "MOST", SIZE // 2)
    monkeypatch.setattr(_compressed, "_BLOCK", 2**16)
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=f"{name}.* bytes that decompress to more than 4,194,304") as caught:
            read(tmp_path / name)
        assert tracemalloc.get_traced_memory()[1] < SIZE / 4
    finally:
        tracemalloc.stop()
    assert "\n" not in str(caught.value)
    assert str(caught.value).count("; allowed: ") == 1


def test_a_file_may_decompress_to_many_times_its_size_and_any_file_to_the_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_compressed, "MOST", 1000)
    assert [_compressed.most_bytes(packed) for packed in (0, 62, 63)] == [1000, 1000, 1008]
    _compressed.check_unpacked(1008, 63, "x")
    with pytest.raises(InputError, match="x: got 63 bytes that decompress to more than 1,008; allowed: 1,008 b"):
        _compressed.check_unpacked(1009, 63, "x")
    random = np.random.default_rng(0).bytes(4000)
    monkeypatch.setattr(_compressed, "_BLOCK", 2**10)
    for content, most in ((random, 1000), (bytes(40000), 40000), (b"", 0)):
        monkeypatch.setattr(_compressed, "MOST", most)
        for kind, compress in (("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)):
            (tmp_path / kind).write_bytes(compress(content))
            with (tmp_path / kind).open("rb") as file:
                assert _compressed.decompressed(file, kind, "x") == content


#: reason of the refusal -> place in the directory of a zip archive, and what is written there
UNREADABLE = {"zip file version 20.0": (6, 200), "encrypted members": (8, 1), "compression method 99": (10, 99)}


@pytest.mark.parametrize("reason", UNREADABLE)
@pytest.mark.parametrize("read", [read_table, read_conductances])
def test_an_archive_that_python_cannot_read_is_one_error(read: Any, reason: str, tmp_path: Path) -> None:
    path, (place, value) = tmp_path / "t.npz", UNREADABLE[reason]
    np.savez(path, G=np.ones(3))
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + place] = value
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"t\.npz: got {reason}; allowed: a zip archive without encryption"):
        read(path)


def test_an_archive_without_a_workbook_is_no_workbook(tmp_path: Path) -> None:
    zipped(tmp_path / "t.xlsx", "other.xml")
    with pytest.raises(InputError, match=r"t\.xlsx: got .*; allowed: a workbook of a spreadsheet"):
        read_table(tmp_path / "t.xlsx")
