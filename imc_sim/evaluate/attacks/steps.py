"""Attacks as functions of images: from images and a gradient to attacked images.

Images are [n, …], their gradient has the same shape. Pixels are float64 in [0, 1], so that a bound of epsilon holds to
the last bit of a float32 image and an unchanged image is unchanged to the bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

#: images -> d loss / d images
Gradient = Callable[[Tensor], Tensor]


@final
@dataclass(frozen=True)
class PixelSpace:
    """The map between normalised images and pixels from 0 (ink) to 1 (paper).

    Args:
        mean: mean of the normalisation.
        std: standard deviation of the normalisation.
        levels: steps from 0 to 1 that the pixels of images are multiples of; 0 for none.
    """

    mean: float
    std: float
    levels: int = 255

    def pixels(self, images: Tensor) -> Tensor:
        """Return float64 pixels of normalised images; with levels, exact multiples of a level.

        Args:
            images: [n, …].
        """
        pixels = images.double() * self.std + self.mean
        return (pixels * self.levels).round() / self.levels if self.levels else pixels

    def images(self, pixels: Tensor) -> Tensor:
        """Return normalised float32 images; `images(pixels(x))` equals x to the bit.

        Args:
            pixels: [n, …].
        """
        return ((pixels - self.mean) / self.std).float()


def fgsm(images: Tensor, direction: Tensor, epsilon: float) -> Tensor:
    """Return images + epsilon direction, clamped to [0, 1].

    Args:
        images: [n, …].
        direction: sign of the gradient.
        epsilon: size of the step.

    Reference: Goodfellow et al., Explaining and harnessing adversarial examples, ICLR 2015 (arXiv 1412.6572).
    """
    return (images + epsilon * direction).clamp(0.0, 1.0)


def pgd(
    pixels: Tensor, gradient: Gradient, epsilon: float, steps: int, step: float, start: Tensor | None = None
) -> Tensor:
    """Take steps along the sign of the gradient, each projected to within epsilon of the pixels and onto [0, 1].

    Args:
        pixels: [n, …].
        gradient: images -> gradient of the loss.
        epsilon: largest change of a pixel.
        steps: number of steps.
        step: change of a pixel per step.
        start: first point, in units of epsilon from the pixels; None: the pixels.

    Returns:
        The attacked pixels.

    Reference: Madry et al., Towards deep learning models resistant to adversarial attacks, ICLR 2018 (arXiv
    1706.06083).
    """
    low, high = (pixels - epsilon).clamp_min(0.0), (pixels + epsilon).clamp_max(1.0)
    at = pixels if start is None else torch.clamp(pixels + epsilon * start, low, high)
    for _ in range(steps):
        at = torch.clamp(at + step * gradient(at).sign(), low, high)
    return at


def gradient_of(loss: Callable[[Tensor], Tensor]) -> Gradient:
    """Return the gradient of a scalar loss; zero where it does not exist (a constant image standardised).

    Args:
        loss: images -> scalar.
    """

    def gradient(images: Tensor) -> Tensor:
        with torch.inference_mode(False), torch.enable_grad():
            x = images.detach().clone().requires_grad_()
            (found,) = torch.autograd.grad(loss(x), x)
        return torch.nan_to_num(found, nan=0.0, posinf=0.0, neginf=0.0)

    return gradient
