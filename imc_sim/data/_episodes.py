"""Few-shot episodes as index arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imc_sim._arguments import checked
from imc_sim._errors import InputError, check_whole, shown_value
from imc_sim._rng import Stream, check_seed

Ints = NDArray[np.int64]
#: episodes of one call, and images or classes of an episode, at most
MOST = 1_000_000


def _rule(field: str, value: int, rule: str, holds: bool) -> None:
    if not holds:
        raise InputError(f"episode.{field}", value, rule, f"Change {field} so that the rule holds.")


@dataclass(frozen=True)
class EpisodeShape:
    """Size of an m-way n-shot episode.

    Attributes:
        way: classes of an episode, 2 or more.
        shot: support images of each class, 1 or more.
        queries: query images of each class, 1 or more.
        query_pool: images of each class from which the queries are sampled, if a published setting reserves more
            than it evaluates; at least `queries`. None: exactly `queries`. Support and query pool share no image, so
            a class needs `shot` + `query_pool` images.
    """

    way: int
    shot: int
    queries: int
    query_pool: int | None = None

    def __post_init__(self) -> None:
        for field in ("way", "shot", "queries") + ("query_pool",) * (self.query_pool is not None):
            check_whole(getattr(self, field), f"episode.{field}", most=MOST)
        _rule("way", self.way, "way >= 2", self.way >= 2)
        _rule("shot", self.shot, "shot >= 1", self.shot >= 1)
        _rule("queries", self.queries, "queries >= 1", self.queries >= 1)
        rule = f"query_pool >= queries ({self.queries})"
        _rule("query_pool", self.pool, rule, self.pool >= self.queries)

    @property
    def pool(self) -> int:
        """Images of each class that are reserved for queries."""
        return self.queries if self.query_pool is None else self.query_pool

    def check_fits(self, classes: int, instances: int) -> None:
        """Check that such an episode can be sampled from a pool.

        Args:
            classes: classes of the pool.
            instances: images of each class of the pool.

        Raises:
            InputError: the pool has too few classes, or too few images of a class.
        """
        check_whole(classes, "episode, classes")
        check_whole(instances, "episode, instances")
        _rule("way", self.way, f"way <= classes of the pool ({classes})", self.way <= classes)
        rule = f"shot + query_pool <= instances of a class ({instances})"
        _rule("query_pool", self.pool, f"{rule}, with shot = {self.shot}", self.shot + self.pool <= instances)


@dataclass(frozen=True, eq=False)
class Episodes:
    """Few-shot episodes as int64 index arrays; the label of a class is its position 0..way-1 in an episode.

    Attributes:
        classes: [episodes, way], classes of the pool.
        support: [episodes, way, shot], instances of those classes.
        query: [episodes, way, queries], instances of those classes, none of them in the support.
        rotation: [episodes], quarter turns counter-clockwise, the same for all images of an episode.
    """

    classes: Ints
    support: Ints
    query: Ints
    rotation: Ints

    def __len__(self) -> int:
        return len(self.classes)


@checked
def sample_episodes(
    pool_shape: tuple[int, int],
    shape: EpisodeShape,
    episodes: range | int,
    seed: int,
    *,
    rotations: bool = False,
) -> Episodes:
    """Sample few-shot episodes from a pool.

    The classes of an episode are sampled without replacement. The instances of each class are permuted independently:
    the first `shot` are support images, the next `queries` are query images. Episode k depends only on the seed, on k
    and on the shapes of pool and episode. The same classes and instances are sampled with and without rotations.

    Args:
        pool_shape: (classes, instances of each class) of the pool.
        shape: classes and images of each episode.
        episodes: numbers of the episodes, 0 or more each; an integer n means range(n).
        seed: seed of the random stream, 0 or more.
        rotations: turn all images of an episode by the same random number of quarter turns.

    Returns:
        The episodes, in the order of their numbers.

    Raises:
        InputError: the pool is too small for the shape, there are no episodes, or a number or the seed is negative.
    """
    shape.check_fits(*pool_shape)
    check_seed(seed, "sample_episodes")
    wanted = episodes if isinstance(episodes, range) else range(episodes)
    if not 1 <= len(wanted[: MOST + 1]) <= MOST or min(wanted[0], wanted[-1]) < 0:
        allowed = f"the number of episodes, 1 to {MOST:,}, or the range of their numbers"
        raise InputError("sample_episodes, episodes", shown_value(episodes), allowed, "Set such a number.")
    stream = Stream(seed, "episodes", "draw")
    parts = [_block(stream, pool_shape, shape, wanted[i : i + 1024]) for i in range(0, len(wanted), 1024)]
    classes, order, turns = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    query = order[:, :, shape.shot : shape.shot + shape.queries]
    return Episodes(classes, order[:, :, : shape.shot], query, turns if rotations else np.zeros_like(turns))


def _block(stream: Stream, pool: tuple[int, int], shape: EpisodeShape, wanted: range) -> tuple[Ints, Ints, Ints]:
    """Return classes [e, way], orders of instances [e, way, instances] and quarter turns [e] of e episodes."""
    classes, instances = pool
    count = 1 + classes + shape.way * instances
    keys = np.stack([stream.words(4 * count, chip=k).view(np.uint64) for k in wanted])
    chosen = _smallest(keys[:, 1 : 1 + classes], shape.way)
    order = np.argsort(keys[:, 1 + classes :].reshape(len(keys), shape.way, instances), axis=-1, kind="stable")
    return chosen, order.astype(np.int64), (keys[:, 0] >> np.uint64(62)).astype(np.int64)


def _smallest(keys: NDArray[np.uint64], count: int) -> Ints:
    """Return the positions of the `count` smallest keys of each row, in ascending order of the keys."""
    if count == keys.shape[1]:
        return np.argsort(keys, axis=1).astype(np.int64)
    some = np.argpartition(keys, count, axis=1)[:, :count]
    order = np.argsort(np.take_along_axis(keys, some, 1), axis=1)
    return np.take_along_axis(some, order, 1).astype(np.int64)
