"""From embeddings, prototypes and targets to the loss of every row, some rows at a time."""

import dataclasses

import numpy as np
import torch
from torch.utils.checkpoint import checkpoint

from softmargin.torch._composed import geometry, regularizer, negatives
from softmargin.torch._composed.margin_values import values_of, is_there
from softmargin.torch._composed.comparison import Aim, Rows, losses
from softmargin.torch._composed.margin import Target, plain_shift_of, shift_of
from softmargin.torch._composed.slopes import Bounded
from softmargin.torch._composed.soft_targets import soft_losses

MOST_SCORES = 1 << 22
"""Scores that are composed at once: some ten matrices of that size live at a time."""


@dataclasses.dataclass
class RowLosses:
    """What is known of the rows of a batch, as columns (N, 1)."""

    loss: torch.Tensor
    """Without its weight."""
    weight: torch.Tensor
    term: torch.Tensor | None
    """On the norm, where there is a regularizer; 0 for rows that it does not concern."""
    concerned: torch.Tensor | None
    """Whether it concerns the row, where that is not all of them."""

    def weighted(self):
        """(N, 1): the loss of each row with its term, weighted."""
        loss = self.loss if self.term is None else self.loss + self.term
        return (self.weight * loss).to(self.loss.dtype)


@dataclasses.dataclass
class Columns:
    """What the rows of a batch bring, each (N, .) or None; the same in all processes."""

    embeddings: torch.Tensor
    norms: torch.Tensor | None
    kept_norm: torch.Tensor | None
    classes: torch.Tensor
    weight: torch.Tensor
    value: torch.Tensor | None
    minus: torch.Tensor | None
    soft: torch.Tensor | None

    def tensors(self, rows):
        """These rows of all."""
        values = (getattr(self, field.name) for field in dataclasses.fields(self))
        return [None if value is None else value[rows] for value in values]


