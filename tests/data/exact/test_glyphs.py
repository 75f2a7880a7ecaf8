"""Generated characters: the same on every machine, all different, hard for pixels, easier for strokes."""

import hashlib
import itertools

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from imc_sim._errors import InputError
from imc_sim.data import EpisodeShape, _glyphs, check, load_pool, make_glyphs, sample_episodes


@pytest.fixture(scope="module")
def few():
    return make_glyphs(range(800, 880), 32)


def test_a_character_depends_on_seed_and_index_only(few):
    np.testing.assert_array_equal(make_glyphs(range(815, 818), 32), few[15:18])
    assert not np.array_equal(make_glyphs(range(815, 816), 32, seed=1), few[15:16])


def test_the_set_has_its_recorded_digest():
    glyphs = make_glyphs(range(1000, 1003), 105)
    assert set(np.unique(glyphs)) == {0, 255}
    assert hashlib.sha256(glyphs.tobytes()).hexdigest()[:16] == "e5dafc3e509108ce"


def test_all_images_differ(few):
    flat = few.reshape(-1, 1024)
    assert len(np.unique(flat, axis=0)) == len(flat)


def test_statistics_resemble_those_of_omniglot(few):
    assert 0.91 < few.mean() / 255 < 0.93
    assert 0.23 < few.std() / 255 < 0.25
    assert np.all(few.min(axis=(2, 3)) < 60)
    assert np.median(few) == 255


def test_splits_are_disjoint_by_alphabet(tmp_path, monkeypatch):
    test = load_pool("glyphs", "test")
    assert test.shape == (400, 20)
    np.testing.assert_array_equal(test.images[:3], make_glyphs(range(800, 803), 32))
    assert {n.split("/")[0] for n in test.class_names} == {f"Alphabet{a}" for a in range(40, 60)}
    monkeypatch.setenv("IMC_SIM_CACHE", str(tmp_path))
    monkeypatch.setattr(
        _glyphs, "make_glyphs", lambda indices, size: np.zeros((len(indices), 20, size, size), np.uint8)
    )
    train = load_pool("glyphs", "train", size=8)  # names only: drawing takes 8 ms a character
    assert train.shape == (800, 20)
    assert len(set(train.class_names)) == 800
    assert not {n.split("/")[0] for n in train.class_names} & {n.split("/")[0] for n in test.class_names}
    with pytest.raises(InputError, match="train, test, all"):
        load_pool("glyphs", "validation")


def one_shot_accuracy(features, way, episodes):
    """Return the accuracy of the nearest neighbour; features: [classes, writers, ...]."""
    glyphs = sample_episodes(features.shape[:2], EpisodeShape(way, 1, 5), episodes, seed=0)
    flat = features.reshape(*features.shape[:2], -1)
    hits = []
    for classes, support, query in zip(glyphs.classes, glyphs.support, glyphs.query, strict=True):
        keys, queries = flat[classes, support[:, 0]], flat[classes[:, None], query]
        distance = ((queries[:, :, None] - keys) ** 2).sum(-1)
        hits.append(distance.argmin(-1) == np.arange(way)[:, None])
    return float(np.mean(hits))


def stroke_directions(images):
    """Return blurred maps of eight gradient directions, [classes, writers, 8, 10, 10]."""
    dy, dx = np.gradient(images.astype(np.float32), axis=(-2, -1))
    strength, angle = np.hypot(dx, dy), np.arctan2(dy, dx) % np.pi / np.pi * 8
    maps = [np.maximum(0, 1 - np.abs((angle - k + 4) % 8 - 4)) * strength for k in range(8)]
    blurred = [gaussian_filter(m, [0, 0, 2.5, 2.5])[..., 1::3, 1::3] for m in maps]
    return np.sqrt(np.stack(blurred, 2))


def test_pixels_are_a_weak_feature_and_stroke_directions_a_good_one():
    images = load_pool("glyphs", "test").images[::4].astype(np.float32)
    pixels = one_shot_accuracy(images, 20, 40)
    assert 0.15 < pixels < 0.40  # chance 0.05; Omniglot 0.22
    assert one_shot_accuracy(stroke_directions(images), 20, 40) > pixels + 0.2  # Omniglot 0.65


def test_a_linear_classifier_does_not_solve_one_shot():
    from sklearn.linear_model import LogisticRegression

    images = 1 - load_pool("glyphs", "test").images.reshape(400, 20, -1) / 255
    episodes = sample_episodes((400, 20), EpisodeShape(20, 1, 10), 8, seed=1)
    scores = []
    for classes, support, query in zip(episodes.classes, episodes.support, episodes.query, strict=True):
        fitted = LogisticRegression(max_iter=200).fit(images[classes, support[:, 0]], np.arange(20))
        queries = images[classes[:, None], query].reshape(200, -1)
        scores.append(fitted.score(queries, np.repeat(np.arange(20), 10)))
    assert 0.15 < np.mean(scores) < 0.45


def test_check_of_an_embedded_pool(monkeypatch):
    monkeypatch.setattr("imc_sim.data._glyphs.SPLITS", {"train": range(3), "test": range(800, 803)})
    report = check("glyphs")
    assert not report.ok
    assert len(report.problems) == 2


def test_each_split_is_cached_at_every_size(tmp_path, monkeypatch):
    monkeypatch.setenv("IMC_SIM_CACHE", str(tmp_path))
    splits = {"train": range(2), "test": range(800, 802)}
    monkeypatch.setattr(_glyphs, "SPLITS", splits)
    for split, size in itertools.product(splits, (32, 16, 32)):
        np.testing.assert_array_equal(_glyphs.glyphs(split, size)[0], make_glyphs(splits[split], size))
