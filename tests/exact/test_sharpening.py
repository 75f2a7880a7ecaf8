"""Every accepted pair of similarity and sharpening keeps the nearest key first; others are refused."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from imc_sim._errors import InputError
from imc_sim.config import build
from imc_sim.evaluate import FewShotTask
from imc_sim.evaluate._memory_keys import SIMILARITIES
from imc_sim.nn.similarity import inference_logits, key_form, sharpen, training_logits
from imc_sim.train import EpisodicRecipe

REFUSED = {
    ("l2", "softabs", "float"), ("l2", "softabs_exp", "float"), ("l2", "softabs", "bipolar"),
    ("l2", "softabs_exp", "bipolar"), ("l2", "softabs", "binary"), ("l2", "softabs_exp", "binary"),
    ("dot", "softabs", "float"), ("dot", "softabs_exp", "float"),
}  # fmt: skip
PAIRS = list(
    itertools.product(
        ("cosine", "dot", "l2"), ("softabs", "softabs_exp", "softmax", "none"), ("float", "bipolar", "binary")
    )
)


def refused(kind: type[Any], **settings: Any) -> bool:
    try:
        build(kind, settings, "task")
    except InputError as error:
        return "sharpening softmax or none" in str(error)
    return False


@pytest.mark.parametrize(("similarity", "sharpening", "keys"), PAIRS)
def test_a_task_is_refused_exactly_where_the_order_is_lost(similarity: str, sharpening: str, keys: Any) -> None:
    assert refused(FewShotTask, similarity=similarity, sharpening=sharpening, keys=keys) == (
        (similarity, sharpening, keys) in REFUSED
    )
    if (similarity, sharpening, keys) in REFUSED:
        return
    # Float keys of one length, so that the nearest one is the same by every similarity; scaled beyond exp's range.
    generator = torch.Generator().manual_seed(7)
    centres = torch.nn.functional.normalize(torch.randn(20, 64, generator=generator)) * 200
    queries = centres + torch.randn(20, 64, generator=generator)
    weighed = SIMILARITIES[similarity](key_form(queries, keys), key_form(centres, keys))
    if (similarity, keys) == ("dot", "binary"):
        return  # {0, 1} keys with more ones have larger products, whatever the sharpening
    logits = inference_logits(weighed, torch.eye(20), sharpening)  # type: ignore[arg-type]
    assert torch.equal(logits.argmax(-1), torch.arange(20))


def test_queries_in_another_form_count_too() -> None:
    assert refused(FewShotTask, similarity="dot", sharpening="softabs", query_form="float")
    attack = {"kind": "fgsm", "space": "normalised", "epsilon": 0.1}
    assert refused(FewShotTask, similarity="dot", sharpening="softabs", attack=attack)


@pytest.mark.parametrize("similarity", ["cosine", "dot", "l2"])
@pytest.mark.parametrize("sharpening", ["softabs", "softabs_exp", "softmax", "abs", "none"])
def test_a_recipe_is_refused_where_its_memory_would_lose_the_order(similarity: str, sharpening: str) -> None:
    lost = (similarity, sharpening) in {
        ("l2", "softabs"), ("l2", "softabs_exp"), ("l2", "abs"), ("dot", "softabs"), ("dot", "softabs_exp"),
    }  # fmt: skip
    assert refused(EpisodicRecipe, similarity=similarity, sharpening=sharpening) == lost
    assert not refused(EpisodicRecipe, similarity=similarity, sharpening=sharpening, read_out="attention")


def test_the_default_sharpening_is_refused_with_distances() -> None:
    assert refused(EpisodicRecipe, similarity="l2")
    assert not refused(EpisodicRecipe, similarity="l2", read_out="prototypes")


@pytest.mark.parametrize("kind", ["softabs", "softabs_exp"])
def test_functions_refuse_values_outside_their_range(kind: Any) -> None:
    distances = torch.tensor([[0.0, -3.0]])
    for weigh in (
        sharpen,
        lambda s, k: inference_logits(s, torch.eye(2), k),
        lambda s, k: training_logits(s, torch.eye(2), k),
    ):
        with pytest.raises(InputError, match="a similarity of magnitude 3; allowed: magnitudes up to 1"):
            weigh(distances, kind)
    assert sharpen(torch.tensor([[1.0001, -1.0]]), kind).shape == (1, 2)  # a cosine and its rounding


def test_softmax_of_large_similarities_is_finite_and_of_small_ones_exp() -> None:
    small, large = torch.tensor([[3.0, -80.0, 80.0]]), torch.tensor([[3000.0, 2999.0, 0.0]])
    assert torch.equal(sharpen(small, "softmax"), small.exp())
    weights = sharpen(large, "softmax")
    assert weights.isfinite().all()
    assert weights[0, 0] / weights[0, 1] == pytest.approx(torch.e, rel=1e-5)
