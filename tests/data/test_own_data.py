"""Images and labels of the user: arrays and class folders, for classification and for few-shot episodes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imc_sim import InputError, MissingDataError
from imc_sim.config import write_yaml
from imc_sim.data import _fingerprint, data_digest, data_state, gather_images, gather_labelled, load_classes, load_pool
from imc_sim.data._fingerprint import _of_labelled
from imc_sim.data._sets import LabelledImages
from imc_sim.evaluate import build_task
from imc_sim.evaluate._episodes import FewShotData
from imc_sim.evaluate._labelled import ClassificationData
from imc_sim.study import load_study, points_of

LABELS = np.repeat(np.arange(4), 6)
GREY = np.random.default_rng(0).integers(0, 256, (24, 9, 9), dtype=np.uint8)
COLOUR = np.random.default_rng(1).integers(0, 256, (24, 9, 9, 3), dtype=np.uint8)
MAKE = """
import numpy as np
import torch

class Pairs(torch.utils.data.Dataset):
    def __init__(self, split):
        kept = np.load({path!r})
        self.images, self.labels = kept["images"], kept["labels"]

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return torch.from_numpy(self.images[index]), int(self.labels[index])

def make(split):
    return Pairs(split)

def arrays(split):
    pairs = Pairs(split)
    return torch.from_numpy(pairs.images), pairs.labels
