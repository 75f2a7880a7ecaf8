"""Ensembles of one architecture, and the votes of their members.

Source of the votes: Zhu, Dong, Su, Binary Ensemble Neural Network, CVPR 2019, in the authors' code (hard, logits).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imc_sim._errors import InputError
from imc_sim.config import ARCHS
from imc_sim.nn._checks import check_choice
from imc_sim.nn.networks._archs import build_arch, size_of

Vote = Literal["logits", "hard", "softmax", "log_softmax"]
VOTES: tuple[Vote, ...] = ("logits", "hard", "softmax", "log_softmax")


def vote(logits: Tensor, weights: Tensor, kind: Vote = "logits") -> Tensor:
    """Combine the logits of members into scores, whose argmax is the decision; ties go to the lowest class.

    Args:
        logits: Logits [k, *, classes] of k members.
        weights: One weight per member, [k].
        kind: `hard`: sum of the weights of the members whose largest logit is that of a class. `logits`: weighted sum
            of the logits (published as soft max vote, though without a softmax, so that members with larger logits
            count more). `softmax`, `log_softmax`: weighted mean of either, divided by the sum of the magnitudes of
            the weights, which can be negative.

    Returns:
        Scores [*, classes].

    Raises:
        InputError: There is no such vote, or not one weight per member.
    """
    check_choice("arch.args.vote", kind, VOTES)
    if weights.shape != logits.shape[:1]:
        got = f"weights {tuple(weights.shape)} for logits {tuple(logits.shape)}"
        raise InputError("vote", got, "one weight per member", "Use weights [k] for logits [k, …, classes].")
    share = weights.to(logits).reshape(-1, *[1] * (logits.ndim - 1))
    if kind == "logits":
        return _in_order(share * logits)
    if kind == "hard":
        return _in_order(share * F.one_hot(logits.argmax(-1), logits.shape[-1]))
    opinion = logits.softmax(-1) if kind == "softmax" else logits.log_softmax(-1)
    whole = share.abs().sum().clamp_min(torch.finfo(share.dtype).tiny)
    return _in_order(share * opinion) / whole


def _in_order(parts: Tensor) -> Tensor:
    """Return the sum over members, one after the other: torch's sum rounds differently in batches of another size."""
    return functools.reduce(torch.add, parts)


@final
class Ensemble(nn.Module):
    """Combine members of one architecture: inputs [batch, …] to scores [batch, classes].

    The buffer `votes` [members] holds the weights of the members, alpha of boosting; it starts at 1, as for bagging.

    Args:
        arch: Architecture of every member, a name of `imc-sim list archs`.
        args: Its arguments.
        members: Number of members.
        vote: Kind of vote, see `imc_sim.nn.networks.vote`.
    """

    def __init__(
        self, arch: str, args: Mapping[str, Any] | None = None, members: int = 3, vote: Vote = "logits",
    ) -> None:  # fmt: skip
        super().__init__()
        check_choice("arch.args.vote", vote, VOTES)
        check_choice("arch.args.arch", arch, ARCHS)
        if members < 1:
            raise InputError("arch.args.members", members, "1 or more", "Use at least one member.")
        self.vote: Vote = vote
        self.members = nn.ModuleList(build_arch(arch, args or {}, Path(), "arch.args") for _ in range(members))
        self.votes: Tensor
        self.register_buffer("votes", torch.ones(members))

    def reduced(self, first: int | None = None, vote: Vote | None = None) -> Ensemble:
        """Return an ensemble of the first members, which are shared.

        Args:
            first: Number of members; None for all.
            vote: Kind of vote; None for the same.

        Raises:
            InputError: There are fewer members.
        """
        if first is not None and not 1 <= first <= len(self.members):
            raise InputError("task.members", first, f"1 to {len(self.members)}, or nothing", "Use fewer members.")
        made = Ensemble.__new__(Ensemble)
        nn.Module.__init__(made)
        made.vote, made.members = vote or self.vote, self.members[:first]
        made.register_buffer("votes", self.votes[:first])
        return made.train(self.training)

    @property
    def size(self) -> int | None:
        """Pixels a side of the images of members, None where they do not state it."""
        return size_of(self.members[0])

    def member_logits(self, x: Tensor) -> Tensor:
        """Return the logits [k, batch, classes] of the members.

        Args:
            x: Inputs [batch, …].
        """
        return torch.stack([member(x) for member in self.members])

    def forward(self, x: Tensor) -> Tensor:
        return vote(self.member_logits(x), self.votes, self.vote)
