"""A loss, and how features and prototypes become its scores."""

import dataclasses

import numpy as np
from sklearn.preprocessing import normalize
from sklearn.utils.extmath import row_norms

from softmargin._loss import Loss, needs_class_counts

PAIR = np.array([-0.5, 0.5])  # of one vector of two classes, what each class has


@dataclasses.dataclass
class Found:
    """What training changes."""

    prototypes: np.ndarray  # (C K, D)
    bias: np.ndarray | None  # (C K)
    scale: float
    state: dict | None


class Form:
    """A loss, and how features and prototypes become its scores."""

    def __init__(self, loss):
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
        # Where only the difference of two scores counts, one vector has all of it.
        self.is_paired = (
            self.is_inner_product
            and self.prototypes == 2
            and comparison["kind"] != "against-zero"
            and not gate.get("z-loss")
            and self.spec["margin"]["kind"] != "angle"
        )

    def features(self, X):
        """Rows as scores see them."""
        return normalize(X) if self.is_cosine else X

    def directions(self, prototypes):
        """Prototypes as scores see them, and their norms (C K)."""
        norms = np.sqrt(np.einsum("ij,ij->i", prototypes, prototypes))
        if self.is_inner_product:
            return prototypes, norms
        return prototypes / np.where(norms > 0, norms, 1.0)[:, None], norms

    def best(self, scores):
        """Of scores (N, C K) the best of each class (N, C), and which that was."""
        if self.sub_centers == 1:
            return scores, None
        scores = scores.reshape(len(scores), -1, self.sub_centers)
        winners = scores.argmax(axis=2)[:, :, None]
        return np.take_along_axis(scores, winners, axis=2)[:, :, 0], winners

    def spread(self, slopes, winners):
        """The gradient by all scores (N, C K) of that by the best ones (N, C)."""
        if winners is None:
            return slopes
        spread = np.zeros((*slopes.shape, self.sub_centers))
        np.put_along_axis(spread, winners, slopes[:, :, None], axis=2)
        return spread.reshape(len(slopes), -1)

    def usual_rate(self, X, kind, scale):
        square = 1.0 if self.is_cosine else float(row_norms(X, squared=True).mean())
        if kind == "sgd":
            return 1.0 / (scale**2 * (1.0 + square))
        return 0.1 / np.sqrt(1.0 + square if self.is_inner_product else X.shape[1])


def make_loss(loss, num_classes, scale, margin, counts, spec=None):
    """The loss of the classes; counts of rows go to the losses that want them."""
    counts = counts if needs_class_counts(loss, scale, margin, spec) else None
    return Loss(loss, num_classes, scale=scale, margin=margin, spec=spec, class_counts=counts)


def total_weight(codes, weights):
    return float(len(codes) if weights is None else weights.sum())
