"""Scores of embeddings against prototypes.

    inner product   <x, w_j> + b_j
    unit weights    <x, w_j / |w_j|>
    cosine          <x / |x|, w_j / |w_j|>

With K prototypes per class (sub-centers), the score of a class is that of its best one. A vector of norm 0 has
direction 0: cosine 0 with everything, and gradient 0.
"""

from __future__ import annotations

import typing

import torch

from softmargin.torch._composed.derivatives import known


class Directed(torch.autograd.Function):
    """Rows (R, D) as directions (R, D) and lengths (R, 1); lengths of half precision come in ``float32``."""

    @staticmethod
    def forward(rows):
        single = _at_least_single(rows)
        # Divided by the largest entry first, so that no square overflows or vanishes.
        largest = single.abs().amax(1, keepdim=True) if rows.shape[1] else single.new_zeros(rows.shape[0], 1)
        small = single / largest.masked_fill(largest == 0, 1)
        length = torch.linalg.vector_norm(small, dim=1, keepdim=True)
        direction = small / length.masked_fill(length == 0, 1)
        return direction.to(rows.dtype), length * largest

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*output)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, by_direction, by_norm):
        direction, norm = ctx.saved_tensors
        slope, unit = _at_least_single(by_direction), _at_least_single(direction)
        across = slope - (slope * unit).sum(1, keepdim=True) * unit
        inverse = norm.reciprocal()
        # The derivative is 0 for the norm 0, and for a norm whose inverse overflows.
        inverse = inverse.masked_fill(inverse.isinf(), 0)
        return (across * inverse + by_norm * unit).to(direction.dtype)


class Vectors(typing.NamedTuple):
    """Embeddings (N, D) or prototypes (c K, D) in the form from which scores are computed."""

    rows: torch.Tensor
    norms: torch.Tensor | None
    """(N, 1) or (c K, 1); None if they are not needed."""

    @classmethod
    def of(cls, rows, is_unit, needs_norms):
        directions, norms = Directed.apply(rows) if is_unit or needs_norms else (None, None)
        return cls(directions if is_unit else rows, norms if needs_norms else None)


def operands_of(geometry, embeddings, weight, needs_embedding_norms=False, needs_weight_norms=False):
    """Returns the ``Vectors`` of embeddings (N, D) and of prototypes (c K, D)."""
    x = Vectors.of(embeddings, geometry["kind"] == "cosine", needs_embedding_norms)
    return x, Vectors.of(weight, geometry["kind"] != "inner-product", needs_weight_norms)


def scores_of(geometry, sub_centers, embeddings, prototypes, bias):
    """Returns scores (N, c), at least in ``float32``, of the rows of two ``Vectors``; bias (c K) or None."""
    scores = _at_least_single(embeddings @ prototypes.T)
    if bias is not None:
        scores = scores + bias
    if geometry["kind"] == "cosine":
        # Rounding may carry a cosine beyond 1; its derivative is not clamped.
        scores = known(scores.detach().clamp(-1, 1), (scores.new_ones(()), scores))
    if sub_centers == 1:
        return scores
    return _best(scores.reshape(len(scores), scores.shape[1] // sub_centers, sub_centers))


def _best(scores):
    """Returns the best (N, c) of K scores (N, c, K), the first on ties; NaN if one of them is NaN."""
    winners = scores.detach().argmax(2, keepdim=True)
    return scores.gather(2, winners).squeeze(2)


def _at_least_single(tensor):
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
