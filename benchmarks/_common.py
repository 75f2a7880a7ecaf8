"""Timing of pairs: two callables in turn, so that a drifting machine moves both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Clock = Callable[[], float]


class PlainController(nn.Module):
    """The controller as anyone would write it in float32 torch: the yardstick of every ratio."""

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, width, 5)
        self.conv2 = nn.Conv2d(width, width, 5)
        self.conv3 = nn.Conv2d(width, width, 3)
        self.conv4 = nn.Conv2d(width, width, 3)
        self.fc1 = nn.Linear(16 * width, 512)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv1(x))
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.relu(self.conv3(x))
        x = F.max_pool2d(F.relu(self.conv4(x)), 2)
        return self.fc1(torch.flatten(x, 1))


def plain_controller(width: int = 128) -> PlainController:
    """The yardstick, in the memory format that is faster for it."""
    model = PlainController(width).eval()
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def ratio(
    ours: Callable[[], object], plain: Callable[[], object], rounds: int = 7, clock: Clock = time.perf_counter
) -> tuple[float, float, float]:
    """Median, smallest and largest ratio ours / plain over `rounds` pairs, after one warm-up of each."""
    ours()
    plain()
    ratios = sorted(_seconds(ours, clock) / _seconds(plain, clock) for _ in range(rounds))
    return statistics.median(ratios), ratios[0], ratios[-1]


def _seconds(work: Callable[[], object], clock: Clock) -> float:
    started = clock()
    work()
    return clock() - started
