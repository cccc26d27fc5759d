"""The margins of InsightFace's ``recognition/arcface_torch/losses.py`` by their names, arguments and results.

A module takes logits that are cosines (N, C) and labels (N) or (N, 1), and returns scaled logits with a margin on the
target's, for a cross-entropy of your own. The method ``loss`` of each computes the whole loss with the fused kernel,
without storing the changed logits.

As in InsightFace, the gradient is straight-through: the margin is a constant to it, so the derivative of the target's
logit is ``s`` even if its angle is enlarged. The label -1 means that a row's class is not among these columns, as on
one shard of many. ``COMPARE.md`` lists the differences, next to the tests that show them.

>>> import torch
>>> from softmargin.torch.insightface import CombinedMarginLoss
>>> margin = CombinedMarginLoss(64, 1.0, 0.0, 0.4)
>>> cosines = torch.tensor([[0.9, 0.1], [0.2, 0.3]])
>>> margin(cosines, torch.tensor([0, -1]))
tensor([[32.0000,  6.4000],
        [12.8000, 19.2000]])
"""

from __future__ import annotations

import math

import torch
from torch import nn

from softmargin._loss import Loss, Reduction
from softmargin.torch import score_loss

__all__ = ["ArcFace", "CombinedMarginLoss", "CosFace"]

# The excess over 1 up to which a cosine counts as 1: the rounding error of half precision.
TOLERANCE = 1e-3
NO_CLASS = -1


class _Margin(nn.Module):
    """Scaled logits, the target's with a margin; and their loss."""

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Returns the logits (N, C) times the scale, the target's with its margin; ``logits`` are not changed.

        A target whose cosine is outside -1 to 1 by more than 0.001 gives NaN under an angular margin.

        Raises ``ValueError`` on shapes that disagree and numbers out of range; ``TypeError`` on labels that are not
        ``int64`` or ``int32``; ``IndexError`` on labels that are neither classes nor -1.
        """
        scale, angle, minus = self._numbers()
        labels = checked(logits, labels)
        logits = self._filtered(logits, labels)
        rows = (labels != NO_CLASS).nonzero().flatten()
        columns = labels[rows]
        answer = logits * scale
        # Written without gradients: the derivative is that of the product, the scale.
        with torch.no_grad():
            answer[rows, columns] = enlarged(logits[rows, columns], angle, minus) * scale
        return answer

    def loss(
        self,
        logits: torch.Tensor,
        labels: torch.Tensor,
        *,
        sample_weights: torch.Tensor | None = None,
        reduction: Reduction = "mean",
    ) -> torch.Tensor:
        """Returns the cross-entropy of the logits that :meth:`forward` returns, computed by the fused kernel.

        It is differentiable with respect to ``logits`` (N, C). Rows with the label -1 are ignored: if classes are
        spread over several devices, use :meth:`forward` and a cross-entropy over all of them. ``sample_weights`` (N)
        and ``reduction`` as in :func:`softmargin.torch.score_loss`.

        Errors as :meth:`forward`, and ``ValueError`` on logits that are no cosines.
        """
        labels = checked(logits, labels)
        logits = self._filtered(logits, labels)
        return score_loss(
            self._fused(logits.shape[1]), logits, labels, sample_weights=sample_weights, reduction=reduction
        )

    def _numbers(self) -> tuple[float, float, float]:
        """Returns the scale, the margin added to the angle, and the margin subtracted from the cosine."""
        raise NotImplementedError

    def _fused(self, num_classes: int) -> Loss:
        scale, angle, minus = self._numbers()
        margin = {
            "plus": {"one": float(angle)},
            "minus": {"one": float(minus)},
            "beyond-pi": "plain",
            "gradient": "straight-through",
        }
        spec = {"margin": {"times": 1.0, **margin}}
        return Loss("combined-margin", num_classes, scale=scale, spec=spec, ignored_label=NO_CLASS)

    def _filtered(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return logits


class CombinedMarginLoss(_Margin):
    """ArcFace if ``m3`` is 0: ``s cos(theta + m2)``; CosFace if it is above 0: ``s (cos theta - m3)``.

    ``s`` is above 0, ``m1`` 1, ``m2`` in radians from 0 to pi, ``m3`` from 0 to 2. With
    ``interclass_filtering_threshold`` above 0, logits of other classes above it are set to 0 and have no gradient.

    Raises ``ValueError`` on numbers out of range, and on margins without effect: ``m1`` other than 1, ``m2`` beside
    ``m3``.
    """

    def __init__(self, s: float, m1: float, m2: float, m3: float, interclass_filtering_threshold: float = 0) -> None:
        super().__init__()
        self.s, self.m1, self.m2, self.m3 = s, m1, m2, m3
        self.interclass_filtering_threshold = interclass_filtering_threshold
        self._numbers()

    def extra_repr(self) -> str:
        """Returns what ``print`` shows between the parentheses."""
        return (
            f"s={self.s}, m1={self.m1}, m2={self.m2}, m3={self.m3}, "
            f"interclass_filtering_threshold={self.interclass_filtering_threshold}"
        )

    def _numbers(self) -> tuple[float, float, float]:
        combined = 'softmargin.torch.MarginHead with loss="combined-margin" and margin=(m1, m2, m3) has them all'
        if self.m1 != 1:
            raise ValueError(f"m1: expected 1, found {self.m1}, which InsightFace rejects or ignores; {combined}")
        if self.m3 != 0 and self.m2 != 0:
            raise ValueError(f"m2: expected 0 beside m3, found {self.m2}, which InsightFace ignores; {combined}")
        if not self.interclass_filtering_threshold >= 0:
            found = self.interclass_filtering_threshold
            raise ValueError(f"interclass_filtering_threshold: expected 0 for none, or a cosine above 0, found {found}")
        scale = checked_number("s", self.s, math.inf)
        return scale, checked_number("m2", self.m2, math.pi), checked_number("m3", self.m3, 2)

    def _filtered(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Returns logits (N, C), those of other classes above the threshold at 0; in rows without a class, of all."""
        if not self.interclass_filtering_threshold:
            return logits
        filtered = logits.detach() > self.interclass_filtering_threshold
        rows = (labels != NO_CLASS).nonzero().flatten()
        filtered[rows, labels[rows]] = False
        return logits.masked_fill(filtered, 0.0)


