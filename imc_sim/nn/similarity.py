"""Content-based similarity and read-out of a key-value memory (float reference of the analog search).

Shapes: queries [*, b, d], keys [*, k, d], one-hot values [*, k, m] -> logits [*, b, m].
Source: Karunaratne et al., Nat. Commun. 12:2468 (2021); BATMANN code for the `paired` forms.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from imc_sim._errors import InputError, nearest
from imc_sim.nn._binarize import two_valued

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
#: exp of more than this may overflow when it is summed over keys
_EXPONENT = 80.0
#: how far rounding may carry a cosine beyond 1
_ROUNDING = 1e-3


def key_form(features: Tensor, form: KeyForm) -> Tensor:
    """Features as the memory stores them: `float` as they are, `bipolar` +-1, `binary` {0, 1}; threshold 0."""
    if form == "float":
        return features
    if form == "bipolar":
        return two_valued(features)
    if form == "binary":
        return (features > 0).to(features.dtype)
    raise InputError("keys", repr(form), ", ".join(KEY_FORMS), f"{nearest(form, KEY_FORMS)}Choose a key form.")


def cosine(queries: Tensor, keys: Tensor) -> Tensor:
    """Cosine similarity [*, b, k]."""
    norm = queries.norm(dim=-1)[..., :, None] * keys.norm(dim=-1)[..., None, :]
    return queries @ keys.mT / (norm + 1e-8)


def dot(queries: Tensor, keys: Tensor) -> Tensor:
    """Dot product over the dimension, [*, b, k]."""
    return queries @ keys.mT / queries.shape[-1]


def sharpen(similarity: Tensor, kind: Sharpening) -> Tensor:
    """Compute the weights of stored values from similarities [*, b, k].

    softabs: the paper's sum of two logistics at +-1/2; softabs_exp: the published code's sum of two
    exponentials (its logistic lacks the `1 +`); softmax: exp without temperature, scaled down per query where it would
    overflow; abs: the magnitude, which the published `dot_abs` has in its name alone; none: unchanged, as its code
    computes. softabs, softabs_exp and abs are even: do not use them with negative distances.

    Raises:
        InputError: softabs or softabs_exp of similarities outside [-1, 1].
    """
    if kind in ("softabs", "softabs_exp"):
        _check_bounded(similarity, kind)
    if kind == "softabs":
        return torch.sigmoid(_STEEPNESS * (similarity - 0.5)) + torch.sigmoid(_STEEPNESS * (-similarity - 0.5))
    if kind == "softabs_exp":
        return torch.exp(_STEEPNESS * (similarity - 0.5)) + torch.exp(_STEEPNESS * (-similarity - 0.5))
    if kind == "softmax":
        largest = similarity.detach().amax(-1, keepdim=True)
        return (similarity - (largest - _EXPONENT).clamp_min(0)).exp()
    if kind == "abs":
        return similarity.abs()
    if kind == "none":
        return similarity
    raise InputError("sharpening", repr(kind), ", ".join(SHARPENINGS), f"{nearest(kind, SHARPENINGS)}Choose one.")


def _check_bounded(similarity: Tensor, kind: Sharpening) -> None:
    largest = float(similarity.detach().abs().max()) if similarity.numel() else 0.0
    if largest > 1 + _ROUNDING:
        step = "Use sharpening softmax or none, or cosine similarities."
        raise InputError(f"sharpening {kind}", f"a similarity of magnitude {largest:g}", "magnitudes up to 1", step)


def training_logits(similarity: Tensor, values: Tensor, kind: Sharpening) -> Tensor:
    """Logits as the original trains with them: sharpened, normalised per query, z-scored over the episode.

    Kinds `abs` and `none` are summed as they are, as the original does with its dot products.
    """
    weights = sharpen(similarity, kind)
    if kind in ("abs", "none"):
        return weights @ values
    weights = weights / weights.sum(-1, keepdim=True)
    std, mean = torch.std_mean(weights, dim=(-2, -1), keepdim=True)
    return (weights - mean) / std @ values


def inference_logits(similarity: Tensor, values: Tensor, kind: Sharpening) -> Tensor:
    """Logits for a decision: sharpened similarities summed per class; each query stands alone."""
    return sharpen(similarity, kind) @ values
