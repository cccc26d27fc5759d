"""Metrics of trained models.

===================== =========================================================================================
metric                definition
===================== =========================================================================================
accuracy              samples whose predicted class is their label / samples
recall of a class     its samples that are predicted as the class / its samples; NaN without samples
precision of a class  its samples that are predicted as the class / all that are; NaN if none is
F1 of a class         the harmonic mean of precision and recall; NaN without samples and without predictions
mean recall, mean F1  the mean over the classes that have samples
===================== =========================================================================================
"""

from __future__ import annotations

from typing import TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from softmargin import _core
from softmargin._arrays import floats, targets

__all__ = ["Classification", "classification"]


class Classification(TypedDict):
    """The result of :func:`classification`; C is the number of classes."""

    accuracy: float
    mean_recall: float
    mean_f1: float
    recall: NDArray[np.float64]
    """(C): NaN for a class without samples."""
    precision: NDArray[np.float64]
    """(C): NaN for a class that is never predicted."""
    f1: NDArray[np.float64]
    """(C): NaN for a class without samples that is never predicted."""
    support: NDArray[np.int64]
    """(C): the number of samples of each class."""


def classification(scores: ArrayLike, labels: ArrayLike) -> Classification:
    """Returns the metrics of scores (N, C) with labels (N).

    The class of the largest score is predicted, the first on ties. Scores may be probabilities, logits or cosines:
    only their order matters.

    Raises ``IndexError`` on labels that are no classes, ``TypeError`` on arrays of other types, ``ValueError`` on NaN,
    on shapes that disagree, and if there are no samples.

    >>> from softmargin import metrics
    >>> found = metrics.classification([[0.7, 0.3], [0.4, 0.6], [0.2, 0.8], [0.9, 0.1]], [0, 1, 0, 0])
    >>> found["accuracy"], found["recall"].round(3).tolist(), found["precision"].tolist()
    (0.75, [0.667, 1.0], [1.0, 0.5])
    """
    scores = floats(scores, "scores", 2)
    labels = targets(labels, "labels", np.dtype(np.float64))
    if labels.ndim != 1:
        raise ValueError(f"labels: expected class indices (N), found shape {labels.shape}")
    if scores.shape[1] == 0:
        raise ValueError(f"scores: expected at least one class, found shape {scores.shape}")
    is_nan = np.isnan(scores).any(axis=1)
    if is_nan.any():
        raise ValueError(
            f"scores of row {int(is_nan.argmax())}: expected numbers, found NaN; evaluate a model without NaN"
        )
    return _core.classification(scores.argmax(axis=1).astype(np.int64), labels, scores.shape[1])
