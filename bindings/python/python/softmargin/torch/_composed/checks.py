"""What is refused before anything is computed, in the words of the core.

What lies on the device is looked at once: all conditions are brought back together.
"""

import math

import torch

from softmargin.torch._composed import margin_values
from softmargin.torch._composed.slopes import wide

SUM_TOLERANCE = 1e-5
"""How far the sum of a distribution may be from 1."""


def check(loss, spec, given, num_prototypes):
    """Refuses shapes that disagree, inputs that are missing or of no use, and numbers out of range.

    ``given`` is a dictionary of the arguments of ``row_losses``; ``num_prototypes`` how many rows the weight has to
    have. ``IndexError`` on labels that are no classes, ``TypeError`` on types, ``ValueError`` on all else.
    """
    _check_matrices(given["embeddings"], given["weight"], num_prototypes)
    _check_target(loss, spec, given["target"], len(given["embeddings"]))
    for name, need, length in _needs(loss, spec, len(given["embeddings"]), num_prototypes):
        _check_given(name, given[name], need, length)
    _check_numbers(loss, spec, given)


def check_embeddings(embeddings, weight):
    """Refuses embeddings (N, D) that are not as wide as the prototypes (R, D), or of another type."""
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
    """Refuses what no scores can be made of."""
    _check_matrices(embeddings, weight, num_prototypes)
    _check_given("bias", bias, spec["geometry"].get("bias", False), num_prototypes)


def _check_matrices(embeddings, weight, num_prototypes):
    check_embeddings(embeddings, weight)
    if len(weight) != num_prototypes:
        raise ValueError(f"weight: expected {num_prototypes} prototypes, found {len(weight)}")


def _check_target(loss, spec, target, rows):
    if target.dim() == 2:
        if tuple(target.shape) != (rows, loss.num_classes):
            raise ValueError(f"target: expected ({rows}, {loss.num_classes}), found {tuple(target.shape)}")
        if not target.dtype.is_floating_point:
            raise TypeError(f"target: expected floating-point numbers in distributions, found {target.dtype}")
        _check_soft_allowed(spec)
    elif target.dim() != 1 or len(target) != rows:
        raise ValueError(f"target: expected length {rows}, one a row, found shape {tuple(target.shape)}")
    elif target.dtype.is_floating_point or target.dtype.is_complex or target.dtype == torch.bool:
        raise TypeError(f"target: expected whole numbers from 0, or distributions (N, C), found {target.dtype}")


def _check_soft_allowed(spec):
    gate = spec["comparison"]["gate"]
    if spec["comparison"]["kind"] != "log-sum-exp" or gate["kind"] != "softplus":
        found = "another comparison"
    elif spec["margin"]["kind"] != "none":
        found = "a margin, which needs the one class that it belongs to"
    elif spec["negatives"]["kind"] != "plain":
        found = "modified negatives, which are those of one class"
    elif (spec.get("regularizer") or {}).get("kind") == "feature-incay":
        found = "feature incay, which needs to know the right class"
    else:
        return
    expected = "classes, unless the loss is softmax cross-entropy without a margin, of plain negatives"
    raise ValueError(f"target: expected {expected}, found {found}; give one class a row")


def _needs(loss, spec, rows, prototypes):
    """Of each input its name, whether it must (True), may (None) or must not (False) be there, and its length."""
    learned = spec["scale"]["kind"] == "learned"
    ring = (spec.get("regularizer") or {}).get("kind") == "ring"
    return (
        ("bias", spec["geometry"].get("bias", False), prototypes),
        ("sample_weights", None, rows),
        ("margins", margin_values.is_there(spec["margin"], "per-sample"), rows),
        ("scale", None if learned else False, 1),
        ("radius", None if ring else False, 1),
        ("state", loss.initial_state() is not None, None),
    )


def _check_given(name, value, need, length):
    if value is None:
        if need:
            expected = "to come with the batch: this loss needs it"
            raise ValueError(f"{name}: expected {expected}, found nothing; give the {name} with the batch")
    elif need is False:
        raise ValueError(f"{name}: expected nothing: this loss has no use for it, found some; leave the {name} out")
    elif length is not None and (value.numel() != length or value.dim() > 1):
        raise ValueError(f"{name}: expected length {length}, found shape {tuple(value.shape)}")


def _check_numbers(loss, spec, given):
    """Looks at numbers on the device, all at once; then names the first that is wrong."""
    conditions = list(_conditions(loss, spec, given))
    if not conditions:
        return
    wrong = torch.stack([bad.any() for _, _, bad, _, _ in conditions]).tolist()
    for is_wrong, (name, values, bad, expected, refusal) in zip(wrong, conditions, strict=True):
        if is_wrong:
            place = bad.nonzero()[0].tolist()
            found = values[tuple(place)].item() if place else values.item()
            subject = name + "".join(f"[{index}]" for index in place)
            raise refusal(f"{subject}: expected {expected}, found {found}")


def _conditions(loss, spec, given):
    target, classes = given["target"], loss.num_classes
    if target.dim() == 1:
        ignored = spec.get("ignored-label")
        bad = (target < 0) | (target >= classes)
        words = f"a class from 0 to {classes - 1}"
        if ignored is not None:
            bad, words = bad & (target != ignored), f"{words}, or {ignored} to ignore the row"
        yield "target", target, bad, words, IndexError
        counts = torch.ones_like(bad) if ignored is None else target != ignored
    else:
        values = wide(target.detach())
        yield "target", target, ~(values.isfinite() & (values >= 0)), "a finite probability, 0 or above", ValueError
        sums = values.sum(1)
        yield "the sum of target", sums, ~((sums - 1).abs() <= SUM_TOLERANCE), "1", ValueError
        counts = torch.ones_like(sums, dtype=torch.bool)
    weights = given["sample_weights"]
    if weights is not None:
        bad = ~(weights.isfinite() & (weights >= 0))
        yield "sample_weights", weights, bad, "a finite number, 0 or above", ValueError
        counts = counts & (weights > 0)
    if given["margins"] is not None:
        most, words = _range_of_margins(spec)
        values = given["margins"]
        yield "margins", values, ~(values.isfinite() & (values >= 0) & (values <= most)) & counts, words, ValueError
    for name in ("scale", "radius"):
        if given[name] is not None:
            yield name, given[name], ~given[name].isfinite(), "a finite number", ValueError


def _range_of_margins(spec):
    margin = spec["margin"]
    if margin["kind"] == "angle" and margin_values.kind_of(margin["plus"])[0] == "per-sample":
        return math.pi, "an angle in radians from 0 to pi (3.1416)"
    if margin["kind"] == "angle" or (margin["kind"] == "score" and spec["geometry"]["kind"] == "cosine"):
        return 2.0, "a number from 0 to 2"
    return math.inf, "a finite number, 0 or above"
