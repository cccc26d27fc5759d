"""The family composed of PyTorch operations, for any device and floating-point type; autograd differentiates it.

    loss = gate( comparison_{j != y}( s * score_j ) - s * psi(score_y) )

Some things need care that differentiation does not take by itself. A derivative with a pole (arc cosine, norm) is
written down. Infinities are masked before, not after, the operation whose derivative they would make NaN. Maxima that
cancel are detached. Scores of half precision are compared in ``float32``. Gradients are of first order.

The same code serves one device and several processes, each with some of the classes: see ``shards.py``.
"""

import weakref

import numpy as np
import torch

from softmargin.torch._composed import checks, geometry
from softmargin.torch._composed.margin_values import is_there
from softmargin.torch._composed.rows import Composition
from softmargin.torch._composed.shards import Whole
from softmargin.torch._composed.slopes import wide

__all__ = ["REDUCTIONS", "Whole", "batch_loss", "next_state", "row_losses", "scores"]

INPUTS = ("bias", "scale", "radius", "sample_weights", "margins", "state")

REDUCTIONS = ("mean", "mean-or-nan", "sum")

_specs = weakref.WeakKeyDictionary()


def row_losses(
    loss,
    embeddings,
    weight,
    target,
    *,
    bias=None,
    scale=None,
    radius=None,
    sample_weights=None,
    margins=None,
    state=None,
    shards=None,
):
    """The weighted loss of each row (N), 0 for ignored ones, its regularizer included; and the weights of the rows (N).

    ``loss`` is a :class:`softmargin.Loss`; ``embeddings`` (N, D); ``weight`` (C K, D), K prototypes a class; ``target``
    labels (N), or for softmax cross-entropy distributions (N, C). What a loss may want besides: ``bias`` (C K);
    ``scale`` and ``radius``, scalar tensors, where they are learned; ``sample_weights`` (N), 0 or above; ``margins``
    (N), for an value per sample; ``state``, a dictionary as :meth:`softmargin.Loss.initial_state` gives it.

    With ``shards`` the weight and the bias are those of the classes that it names, all else is the same in all
    processes, and so is what is returned.

    ``IndexError`` on labels that are no classes; ``TypeError`` on tensors of other types; ``ValueError`` on shapes that
    disagree, numbers out of range, and inputs that the loss needs and does not get, or gets and has no use for.
    """
    inputs = dict(bias=bias, scale=scale, radius=radius, sample_weights=sample_weights, margins=margins, state=state)
    rows = _rows(loss, _given(embeddings, weight, target, inputs), shards)
    return rows.weighted().squeeze(1), rows.weight.squeeze(1)


def batch_loss(loss, embeddings, weight, target, reduction="mean", *, shards=None, **inputs):
    """The losses of the rows as one number, a scalar tensor.

    ``reduction`` is ``"mean"`` by the rows' weights, 0 where nothing counts, ``"mean-or-nan"``, NaN there, or
    ``"sum"``. A regularizer is averaged over the rows that it concerns. Other arguments and errors as
    :func:`row_losses`.
    """
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction: expected one of {', '.join(REDUCTIONS)}, found {reduction!r}")
    rows = _rows(loss, _given(embeddings, weight, target, inputs), shards)
    total = _reduced(rows.loss, rows.weight, rows.weight, reduction)
    if rows.term is not None:
        concerned = rows.weight if rows.concerned is None else rows.weight * rows.concerned
        term = _reduced(rows.term, rows.weight, concerned, "sum" if reduction == "sum" else "mean")
        total = total + term
    return total


def scores(loss, embeddings, weight, bias=None, shards=None):
    """The score of every class (N, C) of embeddings (N, D), without margin and scale; the best of a class's prototypes.

    With ``shards`` those of its classes (N, c). Errors as :func:`row_losses`.
    """
    spec = _spec(loss)
    shards = shards or Whole(loss.num_classes, embeddings.device)
    checks.check_scores(spec, embeddings, weight, bias, len(shards.classes) * spec.get("sub-centers", 1))
    x = geometry.embeddings_of(spec["geometry"], embeddings)
    w = geometry.prototypes_of(spec["geometry"], weight)
    return geometry.scores_of(spec["geometry"], spec.get("sub-centers", 1), shards.spread(x.rows), w.rows, bias)


