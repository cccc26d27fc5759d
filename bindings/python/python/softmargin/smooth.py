"""Smooth functions that the losses consist of.

================ ============================== ===================================== =======================
hard             smooth                         bounds                                derivative
================ ============================== ===================================== =======================
one-hot maximum  softmax                        entries in (0, 1), sum 1              ``(diag(p) - p p^T) / T``
maximum          ``T ln sum e^(z / T)``         ``max <= . <= max + T ln n``          softmax of ``z / T``
``max(x, 0)``    softplus ``ln(1 + e^x)``       ``relu <= . <= relu + ln 2``          logistic function
================ ============================== ===================================== =======================

Scores are the last axis of an array, ``float32`` or ``float64``. Everything is computed in ``float64`` and rounded
once: the largest score is subtracted first, and the logarithm is ``log1p`` of the sum over all other scores, which is
accurate if one score dominates. ``temperature`` is above 0; towards 0 the smooth function becomes the hard one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from softmargin import _core
from softmargin._arrays import floats

__all__ = ["log_softmax", "log_sum_exp", "softmax", "softplus"]


def softmax(scores: ArrayLike, temperature: float = 1.0) -> NDArray[Any]:
    """Returns ``e^(z_j / T) / sum e^(z / T)`` of scores (..., n), in the same shape.

    Raises ``ValueError`` on NaN, if all scores are minus infinity or several are infinite, and on a temperature that is
    not above 0; ``TypeError`` on numbers that are not ``float32`` or ``float64``.

    >>> from softmargin import smooth
    >>> smooth.softmax([1.0, 2.0, 3.0, 4.0]).round(4)
    array([0.0321, 0.0871, 0.2369, 0.6439])
    """
    rows, shape = _rows(scores)
    return _core.softmax(rows, float(temperature)).reshape(shape)


def log_softmax(scores: ArrayLike, temperature: float = 1.0) -> NDArray[Any]:
    """Returns the logarithm of :func:`softmax` of scores (..., n), in the same shape, exact also near 0.

    Errors as :func:`softmax`.

    >>> from softmargin import smooth
    >>> float(smooth.log_softmax([40.0, 0.0])[0])
    -4.248354255291589e-18
    """
    rows, shape = _rows(scores)
    return _core.log_softmax(rows, float(temperature)).reshape(shape)


def log_sum_exp(scores: ArrayLike, temperature: float = 1.0) -> NDArray[Any] | np.floating[Any]:
    """Returns ``T ln sum e^(z / T)`` of scores (..., n): the smooth maximum (...), minus infinity for no scores.

    Raises ``ValueError`` on NaN and on a temperature that is not above 0; ``TypeError`` as :func:`softmax`.

    >>> from softmargin import smooth
    >>> print(f"{smooth.log_sum_exp([1.0, 2.0, 3.0, 4.0]):.6f}")
    4.440190
    """
    rows, shape = _rows(scores)
    found = _core.log_sum_exp(rows, float(temperature)).reshape(shape[:-1])
    return found if found.ndim else found[()]


def softplus(x: ArrayLike) -> NDArray[Any] | np.floating[Any]:
    """Returns ``ln(1 + e^x)`` of an array of any shape, without overflow and exact also near 0.

    Raises ``TypeError`` as :func:`softmax`.

    >>> from softmargin import smooth
    >>> smooth.softplus([-1000.0, -20.0, 1000.0])
    array([0.00000000e+00, 2.06115362e-09, 1.00000000e+03])
    """
    found = floats(x, "x")
    answer = _core.softplus(found.astype(np.float64, copy=False).reshape(-1)).reshape(found.shape).astype(found.dtype)
    return answer if answer.ndim else answer[()]


def _rows(scores):
    found = floats(scores, "scores")
    if found.ndim == 0:
        raise ValueError("scores: expected an array (..., n), found a single number")
    return found.reshape(int(np.prod(found.shape[:-1])), found.shape[-1]), found.shape
