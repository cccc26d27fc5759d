"""Tensors whose values and derivatives are known."""

from __future__ import annotations

import torch


class Known(torch.autograd.Function):
    """A tensor of known values, with a known derivative with respect to each of several inputs. First order only."""

    @staticmethod
    def forward(values, count, *derivatives_and_inputs):
        return values.clone()

    @staticmethod
    def setup_context(ctx, inputs, output):
        _, count, *rest = inputs
        ctx.save_for_backward(*rest[:count])
        ctx.likes = [(tensor.shape, tensor.dtype) for tensor in rest[count:]]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, slope):
        gradients = []
        for derivative, (shape, dtype) in zip(ctx.saved_tensors, ctx.likes, strict=True):
            gradients.append((slope * derivative).sum_to_size(shape).to(dtype))
        return (None, None, *[None] * len(gradients), *gradients)


def known(values: torch.Tensor, *pairs: tuple[torch.Tensor, torch.Tensor | None]) -> torch.Tensor:
    """Returns the values, differentiable: ``pairs`` are derivatives and the inputs that they are with respect to.

    The derivatives are broadcast with the values; inputs that are None are left out.
    """
    pairs = [(derivative, tensor) for derivative, tensor in pairs if tensor is not None]
    return Known.apply(values, len(pairs), *[pair[0] for pair in pairs], *[pair[1] for pair in pairs])


class Bounded(torch.autograd.Function):
    """A parameter clamped to ``low`` and ``high``; its derivative is 0 if a step would only lead further out."""

    @staticmethod
    def forward(parameter, low, high):
        return parameter.clamp(low, high)

    @staticmethod
    def setup_context(ctx, inputs, output):
        parameter, ctx.low, ctx.high = inputs
        ctx.save_for_backward(parameter)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, slope):
        (parameter,) = ctx.saved_tensors
        leaves = ((parameter <= ctx.low) & (slope > 0)) | ((parameter >= ctx.high) & (slope < 0))
        return slope.masked_fill(leaves, 0), None, None


def column(values, like: torch.Tensor) -> torch.Tensor:
    """Returns an array (n) as a column (n, 1) of the type and on the device of ``like``."""
    return torch.from_numpy(values).to(device=like.device, dtype=like.dtype).unsqueeze(1)


def host(tensor: torch.Tensor):
    """Returns a tensor as an array in main memory: numbers in ``float64``, labels in ``int64``."""
    tensor = tensor.detach().cpu()
    return (tensor.double() if tensor.dtype.is_floating_point else tensor.long()).contiguous().numpy()
