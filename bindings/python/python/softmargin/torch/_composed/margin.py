"""What a margin takes from the target's score, ``psi(z_y) - z_y``, one number a row, its slopes written down.

    score    z_y - m                         logit    s psi = s z_y - m
    angle    r (cos(times theta + plus) - minus),    cos theta = z_y / r

``r`` is the product of the norms that the geometry keeps. With annealing, psi <- (lambda z_y + psi) / (1 + lambda).
Past pi the angle is continued as the spec says. The slope ``times sin(phi) / sin(theta)`` has a pole where theta is 0
or pi: the sine is not taken below a floor, and where both vanish the quotient of their derivatives is taken.
"""

import dataclasses
import math

import torch

from softmargin.torch._composed.slopes import least_sine, wide, with_slope

VANISHING = 1e-12
"""A sine this small is one of a multiple of pi."""


@dataclasses.dataclass
class Target:
    """Everything that a margin may look at, as columns (N, 1)."""

    score: torch.Tensor
    """``z_y``"""
    norm: torch.Tensor | None
    """The product of the norms that the geometry keeps; None where that is 1."""
    value: torch.Tensor | None
    """Of a margin on score or logit, or plus."""
    minus: torch.Tensor | None
    state: dict | None


def shift_of(margin, target):
    """``psi(z_y) - z_y`` in units of the score, and what is added to the gap in units of the logit: (N, 1) or None."""
    dtype = target.score.dtype
    if margin["kind"] == "none":
        return None, None
    if margin["kind"] == "score":
        return -target.value.to(dtype), None
    if margin["kind"] == "logit":
        return None, target.value.to(dtype)
    return _angular(margin, target).to(dtype), None


def plain_shift_of(margin, target):
    """The same where nothing is done about angles past pi."""
    return shift_of({**margin, "beyond-pi": "plain"} if margin["kind"] == "angle" else margin, target)


def lambda_of(anneal, step):
    """``max(min, initial (1 + rate step)^-power)``"""
    return max(anneal["min"], anneal["initial"] * (1.0 + anneal["rate"] * step) ** -anneal["power"])


def _angular(angle, target):
    least = least_sine(target.score.dtype)
    tracked, plus, minus = wide(target.score), target.value, target.minus
    score = tracked.detach()
    norm = None if target.norm is None else wide(target.norm).detach()
    vanished = None if norm is None else norm == 0
    ratio = score if norm is None else score / norm.masked_fill(vanished, 1)
    bent = _bend(angle, ratio, plus.detach(), least)
    annealed = 1.0
    if angle.get("anneal") is not None:
        annealed = 1.0 / (1.0 + lambda_of(angle["anneal"], target.state["step"]))
    exact = annealed if angle["gradient"] == "exact" else 0.0
    bend = (bent.value - minus.detach()) * annealed
    slope, plus_slope, minus_slope = bent.slope * exact, bent.plus_slope * exact, torch.full_like(bend, -exact)
    if norm is None:
        return with_slope(bend, (slope, tracked), (plus_slope, plus), (minus_slope, minus))
    # The cosine of a vanished vector is 0 by definition, whatever the vector does: psi has no slope.
    norm_slope = (bend - bent.cos * slope).masked_fill(vanished, 0)
    return with_slope(
        (norm * bend).masked_fill(vanished, 0),
        (slope.masked_fill(vanished, -1), tracked),
        (norm_slope, wide(target.norm)),
        ((norm * plus_slope).masked_fill(vanished, 0), plus),
        ((norm * minus_slope).masked_fill(vanished, 0), minus),
    )


@dataclasses.dataclass
class Bend:
    """``cos(phi) - cos``, continued past pi, its derivatives by ``cos`` and by ``plus``, and ``cos``: (N, 1)."""

    value: torch.Tensor
    slope: torch.Tensor
    plus_slope: torch.Tensor
    cos: torch.Tensor


def _bend(angle, ratio, plus, least):
    times = angle["times"]
    cos = ratio.clamp(-1, 1)
    phi = cos.acos() * times + plus
    plain = (phi.cos(), times * _sine_ratio(times, cos, phi, plus, least), -phi.sin())
    past = PAST[angle["beyond-pi"]](times, cos, phi, plus, plain)
    one, nothing = torch.ones_like(cos), torch.zeros_like(cos)
    value, slope, plus_slope = (
        torch.where(phi < 0, before, torch.where(phi > math.pi, after, within))
        for within, after, before in zip(plain, past, (one, nothing, nothing), strict=True)
    )
    # Where the angle is left as it is, nothing is to change, not even by rounding.
    neutral = (plus == 0) & (times == 1.0)
    return Bend((value - ratio).masked_fill(neutral, 0), (slope - 1).masked_fill(neutral, 0), plus_slope, cos)


def _continued(times, cos, phi, plus, plain):
    turn = (math.pi - plus) / times
    return cos - 1 - turn.cos(), torch.ones_like(cos), -turn.sin() / times


def _extended(times, cos, phi, plus, plain):
    return cos - plus * plus.sin(), torch.ones_like(cos), -(plus.sin() + plus * plus.cos())


def _clamped(times, cos, phi, plus, plain):
    return -torch.ones_like(cos), torch.zeros_like(cos), torch.zeros_like(cos)


def _piecewise(times, cos, phi, plus, plain):
    # The branch that holds just below phi: at theta = pi there is nothing above.
    k = (phi / math.pi).ceil() - 1
    sign = 1 - 2 * k.remainder(2)
    value, slope, plus_slope = plain
    return sign * value - 2 * k, sign * slope, sign * plus_slope


PAST = {
    "plain": lambda times, cos, phi, plus, plain: plain,
    "continue": _continued,
    "extend": _extended,
    "clamp": _clamped,
    "piecewise": _piecewise,
}
"""Value and slopes by ``cos`` and ``plus`` past pi, by the name that the spec has for it."""


def _sine_ratio(times, cos, phi, plus, least):
    """``sin(phi) / sin(theta)``"""
    sine = ((1 - cos) * (1 + cos)).sqrt()
    ratio = phi.sin() / sine.clamp(min=least)
    for end, side in ((0.0, cos > 0), (math.pi, cos <= 0)):
        at_end = times * end + plus
        vanishes = (at_end.sin().abs() < VANISHING * at_end.clamp(min=1)) & (sine < least) & side
        ratio = torch.where(vanishes, times * at_end.cos() / math.cos(end), ratio)
    return ratio