"""


def written(folder: Path, images: np.ndarray, labels: np.ndarray = LABELS) -> dict[str, str]:
    """Return the names of the same images and labels in every form."""
    np.savez(folder / "all.npz", images=images, labels=labels)
    np.savez(
        folder / "parts.npz", test_images=images, test_labels=labels, train_images=images[:4], train_labels=[0] * 4
    )
    np.savez(folder / "test_part.npz", images=images, labels=labels)
    np.save(folder / "images.npy", images)
    np.save(folder / "labels.npy", labels)
    (folder / "data.py").write_text(MAKE.format(path=str(folder / "all.npz")))
    forms = {
        "npz": "all.npz", "npz of both splits": "parts.npz", "npz per split": "{split}_part.npz",
        "npy": f"images.npy,{folder}/labels.npy", "Dataset": "data.py:make", "function": "data.py:arrays",
    }  # fmt: skip
    return {key: f"{folder}/{name}" for key, name in forms.items()}


@pytest.mark.parametrize("images", [GREY, COLOUR], ids=["grey", "colour"])
def test_every_form_of_the_same_arrays_is_the_same_data(images: np.ndarray, tmp_path: Path) -> None:
    names = written(tmp_path, images)
    for name in names.values():
        data = load_classes(name, "test")
        np.testing.assert_array_equal(data.images, images)
        np.testing.assert_array_equal(data.labels, LABELS)
        assert len(data.class_names) == 4
    assert len({data_digest(f"{name} test") for name in names.values()}) == 1
    found = gather_labelled(load_classes(names["npz"], "test"), slice(0, 2), "unit")
    planes = images[:2, None] if images.ndim == 3 else images[:2].transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(found, (planes / 255).astype(np.float32))
    few = gather_images(load_pool(names["npz"], "test"), np.array([[1, 2, 0], [3, 5, 1]]))
    standard = gather_labelled(load_classes(names["npz"], "test"), np.array([8, 23]))
    np.testing.assert_array_equal(few[0], standard[0])
    np.testing.assert_array_equal(few[1], np.rot90(standard[1], 1, axes=(1, 2)))


def test_numbers_reach_the_network_unchanged(tmp_path: Path) -> None:
    """Float images and vectors, in classification and in episodes."""
    for shape in ((24, 3, 5, 5), (24, 5, 5), (24, 7)):
        images = np.random.default_rng(2).standard_normal(shape)
        name = written(tmp_path, images)["npz"]
        expected = images.astype(np.float32).reshape(24, *((1,) if len(shape) == 3 else ()), *shape[1:])
        few: dict[str, Any] = {"dataset": name, "split": "test", "way": 3, "queries": 2, "episodes": 4}
        classes = ClassificationData.load(build_task({"kind": "classification", "dataset": name}, "task"))  # type: ignore[arg-type]
        np.testing.assert_array_equal(classes.images(0, 24).numpy(), expected)
        task: Any = build_task(few | {"rotations": False}, "task")
        for image in FewShotData.load(task).images.numpy():
            assert any(np.array_equal(image, each) for each in expected)


@pytest.mark.parametrize(
    ("shape", "kind", "side"),
    [
        ((6, 9, 5), np.uint8, 5),
        ((6, 9, 5, 3), np.uint8, 5),
        ((6, 2, 9, 5), np.float32, 5),
        ((6, 9, 5), np.float32, 5),
        ((6, 7), np.float32, None),
    ],
)
def test_images_of_arrays_have_their_own_size_only(shape: Any, kind: Any, side: int | None, tmp_path: Path) -> None:
    """In any layout, with or without channels; vectors have no size."""
    np.savez(tmp_path / "a.npz", test_images=np.zeros(shape, kind), test_labels=np.arange(6) % 2)
    name = f"{tmp_path / 'a.npz'}"
    for load in (load_pool, load_classes):
        for size in (None, 2, 3, 5, 7, 9):
            if side is None or size in (None, side):
                load(name, "test", size)
                continue
            with pytest.raises(InputError, match=f"allowed: {side} pixels"):
                load(name, "test", size)


def test_classes_without_images_are_left_out_of_episodes(tmp_path: Path) -> None:
    labels = np.repeat([3, 64, 65, 90], [6, 5, 7, 6])
    pool = load_pool(written(tmp_path, GREY, labels)["npz"], "test")
    assert pool.class_names == ("3", "64", "65", "90")
    assert pool.shape == (4, 5)
    np.testing.assert_array_equal(pool.images[1], GREY[6:11])


def images_in(folder: Path, mode: str) -> None:
    for split in ("train", "val"):
        for label in range(3):
            for number in range(5):
                file = folder / split / f"c{label}" / f"{number}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.new(mode, (10 + number, 14), 40 * (label + 1) if mode == "L" else (label, 9, number)).save(file)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_class_folders_of_any_size_give_episodes_and_classes_in_colour_or_grey(mode: str, tmp_path: Path) -> None:
    images_in(tmp_path / "set", mode)
    for prefix, channels in (("folder", 3), ("grey_folder", 1)):
        name = f"{prefix}:{tmp_path / 'set'}"
        for size in (8, 20):
            few: Any = build_task({"dataset": name, "split": "test", "size": size, "way": 3, "episodes": 2}, "task")
            assert FewShotData.load(few).images.shape[1:] == (channels, size, size)
            classes: Any = build_task({"kind": "classification", "dataset": name, "size": size}, "task")
            assert ClassificationData.load(classes).images(0, 2).shape == (2, channels, size, size)
    if mode == "L":
        grey = load_classes(f"grey_folder:{tmp_path / 'set'}", "test", 8)
        assert [int(grey.images[k].mean()) for k in (0, 5, 10)] == [40, 80, 120]


# -- identity ----------------------------------------------------------------------------------------------


def test_content_and_not_the_place_identifies_arrays(tmp_path: Path) -> None:
    study = {
        "name": "s", "model": "bitnet_digits_clamp", "chip": "ideal",
        "task": {"kind": "classification", "dataset": "./all.npz", "images": 4},
    }  # fmt: skip
    ids = []
    for folder, images in (("a", GREY), ("b", GREY), ("c", 255 - GREY)):
        (tmp_path / folder).mkdir()
        written(tmp_path / folder, images)
        (tmp_path / folder / "study.yaml").write_text(write_yaml(study))
        ids.append(points_of(load_study(tmp_path / folder / "study.yaml"))[0].id)
    assert ids[0] == ids[1] != ids[2]


def test_trials_are_identified_by_the_data_of_chips_and_of_the_digital_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    task = {"kind": "classification", "dataset": "task.npz", "images": 4}
    study = {"name": "s", "model": "bitnet_digits_clamp", "chip": "ideal", "task": task}
    ids = []
    for own, reduced in ((GREY, GREY), (255 - GREY, GREY), (GREY, 255 - GREY)):
        for name, images in (("task", own), ("chips", reduced)):
            np.savez(tmp_path / f"{name}.npz", test_images=images, test_labels=LABELS)
        (point,) = points_of(load_study(study | {"chip_task": {"dataset": "chips.npz"}}))
        assert sorted(point.data.values()) == sorted(data_digest(f"{name}.npz test") for name in ("task", "chips"))
        ids.append((point.reference().id, point.baseline().id, point.id))
    references, baselines, points = zip(*ids, strict=True)
    assert references[0] == references[2] != references[1]
    assert baselines[0] == baselines[1] != baselines[2]
    assert points[0] == points[1] != points[2]


def test_a_digest_covers_all_that_a_set_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = np.arange(24, dtype=np.uint8).reshape(4, 2, 3), np.array([0, 1, 1, 2])
    other, relabelled = images.copy(), labels.copy()
    other[3, 1, 2], relabelled[3] = 0, 1
    sets = [
        (images, labels), (other, labels), (images, relabelled), (images[::-1], labels), (images, labels[::-1]),
        (images.reshape(4, 3, 2), labels), (images.view(np.int8), labels),
    ]  # fmt: skip
    held = [LabelledImages("n", "test", x, y.astype(np.int64), ("0", "1", "2")) for x, y in sets]
    found = [_of_labelled(data, (data.images.dtype.str, data.images.shape)) for data in held]
    assert len(set(found)) == len(sets)
    again = LabelledImages("m", "train", images.copy(), labels.astype(">i8"), ("a",))
    assert _of_labelled(again, (images.dtype.str, images.shape)) == found[0]
    monkeypatch.setattr(_fingerprint, "own_kind", lambda _: "arrays")
    own = []
    for data in held:
        monkeypatch.setattr(_fingerprint, "load_own", lambda *_, data=data: data)
        own.append(data_digest("n test"))
    assert own == found


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    name = written(tmp_path, GREY)["npz"]
    before, state = data_digest(f"{name} test"), data_state(f"{name} test")
    assert state
    written(tmp_path, GREY[::-1])
    os.utime(tmp_path / "all.npz", ns=(1, 1))
    assert data_state(f"{name} test") != state
    assert data_digest(f"{name} test") != before


# -- errors ------------------------------------------------------------------------------------------------

_FLOATS = GREY.astype(np.float64)
ARRAYS: dict[str, tuple[dict[str, Any], str]] = {
    "no labels": ({"images": GREY}, r"the keys images; allowed: images and labels"),
    "other keys": ({"x": GREY, "y": LABELS}, r"the keys x, y; allowed: images and labels"),
    "too few labels": ({"images": GREY, "labels": LABELS[:5]}, r"shape \(5,\); allowed: \[24\]"),
    "one-hot labels": ({"images": GREY, "labels": np.eye(4)[LABELS]}, r"labels of a\.npz: got shape \(24, 4\)"),
    "float labels": ({"images": GREY, "labels": LABELS.astype(float)}, "type float64; allowed: whole numbers"),
    "negative labels": ({"images": GREY, "labels": LABELS - 1}, "label -1"),
    "int images": ({"images": GREY.astype(int), "labels": LABELS}, "type int64; allowed: uint8 or floating-point"),
    "channels first": ({"images": COLOUR.transpose(0, 3, 1, 2), "labels": LABELS}, r"shape \(24, 3, 9, 9\)"),
    "single image": ({"images": GREY[0, 0], "labels": LABELS}, r"shape \(9,\)"),
    "NaN": ({"images": np.where(_FLOATS > 254, np.nan, _FLOATS), "labels": LABELS}, r"\d+ NaN or infinite values"),
    "objects": ({"images": np.array([None]), "labels": LABELS}, "allowed: arrays of numbers"),
    "empty": ({"images": GREY[:0], "labels": LABELS[:0]}, r"shape \(0, 9, 9\)"),
}


@pytest.mark.parametrize(("arrays", "match"), ARRAYS.values(), ids=ARRAYS)
def test_arrays_that_are_no_images_with_labels_are_refused(arrays: dict[str, Any], match: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    for load in (load_classes, load_pool):
        with pytest.raises(InputError, match=match) as error:
            load(str(tmp_path / "a.npz"), "test")
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "split", "match"),
    [
        ("none.npz", "test", "no file"),
        ("images.npy", "test", "allowed: IMAGES.npy,LABELS.npy"),
        ("images.npy,labels.npy,x.npy", "test", "allowed: IMAGES.npy,LABELS.npy"),
        ("all.npz", "train", "train_images and train_labels"),
        ("all.npz", "validation", "allowed: train, test"),
        ("text.npz", "test", "allowed: arrays of numbers"),
        ("data.py:nothing", "test", "'nothing' in"),
        ("fails.py:make", "test", r"fails\.py, line 2 \(return 1 / 0\): got ZeroDivisionError"),
        ("fails.py:number", "test", "got TypeError"),
    ],
)
def test_names_that_give_no_data_are_refused(
    name: str, split: str, match: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path, GREY)
    (tmp_path / "text.npz").write_text("no archive")
    (tmp_path / "fails.py").write_text("def make(split):\n    return 1 / 0\n\ndef number(split):\n    return 5\n")
    with pytest.raises((InputError, MissingDataError), match=match):
        load_classes(name, split)


def test_a_pair_of_files_of_one_split_has_no_other(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Write \{split\} in both paths"):
        load_classes(written(tmp_path, GREY)["npy"], "train")


def test_what_is_not_square_is_not_turned(tmp_path: Path) -> None:
    name = written(tmp_path, GREY[:, :, :5])["npz"]
    few: Any = build_task({"dataset": name, "split": "test", "way": 3, "queries": 2, "episodes": 4}, "task")
    with pytest.raises(InputError, match=r"task\.rotations: got images of shape \(9, 5\).*rotations: false"):
        FewShotData.load(few)
