"""Few-shot episodes as index arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imc_sim._errors import InputError
from imc_sim._rng import Stream

Ints = NDArray[np.int64]


def _rule(field: str, value: int, rule: str, holds: bool) -> None:
    if not holds:
        raise InputError(f"episode.{field}", value, rule, f"Change {field} so that the rule holds.")


@dataclass(frozen=True)
class EpisodeShape:
    """An m-way n-shot episode: `way` classes, `shot` support images and `queries` query images of each.

    query_pool: images of each class set aside for queries, where a published setting states more than it
    asks; None for exactly `queries`. Queries are sampled from it, so it must fit together with the support.
    """

    way: int
    shot: int
    queries: int
    query_pool: int | None = None

    def __post_init__(self) -> None:
        _rule("way", self.way, "way >= 2", self.way >= 2)
        _rule("shot", self.shot, "shot >= 1", self.shot >= 1)
        _rule("queries", self.queries, "queries >= 1", self.queries >= 1)
        rule = f"query_pool >= queries ({self.queries})"
        _rule("query_pool", self.pool, rule, self.pool >= self.queries)

    @property
    def pool(self) -> int:
        """Images of each class set aside for queries."""
        return self.queries if self.query_pool is None else self.query_pool

    def check_fits(self, classes: int, instances: int) -> None:
        """Raise InputError unless such an episode can be sampled from a pool of this shape."""
        _rule("way", self.way, f"way <= classes of the pool ({classes})", self.way <= classes)
        rule = f"shot + query_pool <= instances of a class ({instances})"
        _rule("query_pool", self.pool, f"{rule}, with shot = {self.shot}", self.shot + self.pool <= instances)


@dataclass(frozen=True, eq=False)
class Episodes:
    """e episodes; labels are the positions 0..way-1. Arrays are int64.

    classes: [e, way], classes of the pool. support: [e, way, shot] and query: [e, way, queries], instances of
    those classes. rotation: [e], quarter turns counter-clockwise, the same for all images of an episode.
    """

    classes: Ints
    support: Ints
    query: Ints
    rotation: Ints

    def __len__(self) -> int:
        return len(self.classes)


def sample_episodes(
    pool_shape: tuple[int, int],
    shape: EpisodeShape,
    episodes: range | int,
    seed: int,
    *,
    rotations: bool = False,
) -> Episodes:
    """Draw episodes from a pool of (classes, instances); a number n stands for range(n).

    Classes are sampled without replacement. Each class has its own permutation of its instances: the first
    `shot` support, the next queries. Episode k depends on (seed, k), the pool's and the episode's shape, and
    not on the other classes of the episode; switching rotations on changes nothing else.
    """
    shape.check_fits(*pool_shape)
    wanted = range(episodes) if isinstance(episodes, int) else episodes
    if len(wanted) == 0 or min(wanted) < 0 or seed < 0:
        got = f"episodes {wanted}, seed {seed}"
        raise InputError(
            "sample_episodes", got, "one episode or more, none of them and no seed negative", "Ask for some."
        )
    stream = Stream(seed, "episodes", "draw")
    parts = [_block(stream, pool_shape, shape, wanted[i : i + 1024]) for i in range(0, len(wanted), 1024)]
    classes, order, turns = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    query = order[:, :, shape.shot : shape.shot + shape.queries]
    return Episodes(classes, order[:, :, : shape.shot], query, turns if rotations else np.zeros_like(turns))


def _block(stream: Stream, pool: tuple[int, int], shape: EpisodeShape, wanted: range) -> tuple[Ints, Ints, Ints]:
    """Classes [e, way], orders of instances [e, way, instances] and turns [e] from 64-bit sort keys."""
    classes, instances = pool
    count = 1 + classes + shape.way * instances
    keys = np.stack([stream.words(4 * count, chip=k).view(np.uint64) for k in wanted])
    chosen = _smallest(keys[:, 1 : 1 + classes], shape.way)
    order = np.argsort(keys[:, 1 + classes :].reshape(len(keys), shape.way, instances), axis=-1, kind="stable")
    return chosen, order.astype(np.int64), (keys[:, 0] >> np.uint64(62)).astype(np.int64)


def _smallest(keys: NDArray[np.uint64], count: int) -> Ints:
    """Positions of the `count` smallest keys of each row, in their order: a draw without replacement."""
    if count == keys.shape[1]:
        return np.argsort(keys, axis=1).astype(np.int64)
    some = np.argpartition(keys, count, axis=1)[:, :count]
    order = np.argsort(np.take_along_axis(keys, some, 1), axis=1)
    return np.take_along_axis(some, order, 1).astype(np.int64)
