"""Losses of tensors, as functions."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from softmargin._head import Head, HeadInputs
from softmargin._loss import Loss, Reduction, ScoreInputs
from softmargin.torch import _kernel

HALVES = (torch.float16, torch.bfloat16)
NEAR = 0.02  # the error that rounding to half precision can make in a sum of 1


def score_loss(
    loss: Loss,
    scores: torch.Tensor,
    target: torch.Tensor,
    *,
    scale: torch.Tensor | None = None,
    embedding_norms: torch.Tensor | None = None,
    weight_norms: torch.Tensor | None = None,
    sample_weights: torch.Tensor | None = None,
    margins: torch.Tensor | None = None,
    state: dict[str, Any] | None = None,
    reduction: Reduction = "mean",
) -> torch.Tensor:
    """Returns the loss of scores (N, C): a scalar, or (N) with ``reduction="none"``.

    - ``scores``: Cosines for a loss over cosines.
    - ``target``: Labels (N) from 0, or for softmax cross-entropy distributions (N, C).
    - ``scale``, ``embedding_norms`` (N), ``weight_norms`` (C), ``sample_weights`` (N), ``margins`` (N), ``state``,
      ``reduction``: As in :meth:`softmargin.Loss.evaluate`.

    It is differentiable with respect to the scores, the scale and the norms. Tensors on other devices than the CPU are
    copied to the CPU, and the gradient back. The loss of half-precision scores is in ``float32``.

    Errors as :meth:`softmargin.Loss.evaluate`.

    >>> import softmargin, torch
    >>> from softmargin.torch import score_loss
    >>> scores = torch.tensor([[2.0, 1.0, 0.0]], requires_grad=True)
    >>> score_loss(softmargin.Loss("cross-entropy", 3), scores, torch.tensor([0])).backward()
    >>> scores.grad.round(decimals=4)
    tensor([[-0.3348,  0.2447,  0.0900]])
    """
    scores = widened("scores", scores)
    device, scores = scores.device, scores.cpu()
    fixed = ScoreInputs(
        sample_weights=values_of(sample_weights, "sample_weights"), margins=values_of(margins, "margins"), state=state
    )
    call = ScoreCall(loss, labels(target), fixed, reduction)
    others = (("scale", scale), ("embedding_norms", embedding_norms), ("weight_norms", weight_norms))
    others = [None if tensor is None else like(tensor, scores, name).cpu() for name, tensor in others]
    return _kernel.apply(call, scores, *others).to(device)


def head_loss(
    loss: Loss | Head,
    embeddings: torch.Tensor,
    weight: torch.Tensor,
    target: torch.Tensor,
    *,
    bias: torch.Tensor | None = None,
    scale: torch.Tensor | None = None,
    radius: torch.Tensor | None = None,
    sample_weights: torch.Tensor | None = None,
    margins: torch.Tensor | None = None,
    state: dict[str, Any] | None = None,
    reduction: Reduction = "mean",
) -> torch.Tensor:
    """Returns the loss of embeddings (N, D) with prototypes ``weight`` (C K, D).

    - ``loss``: A :class:`softmargin.Loss`, or a :class:`softmargin.Head` to choose options.
    - ``target``: Labels (N) from 0, or for softmax cross-entropy distributions (N, C).
    - ``bias`` (C K), ``scale``, ``radius`` (scalars), ``sample_weights`` (N), ``margins`` (N), ``state``,
      ``reduction``: As in :meth:`softmargin.Head.evaluate`.

    It is a scalar, or (N) with ``reduction="none"``, differentiable with respect to embeddings, weight, bias, scale and
    radius, which must be on one device. The loss of half-precision tensors is in ``float32``.

    Raises ``ValueError``, ``IndexError`` and ``TypeError`` as :meth:`softmargin.Head.evaluate`.

    >>> import softmargin, torch
    >>> from softmargin.torch import head_loss
    >>> x, w = torch.eye(3)[:2].requires_grad_(), torch.eye(3).requires_grad_()
    >>> head_loss(softmargin.Loss("normface", 3, scale=4.0), x, w, torch.tensor([0, 1])).backward()
    >>> w.grad.shape
    torch.Size([3, 3])
    """
    embeddings = beside(widened("weight", weight), embeddings)
    check_devices(embeddings, weight=weight, bias=bias, scale=scale, radius=radius)
    weight, bias, scale, radius = (
        like(part, embeddings, name)
        for name, part in (("weight", weight), ("bias", bias), ("scale", scale), ("radius", radius))
    )
    if embeddings.device.type != "cpu":
        return composed(
            loss.loss if isinstance(loss, Head) else loss,
            embeddings,
            weight,
            target,
            reduction,
            bias=bias,
            scale=scale,
            radius=radius,
            sample_weights=sample_weights,
            margins=margins,
            state=state,
        )
    head = loss if isinstance(loss, Head) else head_of(loss, weight.shape[-1])
    fixed = HeadInputs(
        sample_weights=values_of(sample_weights, "sample_weights"), margins=values_of(margins, "margins"), state=state
    )
    return _kernel.apply(HeadCall(head, labels(target), fixed, reduction), embeddings, weight, bias, scale, radius)


def composed(loss, embeddings, weight, target, reduction, **extras):
    """Returns the same loss composed of PyTorch's operations, some rows at a time."""
    from softmargin.torch._composed import batch_loss, row_losses

    if reduction == "none":
        return row_losses(loss, embeddings, weight, target, **extras)[0]
    return batch_loss(loss, embeddings, weight, target, reduction, **extras)


