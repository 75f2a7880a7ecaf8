"""Similarity and read-out of a key-value memory, the float reference of the analog search.

Shapes: queries [*, b, d], keys [*, k, d], one-hot values [*, k, m] -> logits [*, b, m].
Source: Karunaratne et al., Nat. Commun. 12:2468 (2021); BATMANN code for the `paired` forms.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from imc_sim._errors import InputError
from imc_sim.nn._binarize import two_valued
from imc_sim.nn._checks import check_choice

__all__ = [
    "KEY_FORMS",
    "SHARPENINGS",
    "KeyForm",
    "Sharpening",
    "cosine",
    "dot",
    "inference_logits",
    "key_form",
    "sharpen",
    "training_logits",
]

Sharpening = Literal["softabs", "softabs_exp", "softmax", "abs", "none"]
KeyForm = Literal["float", "bipolar", "binary"]
SHARPENINGS: tuple[Sharpening, ...] = ("softabs", "softabs_exp", "softmax", "abs", "none")
KEY_FORMS: tuple[KeyForm, ...] = ("float", "bipolar", "binary")
_STEEPNESS = 10.0
#: above this exponent a sum of exp over keys may overflow
_EXPONENT = 80.0
#: largest excess of a cosine over 1 by rounding
_ROUNDING = 1e-3


def key_form(features: Tensor, form: KeyForm) -> Tensor:
    """Return features as the memory stores them.

    Args:
        features: Features of any shape.
        form: `float` for unchanged ones, `bipolar` for +-1, `binary` for {0, 1}; the threshold is 0.

    Raises:
        InputError: There is no such form.
    """
    check_choice("keys", form, KEY_FORMS)
    if form == "float":
        return features
    return two_valued(features) if form == "bipolar" else (features > 0).to(features.dtype)


def cosine(queries: Tensor, keys: Tensor) -> Tensor:
    """Return cosine similarities [*, b, k].

    Args:
        queries: Queries [*, b, d].
        keys: Keys [*, k, d].
    """
    norm = queries.norm(dim=-1)[..., :, None] * keys.norm(dim=-1)[..., None, :]
    return queries @ keys.mT / (norm + 1e-8)


def dot(queries: Tensor, keys: Tensor) -> Tensor:
    """Return dot products over the dimension d, [*, b, k].

    Args:
        queries: Queries [*, b, d].
        keys: Keys [*, k, d].
    """
    return queries @ keys.mT / queries.shape[-1]


def sharpen(similarity: Tensor, kind: Sharpening) -> Tensor:
    """Return the weights of stored values for similarities [*, b, k].

    softabs, softabs_exp and abs are even functions: do not use them with negative distances.

    Args:
        similarity: Similarities [*, b, k].
        kind: `softabs`: the paper's sum of two logistics at +-1/2. `softabs_exp`: the published code's sum of two
            exponentials (its logistic lacks the `1 +`). `softmax`: exp without temperature, scaled down per query
            where it would overflow. `abs`: the magnitude, which the published `dot_abs` has only in its name. `none`:
            unchanged, as the code of `dot_abs` computes.

    Raises:
        InputError: There is no such kind, or softabs or softabs_exp gets similarities outside [-1, 1].
    """
    check_choice("sharpening", kind, SHARPENINGS)
    if kind in ("softabs", "softabs_exp"):
        _check_bounded(similarity, kind)
    if kind == "softabs":
        return torch.sigmoid(_STEEPNESS * (similarity - 0.5)) + torch.sigmoid(_STEEPNESS * (-similarity - 0.5))
    if kind == "softabs_exp":
        return torch.exp(_STEEPNESS * (similarity - 0.5)) + torch.exp(_STEEPNESS * (-similarity - 0.5))
    if kind == "softmax":
        largest = similarity.detach().amax(-1, keepdim=True)
        return (similarity - (largest - _EXPONENT).clamp_min(0)).exp()
    return similarity.abs() if kind == "abs" else similarity


def _check_bounded(similarity: Tensor, kind: Sharpening) -> None:
    largest = float(similarity.detach().abs().max()) if similarity.numel() else 0.0
    if largest > 1 + _ROUNDING:
        step = "Use sharpening softmax or none, or cosine similarities."
        raise InputError(f"sharpening {kind}", f"a similarity of magnitude {largest:g}", "magnitudes up to 1", step)


def training_logits(similarity: Tensor, values: Tensor, kind: Sharpening) -> Tensor:
    """Return logits for training as the original has them: sharpened, normalised per query, z-scored over the episode.

    With `abs` and `none` they are summed without these, as the original does with its dot products.

    Args:
        similarity: Similarities [*, b, k].
        values: One-hot labels of the keys [*, k, m].
        kind: See `sharpen`.
    """
    weights = sharpen(similarity, kind)
    if kind in ("abs", "none"):
        return weights @ values
    weights = weights / weights.sum(-1, keepdim=True)
    std, mean = torch.std_mean(weights, dim=(-2, -1), keepdim=True)
    return (weights - mean) / std @ values


def inference_logits(similarity: Tensor, values: Tensor, kind: Sharpening) -> Tensor:
    """Return logits for a decision, sharpened similarities summed per class; queries do not affect each other.

    Args:
        similarity: Similarities [*, b, k].
        values: One-hot labels of the keys [*, k, m].
        kind: See `sharpen`.
    """
    return sharpen(similarity, kind) @ values
