"""Terms on the norms ``a = |x|`` of the embeddings, (N, 1).

feature incay   weight / a^2, of the rows that are classified correctly
ring loss       weight / 2 (a - R)^2
magnitude       weight (a / high^2 + 1 / a), a kept from low to high; no slope at and beyond the ends
"""

from softmargin.torch._composed.slopes import with_slope


def is_for_correct_rows(regularizer):
    """Whether only rows that are classified correctly have the term."""
    return regularizer is not None and regularizer["kind"] == "feature-incay"


def term(regularizer, norms, radius, correct):
    """The term of every row (N, 1), of norms (N, 1); ``correct`` (N, 1) where ``is_for_correct_rows``."""
    if regularizer["kind"] == "feature-incay":
        return _incay(regularizer["weight"], norms, correct)
    if regularizer["kind"] == "ring":
        off = norms - (regularizer["radius"] if radius is None else radius)
        return regularizer["weight"] / 2 * off.square()
    return _magnitude(regularizer["weight"], regularizer["low"], regularizer["high"], norms)


def _incay(weight, norms, correct):
    # An embedding of norm 0 has no direction to be pushed in.
    vanished = norms.detach() == 0
    inverse = norms.masked_fill(vanished, 1).reciprocal()
    return (weight * inverse.square()).masked_fill(vanished | ~correct, 0)


def _magnitude(weight, low, high, norms):
    norm = norms.detach()
    a = norm.clamp(low, high)
    # 1 / high^2 - 1 / a^2, without the difference of what is nearly equal
    slope = (a - high) * (a + high) / (high * high) / a.square()
    slope = slope.masked_fill((norm <= low) | (norm >= high), 0)
    return with_slope(weight * (a / (high * high) + a.reciprocal()), (weight * slope, norms))
