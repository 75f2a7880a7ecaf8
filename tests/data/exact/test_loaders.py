"""Readers of data sets on small hand-made files, complete and damaged; the cache; error messages."""

import bz2
import dataclasses
import gzip
import struct
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from imc_sim._errors import InputError, MissingDataError
from imc_sim.data import (
    _omniglot,
    as_pool,
    cache_folder,
    check,
    data_digest,
    data_root,
    gather_labelled,
    load_labelled,
    load_pool,
)
from imc_sim.data._check import _check_levels
from imc_sim.data._omniglot import list_part, read_part

IMAGES = np.arange(3 * 784).reshape(3, 28, 28).astype(np.uint8)
LABELS = np.array([7, 0, 9], np.uint8)


def idx(array, magic=None):
    head = struct.pack(f">{array.ndim + 1}I", magic or 0x0800 + array.ndim, *array.shape)
    return head + array.tobytes()


@pytest.fixture
def mnist(tmp_path):
    """Return a data root with a training set of three images."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for kind, array in (("images-idx3", IMAGES), ("labels-idx1", LABELS)):
        (raw / f"train-{kind}-ubyte.gz").write_bytes(gzip.compress(idx(array)))
    return tmp_path


def test_idx_files_are_read_as_read_only_arrays(mnist):
    data = load_labelled("mnist", "train", mnist)
    np.testing.assert_array_equal(data.images, IMAGES)
    np.testing.assert_array_equal(data.labels, [7, 0, 9])
    assert data.labels.dtype == np.int64
    assert data.class_names[7] == "7"
    with pytest.raises(ValueError, match="read-only"):
        data.images[0, 0, 0] = 1
    x = gather_labelled(data, np.array([2]))
    assert x.shape == (1, 1, 28, 28)
    np.testing.assert_allclose(x[0, 0], (IMAGES[2] / 255 - 0.1307) / 0.3081, rtol=1e-6)


WHOLE = gzip.compress(idx(IMAGES))
DAMAGES = {
    "wrong magic": (gzip.compress(idx(IMAGES, 0x0D03)), r"magic 0x00000d03; allowed: 0x00000803"),
    "too short": (gzip.compress(idx(IMAGES)[:-5]), rf"{16 + 3 * 784 - 5} bytes; allowed: {16 + 3 * 784} bytes"),
    "no header": (gzip.compress(b"\0\0"), "header of 16 bytes"),
    "torn gzip": (WHOLE[: len(WHOLE) // 2], "a whole gz file"),
    "no gzip": (b"<html>", "a whole gz file"),
    "other size": (gzip.compress(idx(np.zeros((3, 8, 8), np.uint8))), r"\(28, 28\)"),
    "label count": (gzip.compress(idx(IMAGES[:2])), "one for each image"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_idx_file_is_named_with_what_was_expected(mnist, damage):
    content, message = DAMAGES[damage]
    (mnist / "MNIST/raw/train-images-idx3-ubyte.gz").write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        load_labelled("mnist", "train", mnist)
    assert "ubyte.gz" in caught.value.where


def test_a_missing_set_names_the_commands_and_the_folder(tmp_path):
    for load in (
        lambda: load_labelled("usps", "train", tmp_path),
        lambda: load_pool("omniglot", "background", root=tmp_path),
    ):
        with pytest.raises(MissingDataError, match="imc-sim data fetch") as caught:
            load()
        assert "imc-sim data check" in str(caught.value)
        assert str(tmp_path) in str(caught.value)


def test_unknown_names_suggest_the_nearest(tmp_path):
    with pytest.raises(InputError, match="'fashion_mnist'"):
        load_labelled("fashionmnist", "train", tmp_path)
    with pytest.raises(InputError, match="'omniglot'"):
        load_pool("omniglott", "background", root=tmp_path)
    with pytest.raises(InputError, match="train, test"):
        load_pool("mnist", "background", root=tmp_path)
    with pytest.raises(InputError, match="pooled_test"):
        load_pool("omniglot", "pooled_tests", root=tmp_path)


def test_usps_text_is_read(tmp_path):
    (tmp_path / "USPS").mkdir()
    values = np.linspace(-1, 1, 256).round(3)
    lines = [f"{label} " + " ".join(f"{i}:{v:g}" for i, v in enumerate(values, 1)) + "\n" for label in (1, 10)]
    file = tmp_path / "USPS" / "usps.bz2"
    file.write_bytes(bz2.compress("".join(lines).encode()))
    data = load_labelled("usps", "train", tmp_path)
    np.testing.assert_array_equal(data.labels, [0, 9])
    np.testing.assert_array_equal(data.images[1].ravel(), np.rint((values.astype(np.float32) + 1) * 127.5))
    for broken in (lines[0][:-20], lines[0].replace("2:", "3:", 1), lines[0].replace("1 ", "12 ", 1), ""):
        file.write_bytes(bz2.compress(broken.encode()))
        with pytest.raises(InputError, match=r"usps\.bz2"):
            load_labelled("usps", "train", tmp_path)


def test_cifar_records_are_read(tmp_path):
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    record = np.arange(2 * 3073).reshape(2, 3073).astype(np.uint8)
    record[:, 0] = [3, 8]
    record.tofile(folder / "test_batch.bin")
    data = load_labelled("cifar10", "test", tmp_path)
    assert [data.class_names[i] for i in data.labels] == ["cat", "ship"]
    np.testing.assert_array_equal(data.images[1, 2, 5], record[1, 1:].reshape(3, 32, 32)[:, 2, 5])
    assert gather_labelled(data).shape == (2, 3, 32, 32)
    (folder / "test_batch.bin").write_bytes(record.tobytes()[:-1])
    with pytest.raises(InputError, match="30730000 bytes"):
        load_labelled("cifar10", "test", tmp_path)


def omniglot_tree(root, characters=2, drawers=20):
    folder = root / "omniglot-py" / "images_background" / "Greek"
    rng = np.random.default_rng(0)
    for c in range(characters):
        (folder / f"character{c + 1:02d}").mkdir(parents=True)
        for d in range(drawers):
            image = Image.fromarray(np.where(rng.random((105, 105)) < 0.1, 0, 255).astype(np.uint8))
            image.convert("1").save(folder / f"character{c + 1:02d}" / f"{c + 1:04d}_{d + 1:02d}.png")
    return folder


def test_omniglot_is_cached_at_every_size(tmp_path, monkeypatch):
    omniglot_tree(tmp_path)
    monkeypatch.setenv("IMC_SIM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(_omniglot.PARTS, "background", 2)
    for size in (32, 28, 32):
        images, names = _omniglot._part(tmp_path, "background", size, cached=True)
        assert names == ("Greek/character01", "Greek/character02")
        np.testing.assert_array_equal(images, read_part(list_part(tmp_path, "background"), size))


def test_omniglot_images_are_resized_by_lanczos(tmp_path):
    folder = omniglot_tree(tmp_path)
    listing = list_part(tmp_path, "background")
    assert listing.names == ("Greek/character01", "Greek/character02")
    native, small = read_part(listing, 105), read_part(listing, 32)
    assert set(np.unique(native)) == {0, 255}
    with Image.open(folder / "character02" / "0002_07.png") as image:
        expected = np.asarray(image.convert("L").resize((32, 32), Image.Resampling.LANCZOS))
    np.testing.assert_array_equal(small[1, 6], expected)


def test_the_digest_of_omniglot_is_that_of_its_names_and_pixels(tmp_path, monkeypatch):
    """It depends neither on the packing nor on modification times."""
    monkeypatch.setenv("IMC_SIM_CACHE", str(tmp_path / "cache"))
    folder = omniglot_tree(tmp_path / "a")
    known = data_digest("omniglot background", tmp_path / "a")
    file = folder / "character02" / "0002_07.png"
    with Image.open(file) as image:
        pixels = np.array(image.convert("L"))
    Image.fromarray(pixels).save(file, compress_level=0)
    assert data_digest("omniglot background", tmp_path / "a") == known
    pixels[50, 50] ^= 255
    Image.fromarray(pixels).save(file)
    assert data_digest("omniglot background", tmp_path / "a") != known
    (omniglot_tree(tmp_path / "b") / "character02").rename(tmp_path / "b/omniglot-py/images_background/Greek/other")
    assert data_digest("omniglot background", tmp_path / "b") != known


def test_a_damaged_omniglot_is_named(tmp_path):
    folder = omniglot_tree(tmp_path)
    with pytest.raises(InputError, match="2 characters; allowed: 964"):
        load_pool("omniglot", "background", root=tmp_path)
    before = list_part(tmp_path, "background")
    file = folder / "character01" / "0001_03.png"
    file.write_bytes(file.read_bytes()[:40])
    assert list_part(tmp_path, "background").source != before.source
    with pytest.raises(InputError, match="a whole PNG"):
        read_part(before, 32)
    file.unlink()
    with pytest.raises(InputError, match="19 PNG files"):
        read_part(before, 32)


def test_a_second_start_reads_the_cache_until_the_source_changes(mnist, tmp_path, monkeypatch):
    monkeypatch.setenv("IMC_SIM_CACHE", str(tmp_path / "cache"))
    load_labelled("mnist", "train", mnist)
    (kept,) = cache_folder().iterdir()
    kept_time = kept.stat().st_mtime_ns
    np.testing.assert_array_equal(load_labelled("mnist", "train", mnist).images, IMAGES)
    assert [f.stat().st_mtime_ns for f in cache_folder().iterdir()] == [kept_time]
    (mnist / "MNIST/raw/train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(255 - IMAGES)))
    np.testing.assert_array_equal(load_labelled("mnist", "train", mnist).images, 255 - IMAGES)
    for file in cache_folder().iterdir():
        file.write_bytes(file.read_bytes()[:-9])  # a damaged copy is decoded again
    np.testing.assert_array_equal(load_labelled("mnist", "train", mnist).images, 255 - IMAGES)
    (kept,) = set(cache_folder().glob("*.npy")) - {kept}
    damaged = bytearray(kept.read_bytes())
    damaged[200] ^= 1  # one bit of one pixel: a file of the right size and form
    kept.write_bytes(damaged)
    np.testing.assert_array_equal(load_labelled("mnist", "train", mnist).images, 255 - IMAGES)
    kept.write_bytes(bytes(damaged[:128]) + bytes(len(damaged) - 128))
    np.testing.assert_array_equal(load_labelled("mnist", "train", mnist).images, 255 - IMAGES)
    assert not [f for f in cache_folder().iterdir() if f.name.startswith(".")]


def test_an_unusable_cache_folder_is_not_an_error(mnist, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("IMC_SIM_CACHE", str(tmp_path / "file" / "below"))
    np.testing.assert_array_equal(load_labelled("mnist", "train", mnist).images, IMAGES)


def test_folders_follow_argument_variable_and_user_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("IMC_SIM_DATA", str(tmp_path / "a"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert data_root(tmp_path) == tmp_path
    assert data_root() == tmp_path / "a"
    monkeypatch.delenv("IMC_SIM_DATA")
    monkeypatch.delenv("IMC_SIM_CACHE")
    assert data_root() == tmp_path / "x" / "imc_sim" / "data"
    assert cache_folder() == tmp_path / "x" / "imc_sim" / "decoded"


def test_digits_are_embedded_and_complete(tmp_path):
    assert check("digits", tmp_path).problems == ()
    pool = as_pool(load_labelled("digits", "test", tmp_path), 20)
    assert pool.images.shape == (10, 20, 8, 8)
    data = load_labelled("digits", "test", tmp_path)
    np.testing.assert_array_equal(pool.images[3], data.images[data.labels == 3][:20])
    assert as_pool(data).shape == (10, 41)
    with pytest.raises(InputError, match="1 to 41"):
        as_pool(data, 42)


def test_check_tells_a_small_set_from_the_real_one(mnist):
    report = check("mnist", mnist)
    assert not report.ok
    assert any("train classes" in p for p in report.problems)
    assert any("t10k-images" in p for p in report.problems)
    assert any("official f68b3c2d" in p for p in report.problems)


def test_check_notices_a_difference_of_one_grey_level(tmp_path):
    data = load_labelled("digits", "train", tmp_path)
    for images, count in ((data.images, 0), (np.minimum(data.images, 254) + np.uint8(1), 1)):
        problems = []
        _check_levels("digits", dataclasses.replace(data, images=images), {}, problems)
        assert len(problems) == count


def test_loading_needs_no_torch():
    code = "import sys, imc_sim.data; print({'torch', 'sklearn'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_characters_of_a_pool_are_read_only(monkeypatch):
    monkeypatch.setattr("imc_sim.data._load.glyphs", lambda *_, **__: (np.zeros((2, 3, 8, 8), np.uint8), ("a", "b")))
    assert not load_pool("glyphs", "test", 8).images.flags.writeable
