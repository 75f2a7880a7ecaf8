"""Write-verify: a cell is programmed and read until it is within tolerance, or until the pulses are used up.

Every pulse samples the programming law, so the outcome has a closed form and costs nothing per cell: with probability p
that one pulse ends within tolerance and at most n pulses, a share 1 - (1 - p)^n of the cells has the law restricted to
the tolerance, the rest (1 - p)^n has the outcome of the last pulse, the law outside it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, final

import torch
from pydantic import Field
from torch import Tensor

from imc_sim._quantiles import probabilities
from imc_sim.config import Effect, Siemens

#: Standard normal numbers beyond this do not occur (probability 1e-19).
_END = 9.0

#: Programmed g of targets g [levels, 1] for standard normal numbers [levels, …]; grows with the number.
Law = Callable[[Tensor, Tensor], Tensor]


class Verification(NamedTuple):
    """Effect of write-verify on each level: float64 tensors [steps + 1].

    Attributes:
        accepted: probability p that one pulse ends within tolerance.
        converged: share of the cells within tolerance after at most max_pulses pulses, 1 - (1 - p)^n.
        pulses: mean number of pulses of a cell, (1 - (1 - p)^n) / p.
    """

    accepted: Tensor
    converged: Tensor
    pulses: Tensor


class _Window(NamedTuple):
    """Standard normal probabilities below the tolerance's lower end (a), within it (p) and above it (c)."""

    a: Tensor
    p: Tensor
    c: Tensor


@final
class WriteVerify(Effect):
    """Closed-loop programming. Off while max_pulses is 1, or while both tolerances are 0.

    A read within tolerance_S + tolerance * G of the target G ends it; after max_pulses the cell stays where it is. The
    verifying read is assumed to be free of noise.
    """

    tolerance: float = Field(default=0.0, ge=0.0, le=10.0, description="accepted error relative to the target")
    tolerance_S: Siemens = Field(default=0.0, ge=0.0, le=1.0, description="accepted error, added to the relative one")
    max_pulses: int = Field(default=1, ge=1, le=1_000_000, description="pulses after which a cell is given up")

    @property
    def is_ideal(self) -> bool:
        """Tell whether every cell gets a single pulse."""
        return self.max_pulses == 1 or self.tolerance == self.tolerance_S == 0.0

    def width(self, target: Tensor, floor: float, window_S: float) -> Tensor:
        """Return the accepted distance from each target, in windows.

        Args:
            target: target g in [0, 1], any shape.
            floor: G_HRS over the window.
            window_S: G_LRS - G_HRS in S.
        """
        return self.tolerance_S / window_S + self.tolerance * (target + floor)

    def statistics(self, law: Law, target: Tensor, floor: float, window_S: float) -> Verification:
        """Return acceptance, convergence and mean pulses for each target.

        Args:
            law: programmed g after one pulse, as a function of targets and standard normal numbers.
            target: target g [levels] in [0, 1].
            floor: G_HRS over the window.
            window_S: G_LRS - G_HRS in S.
        """
        p = self._window(law, target, floor, window_S).p
        return Verification(p, _once(p, self.max_pulses), self._mean_pulses(p))

    def normals(self, law: Law, target: Tensor, floor: float, window_S: float) -> Tensor:
        """Return standard normal numbers [levels, WIDTH] for which one sample of `law` has the outcome of the loop.

        They are the mid-point quantiles of the normal law with its tails thinned to (1 - p)^(n - 1).

        Args:
            law: programmed g after one pulse, as a function of targets and standard normal numbers.
            target: target g [levels] in [0, 1].
            floor: G_HRS over the window.
            window_S: G_LRS - G_HRS in S.
        """
        w = self._window(law, target, floor, window_S)
        u = torch.from_numpy(probabilities())[None]
        tail, gain = (1.0 - w.p).pow(self.max_pulses - 1), self._mean_pulses(w.p)
        a, c = (w.a * tail)[:, None], (w.c * tail)[:, None]
        tail = tail.clamp_min(1e-300)[:, None]
        inside = w.a[:, None] + (u - a) / gain[:, None]
        phi = torch.where(u < a, u / tail, torch.where(u > 1.0 - c, 1.0 - (1.0 - u) / tail, inside))
        return torch.special.ndtri(phi.clamp(1e-19, 1.0 - 1e-16))

    def _mean_pulses(self, p: Tensor) -> Tensor:
        """Return (1 - (1 - p)^n) / p, which is n where p is 0."""
        return torch.where(p > 0.0, _once(p, self.max_pulses) / p.clamp_min(1e-300), float(self.max_pulses))

    def _window(self, law: Law, target: Tensor, floor: float, window_S: float) -> _Window:
        """Find where the law crosses the ends of the tolerance, by bisection: it grows with the normal number."""
        target = target[:, None]
        width = self.width(target, floor, window_S)
        low = _crossing(lambda z: law(target, z) >= target - width, target)
        high = _crossing(lambda z: law(target, z) > target + width, target)
        a, c = torch.special.ndtr(low)[:, 0], torch.special.ndtr(-high)[:, 0]
        p = torch.special.ndtr(high)[:, 0] - a
        return _Window(a, p.clamp_min(0.0), c)

    def counts(self, accepted: Tensor, level: Tensor, uniform: Tensor, within: Tensor) -> Tensor:
        """Return the pulses (int64) of single cells: geometric up to n for those that ended within tolerance, else n.

        Args:
            accepted: probability p of each level [levels].
            level: level of each cell (int32) [*].
            uniform: one number in (0, 1) per cell [*].
            within: True for each cell that ended within tolerance [*].
        """
        level = level.long()
        ended = _once(accepted, self.max_pulses)[level] * uniform.double()
        count = ended.neg_().log1p_().div_(torch.log1p(-accepted)[level]).ceil_().nan_to_num_(1.0)
        return torch.where(within, count.clamp_(1, self.max_pulses), self.max_pulses).to(torch.int64)


def _once(p: Tensor, count: int) -> Tensor:
    """Return 1 - (1 - p)^count, exact for small p."""
    return -torch.expm1(count * torch.log1p(-p))


def _crossing(reached: Callable[[Tensor], Tensor], like: Tensor) -> Tensor:
    """Return the smallest normal number at which `reached` holds, for every entry of `like`."""
    low, high = torch.full_like(like, -_END), torch.full_like(like, _END)
    for _ in range(60):
        middle = (low + high) / 2
        yes = reached(middle)
        low, high = torch.where(yes, low, middle), torch.where(yes, middle, high)
    return (low + high) / 2
