"""Files of a labelled set without images."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from imc_sim import InputError
from imc_sim.data._readers import read_idx


def test_files_without_images_are_refused(tmp_path: Path) -> None:
    files = tmp_path / "images.gz", tmp_path / "labels.gz"
    for path, shape in zip(files, ((0, 28, 28), (0,)), strict=True):
        head = (0x0800 + len(shape), *shape)
        path.write_bytes(gzip.compress(b"".join(n.to_bytes(4, "big") for n in head)))
    with pytest.raises(InputError, match="images.gz: got no images"):
        read_idx(files)
