"""How the target is set against the other classes: the loss of every row (N, 1), its weight not applied.

    each pair      sum_{j != y} g(s z_j - u),    u = s psi(z_y)
    hardest        g(max_{j != y} s z_j - u)
    log-sum-exp    g(ln sum_{j != y} e^(s z_j) - u)
    against zero   g(-u) + sum_{j != y} g(s z_j)

Under softplus, log-sum-exp is softmax cross-entropy, with the options

    label smoothing   eps / C sum_{j != y} (u - s z_j)
    z-loss            lambda LSE^2,  LSE = u + softplus(t)
"""

import dataclasses

import torch
import torch.nn.functional as functional

LARGE_GAP = 40.0
"""Past this ``softplus(t)`` is ``t`` in every precision."""


@dataclasses.dataclass
class Aim:
    """The target as its negatives are compared with it: columns (N, 1), and the scale, a number or a tensor."""

    target: torch.Tensor
    """``z_y``"""
    shift: torch.Tensor | None
    """``psi(z_y) - z_y``, in units of the score."""
    logit: torch.Tensor | None
    """What is added to the gap, in units of the scaled score."""
    scale: object

    def gap(self, scores):
        """``s z_j - u``. The difference of the scores is taken first: it is exact where they are close."""
        ahead = scores - self.target
        if self.shift is not None:
            ahead = ahead - self.shift
        gap = self.scale * ahead
        return gap if self.logit is None else gap + self.logit

    def modified_target(self):
        """``u = s psi(z_y)`` (N, 1)."""
        return -self.gap(torch.zeros_like(self.target))


@dataclasses.dataclass
class Rows:
    """The rows of a batch, as a comparison sees them."""

    scores: torch.Tensor
    """(N, c); finite where a class is out."""
    negatives: torch.Tensor
    """(N, c): the classes that the target is compared with."""
    aim: Aim
    """For columns, which are the same in all processes."""
    spread: Aim
    """For scores, which belong to the classes of one."""
    shards: object

    def over_negatives(self, values):
        """(N, 1): the sum over the negatives of values (N, c)."""
        return self.shards.sum(values.masked_fill(~self.negatives, 0).sum(1, keepdim=True))

    def negatives_alone(self):
        """(N, c), detached: minus infinity at all but the negatives."""
        return self.scores.detach().masked_fill(~self.negatives, -torch.inf)


def losses(comparison, rows):
    """The loss of every row (N, 1)."""
    return KINDS[comparison["kind"]](comparison["gate"], rows)


def softplus(gap):
    """``ln(1 + e^t)``, exact where it is tiny."""
    return functional.softplus(gap, threshold=LARGE_GAP)


def smooth_gap(rows):
    """``t = ln sum_{j != y} e^(s z_j) - u`` (N, 1), and which rows have no negatives (N, 1); there t has no meaning."""
    largest = rows.shards.largest(rows.negatives_alone())
    alone = largest == -torch.inf
    largest = largest.masked_fill(alone, 0)
    # The largest cancels, so it needs no gradient. Masked before the exponential, whose slope would be NaN after it.
    below = rows.spread.scale * (rows.scores - largest)
    exponentials = below.masked_fill(~rows.negatives, -torch.inf).exp()
    total = rows.shards.sum(exponentials.sum(1, keepdim=True))
    return rows.aim.gap(largest) + total.masked_fill(alone, 1).log(), alone


def _bent(gate, gap):
    if gate == "relu":
        return gap.relu()
    return softplus(gap) if gate == "softplus" else gap


def _each_pair(gate, rows):
    return rows.over_negatives(_bent(gate, rows.spread.gap(rows.scores)))


def _against_zero(gate, rows):
    return _bent(gate, -rows.aim.modified_target()) + rows.over_negatives(_bent(gate, rows.spread.scale * rows.scores))


def _hardest(gate, rows):
    candidates = rows.negatives_alone()
    alone = rows.shards.largest(candidates) == -torch.inf
    strongest = rows.shards.of_rows(rows.scores, rows.shards.first_largest(candidates))
    return _bent(gate, rows.aim.gap(strongest)).masked_fill(alone, 0)


def _log_sum_exp(gate, rows):
    gap, alone = smooth_gap(rows)
    loss = _bent(gate["kind"], gap)
    if gate["kind"] == "softplus":
        if gate["label-smoothing"] > 0:
            present = rows.over_negatives(torch.ones_like(gap).expand(rows.scores.shape)) + 1
            lead = -rows.over_negatives(rows.spread.gap(rows.scores))
            loss = loss + lead * (gate["label-smoothing"] / present)
        if gate["z-loss"] > 0:
            loss = loss + gate["z-loss"] * (rows.aim.modified_target() + softplus(gap)).square()
    return loss.masked_fill(alone, 0)


KINDS = {"each-pair": _each_pair, "against-zero": _against_zero, "hardest": _hardest, "log-sum-exp": _log_sum_exp}