class Composition:
    """A loss and all that its rows share."""

    def __init__(self, loss, spec, given, shards):
        self.spec, self.state, self.shards = spec, given["state"], shards
        self.num_classes = loss.num_classes
        self.sub_centers = spec.get("sub-centers", 1)
        angular = spec["margin"]["kind"] == "angle"
        keeps_norms = angular and spec["geometry"]["kind"] != "cosine"
        wants_norms = keeps_norms or spec.get("regularizer") is not None or is_there(spec["margin"], "from-norm")
        both = keeps_norms and spec["geometry"]["kind"] == "inner-product"
        embeddings = geometry.embeddings_of(spec["geometry"], given["embeddings"], wants_norms)
        prototypes = geometry.prototypes_of(spec["geometry"], given["weight"], both)
        self.prototypes, self.bias = prototypes.rows, given["bias"]
        self.scale = _scale(spec, given["scale"])
        self.scale_of_scores = shards.spread(self.scale) if torch.is_tensor(self.scale) else self.scale
        self.radius = None if given["radius"] is None else given["radius"].reshape(())
        self.columns = self._columns(loss, given, embeddings, prototypes.norms, keeps_norms)

    def _columns(self, loss, given, embeddings, prototype_norms, keeps_norms):
        classes, weight = _plan(self.spec, given)
        norms = embeddings.norms
        kept = norms if keeps_norms else None
        if prototype_norms is not None:
            kept = norms * self.shards.of_classes(prototype_norms, classes)
        value = minus = None
        if self.spec["margin"]["kind"] != "none":
            margins, labels = given["margins"], given["target"]
            core_norms = norms if loss.needs_embedding_norms else None
            value, minus = values_of(loss, self.spec["margin"], classes, labels, core_norms, margins, self.state)
        soft = given["target"] if given["target"].dim() == 2 else None
        rows = self.shards.spread(embeddings.rows)
        return Columns(rows, norms, kept, classes, weight, value, minus, soft)

    def run(self):
        """The rows, so many at a time that few scores live together; in the backward pass they are made again."""
        count = len(self.columns.classes)
        step = max(1, MOST_SCORES // max(1, self.shards.most_classes * self.sub_centers))
        if count <= step:
            parts = [self._chunk(*self.columns.tensors(slice(None)))]
        else:
            starts = range(0, count, step)
            parts = [self._checkpointed(self.columns.tensors(slice(start, start + step))) for start in starts]
        loss, term, concerned = (None if part[0] is None else torch.cat(part) for part in zip(*parts, strict=True))
        return RowLosses(loss, self.columns.weight, term, concerned)

    def _checkpointed(self, tensors):
        if not torch.is_grad_enabled():
            return self._chunk(*tensors)
        return checkpoint(self._chunk, *tensors, use_reentrant=False, preserve_rng_state=False)

    def _chunk(self, *tensors):
        """Loss, term and concern of some rows."""
        columns = Columns(*tensors)
        scores = geometry.scores_of(
            self.spec["geometry"], self.sub_centers, columns.embeddings, self.prototypes, self.bias
        )
        scores = _sound(scores, columns.weight)
        if self.num_classes == 1:
            # Nothing to be compared with; the loss still stands at the end of its graph.
            nothing = scores.masked_fill(~scores.detach().isnan(), 0).sum(1, keepdim=True)
            loss = self.scale * self.shards.sum(nothing)
        elif columns.soft is not None:
            gate = self.spec["comparison"]["gate"]
            loss = soft_losses(gate, scores, columns.soft.to(scores.dtype), self.scale, self.shards)
        else:
            loss = self._against_classes(scores, columns)
        return loss, *self._term(scores, columns)

    def _against_classes(self, scores, columns):
        spec, shards = self.spec, self.shards
        own = shards.is_class(columns.classes)
        # A class of score minus infinity is out. Its score is made finite: infinity times a slope of 0 is NaN.
        out = (scores.detach() == -torch.inf) & ~own
        scores = scores.masked_fill(out, 0)
        score = shards.of_rows(scores, columns.classes)
        target = Target(score, columns.kept_norm, columns.value, columns.minus, self.state)
        shift, logit = shift_of(spec["margin"], target)
        aim = Aim(score, shift, logit, self.scale)

        def plain_aim():
            return dataclasses.replace(aim, shift=plain_shift_of(spec["margin"], target)[0])

        def spread(column):
            return None if column is None else shards.spread(column)

        of_scores = Aim(spread(score), spread(shift), spread(logit), self.scale_of_scores)
        scores = negatives.modified(spec["negatives"], scores, aim, plain_aim, self.state)
        return losses(spec["comparison"], Rows(scores, ~(own | out), aim, of_scores, shards))

    def _term(self, scores, columns):
        """The term on the norms, and which rows it concerns."""
        regularized = self.spec.get("regularizer")
        if regularized is None:
            return None, None
        correct = None
        if regularizer.is_for_correct_rows(regularized):
            correct = self.shards.first_largest(scores) == columns.classes
        term = regularizer.term(regularized, columns.norms, self.radius, correct)
        return term.to(scores.dtype), correct


def _scale(spec, parameter):
    """What scores are multiplied by, temperature included: a number, or a scalar tensor where it is learned."""
    scale, temperature = spec["scale"], spec["geometry"].get("temperature", 1.0)
    if scale["kind"] == "fixed":
        return scale["value"] / temperature
    if parameter is None:
        return scale["initial"] / temperature
    return Bounded.apply(parameter.reshape(()), scale["min"], scale["max"]) / temperature


def _plan(spec, given):
    """The class of each row and its weight, columns (N, 1); class 0 and weight 0 for ignored rows."""
    target = given["target"]
    dtype = torch.promote_types(given["embeddings"].dtype, torch.float32)
    table = spec.get("class-weights")
    if table is not None:
        table = torch.from_numpy(np.asarray(table, dtype=np.float64)).to(dtype).to(target.device)
    if target.dim() == 2:
        classes = torch.zeros(len(target), 1, dtype=torch.int64, device=target.device)
        ones = torch.ones_like(classes, dtype=dtype)
        weight = ones if table is None else (target.to(dtype) @ table).unsqueeze(1)
    else:
        label, ignored = target.long().unsqueeze(1), spec.get("ignored-label")
        is_ignored = torch.zeros_like(label, dtype=torch.bool) if ignored is None else label == ignored
        classes = label.masked_fill(is_ignored, 0)
        weight = torch.ones_like(label, dtype=dtype) if table is None else table[classes]
        weight = weight.masked_fill(is_ignored, 0)
    if given["sample_weights"] is not None:
        weight = weight * given["sample_weights"].to(dtype).unsqueeze(1)
    return classes, weight


def _sound(scores, weight):
    """Ignored rows without the infinities that a weight of 0 would turn into NaN.

    Their NaN stays, and shows in the loss: it is in the gradient by the prototypes anyway.
    """
    ignored = weight.detach() == 0
    return scores.masked_fill(ignored & ~scores.detach().isnan(), 0)
