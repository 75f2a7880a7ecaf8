"""Ensembles: the same architecture several times, and how the members vote.

Source of the votes: Zhu, Dong, Su, Binary Ensemble Neural Network, CVPR 2019, in the authors' code (hard, logits).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imc_sim._errors import InputError, nearest
from imc_sim.config import ARCHS
from imc_sim.nn.networks._archs import build_arch

Vote = Literal["logits", "hard", "softmax", "log_softmax"]
VOTES: tuple[Vote, ...] = ("logits", "hard", "softmax", "log_softmax")


def vote(logits: Tensor, weights: Tensor, kind: Vote = "logits") -> Tensor:
    """Scores [*, classes] of members' logits [k, *, classes] with one weight each, [k].

    `hard`: sum of the weights of the members that decide for a class, each for its largest logit. `logits`: weighted
    sum of the logits (published as soft max vote, though no softmax is taken: members of larger logits count more).
    `softmax`, `log_softmax`: weighted mean of either, weights counted by their magnitudes, which may be negative.
    The decision is the argmax; equal scores, and equal logits of a member, go to the lowest class.
    """
    _check_vote(kind)
    if weights.shape != logits.shape[:1]:
        got = f"weights {tuple(weights.shape)} for logits {tuple(logits.shape)}"
        raise InputError("vote", got, "one weight a member", "Give weights [k] for logits [k, …, classes].")
    share = weights.to(logits).reshape(-1, *[1] * (logits.ndim - 1))
    if kind == "logits":
        return (share * logits).sum(0)
    if kind == "hard":
        return (share * F.one_hot(logits.argmax(-1), logits.shape[-1])).sum(0)
    opinion = logits.softmax(-1) if kind == "softmax" else logits.log_softmax(-1)
    whole = share.abs().sum().clamp_min(torch.finfo(share.dtype).tiny)
    return (share * opinion).sum(0) / whole


@final
class Ensemble(nn.Module):
    """Inputs of the architecture [batch, …] -> scores [batch, classes] of `members` of them.

    arch, args: what every member is, a name of `imc-sim list archs` and its arguments. vote: see `imc_sim.nn.vote`.
    The buffer `votes` [members] holds the members' weights: alpha of boosting, 1 for bagging, which is the start.
    """

    def __init__(
        self, arch: str, args: Mapping[str, Any] | None = None, members: int = 3, vote: Vote = "logits",
    ) -> None:  # fmt: skip
        super().__init__()
        _check_vote(vote)
        if arch not in ARCHS:
            raise InputError("arch.args.arch", repr(arch), ", ".join(ARCHS), f"{nearest(arch, ARCHS)}Name one.")
        if members < 1:
            raise InputError("arch.args.members", members, "1 or more", "Ask for at least one member.")
        self.vote: Vote = vote
        # The card's folder is of use only to architectures in files.
        self.members = nn.ModuleList(build_arch(arch, args or {}, Path(), "arch.args") for _ in range(members))
        self.votes: Tensor
        self.register_buffer("votes", torch.ones(members))

    def reduced(self, first: int | None = None, vote: Vote | None = None) -> Ensemble:
        """An ensemble of the first members alone (None: all), with another vote (None: the same); they are shared."""
        if first is not None and not 1 <= first <= len(self.members):
            raise InputError("task.members", first, f"1 to {len(self.members)}, or nothing", "Take fewer members.")
        made = Ensemble.__new__(Ensemble)
        nn.Module.__init__(made)
        made.vote, made.members = vote or self.vote, self.members[:first]
        made.register_buffer("votes", self.votes[:first])
        return made.train(self.training)

    @property
    def size(self) -> int | None:
        """Pixels a side that members take, where they state it."""
        size = getattr(self.members[0], "size", None)
        return size if isinstance(size, int) else None

    def member_logits(self, x: Tensor) -> Tensor:
        """Logits [k, batch, classes] of the members."""
        return torch.stack([member(x) for member in self.members])

    def forward(self, x: Tensor) -> Tensor:
        return vote(self.member_logits(x), self.votes, self.vote)


def _check_vote(kind: str) -> None:
    if kind not in VOTES:
        raise InputError("arch.args.vote", repr(kind), ", ".join(VOTES), f"{nearest(kind, VOTES)}Choose one.")
