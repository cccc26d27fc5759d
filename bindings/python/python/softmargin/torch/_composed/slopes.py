"""Derivatives that are written down, where differentiation by itself meets a pole or is to be another.

``value + slope (x - x')``, ``x'`` a constant equal to ``x``, has that value and that slope. First order only.
"""

import torch


def with_slope(value, *slopes_and_inputs):
    """A tensor of this value, and of the slope by each input of pairs ``(slope, input)``; inputs must be finite."""
    value = value.detach()
    for slope, tensor in slopes_and_inputs:
        if tensor.requires_grad:
            value = value + slope.detach() * (tensor - tensor.detach())
    return value


def wide(tensor):
    """Columns are short: they are computed in ``float64`` where the device has that."""
    return tensor if tensor.device.type == "mps" else tensor.to(torch.float64)


def least_sine(dtype):
    """What the sine of an angle that is divided by is not taken below, as in the core."""
    return 2.0**-20 if dtype == torch.float64 else 2.0**-12


class Bounded(torch.autograd.Function):
    """A parameter kept from ``low`` to ``high``; no slope where a step would only lead further out."""

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
