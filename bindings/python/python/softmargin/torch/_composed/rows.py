"""From embeddings, prototypes and targets to the loss, some rows at a time.

The scores and the sweeps over them are PyTorch operations; the core computes everything else of a row, in ``float64``
on the host. Two things of a chunk of rows are read back: the scores of its targets, and its accumulators.
"""

from __future__ import annotations

import torch
from torch.utils.checkpoint import checkpoint

from softmargin import _core
from softmargin.torch._composed import geometry
from softmargin.torch._composed.derivatives import Bounded, column, host, known
from softmargin.torch._composed.soft_targets import soft_rows
from softmargin.torch._composed.sweep import sweep, transformed

MOST_SCORES = 1 << 22
"""The most scores that are composed at once; about ten matrices of that size exist at a time."""


class Composition:
    """A batch: the plan of its rows, and the tensors from which its scores are computed."""

    def __init__(self, loss, spec, given, shards):
        self.loss, self.spec, self.shards = loss, spec, shards
        self.sub_centers = spec.get("sub-centers", 1)
        self.kind = _core.sweep_of(loss._core)
        matrices, needs = (given["embeddings"], given["weight"]), (loss.needs_embedding_norms, loss.needs_weight_norms)
        embeddings, prototypes = geometry.operands_of(spec["geometry"], *matrices, *needs)
        self.embeddings, self.prototypes = shards.spread(embeddings.rows), prototypes.rows
        self.bias, self.norms = given["bias"], embeddings.norms
        self.scale, self.radius = self._scale(given["scale"]), given["radius"]
        self.plan = self._plan(given)
        self.classes = torch.from_numpy(self.plan.classes).to(self.embeddings.device).unsqueeze(1)
        self.target_norms = None
        if loss.needs_weight_norms:
            self.target_norms = shards.of_classes(prototypes.norms, self.classes)
            self.plan.set_target_norms(host(self.target_norms)[:, 0])
        self.soft = given["target"] if given["target"].dim() == 2 else None
        # The factors of the second sweep, by the first row of a chunk: a checkpoint runs the chunk again.
        self.factors = {}

    def _plan(self, given):
        values = {name: given[name] for name in ("sample_weights", "margins")}
        for name, tensor in values.items():
            if tensor is not None and tensor.requires_grad:
                raise ValueError(f"{name}: expected a tensor that needs no gradient; detach it")
        values = {name: None if tensor is None else host(tensor) for name, tensor in values.items()}
        norms = None if self.norms is None else host(self.norms)[:, 0]
        learned = {name: None if given[name] is None else given[name].item() for name in ("scale", "radius")}
        target = host(given["target"])
        return _core.plan_rows(
            self.loss._core, target, embedding_norms=norms, state=given["state"], **values, **learned
        )

    def _scale(self, parameter):
        """Returns a learned scale within its bounds; the core rejects a parameter of a fixed one."""
        if parameter is None or self.spec["scale"]["kind"] != "learned":
            return None
        return Bounded.apply(parameter, self.spec["scale"]["min"], self.spec["scale"]["max"])

    def run(self, reduction: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the loss, a scalar or for ``"none"`` a column (N, 1), and the weights of the rows (N, 1)."""
        columns = self._columns()
        totals = self.plan.totals(reduction)
        factors = column(self.plan.row_factors(reduction), columns)
        values = column(totals["rows"], columns)
        if reduction != "none":
            values = torch.tensor(totals["total"], dtype=columns.dtype, device=columns.device)
        names = ("embedding_norms", "target_norms", "scale", "radius")
        inputs = (self.norms, self.target_norms, self.scale, self.radius)
        pairs = [
            (column(totals[name], columns), tensor)
            for name, tensor in zip(names, inputs, strict=True)
            if tensor is not None
        ]
        loss = known(values, (factors, columns), *pairs)
        return loss, column(self.plan.weights, columns)

    def _columns(self):
        """Returns zeros (N, 1) with the derivatives of the rows' losses with respect to the scores."""
        count = len(self.classes)
        step = max(1, MOST_SCORES // max(1, self.shards.most_classes * self.sub_centers))
        if count <= step:
            return self._chunk(0, self.embeddings, self.classes, self.soft, self.prototypes, self.bias)
        parts = []
        for first in range(0, count, step):
            rows = slice(first, first + step)
            soft = None if self.soft is None else self.soft[rows]
            tensors = (self.embeddings[rows], self.classes[rows], soft, self.prototypes, self.bias)
            parts.append(checkpoint(self._chunk, first, *tensors, use_reentrant=False, preserve_rng_state=False))
        return torch.cat(parts)

    def _chunk(self, first, embeddings, classes, soft, prototypes, bias):
        scores = geometry.scores_of(self.spec["geometry"], self.sub_centers, embeddings, prototypes, bias)
        with torch.no_grad():
            found = scores.detach()
            if soft is None:
                derivative = self._against_classes(first, found, classes)
            else:
                derivative = self._against_distributions(first, found, soft.to(found.dtype))
            # NaN of an ignored row shows in the loss: the gradient of the prototypes has it anyway.
            values = self.shards.sum(found.isnan().any(1, keepdim=True).to(found.dtype))
            values = values.masked_fill(values > 0, torch.nan)
        return known(values, (derivative, scores))

    def _against_classes(self, first, scores, classes):
        """Finds the outcomes of the rows; returns the derivatives of their losses with respect to the scores (n, c)."""
        shards, single = self.shards, scores.dtype != torch.float64
        own = shards.is_class(classes)
        present = ~(own | (scores == -torch.inf))
        score = shards.of_rows(scores, classes)
        at_host = host(score)[:, 0]
        targets = self.plan.targets(first, at_host, single)
        negatives = transformed(scores, present, targets)
        swept = sweep(self.kind, negatives, self.plan.scale, score, column(targets["shift"], scores), shards)
        if first not in self.factors:
            correct = self._correct(scores, classes)
            accumulators, alone = host(swept.accumulators), host(swept.alone)[:, 0].astype(bool)
            # A row of one class has no loss, even if the target is compared with zero.
            alone |= self.loss.num_classes == 1
            arguments = accumulators, alone.tolist(), correct
            self.factors[first] = self.plan.outcomes(first, at_host, single, *arguments)
        factors = {name: column(values, scores) for name, values in self.factors[first].items()}
        by_negatives = factors["negatives"] * swept.written - factors["share"] * present
        by_negatives = (self.plan.scale * by_negatives * negatives.derivative).masked_fill(~present, 0)
        return torch.where(own, factors["target"], by_negatives)

    def _correct(self, scores, classes):
        """Returns True for each row predicted as its class; only feature incay depends on it."""
        if (self.spec.get("regularizer") or {}).get("kind") != "feature-incay":
            return [False] * len(scores)
        return (self.shards.first_largest(scores) == classes)[:, 0].tolist()

    def _against_distributions(self, first, scores, given):
        gate, scale = self.spec["comparison"]["gate"], self.plan.scale
        loss, by_scale, derivative = soft_rows(gate, scores, given, scale, self.shards)
        self.plan.soft_outcomes(first, host(loss)[:, 0], host(by_scale)[:, 0])
        return derivative
