"""Sweeps over the scores of the negatives (n, c), in PyTorch operations: accumulators of the rows, and derivatives.

    exponentials    e_j = exp(s (z_j - reference)), reference the largest; sum e_j, sum e_j d_j with d_j = ln e_j
    gaps            g(s (z_j - psi)): sum g, sum g' , sum g' x
    against-zero    g(s z_j): the same
    largest         the largest score; 1 at the first class that has it

Everything else is the core's: see ``softmargin::rows`` for the meaning of the accumulators.
"""

from __future__ import annotations

import dataclasses

import torch

from softmargin.torch._composed.derivatives import column

LEAST_SINE = {torch.float32: 2.0**-12, torch.float64: 2.0**-20}
"""Lower bounds of the sine of an angle in a divisor, as in the core."""


@dataclasses.dataclass
class Negatives:
    """The negatives of some rows: transformed scores, and a mask of those that take part."""

    scores: torch.Tensor
    """(n, c); finite if the class takes part."""
    derivative: torch.Tensor | float
    """(n, c): that of the transformed score with respect to the score."""
    present: torch.Tensor
    """(n, c): True if the class takes part: it is not the target, and its score is above minus infinity."""


@dataclasses.dataclass
class Swept:
    """The result of a sweep."""

    written: torch.Tensor
    """(n, c): exponentials, derivatives of the gate, or 1 at the largest; 0 if the class does not take part."""
    accumulators: torch.Tensor
    """(n, k), in ``float64`` if the device has it."""
    alone: torch.Tensor
    """(n, 1): True if no negative takes part."""


def transformed(scores: torch.Tensor, present: torch.Tensor, targets: dict) -> Negatives:
    """Returns the transformed negatives of scores (n, c); ``targets`` is the result of ``RowPlan.targets``."""
    name, parameter = targets["transform"], targets["parameter"]
    scores = scores.masked_fill(~present, 0)
    if name is None:
        return Negatives(scores, 1.0, present)
    if name == "divided-angle":
        return Negatives(*_divided_angle(scores, parameter), present)
    hard = scores > column(targets["above"], scores)
    if name == "misclassified":
        raised, derivative = parameter * scores + (parameter - 1), torch.full_like(scores, parameter)
    else:
        raised, derivative = scores * (parameter + scores), parameter + 2 * scores
    return Negatives(torch.where(hard, raised, scores), torch.where(hard, derivative, 1.0), present)


def _divided_angle(scores, by):
    cos = scores.clamp(-1, 1)
    part = cos.acos() / by
    sine = ((1 - cos) * (1 + cos)).sqrt()
    least = LEAST_SINE[cos.dtype]
    derivative = part.sin() / by / sine.clamp(min=least)
    # At theta = 0 both sines vanish: the quotient of their derivatives.
    return part.cos(), derivative.masked_fill((sine < least) & (cos > 0), 1 / by**2)


def sweep(kind: tuple, negatives: Negatives, scale: float, score, shift, shards) -> Swept:
    """Sweeps over the negatives; ``score`` and ``shift`` (n, 1) are those of the targets."""
    name, gate = kind
    alone = ~(shards.max(negatives.present.any(1, keepdim=True).to(torch.uint8)) > 0)
    if name == "exponentials":
        written, columns = _exponentials(negatives, scale, alone, shards)
    elif name == "largest":
        written, columns = _largest(negatives, alone, shards)
    else:
        ahead = negatives.scores if name == "against-zero" else (negatives.scores - score) - shift
        written, columns = _gated(gate, scale * ahead, negatives.present, shards)
    if name == "against-zero":
        alone = torch.zeros_like(alone)
    return Swept(written, torch.cat(columns, 1), alone)


def _exponentials(negatives, scale, alone, shards):
    present = negatives.present
    reference = shards.largest(negatives.scores.masked_fill(~present, -torch.inf)).masked_fill(alone, 0)
    exponents = (scale * (negatives.scores - reference)).masked_fill(~present, -torch.inf)
    written = exponents.exp()
    weighted = written * exponents.masked_fill(~present, 0)
    above = (negatives.scores - reference).masked_fill(~present, 0)
    sums = [shards.sum(_row_sums(values)) for values in (written, weighted, above, present)]
    return written, [_wide(reference), *sums]


def _largest(negatives, alone, shards):
    scores = negatives.scores.masked_fill(~negatives.present, -torch.inf)
    is_first = shards.is_class(shards.first_largest(scores)) & ~alone
    return is_first.to(scores.dtype), [_wide(shards.largest(scores).masked_fill(alone, 0))]


def _gated(gate, gaps, present, shards):
    if gate == "relu":
        value, written = gaps.relu(), (gaps > 0).to(gaps.dtype)
    elif gate == "softplus":
        value, written = softplus(gaps), gaps.sigmoid()
    else:
        value, written = gaps, torch.ones_like(gaps)
    written = written.masked_fill(~present, 0)
    value, weighted = value.masked_fill(~present, 0), (written * gaps).masked_fill(~present, 0)
    return written, [shards.sum(_row_sums(values)) for values in (value, written, weighted)]


def softplus(gaps: torch.Tensor) -> torch.Tensor:
    """Returns ``ln(1 + e^t)``, accurate for every ``t``."""
    return gaps.relu() + (-gaps.abs()).exp().log1p()


def _row_sums(values):
    return values.sum(1, keepdim=True, dtype=None if values.device.type == "mps" else torch.float64)


def _wide(tensor):
    return tensor if tensor.device.type == "mps" else tensor.double()