class ScoreCall:
    """A loss of scores, scale and norms, for :class:`~softmargin.torch._kernel.Kernel`."""

    NAMES = ("scores", "scale", "embedding_norms", "weight_norms")

    def __init__(self, loss: Loss, target: NDArray[Any], fixed: ScoreInputs, reduction: str) -> None:
        self.loss, self.target, self.fixed = loss, target, fixed
        self.reduction, self.records = reduction, torch.is_grad_enabled()

    def run(self, inputs, gradients, row_factors=None):
        scores, scale, *norms = inputs
        embedding_norms, weight_norms = (None if norm is None else array_of(norm) for norm in norms)
        batch = dataclasses.replace(
            self.fixed,
            scale=item(scale),
            embedding_norms=embedding_norms,
            weight_norms=weight_norms,
            sample_weights=product(self.fixed.sample_weights, row_factors),
        )
        reduction = self.reduction if row_factors is None else "sum"
        found = self.loss._evaluate(array_of(scores), self.target, reduction, gradients, batch)
        return loss_tensor(found, self.reduction, scores), tensors(found, self.NAMES, inputs) if gradients else None


class HeadCall:
    """A head of embeddings, weight, bias, scale and radius, for :class:`~softmargin.torch._kernel.Kernel`."""

    NAMES = ("embeddings", "weight", "bias", "scale", "radius")

    def __init__(self, head: Head, target: NDArray[Any], fixed: HeadInputs, reduction: str) -> None:
        self.head, self.target, self.fixed = head, target, fixed
        self.reduction, self.records = reduction, torch.is_grad_enabled()

    def run(self, inputs, gradients, row_factors=None):
        embeddings, weight, bias, scale, radius = inputs
        batch = dataclasses.replace(
            self.fixed,
            bias=None if bias is None else array_of(bias),
            scale=item(scale),
            radius=item(radius),
            sample_weights=product(self.fixed.sample_weights, row_factors),
        )
        arrays = array_of(embeddings), array_of(weight), self.target
        found = self.head._evaluate(*arrays, self.reduction if row_factors is None else "sum", gradients, batch)
        answer = loss_tensor(found, self.reduction, embeddings)
        return answer, tensors(found, self.NAMES, inputs) if gradients else None


def loss_tensor(found: dict[str, Any], reduction: str, like: torch.Tensor) -> torch.Tensor:
    """Returns the loss of a result as a tensor."""
    if reduction == "none":
        return torch.from_numpy(found["row_losses"])
    return torch.tensor(found["value"], dtype=like.dtype)


def tensors(
    found: dict[str, Any], names: Sequence[str], inputs: Sequence[torch.Tensor | None]
) -> list[torch.Tensor | None]:
    """Returns the gradients with respect to the named inputs as tensors over the same memory."""

    def one(gradient, tensor):
        if tensor is None:
            return None
        if isinstance(gradient, float):
            return torch.full_like(tensor, gradient)
        return torch.from_numpy(gradient)

    return [one(found.get(f"grad_{name}"), tensor) for name, tensor in zip(names, inputs, strict=True)]


