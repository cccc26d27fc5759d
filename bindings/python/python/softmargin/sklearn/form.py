"""A loss, and how its scores are computed from features and prototypes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.preprocessing import normalize
from sklearn.utils.extmath import row_norms

from softmargin._loss import Loss, LossOptions, needs_class_counts

PAIR = np.array([-0.5, 0.5])  # the factors of one vector that two classes share


@dataclasses.dataclass
class Found:
    """The parameters and the state that training changes."""

    prototypes: NDArray[Any]  # (C K, D)
    bias: NDArray[Any] | None  # (C K)
    scale: float
    state: dict[str, Any] | None


class Form:
    """A loss, and how its scores are computed from features and prototypes."""

    def __init__(self, loss: Loss) -> None:
        self.loss = loss
        self.spec = loss.spec
        geometry, comparison = self.spec["geometry"], self.spec["comparison"]
        self.is_inner_product = geometry["kind"] == "inner-product"
        self.is_cosine = geometry["kind"] == "cosine"
        self.has_bias = geometry.get("bias", False)
        self.temperature = geometry.get("temperature", 1.0)
        self.sub_centers = self.spec.get("sub-centers", 1)
        self.prototypes = loss.num_classes * self.sub_centers
        scale = self.spec["scale"]
        self.learns_scale = scale["kind"] == "learned"
        self.initial_scale = scale["initial"] if self.learns_scale else scale["value"]
        self.scale_bounds = (scale["min"], scale["max"]) if self.learns_scale else None
        gate = comparison.get("gate")
        gate = gate if isinstance(gate, dict) else {"kind": gate}
        self.is_smooth = (
            loss.initial_state() is None
            and self.sub_centers == 1
            and comparison["kind"] != "hardest"
            and gate["kind"] != "relu"
            and self.spec["negatives"]["kind"] in ("plain", "divided-angle")
        )
        # Two classes share one vector if only the difference of their scores matters.
        self.is_paired = (
            self.is_inner_product
            and self.prototypes == 2
            and comparison["kind"] != "against-zero"
            and not gate.get("z-loss")
            and self.spec["margin"]["kind"] != "angle"
        )

    def features(self, X: Any) -> Any:
        """Returns the features (N, D), normalized for a cosine."""
        return normalize(X) if self.is_cosine else X

    def directions(self, prototypes: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Returns the prototypes (C K, D), normalized except for inner products, and their norms (C K)."""
        norms = np.sqrt(np.einsum("ij,ij->i", prototypes, prototypes))
        if self.is_inner_product:
            return prototypes, norms
        return prototypes / np.where(norms > 0, norms, 1.0)[:, None], norms

    def best(self, scores: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any] | None]:
        """Returns the best score of each class (N, C) of scores (N, C K), and its sub-center, or None if K is 1."""
        if self.sub_centers == 1:
            return scores, None
        scores = scores.reshape(len(scores), -1, self.sub_centers)
        winners = scores.argmax(axis=2)[:, :, None]
        return np.take_along_axis(scores, winners, axis=2)[:, :, 0], winners

    def spread(self, gradient: NDArray[Any], winners: NDArray[Any] | None) -> NDArray[Any]:
        """Returns the gradient with respect to all scores (N, C K), given that with respect to the best ones (N, C)."""
        if winners is None:
            return gradient
        spread = np.zeros((*gradient.shape, self.sub_centers))
        np.put_along_axis(spread, winners, gradient[:, :, None], axis=2)
        return spread.reshape(len(gradient), -1)

    def default_rate(self, X: Any, kind: str, scale: float) -> float:
        """Returns the learning rate that suits the norms of the features; see ``MarginClassifier``."""
        square = 1.0 if self.is_cosine else float(row_norms(X, squared=True).mean())
        if kind == "sgd":
            return 1.0 / (scale**2 * (1.0 + square))
        return 0.1 / np.sqrt(1.0 + square if self.is_inner_product else X.shape[1])


def make_loss(
    loss: str | dict[str, Any],
    num_classes: int,
    scale: float | None,
    margin: float | Sequence[float] | None,
    counts: NDArray[Any],
    spec: dict[str, Any] | None = None,
) -> Loss:
    """Returns the loss of the classes; ``counts`` (C) are used by the losses whose margin depends on them."""
    options = LossOptions(scale=scale, margin=margin, spec=spec)
    counts = counts if needs_class_counts(loss, options) else None
    return Loss(loss, num_classes, scale=scale, margin=margin, spec=spec, class_counts=counts)


def total_weight(codes: NDArray[Any], weights: NDArray[Any] | None) -> float:
    """Returns the sum of the rows' weights (N), 1 by default."""
    return float(len(codes) if weights is None else weights.sum())
