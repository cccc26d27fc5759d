"""Losses of tensors, as functions."""

import functools
from typing import Any

import torch

from softmargin._head import Head
from softmargin._loss import Loss
from softmargin.torch import _kernel

HALVES = (torch.float16, torch.bfloat16)
NEAR = 0.02  # what rounding to half precision does to a sum of 1


def score_loss(
    loss: Loss,
    scores: torch.Tensor,
    target: torch.Tensor,
    *,
    sample_weights: torch.Tensor | None = None,
    margins: torch.Tensor | None = None,
    embedding_norms: torch.Tensor | None = None,
    weight_norms: torch.Tensor | None = None,
    scale: torch.Tensor | None = None,
    state: dict[str, Any] | None = None,
    reduction: str = "mean",
) -> torch.Tensor:
    """The loss of scores (N, C), cosines for a loss over cosines, differentiable by them, the norms and ``scale``.

    ``loss`` is a :class:`softmargin.Loss`; ``target`` labels (N), or distributions (N, C) for softmax cross-entropy;
    ``sample_weights``, ``margins``, ``embedding_norms`` (N) and ``weight_norms`` (C) as in
    :meth:`softmargin.Loss.run`. On other devices than the CPU the scores are brought there and the gradient back. Half
    precisions give a loss in ``float32``.

    Errors as :meth:`softmargin.Loss.run`.

    >>> import softmargin, torch
    >>> from softmargin.torch import score_loss
    >>> scores = torch.tensor([[2.0, 1.0, 0.0]], requires_grad=True)
    >>> score_loss(softmargin.Loss("cross-entropy", 3), scores, torch.tensor([0])).backward()
    >>> scores.grad.round(decimals=4)
    tensor([[-0.3348,  0.2447,  0.0900]])
    """
    scores = widened("scores", scores)
    device, scores = scores.device, scores.cpu()
    extras = {"margins": numbers(margins, "margins"), "state": state}
    call = ScoreCall(loss, labels(target), numbers(sample_weights, "sample_weights"), extras, reduction)
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
    reduction: str = "mean",
) -> torch.Tensor:
    """The loss of embeddings (N, D) against prototypes ``weight`` (C K, D), differentiable by all tensors of numbers.

    ``loss`` is a :class:`softmargin.Loss`, or a :class:`softmargin.Head` where options matter; ``bias`` (C K),
    ``scale`` and ``radius`` (single numbers) are what the loss has; ``target`` labels (N), or distributions (N, C) for
    softmax cross-entropy; ``sample_weights`` and ``margins`` (N); ``state`` as in
    :meth:`softmargin.Loss.initial_state`. All tensors of numbers are on one device. Half precisions give a loss in
    ``float32``.

    ``ValueError``, ``IndexError`` and ``TypeError`` as :meth:`softmargin.Head.run`.

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
    extras = {"margins": numbers(margins, "margins"), "state": state}
    call = HeadCall(head, labels(target), numbers(sample_weights, "sample_weights"), extras, reduction)
    return _kernel.apply(call, embeddings, weight, bias, scale, radius)


def composed(loss, embeddings, weight, target, reduction, **extras):
    """The same of PyTorch's operations, some rows at a time."""
    from softmargin.torch._composed import batch_loss, row_losses

    if reduction == "none":
        return row_losses(loss, embeddings, weight, target, **extras)[0]
    return batch_loss(loss, embeddings, weight, target, reduction, **extras)


class ScoreCall:
    """A loss of scores and of a learned scale, for :class:`~softmargin.torch._kernel.Kernel`."""

    def __init__(self, loss, target, sample_weights, extras, reduction):
        self.loss, self.target, self.sample_weights, self.extras = loss, target, sample_weights, extras
        self.reduction, self.records = reduction, torch.is_grad_enabled()

    def run(self, inputs, gradients, weighting=None):
        scores, scale, *norms = inputs
        names = ("embedding_norms", "weight_norms")
        norms = {name: None if norm is None else norm.detach().numpy() for name, norm in zip(names, norms, strict=True)}
        outcome = self.loss._run(
            scores.detach().numpy(),
            self.target,
            "sum" if weighting is not None else self.reduction,
            gradients,
            {
                **self.extras,
                **norms,
                "sample_weights": product(self.sample_weights, weighting),
                "scale": number(scale),
            },
        )
        found = [outcome.get(name) for name in ("grad", "grad_scale", *(f"grad_{name}" for name in names))]
        return answer(outcome, self.reduction, scores), tensors(found, inputs) if gradients else None