def array_of(tensor: torch.Tensor) -> NDArray[Any]:
    """Returns a tensor on the CPU as an array over the same memory."""
    return tensor.detach().numpy()


def item(scalar: torch.Tensor | None) -> float | None:
    """Returns the number that a scalar tensor holds."""
    return None if scalar is None else scalar.item()


def product(sample_weights: NDArray[Any] | None, row_factors: torch.Tensor | None) -> NDArray[Any] | None:
    """Returns the rows' weights times the factors (N) of the backward pass."""
    if row_factors is None:
        return sample_weights
    factors = array_of(row_factors)
    return factors if sample_weights is None else factors * sample_weights


def widened(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """Returns half-precision tensors, which autocast produces, as ``float32``, others as they are; checks the type."""
    if not isinstance(tensor, torch.Tensor):
        raise TypeError(f"{name}: expected a tensor, found {type(tensor).__name__}")
    if tensor.dtype in HALVES:
        return tensor.float()
    if tensor.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"{name}: expected a floating-point tensor, found {tensor.dtype}; convert it")
    return tensor


def beside(weight: torch.Tensor, embeddings: torch.Tensor) -> torch.Tensor:
    """Returns half-precision embeddings in the precision of the prototypes, others as they are."""
    wide = widened("embeddings", embeddings)
    return embeddings.to(weight.dtype) if embeddings.dtype in HALVES else wide


def like(tensor: torch.Tensor | None, embeddings: torch.Tensor, name: str) -> torch.Tensor | None:
    """Returns a parameter in the precision of the embeddings: half precision is widened, another is an error."""
    if tensor is None:
        return None
    tensor = widened(name, tensor)
    if tensor.dtype != embeddings.dtype:
        raise TypeError(
            f"{name}: expected {embeddings.dtype} as the embeddings, found {tensor.dtype}; convert one of them"
        )
    return tensor


def labels(target: torch.Tensor) -> NDArray[Any]:
    """Returns labels or distributions as an array in main memory, a copy."""
    if not isinstance(target, torch.Tensor):
        raise TypeError(f"target: expected a tensor, found {type(target).__name__}")
    if target.requires_grad:
        raise ValueError("target: expected one that needs no gradient; detach it")
    if target.dtype in HALVES and target.dim() == 2:
        target = target.float()
        # Half precision cannot represent shares that sum to 1; the loss rejects sums that are far from 1.
        sums = target.sum(dim=1, keepdim=True)
        target = torch.where((sums - 1.0).abs() < NEAR, target / sums, target)
    return copied(target)


def values_of(tensor: torch.Tensor | None, name: str) -> NDArray[Any] | None:
    """Returns a value for each row (N) as an array in main memory, a copy; it has no gradient."""
    if tensor is None:
        return None
    if not isinstance(tensor, torch.Tensor):
        raise TypeError(f"{name}: expected a tensor, found {type(tensor).__name__}")
    if tensor.requires_grad:
        raise ValueError(f"{name}: expected a tensor that needs no gradient; detach it")
    return copied(tensor.float() if tensor.dtype in HALVES else tensor)


def copied(tensor: torch.Tensor) -> NDArray[np.generic]:
    """Returns a copy: a backward pass may read it again, and data loaders overwrite their buffers before that."""
    if getattr(torch._C, "_are_functorch_transforms_active", bool)():
        raise RuntimeError(
            "expected plain tensors, found a transform of torch.func: these losses support backward only"
        )
    tensor = tensor.detach()
    return (tensor.cpu() if tensor.device.type != "cpu" else tensor.clone()).numpy()


@functools.lru_cache(maxsize=4)
def head_of(loss: Loss, embedding_size: int) -> Head:
    """Returns a head of a loss, the same for the same loss: its workspace is reused."""
    return Head(loss, loss.num_classes, embedding_size)


def check_devices(embeddings: torch.Tensor, **tensors: torch.Tensor | None) -> None:
    """Raises ``ValueError`` if a tensor is on another device than the embeddings."""
    for name, tensor in tensors.items():
        if tensor is not None and tensor.device != embeddings.device:
            raise ValueError(f"{name}: expected on {embeddings.device} as the embeddings, found on {tensor.device}")
