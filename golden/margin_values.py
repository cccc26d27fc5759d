"""The size of a margin: constant, per class, per row, from class frequency, from the norm, or drawn."""

from collections import namedtuple

from mpmath import mp, mpf
from number_formats import read

# `norm` is |x|; `detached_norm` is |x| treated as a constant. Both are None without norms.
RowContext = namedtuple("RowContext", "case row label norm detached_norm")

MASK = 0xFFFFFFFF
MARGINS = 4


def philox(counter, key):
    """Returns one block of Philox4x32: ten rounds over one counter."""
    for _ in range(10):
        a, b = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
        counter = [(b >> 32) ^ counter[1] ^ key[0], b & MASK, (a >> 32) ^ counter[3] ^ key[1], a & MASK]
        key = [(key[0] + 0x9E3779B9) & MASK, (key[1] + 0xBB67AE85) & MASK]
    return counter


def uniforms(seed, step, row):
    """Returns the two uniform numbers of a row exactly."""
    words = philox([row, step & MASK, step >> 32, MARGINS], [seed & MASK, seed >> 32])
    pair = lambda high, low: mpf(((high >> 5) << 26) | (low >> 6)) / 2**53
    return pair(*words[:2]), pair(*words[2:])


def normal(seed, step, row):
    u1, u2 = uniforms(seed, step, row)
    return mp.sqrt(-2 * mp.log(1 - u1)) * mp.cos(2 * mp.pi * u2)


def upper_bound(case, role):
    if role == "plus":
        return mp.pi
    bounded = role == "minus" or (role == "score" and case["geometry"] == "cosine")
    return mpf(2) if bounded else mp.inf


def margin_value_at(value, context, role):
    """Returns the value and its derivative with respect to the norm; `role` is "plus", "minus", "score" or "logit"."""
    kind = value["per"]
    if kind in ("one", "class", "sample"):
        return read(value["values"][{"one": 0, "class": context.label, "sample": context.row}[kind]]), mpf(0)
    state = context.case["state"]
    if kind == "frequency":
        counts = value["class_counts"]
        least = min((n for n in counts if n), default=1)
        count = counts[context.label] or least
        return read(value["largest"]) * (mpf(count) / least) ** (mpf(-1) / 4), mpf(0)
    if kind == "drawn":
        drawn = read(value["mean"]) + read(value["std"]) * normal(state["seed"], state["step"], context.row)
        return min(max(drawn, mpf(0)), upper_bound(context.case, role)), mpf(0)
    if kind == "norm-linear":
        low, high, first, last = (read(value[k]) for k in ("low", "high", "norm_low", "norm_high"))
        slope = (high - low) / (last - first)
        clamped = min(max(context.norm, first), last)
        return low + slope * (clamped - first), slope if first < context.norm < last else mpf(0)
    assert kind == "norm-standardized", kind
    m, h = read(value["value"]), read(value["concentration"])
    distance = clamped_norm(context.detached_norm) - read(state["norm_mean"])
    u = h * distance / (read(state["norm_std"]) + mpf(1) / 1000)
    u = min(max(u, mpf(-1)), mpf(1))
    return (-m * u if role == "plus" else m + m * u), mpf(0)


def clamped_norm(norm):
    return min(max(norm, mpf(1) / 1000), mpf(100))
