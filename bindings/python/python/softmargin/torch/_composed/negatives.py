"""What becomes of the scores of the classes that are not the target, (N, c).

    misclassified   t z + t - 1     where z > psi
    curricular      z (T + z)       where z > psi, psi as it is where nothing is done about angles past pi
    divided angle   cos(theta / m), slope sin(theta / m) / (m sin theta), floored as that of a margin

Which negatives are above ``psi`` is not differentiated.
"""

import torch

from softmargin.torch._composed.slopes import least_sine, with_slope


def modified(negatives, scores, aim, plain_aim, state):
    """Scores (N, c) as they are compared; ``plain_aim`` makes the aim without a continuation past pi."""
    kind = negatives["kind"]
    if kind == "misclassified" and negatives["factor"] != 1:
        factor = negatives["factor"]
        return torch.where(_hard(scores, aim), factor * scores + (factor - 1), scores)
    if kind == "curricular":
        return torch.where(_hard(scores, plain_aim()), scores * (scores + state["target-mean"]), scores)
    if kind == "divided-angle" and negatives["by"] != 1:
        return _divided_angle(scores, negatives["by"])
    return scores


def _hard(scores, aim):
    with torch.no_grad():
        return aim.gap(scores.detach()) > 0


def _divided_angle(scores, by):
    cos = scores.detach().clamp(-1, 1)
    part = cos.acos() / by
    sine = ((1 - cos) * (1 + cos)).sqrt()
    least = least_sine(cos.dtype)
    slope = part.sin() / by / sine.clamp(min=least)
    # At theta = 0 both sines vanish: the quotient of their derivatives.
    slope = slope.masked_fill((sine < least) & (cos > 0), 1 / by**2)
    return with_slope(part.cos(), (slope, scores))
