"""Measures of distributions.

=========================== ==================================== ======================= ==========================
measure                     formula                              smallest                largest
=========================== ==================================== ======================= ==========================
self-information            ``-ln p``                            0 at ``p = 1``          infinity at ``p = 0``
entropy                     ``-sum p ln p``                      0 at a certainty        ``ln n`` at uniform
cross-entropy               ``-sum p ln q``                      entropy at ``q = p``    infinity where ``p > 0 = q``
Kullback-Leibler divergence ``sum p ln(p / q)``                  0 at ``q = p``          infinity where ``p > 0 = q``
=========================== ==================================== ======================= ==========================

``0 ln 0 = 0`` throughout (Shannon 1948; Kullback and Leibler 1951). A distribution is the last axis of an array:
entries 0 or above that sum to 1 within 1e-4. Everything is computed in ``float64``. ``unit`` is ``"nats"`` or
``"bits"``.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from softmargin import _core
from softmargin._arrays import array, readable

Unit = Literal["nats", "bits"]

__all__ = ["cross_entropy", "entropy", "kl_divergence", "self_information"]


def self_information(p: ArrayLike, unit: Unit = "nats") -> float | NDArray[np.float64]:
    """Returns the information of an event of probability ``p``, ``-ln p``, in the shape of ``p``.

    Raises ``ValueError`` on a probability that is not from 0 to 1.

    >>> from softmargin import measures
    >>> measures.self_information(0.25, unit="bits")
    2.0
    """
    p = _doubles(p, "p")
    return _plain(np.reshape(_core.self_information(p.reshape(-1), unit), p.shape))


def entropy(p: ArrayLike, unit: Unit = "nats") -> float | NDArray[np.float64]:
    """Returns the mean self-information of distributions (..., n), ``-sum p ln p`` (...).

    Raises ``ValueError`` on rows that are no distributions.

    >>> from softmargin import measures
    >>> measures.entropy([0.5, 0.25, 0.25, 0.0], unit="bits")
    1.5
    """
    rows, shape = _rows(p, "p")
    return _plain(np.reshape(_core.entropy(rows, unit), shape))


def cross_entropy(p: ArrayLike, q: ArrayLike, unit: Unit = "nats") -> float | NDArray[np.float64]:
    """Returns the mean self-information under ``q`` (..., n) of events from ``p`` (..., n), ``-sum p ln q`` (...).

    Raises ``ValueError`` on rows that are no distributions, and on shapes that cannot be broadcast together.

    >>> from softmargin import measures
    >>> print(f"{measures.cross_entropy([0.5, 0.5], [0.25, 0.75], unit='bits'):.6f}")
    1.207519
    """
    return _of_pairs(_core.cross_entropy, p, q, unit)


def kl_divergence(p: ArrayLike, q: ArrayLike, unit: Unit = "nats") -> float | NDArray[np.float64]:
    """Returns the divergence of ``q`` (..., n) from ``p`` (..., n), ``sum p ln(p / q)`` (...), exact also near 0.

    Raises ``ValueError`` on rows that are no distributions, and on shapes that cannot be broadcast together.

    >>> from softmargin import measures
    >>> measures.kl_divergence([0.5, 0.5], [[0.5, 0.5], [1.0, 0.0]])
    array([ 0., inf])
    """
    return _of_pairs(_core.kl_divergence, p, q, unit)


def _of_pairs(measure, p, q, unit):
    p, q = _doubles(p, "p"), _doubles(q, "q")
    for name, found in (("p", p), ("q", q)):
        if found.ndim == 0:
            raise ValueError(f"{name}: expected a distribution (..., n), found a single number")
    if p.shape[-1] != q.shape[-1]:
        raise ValueError(f"q: expected distributions of {p.shape[-1]} entries as p has, found {q.shape[-1]}")
    try:
        p, q = np.broadcast_arrays(p, q)
    except ValueError as cause:
        raise ValueError(f"q: expected a shape that can be broadcast with p's {p.shape}, found {q.shape}") from cause
    (p, shape), (q, _) = _rows(p, "p"), _rows(q, "q")
    return _plain(np.reshape(measure(p, q, unit), shape))


def _doubles(values, name):
    found = array(values, name)
    if found.dtype.kind not in "fiu":
        raise TypeError(f"{name}: expected real numbers, found {found.dtype}")
    return readable(found, np.dtype(np.float64))


def _rows(values, name):
    """Returns a matrix whose rows are the last axis, and the shape of the other axes."""
    found = _doubles(values, name)
    if found.ndim == 0:
        raise ValueError(f"{name}: expected a distribution (..., n), found a single number")
    width = found.shape[-1]
    return found.reshape(int(np.prod(found.shape[:-1])), width), found.shape[:-1]


def _plain(found):
    """Returns a ``float`` for an array without dimensions."""
    return float(found) if found.ndim == 0 else found
