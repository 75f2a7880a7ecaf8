"""Pairs of similarity and sharpening that keep the order of similarities. Importing this loads no torch."""

from __future__ import annotations

#: functions of the magnitude alone: the largest weight goes to the similarity farthest from 0
_EVEN = ("softabs", "softabs_exp", "abs")
#: sharpenings that are flat or overflow outside [-1, 1]
_BOUNDED = ("softabs", "softabs_exp")


def check_order(similarity: str, sharpening: str, *, float_forms: bool) -> None:
    """Check that a sharpening keeps the order of the similarities.

    Args:
        similarity: `cosine`, `dot` or `l2` (minus the squared distance, which is never positive).
        sharpening: a kind of `imc_sim.nn.similarity.sharpen`.
        float_forms: keys or queries are real numbers, so that their dot product is not within [-1, 1].

    Raises:
        ValueError: the order is not kept.
    """
    if similarity == "l2" and sharpening in _EVEN:
        raise ValueError(
            f"sharpening softmax or none with similarity l2: {sharpening} weighs by magnitude, so that minus the "
            "squared distance would choose the farthest key"
        )
    if similarity == "dot" and float_forms and sharpening in _BOUNDED:
        raise ValueError(
            f"sharpening softmax or none, or similarity cosine, with a dot product of float keys or queries: "
            f"{sharpening} is for similarities within [-1, 1]"
        )
