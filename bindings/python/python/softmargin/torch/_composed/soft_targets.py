"""Softmax cross-entropy against a distribution ``P`` over the classes for each row.

    LSE_all(s z) - s sum P_k z_k = softplus(t) + s sum P_k (z_b - z_k) + s z_b (1 - sum P_k)
    dL/d(s z_k) = (1 + 2 lambda LSE) p_k - P_k

``b`` is the class of the largest score and ``t`` the gap between the log-sum-exp of the others and its score, so that
no digits are lost if it has nearly all the probability. Label smoothing makes P <- (1 - eps) P + eps / C, z-loss adds
``lambda LSE^2``. A class of score minus infinity is masked; a distribution that is above 0 there has an infinite loss.
"""

from __future__ import annotations

import torch

from softmargin.torch._composed.sweep import Negatives, softplus, sweep


def soft_rows(gate: dict, scores: torch.Tensor, given: torch.Tensor, scale: float, shards):
    """Returns the loss, its derivative with respect to the scale (n, 1), and with respect to the scores (n, C)."""
    eps, z_loss = gate["label-smoothing"], gate["z-loss"]
    out = scores == -torch.inf
    impossible = (out & (given > 0)).any(1, keepdim=True)
    is_best = shards.is_class(shards.first_largest(scores))
    scores = scores.masked_fill(out, 0)
    best = (scores * is_best).sum(1, keepdim=True)
    swept = sweep(("exponentials", None), Negatives(scores, 1.0, ~(out | is_best)), scale, None, None, shards)
    reference, total = (swept.accumulators[:, k : k + 1].to(scores.dtype) for k in (0, 1))
    gap = scale * (reference - best) + total.masked_fill(swept.alone, 1).log()
    gap = gap.masked_fill(swept.alone, -torch.inf)
    share = (~out).to(scores.dtype)
    expected = (1 - eps) * given + eps * share / share.sum(1, keepdim=True).clamp(min=1)
    missing = (1 - eps) * (1 - given.sum(1, keepdim=True))
    log_sum_exp = scale * best + softplus(gap)
    behind = (expected * (best - scores)).masked_fill(out, 0).sum(1, keepdim=True)
    loss = softplus(gap) + scale * (behind + best * missing) + z_loss * log_sum_exp.square()
    # 1 - P first, then the probability of the others: both are exact if P is near 1.
    of_others, by_lse = gap.sigmoid(), 2 * z_loss * log_sum_exp
    of_negatives = (1 + by_lse) * of_others / total.masked_fill(swept.alone, 1) * swept.written - expected
    of_best = (1 - expected) - of_others + by_lse * (1 - of_others)
    derivative = torch.where(is_best, of_best, of_negatives).masked_fill(out, 0)
    # A single unmasked class has nothing to be compared with, unless the distribution has a masked one.
    nothing = swept.alone & ~impossible
    loss = loss.masked_fill(nothing, 0).masked_fill(impossible, torch.inf)
    derivative = derivative.masked_fill(nothing, 0)
    return loss, (derivative * scores).sum(1, keepdim=True), scale * derivative
