"""Softmax cross-entropy against a distribution ``P`` over the classes for each row.

    LSE_all(s z) - s sum P_k z_k = softplus(t) + s sum P_k (z_max - z_k) + s z_max (1 - sum P_k)

The class of the largest score has the part of the target in ``t``, so that nothing is lost where it has nearly all the
probability. Label smoothing makes P <- (1 - eps) P + eps / C. A class of score minus infinity is out; wanting it makes
the loss infinite.
"""

import torch

from softmargin.torch._composed.comparison import Aim, Rows, smooth_gap, softplus


def soft_losses(gate, scores, given, scale, shards):
    """The loss of every row (N, 1) of scores (N, C) against distributions ``given`` (N, C)."""
    eps = gate["label-smoothing"]
    out = scores.detach() == -torch.inf
    impossible = (out & (given > 0)).any(1, keepdim=True)
    best = shards.first_largest(scores)
    scores = scores.masked_fill(out, 0)
    aim = Aim(shards.of_rows(scores, best), None, None, scale)
    gap, alone = smooth_gap(Rows(scores, ~out & ~shards.is_class(best), aim, aim, shards))
    share = (~out).to(scores.dtype)
    expected = (1 - eps) * given + eps * share / share.sum(1, keepdim=True).clamp(min=1)
    over = softplus(gap).masked_fill(alone, 0)
    largest = scale * aim.target
    behind = (expected * scale * (aim.target - scores)).masked_fill(out, 0).sum(1, keepdim=True)
    loss = over + behind + largest * ((1 - eps) * (1 - given.sum(1, keepdim=True)))
    if gate["z-loss"] > 0:
        loss = loss + gate["z-loss"] * (largest + over).square()
    # One class that takes part is nothing to be compared with.
    loss = loss.masked_fill(alone, 0)
    return loss.masked_fill(impossible, torch.inf)
