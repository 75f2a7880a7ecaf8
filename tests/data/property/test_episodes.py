"""Episodes: rules, independence of the batch, no image in both support and query."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imc_sim._errors import InputError
from imc_sim.data import CharacterPool, EpisodeShape, gather_images, repeated_images, sample_episodes, unique_images


@st.composite
def settings_of_episodes(draw):
    classes, instances = draw(st.integers(2, 60)), draw(st.integers(2, 24))
    shot = draw(st.integers(1, instances - 1))
    pool = draw(st.integers(1, instances - shot))
    shape = EpisodeShape(draw(st.integers(2, classes)), shot, draw(st.integers(1, pool)), pool)
    return (classes, instances), shape, draw(st.integers(0, 2**40)), draw(st.booleans())


@given(settings_of_episodes(), st.integers(0, 5000), st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_episodes_are_valid_and_do_not_depend_on_their_neighbours(case, start, count):
    pool, shape, seed, rotations = case
    episodes = sample_episodes(pool, shape, range(start, start + count), seed, rotations=rotations)
    assert len(episodes) == count
    assert episodes.support.shape == (count, shape.way, shape.shot)
    assert episodes.query.shape == (count, shape.way, shape.queries)
    both = np.concatenate([episodes.support, episodes.query], 2)
    assert np.all(np.diff(np.sort(both, 2), axis=2) > 0)
    assert np.all(np.diff(np.sort(episodes.classes, 1), axis=1) > 0)
    assert both.min() >= 0
    assert both.max() < pool[1]
    assert episodes.classes.max() < pool[0]
    alone = sample_episodes(pool, shape, range(start + count - 1, start + count), seed, rotations=rotations)
    for whole, one in zip(vars(episodes).values(), vars(alone).values(), strict=True):
        np.testing.assert_array_equal(whole[-1:], one)


@given(settings_of_episodes())
@settings(max_examples=40, deadline=None)
def test_unique_images_lead_back_to_the_episodes(case):
    pool, shape, seed, rotations = case
    episodes = sample_episodes(pool, shape, 4, seed, rotations=rotations)
    unique = unique_images(episodes)
    assert len(np.unique(unique.triples, axis=0)) == len(unique.triples)
    for rows, instances in ((unique.support, episodes.support), (unique.query, episodes.query)):
        classes, found, turns = np.moveaxis(unique.triples[rows], -1, 0)
        np.testing.assert_array_equal(found, instances)
        np.testing.assert_array_equal(classes, np.broadcast_to(episodes.classes[:, :, None], rows.shape))
        np.testing.assert_array_equal(turns, np.broadcast_to(episodes.rotation[:, None, None], rows.shape))


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ((1, 1, 1), "way >= 2"),
        ((5, 0, 1), "shot >= 1"),
        ((5, 1, 0), "queries >= 1"),
        ((5, 1, 4, 3), r"query_pool >= queries \(4\)"),
        ((31, 1, 1), r"way <= classes of the pool \(30\)"),
        ((5, 5, 16), r"shot \+ query_pool <= instances of a class \(20\)"),
        ((5, 5, 1, 16), r"shot \+ query_pool <= instances of a class \(20\)"),
    ],
)
def test_a_broken_rule_is_named(fields, rule):
    with pytest.raises(InputError, match=rule):
        sample_episodes((30, 20), EpisodeShape(*fields), 1, seed=0)


def test_the_largest_possible_episode_uses_every_image():
    episodes = sample_episodes((5, 20), EpisodeShape(5, 5, 15), 3, seed=0)
    both = np.sort(np.concatenate([episodes.support, episodes.query], 2), 2)
    np.testing.assert_array_equal(both, np.broadcast_to(np.arange(20), both.shape))


def test_classes_positions_and_turns_are_sampled_uniformly():
    episodes = sample_episodes((10, 20), EpisodeShape(5, 1, 1), 4000, seed=3, rotations=True)
    for values, cells in ((episodes.classes[:, 0], 10), (episodes.support[:, 2, 0], 20), (episodes.rotation, 4)):
        expected = 4000 / cells
        chi2 = ((np.bincount(values, minlength=cells) - expected) ** 2 / expected).sum()
        assert chi2 < cells - 1 + 5 * (2 * (cells - 1)) ** 0.5
    together = np.corrcoef(episodes.support[:, 0, 0], episodes.support[:, 1, 0])[0, 1]
    assert abs(together) < 0.08  # each class has its own permutation


def test_rotation_changes_nothing_but_the_orientation():
    shape = EpisodeShape(5, 1, 3)
    off, on = (sample_episodes((50, 20), shape, 20, seed=1, rotations=r) for r in (False, True))
    assert not off.rotation.any()
    assert set(on.rotation.tolist()) == {0, 1, 2, 3}
    np.testing.assert_array_equal(off.classes, on.classes)
    np.testing.assert_array_equal(off.query, on.query)


def test_images_are_turned_then_normalised():
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 6, 6)).astype(np.uint8)
    pool = CharacterPool("p", "s", images, ("a", "b", "c"), 0.9, 0.1)
    triples = np.array([[0, 0, 0], [2, 3, 1], [1, 1, 2], [1, 2, 3]])
    got = gather_images(pool, triples)
    assert got.shape == (4, 1, 6, 6)
    assert got.dtype == np.float32
    for x, (c, i, turns) in zip(got, triples, strict=True):
        np.testing.assert_allclose(x[0], (np.rot90(images[c, i], turns) / 255 - 0.9) / 0.1, atol=1e-5)


def test_repeated_images_are_those_of_each_episode_in_order():
    episodes = sample_episodes((6, 8), EpisodeShape(3, 2, 2), 3, 0, rotations=True)
    got = repeated_images(episodes)
    for rows, instances in ((got.support, episodes.support), (got.query, episodes.query)):
        classes, turns = episodes.classes[:, :, None], episodes.rotation[:, None, None]
        expected = np.stack(np.broadcast_arrays(classes, instances, turns), -1)
        np.testing.assert_array_equal(got.triples[rows], expected)
    for number, rows in enumerate(zip(got.support, got.query, strict=True)):
        assert np.concatenate([r.ravel() for r in rows]).tolist() == list(range(12 * number, 12 * number + 12))


def test_grey_levels_are_stretched_image_by_image():
    """The darkest pixel becomes 0 and the lightest 1; an image of one grey level becomes 0."""
    images = np.array([[[50, 150], [75, 100]], [[90, 90], [90, 90]], [[0, 255], [51, 204]]], np.uint8)[:, None]
    pool = CharacterPool("p", "s", images, ("a", "b", "c"), 0.9, 0.1)
    got = gather_images(pool, np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0]]), "unit")
    expected = [[[0, 1], [0.25, 0.5]], [[0, 0], [0, 0]], [[0, 1], [0.2, 0.8]]]
    np.testing.assert_allclose(got[:, 0], expected, rtol=1e-6)


@pytest.mark.parametrize(("episodes", "seed"), [(0, 0), (range(-1, 2), 0), (1, -1)])
def test_invalid_settings_are_refused(episodes, seed):
    with pytest.raises(InputError, match="sample_episodes"):
        sample_episodes((5, 20), EpisodeShape(5, 1, 1), episodes, seed)