def next_state(loss, state, embeddings, weight, target, *, sample_weights=None, margins=None, shards=None):
    """``state`` once a batch has been taken into its averages, as :meth:`softmargin.Loss.update` has it.

    A loss without a state has None. Of the scores only those of the targets are computed. Arguments and errors as
    :func:`row_losses`; labels only.
    """
    spec = _spec(loss)
    curricular = spec["negatives"]["kind"] == "curricular"
    standardized = is_there(spec["margin"], "from-norm")
    if state is None or not (curricular or standardized):
        return state
    shards = shards or Whole(loss.num_classes, embeddings.device)
    given = _given(embeddings, weight, target, dict(sample_weights=sample_weights, margins=margins, state=state))
    with torch.no_grad():
        checks.check(loss, spec, given, len(shards.classes) * spec.get("sub-centers", 1))
        extras = {"sample_weights": sample_weights, "margins": margins}
        if loss.needs_embedding_norms:
            extras["embedding_norms"] = geometry.Directed.apply(embeddings)[1].squeeze(1)
        extras = {name: _host(value) for name, value in extras.items() if value is not None}
        of_target = np.zeros((len(embeddings), 1))
        if curricular:
            of_target = _host(_target_scores(spec, embeddings, weight, target, shards))
        if loss.needs_weight_norms:
            # The update does not look at them.
            extras["weight_norms"] = np.ones(loss.num_classes)
    columns = np.broadcast_to(of_target, (len(embeddings), loss.num_classes))
    return loss.update(state, columns, target.cpu().long().numpy(), **extras)


def _given(embeddings, weight, target, inputs):
    unknown = sorted(set(inputs) - set(INPUTS))
    if unknown:
        raise TypeError(f"{unknown[0]}: expected one of {', '.join(INPUTS)}")
    return {"embeddings": embeddings, "weight": weight, "target": target, **dict.fromkeys(INPUTS), **inputs}


def _rows(loss, given, shards):
    spec = _spec(loss)
    shards = shards or Whole(loss.num_classes, given["embeddings"].device)
    if given["target"].dim() == 2 and len(shards.classes) != loss.num_classes:
        raise ValueError("target: expected labels (N) where each process has some of the classes, found distributions")
    checks.check(loss, spec, given, len(shards.classes) * spec.get("sub-centers", 1))
    return Composition(loss, spec, given, shards).run()


def _reduced(values, weight, over, reduction):
    total = (weight * values).sum()
    if reduction != "sum":
        divisor = over.sum()
        nothing = divisor.detach() == 0
        total = total / divisor.masked_fill(nothing, 1)
        if reduction == "mean-or-nan":
            total = total.masked_fill(nothing, torch.nan)
    return total.to(values.dtype)


def _target_scores(spec, embeddings, weight, target, shards):
    """(N, 1): the cosine of each row's class; class 0 for ignored rows."""
    count = spec.get("sub-centers", 1)
    x, _ = geometry.Directed.apply(embeddings)
    w, _ = geometry.Directed.apply(weight)
    label, ignored = target.long().unsqueeze(1), spec.get("ignored-label")
    classes = label if ignored is None else label.masked_fill(label == ignored, 0)
    own = shards.of_classes(w.reshape(-1, count, w.shape[1]), classes)
    return (wide(own) * wide(x).unsqueeze(1)).sum(2).amax(1, keepdim=True).clamp(-1, 1)


def _spec(loss):
    """The parts of a loss; lists of classes as arrays, made once."""
    if loss not in _specs:
        _specs[loss] = _with_arrays(loss.spec)
    return _specs[loss]


def _with_arrays(part):
    if isinstance(part, dict):
        return {key: _with_arrays(value) for key, value in part.items()}
    return np.asarray(part, dtype=np.float64) if isinstance(part, list) else part


def _host(tensor):
    return wide(tensor.detach()).cpu().double().contiguous().numpy()
