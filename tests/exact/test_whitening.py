"""Whitened images compared with the formula written out, and where they are allowed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.linalg import inv, sqrtm

from imc_sim._errors import InputError
from imc_sim.data import _whitening, gather_labelled, load_classes
from imc_sim.data._whitening import whitened, zca
from imc_sim.evaluate import ClassificationTask
from imc_sim.evaluate._labelled import ClassificationData
from imc_sim.train import ClassificationRecipe, ContinualRecipe, ContinualTask
from imc_sim.train._classification import TrainingSet


def test_the_matrix_is_the_inverse_root_of_the_covariance_and_a_tenth() -> None:
    rng = np.random.default_rng(3)
    x = (rng.normal(size=(400, 6)) @ rng.normal(size=(6, 6)) + rng.normal(size=6)).astype(np.float32)
    basis = zca(x)
    covariance = np.cov(x.astype(np.float64), rowvar=False, bias=True)
    np.testing.assert_allclose(basis[0], x.mean(0), atol=1e-6)
    np.testing.assert_allclose(basis[1:], inv(sqrtm(covariance + 0.1 * np.eye(6))).real, atol=1e-5)


def test_images_are_whitened_by_the_training_images_of_their_set() -> None:
    train, test = load_classes("digits", "train"), load_classes("digits", "test")

    def rows(images: np.ndarray) -> np.ndarray:
        flat = images.reshape(len(images), -1).astype(np.float64)
        flat = flat - flat.mean(1, keepdims=True)
        return 55 * flat / np.linalg.norm(flat, axis=1, keepdims=True)

    known = rows(train.images)
    matrix = inv(sqrtm(np.cov(known, rowvar=False, bias=True) + 0.1 * np.eye(64))).real
    expected = (rows(test.images) - known.mean(0)) @ matrix
    found = gather_labelled(test, slice(None), "whitened")
    assert found.shape == (len(test.labels), 1, 8, 8)
    # The smallest variances, 0.1 with what is added, magnify float32 roundings of numbers up to 20 three times.
    np.testing.assert_allclose(found.reshape(len(found), -1), expected, atol=2e-3)
    covariance = np.cov(gather_labelled(train, slice(None), "whitened").reshape(-1, 64), rowvar=False)
    assert np.abs(covariance - np.diag(np.diag(covariance))).max() < 0.35
    assert np.abs(np.cov(known, rowvar=False)).max() > 3


def test_other_training_images_make_another_basis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though that of the images before them is in the cache."""
    monkeypatch.setenv("IMC_SIM_CACHE", str(tmp_path))
    found = []
    for seed in (0, 1, 0):
        images = np.random.default_rng(seed).integers(0, 256, (40, 3, 3), np.uint8)
        monkeypatch.setattr(_whitening, "load_labelled", lambda *_, images=images: SimpleNamespace(images=images))
        _whitening._basis.cache_clear()
        found.append(_whitening._basis("digits", "state"))
        assert np.array_equal(found[-1], zca(_whitening._normalised(images[:, None])))
    _whitening._basis.cache_clear()
    assert not np.array_equal(found[0], found[1])
    assert len(list(tmp_path.iterdir())) == 2


def test_images_of_one_grey_level_are_equal() -> None:
    flat = whitened(np.stack([np.full((8, 8), level, np.uint8) for level in (0, 200)]), "digits")
    assert np.isfinite(flat).all()
    assert np.array_equal(flat[0], flat[1])


def test_a_task_sees_whitened_images() -> None:
    task = ClassificationTask(dataset="digits", images=7, scaling="whitened")
    data = ClassificationData.load(task)
    source = load_classes("digits", "test")
    assert np.array_equal(data.images(0, 7).numpy(), gather_labelled(source, data.rows, "whitened"))


@pytest.mark.parametrize("other", [{"permutation": 3}, {"pad": 12}])
def test_images_that_are_moved_are_not_whitened(other: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="whitened"):
        ClassificationTask(dataset="digits", scaling="whitened", **other)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="whitened"):
        ClassificationRecipe(dataset="digits", scaling="whitened", **other)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="whitened"):
        ContinualRecipe(scaling="whitened", tasks=(ContinualTask(**other),))  # type: ignore[arg-type]


def test_a_recipe_trains_on_whitened_images_of_some_classes() -> None:
    recipe = ClassificationRecipe(dataset="digits", scaling="whitened", classes=(7, 2), validation=20)
    data = TrainingSet.load(recipe, None)
    images, labels = data.batch(data.train[:9], "cpu")
    source = load_classes("digits", "train")
    rows = np.flatnonzero(np.isin(source.labels, (7, 2)))[data.train[:9]]
    assert np.array_equal(images.numpy(), gather_labelled(source, rows, "whitened"))
    assert np.array_equal(labels.numpy(), source.labels[rows])
    assert recipe.training_digest() != ClassificationRecipe(dataset="digits", validation=20).training_digest()


def test_characters_are_not_whitened() -> None:
    with pytest.raises(InputError, match="labelled sets"):
        whitened(np.zeros((1, 32, 32), np.uint8), "glyphs")
