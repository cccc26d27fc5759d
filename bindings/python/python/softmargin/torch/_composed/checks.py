"""Checks of shapes and types of tensors on a device. The core checks everything that belongs to a row."""

import torch


def check(spec, given, num_prototypes):
    """Raises ``TypeError`` or ``ValueError`` if matrices, bias, scale, radius or target have another shape or type.

    ``given`` is a dictionary of the arguments of ``row_losses``; ``num_prototypes`` is the length of the weight.
    """
    check_scores(spec, given["embeddings"], given["weight"], given["bias"], num_prototypes)
    for name in ("scale", "radius"):
        if given[name] is not None and (given[name].numel() != 1 or given[name].dim() > 1):
            raise ValueError(f"{name}: expected a scalar, found shape {tuple(given[name].shape)}")
    _check_target(given["target"], len(given["embeddings"]))


def check_embeddings(embeddings, weight):
    """Raises an error if embeddings (N, D) are not as wide as the prototypes (R, D), or of another type."""
    for name, matrix in (("embeddings", embeddings), ("weight", weight)):
        if matrix.dim() != 2:
            raise ValueError(f"{name}: expected 2 dimensions, found shape {tuple(matrix.shape)}")
        if not matrix.dtype.is_floating_point:
            raise TypeError(f"{name}: expected floating-point numbers, found {matrix.dtype}")
    if embeddings.shape[1] != weight.shape[1]:
        expected = f"(C, {embeddings.shape[1]}), as wide as the embeddings"
        raise ValueError(f"weight: expected {expected}, found {tuple(weight.shape)}; give arrays whose shapes agree")
    if embeddings.dtype != weight.dtype and not torch.is_autocast_enabled(embeddings.device.type):
        raise TypeError(f"weight: expected {embeddings.dtype} as the embeddings, found {weight.dtype}; convert one")


def check_scores(spec, embeddings, weight, bias, num_prototypes):
    """Raises an error if no scores can be computed."""
    check_embeddings(embeddings, weight)
    if len(weight) != num_prototypes:
        raise ValueError(f"weight: expected {num_prototypes} prototypes, found {len(weight)}")
    has_bias = spec["geometry"].get("bias", False)
    if has_bias and bias is None:
        raise ValueError("bias: expected one: this geometry has a bias, found nothing; give the bias")
    if bias is not None and not has_bias:
        raise ValueError("bias: expected nothing: this geometry has no bias, found some; leave the bias out")
    if bias is not None and tuple(bias.shape) != (num_prototypes,):
        raise ValueError(f"bias: expected length {num_prototypes}, found shape {tuple(bias.shape)}")


def _check_target(target, rows):
    if target.dim() not in (1, 2) or len(target) != rows:
        raise ValueError(f"target: expected length {rows}, one per row, found shape {tuple(target.shape)}")
    if target.dim() == 2 and not target.dtype.is_floating_point:
        raise TypeError(f"target: expected floating-point numbers in distributions, found {target.dtype}")
    if target.dim() == 1 and (target.dtype.is_floating_point or target.dtype.is_complex or target.dtype == torch.bool):
        raise TypeError(f"target: expected whole numbers from 0, or distributions (N, C), found {target.dtype}")
