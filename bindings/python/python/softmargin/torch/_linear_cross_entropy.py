"""``torch.nn.functional.linear_cross_entropy``, computed by the fused head."""

from __future__ import annotations

import functools
from typing import Literal

import torch

from softmargin._head import Head
from softmargin.torch._functional import head_loss, widened

__all__ = ["linear_cross_entropy"]

IGNORED = -100


def linear_cross_entropy(
    input: torch.Tensor,
    linear_weight: torch.Tensor,
    target: torch.Tensor,
    *,
    linear_bias: torch.Tensor | None = None,
    weight: torch.Tensor | None = None,
    reduction: Literal["none", "mean", "sum"] = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    options: None = None,
) -> torch.Tensor:
    """Returns the cross-entropy of a linear layer's outputs with a target, without storing the outputs.

    Arguments and results are those of PyTorch's function of that name:

    - ``input``: (N, D) or (D).
    - ``linear_weight``, ``linear_bias``: (C, D) and (C).
    - ``target``: Classes (N) or (), or probabilities (N, C) or (C), 0 or above.
    - ``weight``: (C), of each class. Default: 1.
    - ``reduction``: ``"none"``, ``"mean"`` (weighted by the targets' weights; for probabilities divided by N) or
      ``"sum"``.
    - ``ignore_index``: Rows with this class are ignored. Default: -100.
    - ``label_smoothing``: From 0 to 1.
    - ``options``: Not supported.

    It is differentiable with respect to ``input``, ``linear_weight`` and ``linear_bias``.

    Raises ``ValueError`` on what is not supported: more output dimensions, ``options``, a target that needs a gradient;
    ``IndexError`` on targets that are no classes.

    >>> import torch
    >>> from softmargin.torch import linear_cross_entropy
    >>> x, w = torch.randn(5, 16, requires_grad=True), torch.randn(100, 16, requires_grad=True)
    >>> target = torch.randint(100, (5,))
    >>> ours = linear_cross_entropy(x, w, target)
    >>> torch.testing.assert_close(ours, torch.nn.functional.cross_entropy(x @ w.T, target))
    """
    if options is not None:
        raise ValueError("options: expected None, found some; the head chooses its own chunks, leave it out")
    if linear_weight.ndim != 2:
        raise ValueError(
            f"linear_weight: expected (C, D), found {tuple(linear_weight.shape)}; flatten output dimensions"
        )
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f'reduction: expected "none", "mean" or "sum", found {reduction!r}')
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(f"label_smoothing: expected a number from 0 to 1, found {label_smoothing}")
    if input.ndim == 1:
        return linear_cross_entropy(
            input[None],
            linear_weight,
            target[None],
            linear_bias=linear_bias,
            weight=weight,
            reduction="sum" if reduction == "none" else reduction,
            ignore_index=ignore_index,
            label_smoothing=label_smoothing,
        )
    if target.requires_grad:
        raise ValueError("target: expected one that needs no gradient, found one that does; detach it")
    wide = widened("input", input)
    weight = None if weight is None else weight.detach().to(wide.dtype)
    if target.is_floating_point():
        if ignore_index is not None:
            raise ValueError("ignore_index: expected None with probabilities as targets")
        parts = (linear_bias, weight, reduction, label_smoothing)
        loss = _of_probabilities(wide, linear_weight, target.to(wide.dtype), *parts)
    else:
        ignored = IGNORED if ignore_index is None else ignore_index
        loss = _of_classes(wide, linear_weight, target, linear_bias, weight, reduction, ignored, label_smoothing)
    return loss.to(input.dtype)


def _of_classes(input, linear_weight, target, bias, weight, reduction, ignored, smoothing):
    if smoothing == 1.0 or (weight is not None and smoothing > 0.0):
        return _smoothed_as_distributions(input, linear_weight, target, bias, weight, reduction, ignored, smoothing)
    head = _head(*linear_weight.shape, bias is not None, ignored, smoothing)
    weights = None if weight is None else _weights_of(target, weight, ignored)
    reduction = "mean-or-nan" if reduction == "mean" else reduction
    return head_loss(head, input, linear_weight, target, bias=bias, sample_weights=weights, reduction=reduction)


def _weights_of(target, weight, ignored):
    """Returns the weight of each row's class (N), 0 for ignored rows."""
    present = target != ignored
    wrong = present & ((target < 0) | (target >= len(weight)))
    if wrong.any():
        row = int(wrong.nonzero()[0])
        raise IndexError(f"target[{row}]: expected a class from 0 to {len(weight) - 1}, found {int(target[row])}")
    return torch.where(present, weight[torch.where(present, target, 0)], 0.0)


def _smoothed_as_distributions(input, linear_weight, target, bias, weight, reduction, ignored, smoothing):
    """Returns the loss of smoothed targets (N, C), each class with its weight; the mean uses the targets' weights."""
    weight = input.new_ones(len(linear_weight)) if weight is None else weight
    weights, present = _weights_of(target, weight, ignored), target != ignored
    hot = input.new_zeros(len(target), len(linear_weight))
    hot.scatter_(1, torch.where(present, target, 0)[:, None].long(), 1.0)
    rows = _of_probabilities(input, linear_weight, hot, bias, weight, "none", smoothing)
    rows = torch.where(present, rows, 0.0)
    if reduction == "none":
        return rows
    return rows.sum() if reduction == "sum" else rows.sum() / weights.sum()


def _of_probabilities(input, linear_weight, target, bias, weight, reduction, smoothing):
    classes = len(linear_weight)
    if target.shape != (len(input), classes):
        raise ValueError(f"target: expected ({len(input)}, {classes}), found {tuple(target.shape)}")
    target = target * (1.0 - smoothing) + smoothing / classes if smoothing > 0.0 else target
    target = target if weight is None else target * weight
    # The loss of a row that sums to S is S times that of a distribution.
    sums = target.sum(dim=1)
    some = sums > 0
    shares = torch.where(some[:, None], target / torch.where(some, sums, 1.0)[:, None], 1.0 / classes)
    head = _head(*linear_weight.shape, bias is not None, None, 0.0)
    way = "sum" if reduction == "mean" else reduction
    loss = head_loss(head, input, linear_weight, shares, bias=bias, sample_weights=sums, reduction=way)
    return loss / len(input) if reduction == "mean" else loss


@functools.lru_cache(maxsize=4)
def _head(classes, embedding_size, bias, ignored, smoothing):
    """Returns a head, the same for the same arguments: its workspace is reused."""
    geometry = {"kind": "inner-product", "bias": bias, "temperature": 1.0}
    smoothing = smoothing if smoothing > 0.0 else None
    return Head(
        "cross-entropy",
        classes,
        embedding_size,
        spec={"geometry": geometry},
        ignored_label=ignored,
        label_smoothing=smoothing,
    )
