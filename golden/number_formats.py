"""Conversion between the numbers of the files and exact numbers."""

import math
import struct

from mpmath import mp, mpf

mp.dps = 50
INF = mp.inf


def f32(x):
    """Returns the f32 nearest to x as a Python float."""
    return struct.unpack("f", struct.pack("f", x))[0]


def grid(x):
    """Returns x rounded to a multiple of 2^-10, which is exact in f32 and has few digits."""
    return round(x * 1024) / 1024


def read(x):
    """Returns the exact number of a JSON value."""
    if isinstance(x, str):
        return {"inf": INF, "-inf": -INF, "nan": mp.nan}[x]
    assert f32(x) == x, f"{x!r} is not an f32"
    return mpf(x)


def show(x):
    """Returns the nearest f64, or a string for infinities and NaN, which JSON lacks."""
    x = mpf(x)
    if mp.isnan(x):
        return "nan"
    if mp.isinf(x):
        return "inf" if x > 0 else "-inf"
    value = float(mp.nstr(x, 40))
    assert math.isfinite(value), "a value beyond the f64 range"
    return value + 0.0 if value else 0.0


def show_all(values):
    if values is None:
        return None
    if isinstance(values, list):
        return [show_all(v) for v in values]
    return show(values)
