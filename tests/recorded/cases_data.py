"""Data: episodes, images in batches, views, folders of images, arrays of the user, and augmentations."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from imc_sim.data import (
    CharacterPool,
    EpisodeShape,
    LabelledImages,
    View,
    class_count,
    data_digest,
    data_parts,
    foreign_digests,
    gather_images,
    gather_labelled,
    load_classes,
    load_labelled,
    load_pool,
    pixel_order,
    repeated_images,
    sample_episodes,
    stored_name,
    task_images,
    unique_images,
)  # fmt: skip
from imc_sim.train import flip_crop
from tests.recorded.made import folder, parts, real, tried, without


def short(array: Any) -> str:
    """Return a small array as text."""
    return f"{list(np.shape(array))} {np.asarray(array).ravel()[:40].tolist()}"


def record_episodes() -> dict[str, Any]:
    """Classes, examples, queries and turns of episodes, and the images that they share."""
    found: dict[str, Any] = {}
    for name, (pool, shape, which, seed, turns) in {
        "plain": ((7, 6), EpisodeShape(3, 2, 2), range(2), 3, False),
        "turned": ((5, 4), EpisodeShape(5, 1, 2, 3), range(4, 6), 1, True),
        "as a number": ((9, 3), EpisodeShape(2, 1, 1), 3, 0, True),
    }.items():  # fmt: skip
        e = sample_episodes(pool, shape, which, seed, rotations=turns)
        found[name] = [short(each) for each in (e.classes, e.support, e.query, e.rotation)]
        for kind, images in (("unique", unique_images(e)), ("repeated", repeated_images(e))):
            found[f"{name}, {kind}"] = [short(each) for each in (images.triples, images.support, images.query)]
    wrong: dict[str, Any] = {"way": (1, 1, 1), "shot": (2, 0, 1), "queries": (2, 1, 0), "pool": (2, 1, 3, 2)}
    found |= {f"no {name}": tried(lambda s=shape: EpisodeShape(*s)) for name, shape in wrong.items()}
    calls = {
        "few classes": ((2, 9), 1, 0),
        "few images": ((9, 2), 1, 0),
        "no episodes": ((9, 9), 0, 0),
        "seed": ((9, 9), 1, -1),
        "negative": ((9, 9), range(-1, 2), 0),
    }
    found |= {
        name: tried(lambda c=call: len(sample_episodes(c[0], EpisodeShape(3, 1, 2), c[1], c[2])))
        for name, call in calls.items()
    }
    return found


def record_gathered_images() -> dict[str, Any]:
    """Images of pools and of labelled sets in each scaling, turned and normalised."""
    rng = np.random.default_rng(11)
    grey = rng.integers(0, 256, (3, 2, 4, 4)).astype(np.uint8)
    colour = rng.integers(0, 256, (3, 2, 4, 4, 3)).astype(np.uint8)
    exact = rng.standard_normal((3, 2, 1, 4, 4)).astype(np.float32)
    triples = np.array([[0, 0, 0], [2, 1, 1], [1, 0, 2], [2, 0, 3]])
    found: dict[str, Any] = {}
    for name, images, mean, std in (
        ("grey", grey, 0.3, 0.4),
        ("colour", colour, (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)),
        ("exact", exact, 0.0, 1.0),
    ):
        given: Any = images
        pool = CharacterPool("made", "train", given, ("a", "b", "c"), mean, std)
        for scaling in ("standard", "unit"):
            found[f"{name}, {scaling}"] = gather_images(pool, triples, scaling)
    flat = CharacterPool("made", "train", grey[:, :, :3], ("a", "b", "c"), 0.3, 0.4)
    found["not square"] = tried(gather_images, flat, triples)
    for name, images in {
        "cifar10": rng.integers(0, 256, (5, 6, 6, 3)),
        "mnist": rng.integers(0, 256, (5, 6, 6)),
    }.items():
        data = LabelledImages(name, "train", images.astype(np.uint8), np.arange(5), tuple("abcde"))
        for scaling in ("standard", "unit"):
            found[f"{name}, {scaling}"] = gather_labelled(data, np.array([3, 1]), scaling)
    found["cropped"] = flip_crop(real(7, 2, 9, 8), 3, 5, 2)
    found["cropped later"] = flip_crop(real(3, 2, 9, 8), 3, 6, 4)
    return found


def record_sets() -> dict[str, Any]:
    """Sets that the package makes or contains: shapes, classes, content, parts and refusals."""
    found: dict[str, Any] = {}
    digits = load_labelled("digits", "test")
    found["digits"] = [
        parts(digits.class_names),
        digits.images,
        np.bincount(digits.labels).tolist(),
        short(digits.labels[:20]),
    ]
    for split in ("train", "test"):
        pool = load_pool("glyphs", split, 20)
        found[f"glyphs {split}"] = [
            list(pool.images.shape),
            pool.images[:9],
            pool.class_names[:3],
            pool.class_names[-1],
            pool.mean,
            pool.std,
        ]
    for split in ("test_train", "test_test"):
        data = load_classes("glyphs", split, 16)
        found[split] = [
            list(data.images.shape),
            short(data.labels[:30]),
            data.images[:50],
            len(data.class_names),
            class_count("glyphs", split),
        ]
    for name, split in (
        ("glyphs", "test"),
        ("omniglot", "background_train"),
        ("omniglot", "pooled_test"),
        ("mnist", "train"),
        ("folder:x", "train"),
        ("x.npz", "all"),
    ):
        found[f"parts of {name} {split}"] = list(tried(data_parts, name, split))
    found["names"] = [stored_name(name) for name in ("mnist", "folder:/a/b", "./x/y.npz", "a.npy,b.npy", "f.py:g")]
    found["foreign"] = foreign_digests(
        {
            "mnist train": "0" * 64,
            "omniglot background": "8254f82e38eef76ff970de4dce37d3c354e33e4fc453809dfc1f72f452d09dd4",
        }
    )
    found["wrong"] = [
        tried(load_labelled, "digits", "tests"),
        tried(load_classes, "glyphs", "test", 16),
        tried(load_pool, "glyphs", "trains"),
        tried(load_labelled, "digit", "test"),
    ]
    return found


def record_views() -> dict[str, Any]:
    """Views of labelled images: classes, offsets, orders of pixels and padding."""
    rng = np.random.default_rng(12)
    images = rng.integers(0, 256, (8, 3, 4)).astype(np.uint8)
    data = LabelledImages("made", "train", images, np.array([0, 1, 2, 0, 1, 2, 3, 3]), tuple("abcd"))
    views: list[dict[str, Any]] = [
        {},
        {"classes": (1, 3)},
        {"classes": (3, 0, 1), "offset": 5},
        {"permutation": 3},
        {"pad": 6},
        {"pad": 6, "permutation": 2, "classes": (2,)},
        {"classes": (7,)},
        {"classes": (-1,)},
        {"classes": (1, 1)},
        {"pad": 2},
    ]
    found: dict[str, Any] = {"order": short(pixel_order(4, 12)), "identity": short(pixel_order(0, 6))}
    for view in views:
        made = tried(lambda v=view: task_images(data, View(**v), "here"))
        if isinstance(made, dict):
            made = [list(np.shape(made["images"])), made["images"], short(made["labels"]), made["class_names"]]
        found[str(view)] = made if not isinstance(made, str) else made.partition(" [type")[0]
    return found


def record_own_data() -> dict[str, Any]:
    """Folders of images and arrays of the user: classes, labels, pixels, digests and refusals."""
    found: dict[str, Any] = {}
    with folder() as at:
        for split, names in (("train", ("b", "a", "c")), ("test", ("a", "b", "c"))):
            for number, name in enumerate(names):
                (at / "d" / split / name).mkdir(parents=True)
                for k in range(number + 1):
                    pixels = np.random.default_rng([number, k]).integers(0, 256, (6, 6, 3)).astype(np.uint8)
                    Image.fromarray(pixels).save(at / "d" / split / name / f"{k}.png")
        os.environ["IMC_SIM_CACHE"], kept = str(at / "cache"), os.environ.get("IMC_SIM_CACHE")
        try:
            for kind, split, size in (("folder", "train", 6), ("grey_folder", "test", 6), ("folder", "all", 6)):
                data = tried(lambda k=kind, s=split, z=size: load_classes(f"{k}:{at / 'd'}", s, z))
                if isinstance(data, dict):
                    source = load_classes(f"{kind}:{at / 'd'}", split, size)
                    data = [
                        source.class_names,
                        short(source.labels),
                        gather_labelled(source, np.arange(len(source.labels)), "unit"),
                    ]
                found[f"{kind} {split}"] = data if isinstance(data, list) else without(data, at)
            images, labels = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4), np.array([1, 0])
            np.savez(at / "x.npz", test_images=images, test_labels=labels)
            np.save(at / "i.npy", images.astype(np.float32)[:, None] / 10)
            np.save(at / "l.npy", labels)
            for name in (f"{at / 'x.npz'}", f"{at / 'i.npy'},{at / 'l.npy'}"):
                for split in ("train", "test"):
                    data = tried(lambda n=name, s=split: load_classes(n, s))
                    if isinstance(data, dict):
                        data = [
                            data["class_names"],
                            short(data["images"]),
                            short(data["labels"]),
                            data_digest(f"{name} {split}"),
                        ]
                    found[f"{Path(name).suffix} {split}"] = data if isinstance(data, list) else without(data, at)
            np.savez(at / "y.npz", test_images=images, test_labels=np.array([1, 0, 2]))
            np.savez(at / "z.npz", pictures=images)
            for name in ("y.npz", "z.npz", "none.npz"):
                found[name] = without(str(tried(lambda n=name: load_classes(str(at / n), "test"))), at)
        finally:
            os.environ.pop("IMC_SIM_CACHE")
            os.environ.update({} if kept is None else {"IMC_SIM_CACHE": kept})
    return found