class HeadCall:
    """A head of embeddings, weight, bias, scale and radius, for :class:`~softmargin.torch._kernel.Kernel`."""

    NAMES = ("embeddings", "weight", "bias", "scale", "radius")

    def __init__(self, head, target, sample_weights, extras, reduction):
        self.head, self.target, self.sample_weights, self.extras = head, target, sample_weights, extras
        self.reduction, self.records = reduction, torch.is_grad_enabled()

    def run(self, inputs, gradients, weighting=None):
        embeddings, weight, bias, scale, radius = inputs
        outcome = self.head._run(
            embeddings.detach().numpy(),
            weight.detach().numpy(),
            self.target,
            "sum" if weighting is not None else self.reduction,
            gradients,
            {
                **self.extras,
                "sample_weights": product(self.sample_weights, weighting),
                "bias": None if bias is None else bias.detach().numpy(),
                "scale": number(scale),
                "radius": number(radius),
            },
        )
        found = [outcome.get(f"grad_{name}") for name in self.NAMES]
        return answer(outcome, self.reduction, embeddings), tensors(found, inputs) if gradients else None


def answer(outcome, reduction, like):
    """The loss as a tensor."""
    if reduction == "none":
        return torch.from_numpy(outcome["rows"])
    return torch.tensor(outcome["value"], dtype=like.dtype)


def tensors(gradients, inputs):
    """Gradients as tensors over the same memory, shaped like what they are by."""

    def one(gradient, tensor):
        if tensor is None:
            return None
        if isinstance(gradient, float):
            return torch.full_like(tensor, gradient)
        return torch.from_numpy(gradient)

    return [one(gradient, tensor) for gradient, tensor in zip(gradients, inputs, strict=True)]


def number(scalar):
    return None if scalar is None else scalar.item()


def product(sample_weights, weighting):
    """Weights of rows times what the backward pass multiplies them by."""
    if weighting is None:
        return sample_weights
    weighting = weighting.detach().numpy()
    return weighting if sample_weights is None else weighting * sample_weights


def widened(name, tensor):
    """Half precisions as ``float32``; a module that is run under autocast comes here with them."""
    if not isinstance(tensor, torch.Tensor):
        raise TypeError(f"{name}: expected a tensor, found {type(tensor).__name__}")
    if tensor.dtype in HALVES:
        return tensor.float()
    if tensor.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"{name}: expected a tensor of floating point numbers, found {tensor.dtype}; convert it")
    return tensor


def beside(weight, embeddings):
    """Embeddings of half precision, as autocast makes them, in the precision of the prototypes."""
    wide = widened("embeddings", embeddings)
    return embeddings.to(weight.dtype) if embeddings.dtype in HALVES else wide


def like(tensor, embeddings, name):
    """A parameter in the precision of the embeddings."""
    if tensor is None:
        return None
    tensor = widened(name, tensor)
    if tensor.dtype != embeddings.dtype:
        raise TypeError(
            f"{name}: expected {embeddings.dtype} as the embeddings, found {tensor.dtype}; convert one of them"
        )
    return tensor


def labels(target):
    """Labels or distributions as an array in main memory, which nobody else writes to."""
    if not isinstance(target, torch.Tensor):
        raise TypeError(f"target: expected a tensor, found {type(target).__name__}")
    if target.requires_grad:
        raise ValueError("target: expected one that needs no gradient; detach it")
    if target.dtype in HALVES and target.dim() == 2:
        target = target.float()
        # Half precision cannot say shares that sum to 1; what is far from that is refused by the loss.
        sums = target.sum(dim=1, keepdim=True)
        target = torch.where((sums - 1.0).abs() < NEAR, target / sums, target)
    return kept(target)


def numbers(tensor, name):
    """One number a row, in main memory, which nobody else writes to; they have no gradient."""
    if tensor is None:
        return None
    if not isinstance(tensor, torch.Tensor):
        raise TypeError(f"{name}: expected a tensor, found {type(tensor).__name__}")
    if tensor.requires_grad:
        raise ValueError(f"{name}: expected a tensor that needs no gradient; detach it")
    return kept(tensor.float() if tensor.dtype in HALVES else tensor)


def kept(tensor):
    """What a backward pass may read again is a copy: buffers of labels are often written anew before that."""
    if getattr(torch._C, "_are_functorch_transforms_active", bool)():
        raise RuntimeError("expected plain tensors, found a transform of torch.func: these losses have backward alone")
    tensor = tensor.detach()
    return (tensor.cpu() if tensor.device.type != "cpu" else tensor.clone()).numpy()


@functools.lru_cache(maxsize=4)
def head_of(loss, width):
    """A head of a loss: what it works in is used again."""
    return Head(loss, embedding_size=width)


def check_devices(embeddings, **tensors):
    for name, tensor in tensors.items():
        if tensor is not None and tensor.device != embeddings.device:
            raise ValueError(f"{name}: expected on {embeddings.device} as the embeddings, found on {tensor.device}")