class ArcFace(_Margin):
    """``s cos(theta + margin)`` for the target; ``margin`` in radians, from 0 to pi.

    Raises ``ValueError`` on numbers out of range.
    """

    def __init__(self, s: float = 64.0, margin: float = 0.5) -> None:
        super().__init__()
        self.s, self.margin = s, margin
        self._numbers()

    def extra_repr(self) -> str:
        """Returns what ``print`` shows between the parentheses."""
        return f"s={self.s}, margin={self.margin}"

    def _numbers(self) -> tuple[float, float, float]:
        return checked_number("s", self.s, math.inf), checked_number("margin", self.margin, math.pi), 0.0


class CosFace(_Margin):
    """``s (cos theta - m)`` for the target; ``m`` from 0 to 2.

    Raises ``ValueError`` on numbers out of range.
    """

    def __init__(self, s: float = 64.0, m: float = 0.40) -> None:
        super().__init__()
        self.s, self.m = s, m
        self._numbers()

    def extra_repr(self) -> str:
        """Returns what ``print`` shows between the parentheses."""
        return f"s={self.s}, m={self.m}"

    def _numbers(self) -> tuple[float, float, float]:
        return checked_number("s", self.s, math.inf), 0.0, checked_number("m", self.m, 2)


def enlarged(cosines: torch.Tensor, angle: float, minus: float) -> torch.Tensor:
    """Returns ``cos(theta + angle) - minus`` of targets' cosines (M)."""
    if angle:
        within = cosines.abs() <= 1 + TOLERANCE
        bent = torch.cos(torch.arccos(cosines.clamp(-1, 1)) + angle)
        cosines = torch.where(within, bent, math.nan)
    return cosines - minus


def checked(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Returns the labels (N) as ``int64``."""
    if logits.ndim != 2 or labels.shape not in ((len(logits),), (len(logits), 1)):
        raise ValueError(
            f"labels: expected (N) or (N, 1) for logits (N, C), found {tuple(labels.shape)} for {tuple(logits.shape)}"
        )
    if labels.dtype not in (torch.int64, torch.int32):
        raise TypeError(f"labels: expected int64 or int32, found {labels.dtype}; convert them with .long()")
    labels = labels.reshape(-1).to(device=logits.device, dtype=torch.int64)
    if ((labels < NO_CLASS) | (labels >= logits.shape[1])).any():
        raise IndexError(f"labels: expected from 0 to {logits.shape[1] - 1}, or {NO_CLASS} for none of these classes")
    return labels


def checked_number(name: str, value: float, most: float) -> float:
    """Returns a number above 0 if ``most`` is infinite, else from 0 to ``most``."""
    least_fails = not value > 0 if most == math.inf else not value >= 0
    if least_fails or not value <= most or value == math.inf:
        expected = "a number above 0" if most == math.inf else f"from 0 to {most:.6g}"
        raise ValueError(f"{name}: expected {expected}, found {value}")
    return value
