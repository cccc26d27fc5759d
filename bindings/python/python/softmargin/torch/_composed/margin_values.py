"""How much margin each row has: one number, or one that a row's class, its turn or its embedding's norm decides.

one m | per class m_y | per sample, of the batch
drawn            from a normal law, by the core: the same of the same state on any device
by frequency     largest (n_y / n_min)^(-1/4)
linear           low + (high - low) (a - norm_low) / (norm_high - norm_low), a = |x| kept from norm_low to norm_high
standardized     -m u on an angle, m + m u elsewhere, u = clip(h (a - mu) / (sd + 0.001), -1, 1), a constant
"""

import numpy as np
import torch

from softmargin.torch._composed.slopes import wide, with_slope

LEAST_NORM, MOST_NORM, LEAST_STD = 1e-3, 100.0, 1e-3


def kind_of(value):
    """The name of a margin value of a spec, and what it holds."""
    return (value, None) if isinstance(value, str) else next(iter(value.items()))


def places(margin):
    """The margin values of a margin of a spec: of one on score or logit, or plus; and minus."""
    if margin["kind"] == "none":
        return None, None
    return (margin["value"], None) if "value" in margin else (margin["plus"], margin["minus"])


def is_there(margin, *kinds):
    """Whether a margin value of the margin is of one of these kinds."""
    return any(place is not None and kind_of(place)[0] in kinds for place in places(margin))


def values_of(loss, margin, classes, labels, norms, margins, state):
    """Two columns (N, 1) or None: the margin value or plus, and minus.

    ``classes`` (N, 1) are those of the targets, ``labels`` (N) what the batch has said, ``norms`` (N, 1) and
    ``margins`` (N) are None where the loss does not look at them. Gradients flow to norms and margins.
    """
    known = None
    if is_there(margin, "drawn"):
        known = loss._core.row_margins(_host(labels), _host(norms), _host(margins), state)
    columns = []
    kinds = (("value", margin["kind"] == "angle"), ("minus", False))
    for place, (name, is_added_to_angle) in zip(places(margin), kinds, strict=True):
        if place is None:
            columns.append(None)
            continue
        kind, content = kind_of(place)
        if kind == "drawn":
            drawn = torch.from_numpy(np.array(known[name])).unsqueeze(1)
            columns.append(_column(drawn, classes))
        else:
            columns.append(_margin_value(kind, content, classes, norms, margins, state, is_added_to_angle))
    return columns


def _margin_value(kind, content, classes, norms, margins, state, is_added_to_angle):
    if kind == "one":
        return _column(torch.full((1, 1), float(content), dtype=torch.float64), classes).expand(classes.shape)
    if kind == "per-class":
        return _of_class(np.asarray(content, dtype=np.float64), classes)
    if kind == "per-sample":
        return wide(margins).unsqueeze(1)
    if kind == "by-frequency":
        return _of_class(by_frequency(content["largest"], content["class-counts"]), classes)
    if content["kind"] == "linear":
        return _linear(content, wide(norms))
    return _standardized(content, wide(norms).detach(), state, is_added_to_angle)


def by_frequency(largest, class_counts):
    """(C): the margin value of every class; the largest where there is no sample."""
    counts = np.asarray(class_counts, dtype=np.float64)
    present = counts > 0
    if not present.any():
        return np.full(counts.shape, largest)
    return largest * np.where(present, counts / counts[present].min(), 1.0) ** -0.25


def _linear(line, norms):
    low, high, start, end = (line[key] for key in ("low", "high", "norm-low", "norm-high"))
    norm = norms.detach()
    value = low + (high - low) * (norm.clamp(start, end) - start) / (end - start)
    value = value.masked_fill(norm >= end, high)
    inside = (norm > start) & (norm < end)
    return with_slope(value, (inside.to(norm.dtype) * ((high - low) / (end - start)), norms))


def _standardized(value, norms, state, is_added_to_angle):
    m, h = value["value"], value["concentration"]
    off = norms.clamp(LEAST_NORM, MOST_NORM) - state["norm-mean"]
    u = (h * off / (state["norm-std"] + LEAST_STD)).clamp(-1, 1)
    return -m * u if is_added_to_angle else m + m * u


def _of_class(table, classes):
    return _column(torch.from_numpy(table), classes)[classes[:, 0]].unsqueeze(1)


def _column(values, like):
    """Numbers on the device of a tensor, as precise as it can hold."""
    dtype = torch.float32 if like.device.type == "mps" else torch.float64
    return values.to(device=like.device, dtype=dtype)


def _host(tensor):
    """An array of NumPy, (N), for the core."""
    if tensor is None:
        return None
    array = tensor.detach().reshape(-1).cpu()
    return (array if array.dtype == torch.int64 else array.double()).contiguous().numpy()
