"""Conversion of the caller's values into the arrays that the extension reads; without a copy where possible."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))

MOST_INTEGER = (1 << 63) - 1
"""The largest seed, step and size in bytes."""


def array(values: ArrayLike, name: str) -> NDArray[Any]:
    """Returns an array, an object that supports DLPack (both without a copy) or a list as a NumPy array."""
    if isinstance(values, np.ma.MaskedArray):
        raise TypeError(f"{name}: expected an array without a mask, found a masked one; fill it, or leave rows out")
    if isinstance(values, np.ndarray):
        return np.asarray(values)
    if hasattr(values, "__dlpack__"):
        try:
            return np.from_dlpack(values)
        except Exception as cause:
            raise TypeError(
                f"{name}: expected an array in main memory without gradient, found {type(values).__name__} ({cause}); "
                "detach it and move it to the CPU, or use softmargin.torch"
            ) from cause
    try:
        found = np.asarray(values)
    except ValueError as cause:
        raise ValueError(f"{name}: expected rows of one length ({cause})") from cause
    if found.dtype == object:
        raise TypeError(f"{name}: expected numbers, found {type(values).__name__}; pass a NumPy array")
    return found


def floats(
    values: ArrayLike, name: str, dimensions: int | None = None, dtype: np.dtype[Any] | None = None
) -> NDArray[Any]:
    """Returns an array in ``float32`` or ``float64``; checks ``dimensions`` and converts to ``dtype`` if given."""
    found = array(values, name)
    if isinstance(values, (list, tuple, int)) and found.dtype.kind in "iu":
        found = found.astype(np.float64)  # Python integers are exact in it
    if found.dtype.newbyteorder("=") not in FLOATS:
        raise TypeError(
            f"{name}: expected float32 or float64, found {found.dtype}; convert it, say with .astype(numpy.float32)"
        )
    if dimensions is not None and found.ndim != dimensions:
        raise ValueError(f"{name}: expected {dimensions} dimensions, found {found.ndim}, shape {found.shape}")
    return readable(found, dtype or found.dtype.newbyteorder("="))


def readable(found: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Returns the array itself if it has the type and is aligned in memory, else a converted copy."""
    if found.dtype == dtype and found.flags.aligned:
        return found
    return found.astype(dtype)


def targets(values: ArrayLike, name: str, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Returns labels (N) as ``int64``, or distributions (N, C) as ``dtype``."""
    found = array(values, name)
    if found.ndim == 2 and found.dtype.kind not in "biu":
        return floats(found, name, 2, dtype)
    if found.ndim != 1:
        raise ValueError(f"{name}: expected labels (N) or distributions (N, C), found shape {found.shape}")
    if found.size == 0 and isinstance(values, (list, tuple)):
        return np.zeros(0, np.int64)
    if found.dtype.kind not in "iu":
        raise TypeError(f"{name}: expected integers from 0, or distributions (N, C), found {found.dtype} {found.shape}")
    if found.dtype.kind == "u" and found.size and found.max() > np.iinfo(np.int64).max:
        raise IndexError(f"{name}: expected labels below the number of classes, found {found.max()}")
    return readable(found, np.dtype(np.int64))


def whole(value: Any, name: str, least: int | None = None, most: int | None = None) -> int:
    """Returns an integer of Python or NumPy as an ``int``; checks its range."""
    try:
        found = int(value.__index__())
    except AttributeError:
        raise TypeError(f"{name}: expected a whole number, found {value!r}") from None
    if (least is not None and found < least) or (most is not None and found > most):
        limits = f"{least} or more" if most is None else f"from {least} to {most}"
        raise ValueError(f"{name}: expected a whole number, {limits}, found {found}")
    return found


def scalar(value: float | None) -> float | None:
    """Returns a number as a ``float``, or None."""
    return None if value is None else float(value)


def vector(values: ArrayLike | None, name: str, dtype: np.dtype[Any]) -> NDArray[Any] | None:
    """Returns an array with one dimension as ``dtype``, or None."""
    if values is None:
        return None
    found = array(values, name)
    if found.dtype.kind not in "fiu":
        raise TypeError(f"{name}: expected numbers, found {found.dtype}")
    if found.ndim != 1:
        raise ValueError(f"{name}: expected 1 dimension, found {found.ndim}, shape {found.shape}")
    return readable(found, dtype)
