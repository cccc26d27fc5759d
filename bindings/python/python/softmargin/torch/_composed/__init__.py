"""The family on any device and in any floating-point type: sweeps in PyTorch operations, the rest by the core.

Scores of half precision are compared in ``float32``. Gradients are first order. The same code serves one device and
several processes, each with some of the classes: see ``shards.py``.
"""

import torch

from softmargin import _core
from softmargin.torch._composed import checks, geometry
from softmargin.torch._composed.derivatives import host
from softmargin.torch._composed.rows import Composition
from softmargin.torch._composed.shards import Whole

__all__ = ["REDUCTIONS", "Whole", "batch_loss", "next_state", "row_losses", "scores"]

INPUTS = ("bias", "scale", "radius", "sample_weights", "margins", "state")

REDUCTIONS = ("mean", "mean-or-nan", "sum")


def row_losses(loss, embeddings, weight, target, *, shards=None, **inputs):
    """Returns the weighted loss of each row (N), 0 for ignored rows, its regularizer included; and their weights (N).

    - ``loss``: A :class:`softmargin.Loss`.
    - ``embeddings``: (N, D).
    - ``weight``: (C K, D), with K prototypes per class.
    - ``target``: Labels (N), or for softmax cross-entropy distributions (N, C).
    - ``bias`` (C K), ``scale`` and ``radius`` (scalars), ``sample_weights`` (N), ``margins`` (N), ``state``: As in
      :meth:`softmargin.Head.evaluate`.
    - ``shards``: The classes of weight and bias. Everything else is the same in all processes, and so is the result.

    Raises ``IndexError`` on labels that are no classes, ``TypeError`` on tensors of other types, ``ValueError`` on
    shapes that disagree, numbers out of range, and inputs that are missing or not used.
    """
    rows, weights = _composition(loss, embeddings, weight, target, inputs, shards).run("none")
    return rows.squeeze(1), weights.squeeze(1)


def batch_loss(loss, embeddings, weight, target, reduction="mean", *, shards=None, **inputs):
    """Returns the losses of the rows as one number, a scalar tensor.

    ``reduction`` is ``"mean"``, weighted by the rows' weights, 0 if no row is valid; ``"mean-or-nan"``, NaN then; or
    ``"sum"``. A regularizer is averaged over the rows that it applies to. Other arguments and errors as
    :func:`row_losses`.
    """
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction: expected one of {', '.join(REDUCTIONS)}, found {reduction!r}")
    return _composition(loss, embeddings, weight, target, inputs, shards).run(reduction)[0]


def scores(loss, embeddings, weight, bias=None, shards=None):
    """Returns the score of every class (N, C) without margin and scale: that of its best prototype.

    With ``shards``, returns those of its classes (N, c). Errors as :func:`row_losses`.
    """
    spec, shards = loss.spec, shards or Whole(loss.num_classes, embeddings.device)
    sub_centers = spec.get("sub-centers", 1)
    checks.check_scores(spec, embeddings, weight, bias, len(shards.classes) * sub_centers)
    x, w = geometry.operands_of(spec["geometry"], embeddings, weight)
    return geometry.scores_of(spec["geometry"], sub_centers, shards.spread(x.rows), w.rows, bias)


def next_state(loss, state, embeddings, weight, target, *, sample_weights=None, margins=None, shards=None):
    """Returns ``state`` with a batch added to its averages, as :meth:`softmargin.Loss.update` does.

    Of the scores only those of the targets are computed. Arguments and errors as :func:`row_losses`; labels only.
    """
    if state is None:
        return None
    spec, shards = loss.spec, shards or Whole(loss.num_classes, embeddings.device)
    with torch.no_grad():
        inputs = dict(sample_weights=sample_weights, margins=margins)
        given = _given(embeddings, weight, target, inputs)
        # The bias is no part of a cosine.
        checks.check({**spec, "geometry": {"kind": "cosine"}}, given, len(shards.classes) * spec.get("sub-centers", 1))
        arrays = {name: host(value) for name, value in inputs.items() if value is not None}
        if loss.needs_embedding_norms:
            arrays["embedding_norms"] = host(geometry.Directed.apply(embeddings)[1])[:, 0]
        of_targets = host(_target_cosines(spec, embeddings, weight, target, shards))[:, 0]
    return _core.update_rows(loss._core, state, host(target), of_targets, **arrays)


def _composition(loss, embeddings, weight, target, inputs, shards):
    given, spec = _given(embeddings, weight, target, inputs), loss.spec
    shards = shards or Whole(loss.num_classes, embeddings.device)
    checks.check(spec, given, len(shards.classes) * spec.get("sub-centers", 1))
    if target.dim() == 2 and len(shards.classes) != loss.num_classes:
        raise ValueError("target: expected labels (N) where each process has some of the classes, found distributions")
    return Composition(loss, spec, given, shards)


def _given(embeddings, weight, target, inputs):
    unknown = sorted(set(inputs) - set(INPUTS))
    if unknown:
        raise TypeError(f"{unknown[0]}: expected one of {', '.join(INPUTS)}")
    return {"embeddings": embeddings, "weight": weight, "target": target, **dict.fromkeys(INPUTS), **inputs}


def _target_cosines(spec, embeddings, weight, target, shards):
    """Returns the cosine of each row's class (N, 1); class 0 for ignored rows and labels that are no classes."""
    count = spec.get("sub-centers", 1)
    (x, _), (w, _) = geometry.Directed.apply(embeddings), geometry.Directed.apply(weight)
    label, ignored = target.long().unsqueeze(1), spec.get("ignored-label")
    classes = label if ignored is None else label.masked_fill(label == ignored, 0)
    own = shards.of_classes(w.reshape(-1, count, w.shape[1]), classes)
    return (own.double() * x.double().unsqueeze(1)).sum(2).amax(1, keepdim=True).clamp(-1, 1)
