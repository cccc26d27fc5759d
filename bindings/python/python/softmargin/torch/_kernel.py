"""The core's kernels as differentiable operations.

A kernel gives the loss and all gradients in one go, so a forward pass that will be differentiated keeps the gradients,
and the backward pass hands them over without a copy. A second backward pass of the same graph computes them again: what
was handed over may have been added to since.
"""

import torch


class Kernel(torch.autograd.Function):
    """``call`` of tensors: an object with ``reduction``, ``records`` and ``run(inputs, gradients, weighting)``."""

    @staticmethod
    def forward(ctx, call, *inputs):
        ctx.call = call
        ctx.save_for_backward(*inputs)
        # The gradients of single rows wait for what each row is multiplied by.
        at_once = call.records and call.reduction != "none" and any(ctx.needs_input_grad)
        loss, gradients = call.run(inputs, at_once)
        ctx.gradients = at_once and wanted(gradients, ctx)
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
    """A gradient that cannot be differentiated again, and says so instead of passing for a constant."""

    @staticmethod
    def forward(ctx, gradient, *inputs):
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx, *factors):
        raise RuntimeError(
            "expected to differentiate once, found to differentiate twice: softmargin's gradients are first order"
        )


def gradients_of(ctx, factor):
    """By every input."""
    if ctx.call.reduction == "none":
        return wanted(of_rows(ctx.call, ctx.saved_tensors, factor), ctx)
    gradients, ctx.gradients = ctx.gradients, None
    if not gradients:
        gradients = wanted(ctx.call.run(ctx.saved_tensors, True)[1], ctx)
    return times(gradients, factor.item())


def wanted(gradients, ctx):
    """The others are let go at once: that by frozen prototypes may be large."""
    needs = ctx.needs_input_grad[1:]
    return [gradient if is_needed else None for gradient, is_needed in zip(gradients, needs, strict=True)]


def times(gradients, factor):
    """Gradients times a number; they belong to nobody else yet."""
    if factor != 1.0:
        for gradient in gradients:
            if gradient is not None:
                gradient.mul_(factor)
    return gradients


def of_rows(call, inputs, factors):
    """Gradients of rows (N) that are multiplied by numbers of their own, of either sign: weights of rows have none."""
    if not factors.isfinite().all():
        # As any product with them would be.
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


# The kernels read memory, which a compiler cannot look into: a compiled graph breaks here, and goes on after it.
@torch.compiler.disable
def apply(call, *inputs):
    """The loss, differentiable by the inputs."""
    return Kernel.apply(call, *inputs)
