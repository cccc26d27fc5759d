"""The extension's losses as differentiable operations.

One call gives the loss and all gradients, so a forward pass that will be differentiated stores the gradients, and the
backward pass returns them without a copy. A second backward pass of the same graph computes them again: autograd may
have added to the tensors that were returned.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch

Gradients = list[torch.Tensor | None]


class Call(Protocol):
    """A loss with its fixed inputs, as a function of tensors."""

    reduction: str
    records: bool  # True if gradients are enabled

    def run(
        self, inputs: Sequence[torch.Tensor | None], gradients: bool, row_factors: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, Gradients | None]:
        """Returns the loss, and its gradients if requested; with ``row_factors`` (N) those of the weighted sum."""
        ...


class Kernel(torch.autograd.Function):
    """The loss of a :class:`Call`, differentiable once."""

    @staticmethod
    def forward(ctx, call, *inputs):
        ctx.call = call
        ctx.save_for_backward(*inputs)
        # With reduction="none" the gradients depend on the factors of the backward pass.
        at_once = call.records and call.reduction != "none" and any(ctx.needs_input_grad)
        loss, gradients = call.run(inputs, at_once)
        ctx.gradients = at_once and needed(gradients, ctx)
        return loss

    @staticmethod
    def backward(ctx, factor):
        again = torch.is_grad_enabled()
        with torch.no_grad():
            gradients = gradients_of(ctx, factor)
        if again:
            inputs = [tensor for tensor in ctx.saved_tensors if tensor is not None]
            gradients = [None if gradient is None else Last.apply(gradient, factor, *inputs) for gradient in gradients]
        return (None, *gradients)


class Last(torch.autograd.Function):
    """A gradient whose differentiation is an error; without this it would be treated as a constant."""

    @staticmethod
    def forward(ctx, gradient, *inputs):
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx, *factors):
        raise RuntimeError(
            "expected to differentiate once, found to differentiate twice: softmargin's gradients are first order"
        )


def gradients_of(ctx: Any, factor: torch.Tensor) -> Gradients:
    """Returns the gradients with respect to all inputs, times the factor of the backward pass."""
    if ctx.call.reduction == "none":
        return needed(of_rows(ctx.call, ctx.saved_tensors, factor), ctx)
    gradients, ctx.gradients = ctx.gradients, None
    if not gradients:
        gradients = needed(ctx.call.run(ctx.saved_tensors, True)[1], ctx)
    return times(gradients, factor.item())


def needed(gradients: Gradients, ctx: Any) -> Gradients:
    """Returns the gradients that autograd needs; frees the others at once, which may be large."""
    needs = ctx.needs_input_grad[1:]
    return [gradient if is_needed else None for gradient, is_needed in zip(gradients, needs, strict=True)]


def times(gradients: Gradients, factor: float) -> Gradients:
    """Multiplies gradients by a number, in place: nothing else refers to them yet."""
    if factor != 1.0:
        for gradient in gradients:
            if gradient is not None:
                gradient.mul_(factor)
    return gradients


def of_rows(call: Call, inputs: Sequence[torch.Tensor | None], factors: torch.Tensor) -> Gradients:
    """Returns the gradients of the rows' losses times factors (N) of either sign; weights of rows are 0 or above."""
    if not factors.isfinite().all():
        # A product with such a factor is not finite either.
        return [None if tensor is None else torch.full_like(tensor, torch.nan) for tensor in inputs]
    sums = None
    for sign, part in ((1.0, factors.clamp(min=0.0)), (-1.0, (-factors).clamp(min=0.0))):
        if not part.any() and (sums is not None or sign > 0.0 and factors.any()):
            continue
        _, gradients = call.run(inputs, True, part)
        gradients = times(gradients, sign)
        if sums is None:
            sums = gradients
        else:
            sums = [a if b is None else a.add_(b) for a, b in zip(sums, gradients, strict=True)]
    return sums


# A compiler cannot trace the extension: a compiled graph breaks here, and continues after it.
@torch.compiler.disable
def apply(call: Call, *inputs: torch.Tensor | None) -> torch.Tensor:
    """Returns the loss of a call, differentiable with respect to the inputs."""
    return Kernel.apply(call, *inputs)
