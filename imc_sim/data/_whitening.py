"""Whitened images: each image scaled to one length, then neighbouring pixels made independent (ZCA).

Source: Goodfellow et al., Maxout Networks, ICML 2013, and Lin et al., Network in Network, ICLR 2014, whose images the
binary networks in network go on with; ZCA: Krizhevsky, Learning Multiple Layers of Features (2009), appendix A.
"""

from __future__ import annotations

import functools
import hashlib

import numpy as np
from numpy.typing import NDArray

from imc_sim._errors import InputError
from imc_sim.data._cache import cached_array, fingerprint
from imc_sim.data._fingerprint import data_state
from imc_sim.data._load import load_labelled
from imc_sim.data._registry import dataset_info

Floats = NDArray[np.float32]
#: length that every image has once its mean is taken out
LENGTH = 55.0
#: added to the variance along every direction, so that those without any are not blown up
_BIAS = 0.1
#: norms of an image below this count as 0
_FLAT = 1e-8


def whitened(images: NDArray[np.uint8], name: str) -> Floats:
    """Images [n, H, W] or [n, H, W, channels] of the data set `name` as [n, channels, H, W], whitened.

    Every image less its mean, scaled to the length 55; less the mean image; times V (E + 0.1)^-1/2 V^T, with V and E
    the eigenvectors and eigenvalues of the covariance. Mean and covariance are those of the set's training images.
    """
    if dataset_info(name).kind != "labelled":
        raise InputError("scaling", f"'whitened' for {name!r}", "standard or unit", "Whiten labelled sets alone.")
    basis = _basis(name, data_state(f"{name} train"))
    planes = _planes(images)
    flat = (_normalised(planes) - basis[0]) @ basis[1:]
    return flat.reshape(planes.shape)


def zca(flat: Floats) -> Floats:
    """Mean [d] and matrix [d, d] that whiten samples [n, d], as one array [1 + d, d]."""
    mean = flat.mean(0, dtype=np.float64).astype(np.float32)
    centred = flat - mean
    variances, directions = np.linalg.eigh((centred.T @ centred).astype(np.float64) / len(flat))
    matrix = directions / np.sqrt(np.maximum(variances, 0.0) + _BIAS) @ directions.T
    return np.concatenate([mean[None], matrix.astype(np.float32)])


@functools.lru_cache(maxsize=2)
def _basis(name: str, _state: str) -> Floats:
    """`zca` of a set's training images; half a minute of work the first time, then read from the cache."""
    images = load_labelled(name, "train").images
    source = fingerprint(("zca", LENGTH, _BIAS, hashlib.blake2b(images.tobytes()).hexdigest()))
    return cached_array(f"{name}-zca", source, lambda: zca(_normalised(_planes(images))))


def _planes(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """[n, channels, H, W]."""
    return images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)


def _normalised(planes: NDArray[np.uint8]) -> Floats:
    """Each image as a row without mean, of one length; one of a single grey level is 0 throughout."""
    flat = planes.reshape(len(planes), -1).astype(np.float32)
    flat -= flat.mean(1, keepdims=True)
    lengths = np.linalg.norm(flat, axis=1, keepdims=True)
    return flat * (LENGTH / np.where(lengths < _FLAT, LENGTH, lengths))
