"""The losses for PyTorch, as differentiable modules and functions.

On the CPU they call the fused kernels, in ``float32``; ``float64`` is computed by the plain code, and half precisions
are widened. On other devices the losses are composed of PyTorch's operations, some rows at a time, with the same
results. Gradients are first order.

>>> import torch
>>> from softmargin.torch import MarginHead
>>> head = MarginHead(embedding_size=16, num_classes=1000, loss="arcface", scale=32)
>>> embeddings = torch.randn(4, 16, requires_grad=True)
>>> loss = head(embeddings, torch.tensor([3, 14, 159, 265]))
>>> loss.backward()
>>> head.weight.grad.shape, embeddings.grad.shape
(torch.Size([1000, 16]), torch.Size([4, 16]))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from softmargin.torch._functional import head_loss, score_loss
from softmargin.torch._head import MarginHead
from softmargin.torch._linear_cross_entropy import linear_cross_entropy

if TYPE_CHECKING:
    from softmargin.torch._sharded import ShardedMarginHead

__all__ = ["MarginHead", "ShardedMarginHead", "head_loss", "linear_cross_entropy", "score_loss"]


def __getattr__(name: str) -> Any:
    # torch.distributed is imported only for a sharded head.
    if name == "ShardedMarginHead":
        from softmargin.torch._sharded import ShardedMarginHead

        return ShardedMarginHead
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
