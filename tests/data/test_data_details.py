"""Small sets worked out by hand: caches, checks, splits, digests, views and scalings of data."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from imc_sim import InputError
from imc_sim._files import file_facts
from imc_sim.data import (
    DATASETS,
    CharacterPool,
    EpisodeShape,
    LabelledImages,
    View,
    cached_array,
    check,
    check_labels,
    class_count,
    data_digest,
    data_parts,
    data_state,
    fingerprint,
    foreign_digests,
    gather_images,
    gather_labelled,
    load_classes,
    load_pool,
    said_labels,
    sample_episodes,
    stored_name,
    task_images,
)
from imc_sim.data import _cache as cache
from imc_sim.data import _check as checks
from imc_sim.data import _fetch as fetching
from imc_sim.data import _fingerprint as prints
from imc_sim.data import _folders as folders
from imc_sim.data import _load as loading
from imc_sim.data import _omniglot as omniglot
from imc_sim.data import _readers as readers
from imc_sim.data import _whitening as whitening
from imc_sim.data._archives import ARCHIVES, Archive
from imc_sim.data._image_folder import _names
from imc_sim.data._registry import own_constants, own_kind
from imc_sim.data._sets import as_pool, constants_of


def labelled(images: Any, labels: Any, name: str = "mnist", classes: int = 3) -> LabelledImages:
    return LabelledImages(name, "train", np.asarray(images), np.asarray(labels), tuple(map(str, range(classes))))


# -- the cache ----------------------------------------------------------------------------------------------


def test_a_cached_array_belongs_to_key_and_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMC_SIM_CACHE", str(tmp_path))
    made: list[str] = []

    def get(key: str, source: str, value: int, **more: Any) -> int:
        return int(cached_array(key, source, lambda: (made.append(key), np.array([value]))[1], **more)[0])

    assert [get("a", "1", 5), get("a", "2", 6), get("b", "1", 7), get("a", "1", 8)] == [5, 6, 7, 5]
    assert len(made) == 3
    assert get("a", "1", 9, cached=False) == 9
    found = cached_array("a", "1", lambda: np.array([0]))
    assert not found.flags.writeable
    path = tmp_path / "a-1.npy"
    content = bytearray(path.read_bytes())
    content[-40] ^= 1  # in the numbers, not in the header
    path.write_bytes(content)
    assert get("a", "1", 3) == 3, "a damaged file is replaced"
    path.write_bytes(b"")
    assert get("a", "1", 4) == 4
    monkeypatch.setenv("IMC_SIM_CACHE", str(path))  # a file where a folder should be
    assert not cached_array("x", "1", lambda: np.array([1])).flags.writeable


def test_a_cached_file_is_checked_once_and_after_every_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMC_SIM_CACHE", str(tmp_path))
    sums: list[bytes] = []
    sha256 = hashlib.sha256
    monkeypatch.setattr(cache.hashlib, "sha256", lambda data: (sums.append(data), sha256(data))[1])

    def get(value: int) -> int:
        return int(cached_array("a", "1", lambda: np.array([value]))[0])

    for age, count in ((10**18, 2), (-(10**18), 0)):  # a young file can change and keep its time
        monkeypatch.setattr(cache, "SETTLED_NS", age)
        get(5)
        sums.clear()
        assert [get(6), get(7)] == [5, 5]
        assert len(sums) == count
    path = tmp_path / "a-1.npy"
    content = bytearray(path.read_bytes())
    content[-40] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(0, 0))  # two writes within a tick of the clock have the same time
    assert get(3) == 3, "a file that is damaged later is replaced"


def test_facts_of_files_change_with_their_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint(["a", 1])
    assert len({before, fingerprint(["a", "1"]), fingerprint([1, "a"]), fingerprint(["a"])}) == 4
    monkeypatch.setattr(cache, "SCHEMA", 99)
    assert fingerprint(["a", 1]) != before, "another cache format"
    file = tmp_path / "f"
    file.write_bytes(b"12")
    size, inode, changed, inode_changed = file_facts(file)
    os.utime(file, ns=(0, 0))
    again = file_facts(file)
    assert (size, inode, again[2]) == (2, file.stat().st_ino, 0)
    assert (changed, again[3] >= inode_changed > 0) == (changed, True), "setting a time does not hide a change"


# -- checks of official sets --------------------------------------------------------------------------------


def images_of(counts: tuple[int, ...]) -> LabelledImages:
    """Return images whose levels are 0 and 255 in equal shares: mean 1/2 and deviation 1/2."""
    labels = np.repeat(np.arange(len(counts)), counts)
    pixels = np.zeros((len(labels), 1, 2), np.uint8)
    pixels[:, 0, 1] = 255
    return labelled(pixels, labels, classes=len(counts))


@pytest.mark.parametrize(
    ("train", "moments", "problems"),
    [
        ((2, 1), (0.5, 0.5), 0), ((1, 2), (0.5, 0.5), 1), ((2, 1), (0.5002, 0.5), 1), ((2, 1), (0.5, 0.5002), 1),
        ((2, 1), (0.50005, 0.5), 0),
    ],
)  # fmt: skip
def test_counts_of_each_class_and_levels_are_checked(
    train: tuple[int, ...], moments: tuple[float, float], problems: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pad = (0,) * 8
    calls: list[bool] = []
    monkeypatch.setitem(checks.CLASS_COUNTS, "digits", ((2, 1, *pad), (1, 1, *pad)))
    sets = {"train": images_of((*train, *pad)), "test": images_of((1, 1, *pad))}
    monkeypatch.setattr(checks, "load_labelled", lambda _, s, __, cached: (calls.append(cached), sets[s])[1])
    info = SimpleNamespace(mean=(moments[0],), std=(moments[1],))
    monkeypatch.setattr(checks, "DATASETS", {"digits": info})
    report = check("digits")
    assert (len(report.problems), report.ok) == (problems, not problems)
    assert calls == [False, False], "from the official files"
    assert report.facts["train mean"] == report.facts["train std"] == "0.5000"


@pytest.mark.parametrize(
    ("names", "blank", "problem"),
    [
        (["a/1", "b/1"], False, ""),
        (["a/1", "a/2"], False, "2 characters of 1 alphabets"),
        (["a/1", "b/1"], True, "without ink"),
    ],
)
def test_alphabets_and_ink_of_characters_are_checked(
    names: list[str], blank: bool, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = np.full((2, 3, 4, 4), 255, np.uint8)
    images[..., 0, 0] = 0
    images[1, 2, 0, 0] = 128 if blank else 127
    monkeypatch.setitem(checks.PART_COUNTS, "glyphs", {"test": (2, 2)})
    monkeypatch.setattr(
        checks, "load_pool", lambda *_, **__: CharacterPool("glyphs", "test", images, tuple(names), 0.5, 0.5)
    )
    report = check("glyphs")
    assert report.ok is not bool(problem)
    assert problem in " ".join(report.problems)


def test_only_files_that_are_read_as_published_must_have_their_checksum(tmp_path: Path) -> None:
    path = tmp_path / "f.gz"
    path.write_bytes(b"x")
    for name, problems in (("mnist", 1), ("fashion_mnist", 1), ("usps", 0)):
        facts: dict[str, str] = {}
        found: list[str] = []
        checks._check_file(name, Archive("f.gz", "", "0", ""), path, facts, found)
        assert (len(found), "not the official" in facts["md5 f.gz"]) == (problems, True)
    checks._check_file("mnist", Archive("f.zip", "", "0", "", "folder"), path, {}, found := [])
    assert found == [], "unpacked archives are folders"


def test_archives_have_their_published_names_and_checksums() -> None:
    """The digest of all addresses: a changed one would download another file, or refuse the right one."""
    lines = [f"{n} {a.base}{a.file} {a.md5} {a.target}" for n, each in sorted(ARCHIVES.items()) for a in each]
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16] == "bfe48138b4a73567"
    assert Archive("f.zip", "", "", "a", "b").target == "a/b"
    assert Archive("f.gz", "", "", "").target == "f.gz"
    assert len({a.md5 for each in ARCHIVES.values() for a in each}) == len(lines)


# -- downloads ----------------------------------------------------------------------------------------------


def served(tmp_path: Path, content: bytes, file: str, unpacks: str | None = None) -> Archive:
    (tmp_path / "mirror").mkdir(exist_ok=True)
    (tmp_path / "mirror" / file).write_bytes(content)
    return Archive(file, f"{(tmp_path / 'mirror').as_uri()}/", hashlib.md5(content).hexdigest(), "in", unpacks)


def test_a_download_counts_its_bytes_and_leaves_no_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "_CHUNK", 4)
    seen: list[Any] = []
    archive = served(tmp_path, b"0123456789", "f.bin")
    fetching.fetch_archive("s", archive, tmp_path / "root", lambda *now: seen.append(now))
    assert seen == [(4, 10), (8, 10), (10, 10)]
    assert [p.name for p in (tmp_path / "root" / "in").iterdir()] == ["f.bin"]
    assert fetching._url(archive, "https://h/x/") == fetching._url(archive, "https://h/x") == "https://h/x/f.bin"
    with pytest.raises(InputError, match="https, http or file"):
        fetching.fetch_archive("s", archive, tmp_path / "r", mirror="ftp://host/x")


def test_archives_unpack_into_their_folder_only(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as packed:
        for name in ("top/a", "../outside"):
            entry = tarfile.TarInfo(name)
            packed.addfile(entry, io.BytesIO())
    root = tmp_path / "root"
    with pytest.raises(tarfile.OutsideDestinationError):
        fetching.fetch_archive("s", served(tmp_path, buffer.getvalue(), "f.tar", "top"), root)
    assert list((root / "in").iterdir()) == [], "nothing is left"
    assert not (root / "outside").exists()
    (root / "in" / "top").mkdir()
    fetching.fetch_archive("s", Archive("f.tar", "nowhere:/", "0", "in", "top"), root)  # kept, not compared


# -- identity -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "split", "parts"),
    [
        ("glyphs", "test", ()), ("digits", "train", ()), ("mnist", "test", ("mnist test",)),
        ("omniglot", "background", ("omniglot background",)), ("omniglot", "evaluation_test", ("omniglot evaluation",)),
        ("omniglot", "pooled_test_train", ("omniglot background", "omniglot evaluation")),
        ("folder:x", "test", ("folder:x test",)), ("a.npz", "train", ("a.npz train",)),
    ],
)  # fmt: skip
def test_parts_of_data_that_a_split_is_read_from(name: str, split: str, parts: tuple[str, ...]) -> None:
    assert data_parts(name, split) == parts


def test_a_digest_of_own_arrays_covers_type_shape_values_and_labels(tmp_path: Path) -> None:
    base = (np.arange(16, dtype=np.uint8).reshape(4, 2, 2), np.array([0, 1, 0, 1]))
    other = [
        (base[0].astype(np.float32), base[1]), (base[0].reshape(4, 4, 1)[:, :, 0].copy().reshape(4, 1, 4), base[1]),
        (base[0][::-1].copy(), base[1]), (base[0], base[1][::-1].copy()),
    ]  # fmt: skip
    found = []
    for number, (images, labels) in enumerate([base, *other]):
        np.savez(tmp_path / f"{number}.npz", images=images, labels=labels)
        found.append(data_digest(f"{tmp_path / f'{number}.npz'} test"))
    assert len(set(found)) == 5
    known = dict(list(prints.OFFICIAL.items())[:1])
    (part,) = known
    assert foreign_digests({**known, "x test": "0"}) == {"x test": "0"}
    assert foreign_digests({part: "1"}) == {part: "1"}, "other files under a published name"
    assert (stored_name(f"{tmp_path}/0.npz"), stored_name("folder:x"), stored_name("mnist")) == (
        "arrays",
        "folder:x",
        "mnist",
    )


def test_the_state_of_data_is_where_and_which_files(tmp_path: Path) -> None:
    assert data_state("omniglot background", tmp_path) == ""
    assert data_state(f"{tmp_path}/no.npz test") == ""
    for root in ("a", "b"):
        for split in ("train", "val"):
            (tmp_path / root / "own" / split / "c").mkdir(parents=True)
            (tmp_path / root / "own" / split / "c" / "1.png").write_bytes(b"x")
        raw = tmp_path / root / "MNIST" / "raw"
        raw.mkdir(parents=True)
        for kind in ("images-idx3", "labels-idx1"):
            (raw / f"train-{kind}-ubyte.gz").write_bytes(b"x")
            os.utime(raw / f"train-{kind}-ubyte.gz", (1, 1))
    for part in ("folder:own train", "mnist train"):
        found = {data_state(part, tmp_path / root) for root in ("a", "b")}
        assert len(found) == 2
        assert "" not in found


def test_digests_are_kept_only_of_files_that_did_not_change_just_now(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("IMC_SIM_CACHE", str(tmp_path))
    made: list[int] = []

    def make() -> str:
        made.append(1)
        return f"{len(made):064x}"

    now = time.time_ns()
    old = now - 10**10
    assert [int(prints._kept("p", "s", now, make), 16) for _ in range(2)] == [1, 2], "changed within two seconds"
    assert [int(prints._kept("p", "s", old, make), 16) for _ in range(2)] == [3, 3]
    assert int(prints._kept("q", "s", old, make), 16) == 4, "of another part"


def test_folders_follow_argument_variable_and_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMC_SIM_DATA", "/variable")
    assert folders.data_root(Path("/argument")) == Path("/argument")
    assert folders.data_root() == Path("/variable")
    for name in ("IMC_SIM_DATA", "IMC_SIM_CACHE"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    both = Path("/xdg/imc_sim/data"), Path("/xdg/imc_sim/decoded")
    assert (folders.data_root(), folders.cache_folder()) == both
    for name in ("IMC_SIM_DATA", "IMC_SIM_CACHE"):
        monkeypatch.setenv(name, "")
    assert (folders.data_root(), folders.cache_folder()) == both, "an empty variable is none"
    monkeypatch.delenv("XDG_CACHE_HOME")

    def nobody() -> Path:
        raise RuntimeError

    monkeypatch.setattr(Path, "home", nobody)
    assert folders.cache_folder() == Path("/nonexistent/.cache/imc_sim/decoded")


# -- splits and pools ---------------------------------------------------------------------------------------


def test_images_of_characters_are_divided_for_classification() -> None:
    """A tenth of the 400 x 20 images, and the rest, with the character of each as its label."""
    pool = load_pool("glyphs", "test", 8)
    kept, rest = (load_classes("glyphs", f"test_{part}", 8) for part in ("test", "train"))
    assert (len(kept.labels), len(rest.labels)) == (800, 7200)
    assert kept.labels[:8].tolist() == KEPT
    for data in (kept, rest):
        assert (np.diff(data.labels) >= 0).all()
        assert any((data.images[9] == image).all() for image in pool.images[data.labels[9]])
        assert not any(array.flags.writeable for array in (data.images, data.labels))
    assert (class_count("glyphs", "test_test"), class_count("digits", "test")) == (400, 10)
    assert load_pool("glyphs", "test").images.shape[2:] == (32, 32)
    for size in (3, 513):
        with pytest.raises(InputError, match="4 to 512"):
            load_pool("glyphs", "test", size)
    for load in (load_classes, load_pool):
        with pytest.raises(InputError, match="8 pixels, those of digits"):
            load("digits", "test", 9)


KEPT = [0, 0, 0, 0, 0, 1, 2, 2]


def test_a_pool_has_the_first_images_of_each_class() -> None:
    images = np.arange(7, dtype=np.uint8)[:, None, None] * np.ones((1, 2, 2), np.uint8)
    pool = as_pool(labelled(images, [2, 0, 2, 0, 2, 2, 0]))
    assert pool.images[..., 0, 0].tolist() == [[1, 3, 6], [0, 2, 4]]
    assert (pool.class_names, pool.shape, pool.mean) == (("0", "2"), (2, 3), DATASETS["mnist"].mean)
    assert as_pool(labelled(images, [2, 0, 2, 0, 2, 2, 0]), 1).shape == (2, 1)
    for wrong in (0, 4):
        with pytest.raises(InputError, match="1 to 3"):
            as_pool(labelled(images, [2, 0, 2, 0, 2, 2, 0]), wrong)
    exact = as_pool(labelled(images[:, None].astype(np.float32), [0, 0, 0, 0, 1, 1, 1]))
    assert (exact.mean, exact.std) == ((0.0,), (1.0,))


def test_constants_of_own_images_follow_their_channels() -> None:
    assert own_constants(1) == ((0.5,), (0.5,))
    assert constants_of("folder:x", (4, 4, 3))[0] == (0.485, 0.456, 0.406)
    assert constants_of("a.npz", (4, 4)) == ((0.5,), (0.5,))
    kinds = [own_kind(n) for n in ("folder:", "grey_folder:x", "a.npy,b.npy", "f.py:make", "mnist", "f.py")]
    assert kinds == [None, "folder", "arrays", "arrays", None, None]
    assert DATASETS["omniglot"].mean == (0.92206,)


def test_names_that_begin_with_a_dot_are_no_content(tmp_path: Path) -> None:
    for name in (".hidden", "b", "a"):
        (tmp_path / name).touch()
    assert _names(tmp_path, lambda entry: entry.is_file()) == ("a", "b")


def test_the_latest_change_of_omniglot_is_that_of_any_file(tmp_path: Path) -> None:
    folder = tmp_path / "omniglot-py" / "images_background" / "Latin" / "character01"
    folder.mkdir(parents=True)
    for name in ("0001_01.png", "0001_02.png"):
        (folder / name).write_bytes(b"x")
        time.sleep(0.02)
    listing = omniglot.list_part(tmp_path, "background")
    assert listing.changed_ns == (folder / "0001_02.png").stat().st_ctime_ns
    assert listing.names == ("Latin/character01",)
    assert omniglot._pooled_order(("b", "a", "c", "d")) == omniglot._pooled_order(("b", "a", "c", "d"))
    assert [("b", "a", "c", "d")[k] for k in omniglot._pooled_order(("b", "a", "c", "d"))] == ORDER
    assert omniglot._POOLED["pooled_validation"] == slice(864, 964)


ORDER = ["c", "b", "a", "d"]


@pytest.mark.parametrize(
    ("shape", "classes", "instances", "fits"),
    [((5, 2, 3), 5, 5, True), ((5, 2, 3), 4, 5, False), ((5, 2, 3), 5, 4, False), ((2, 1, 1, 4), 2, 5, True),
     ((2, 1, 1, 4), 2, 4, False)],
)  # fmt: skip
def test_an_episode_fits_where_every_image_is_used_once(
    shape: tuple[int, ...], classes: int, instances: int, fits: bool
) -> None:
    made = EpisodeShape(*shape)
    if fits:
        made.check_fits(classes, instances)
        return
    with pytest.raises(InputError):
        made.check_fits(classes, instances)


def test_episodes_do_not_depend_on_the_block_that_samples_them() -> None:
    shape = EpisodeShape(way=2, shot=1, queries=1, query_pool=2)
    many, few = (sample_episodes((9, 3), shape, numbers, 4) for numbers in (range(1030), range(1020, 1030)))
    assert (many.classes[1020:] == few.classes).all()
    assert (many.query[1020:] == few.query).all()
    assert not many.rotation.any()
    assert set(sample_episodes((9, 3), shape, 99, 4, rotations=True).rotation) == {0, 1, 2, 3}
    for wrong, named in (((range(0), 4), "episodes"), ((range(-1, 1), 4), "episodes"), ((range(1), -1), "seed")):
        with pytest.raises(InputError, match=f"sample_episodes, {named}: got"):
            sample_episodes((9, 3), shape, *wrong)
    for fields in ({"queries": 2, "query_pool": 1}, {"way": 1}, {"shot": 0}, {"queries": 0}):
        with pytest.raises(InputError, match="episode"):
            EpisodeShape(**{"way": 2, "shot": 1, "queries": 1} | fields)


# -- pixels -------------------------------------------------------------------------------------------------


def test_colours_are_scaled_by_their_own_channel() -> None:
    pixels = np.array([[[[0, 51, 255], [255, 102, 0]]]], np.uint8)  # one image of 1 x 2
    found = gather_labelled(labelled(pixels, [0], "cifar10"))
    info = DATASETS["cifar10"]
    for c in range(3):
        np.testing.assert_allclose(found[0, c, 0], (pixels[0, 0, :, c] / 255 - info.mean[c]) / info.std[c], rtol=1e-5)
    unit = gather_labelled(labelled(pixels, [0], "cifar10"), slice(None), "unit")
    np.testing.assert_allclose(unit[0, :, 0, 0], [0, 0.2, 1], rtol=1e-6)


def test_characters_are_turned_counter_clockwise_and_stretched_one_by_one() -> None:
    images = np.array([[[[0, 10], [20, 40]], [[5, 5], [5, 5]]]], np.uint8)
    pool = CharacterPool("own", "test", images, ("a",), 0.5, 0.25)
    found = gather_images(pool, np.array([[0, 0, 1], [0, 0, 2], [0, 1, 0]]), "unit")
    np.testing.assert_allclose(found[:, 0], [[[0.25, 1], [0, 0.5]], [[1, 0.5], [0.25, 0]], [[0, 0], [0, 0]]])
    plain = gather_images(pool, np.array([[0, 0, 3]]))
    np.testing.assert_allclose(plain[0, 0], (np.array([[20, 0], [40, 10]]) / 255 - 0.5) / 0.25, rtol=1e-5)
    wide = CharacterPool("own", "test", np.zeros((1, 1, 2, 3), np.uint8), ("a",), 0.5, 0.25)
    gather_images(wide, np.array([[0, 0, 0]]))
    with pytest.raises(InputError, match="square images"):
        gather_images(wide, np.array([[0, 0, 1]]))
    floats: Any = images[:, :, None].astype(np.float32)
    exact = CharacterPool("own", "test", floats, ("a",), (0.0,), (1.0,))
    np.testing.assert_array_equal(gather_images(exact, np.array([[0, 0, 1]]))[0, 0], [[10, 40], [0, 20]])


def test_whitened_images_have_one_length_and_no_mean() -> None:
    planes = np.array([[[[3, 7]]], [[[9, 9]]]], np.uint8)
    found = whitening._normalised(planes)
    np.testing.assert_allclose(found, [[-55 / 2**0.5, 55 / 2**0.5], [0, 0]], rtol=1e-6)
    flat = np.array([[1.0, 0], [3, 0], [2, 1], [2, -1]], np.float32)
    made = whitening.zca(flat)
    np.testing.assert_allclose(made[0], [2, 0])
    np.testing.assert_allclose(made[1:], np.diag([1 / 0.6**0.5] * 2), rtol=1e-6)


# -- views --------------------------------------------------------------------------------------------------


def test_views_select_label_and_pad() -> None:
    data = labelled(np.arange(1, 7, dtype=np.uint8).reshape(3, 1, 2), [0, 2, 1])
    some = task_images(data, View(classes=(2, 0), labels="renumbered", offset=3))
    assert (some.labels.tolist(), some.images[:, 0, 0].tolist()) == ([4, 3], [1, 3])
    assert task_images(data, View(classes=(2, 0), offset=3)).labels.tolist() == [3, 5]
    assert task_images(data, View(offset=2)).labels.tolist() == [2, 4, 3]
    padded = task_images(data, View(pad=4)).images[0]
    assert np.argwhere(padded).tolist() == [[1, 1], [1, 2]], "the odd row of the frame is below"
    assert task_images(data, View()) is data
    assert task_images(data, View(pad=2)).images.shape == (3, 2, 2)
    for view, match in (
        (View(pad=1), "their size or more"),
        (View(classes=(1, 1)), "once"),
        (View(classes=(3,)), "0 to 2"),
    ):
        with pytest.raises(InputError, match=match):
            task_images(data, view)
    with pytest.raises(InputError, match="feature vectors"):
        task_images(data, View(features="net"))
    orders = {str(task_images(labelled([range(9)] * 3, [0, 1, 2]), View()).images)}
    wide = labelled(np.arange(27, dtype=np.uint8).reshape(3, 3, 3), [0, 1, 2])
    orders = {str(task_images(wide, View(permutation=seed)).images) for seed in (0, 1)}
    assert len(orders) == 2


@pytest.mark.parametrize(
    ("view", "outputs", "where"),
    [
        (View(), 3, ""), (View(), 2, "dataset"), (View(offset=1), 4, ""),
        (View(offset=1), 3, r"offset: got 1; allowed: 0,"),
        (View(offset=5), 7, r"offset: got 5; allowed: 0 to 4"), (View(classes=(2,)), 2, "classes"),
        (View(classes=(2,), labels="renumbered"), 1, ""),
    ],
)  # fmt: skip
def test_a_network_needs_an_output_for_the_highest_label(view: View, outputs: int, where: str) -> None:
    if not where:
        check_labels(view, 3, outputs)
        return
    with pytest.raises(InputError, match=where):
        check_labels(view, 3, outputs)


def test_labels_are_part_of_an_identity_where_they_differ() -> None:
    assert "labels" not in said_labels({"classes": [0, 1], "labels": "own"})
    assert said_labels({"classes": [1, 2], "labels": "own"})["labels"] == "own"
    assert "labels" not in said_labels({"classes": [1, 2], "labels": "renumbered"})
    assert "labels" not in said_labels({"classes": None, "labels": "own"})
    assert "labels" not in said_labels({"classes": [1, 2]}), "as earlier versions"
    wrong: list[dict[str, Any]] = [
        {"labels": "renumbered"},
        {"features": "n", "pad": 4},
        {"features": "n", "permutation": 1},
    ]
    for view in wrong:
        with pytest.raises(ValueError, match="classes with labels|no permutation"):
            View(**view)
    assert (View(pad=4).moves_pixels, View(permutation=0).moves_pixels, View().moves_pixels) == (True, True, False)


# -- files --------------------------------------------------------------------------------------------------


def test_digits_are_divided_between_writers_and_stretched() -> None:
    train, test = readers.read_digits("train"), readers.read_digits("test")
    assert (len(train), len(test)) == (1347, 450)
    assert set(np.unique(train[:, 1:])) <= {round(k * 255 / 16) for k in range(17)}
    from sklearn.datasets import load_digits

    _, labels = load_digits(return_X_y=True)
    assert test[0, 0] == np.asarray(labels)[1347]


@pytest.mark.parametrize("labels", [[0, 10], [-1, 3]])
def test_labels_beyond_ten_classes_are_damage(labels: list[int]) -> None:
    with pytest.raises(InputError, match="labels 0 to 9"):
        readers._rows(Path("f"), np.array(labels), np.zeros((2, 4)))


def test_cifar_files_are_whole_records_with_channels_last(tmp_path: Path) -> None:
    record = np.concatenate([[7], np.repeat([1, 2, 3], 1024)]).astype(np.uint8)
    path = tmp_path / "b.bin"
    for content in (b"", record.tobytes()[:-1]):
        path.write_bytes(content)
        with pytest.raises(InputError, match="records of 3073"):
            readers.read_cifar10((path,))
    path.write_bytes(record.tobytes() * 2)
    found = readers.read_cifar10((path, path))
    assert found.shape == (4, 3073)
    assert found[0, :7].tolist() == [7, 1, 2, 3, 1, 2, 3]


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize(("name", "split"), [("omniglot", "evaluation"), ("glyphs", "test")])
def test_pools_are_decoded_again_where_the_caller_says_so(
    name: str, split: str, cached: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    made = np.zeros((2, 3, 32, 32), np.uint8), ("a", "b")
    monkeypatch.setattr(loading, name, lambda *_, cached: (seen.append(cached), made)[1])
    loading.load_pool(name, split, cached=cached)
    assert seen == [cached]
