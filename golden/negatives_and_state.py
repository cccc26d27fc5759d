"""Modification of the scores j != y, and the update of the state with a batch."""

from margin_values import clamped_norm
from mpmath import mp, mpf
from number_formats import read

INITIAL = {"step": 0, "seed": 0, "target_mean": 0.0, "norm_mean": 20.0, "norm_std": 100.0}
# Minimum distance of a negative from its threshold, so that rounding cannot change the choice.
MIN_DISTANCE = mpf(2) ** -10


def modify(case, z, psi, plain_psi):
    """Returns the modified score and its derivative. `plain_psi` is psi without a continuation beyond pi."""
    negatives = case["negatives"]
    kind = negatives["kind"]
    if kind == "plain" or mp.isinf(z):
        return z, mpf(1)
    if kind == "divided-angle":
        by, cosine = read(negatives["by"]), min(max(z, mpf(-1)), mpf(1))
        if by == 1:
            return z, mpf(1)
        angle = mp.acos(cosine)
        if negatives["sin_floor"] is None:
            assert mp.sin(angle) >= mpf(2) ** -12, f"{case['name']}: the result depends on the lower bound of the sine"
        sine = max(mp.sin(angle), read(negatives["sin_floor"] or 0))
        return mp.cos(angle / by), mp.sin(angle / by) / (by * sine)
    threshold = psi if kind == "misclassified" else plain_psi
    assert abs(z - threshold) > MIN_DISTANCE, f"{case['name']}: a negative is too close to its threshold"
    if z <= threshold:
        return z, mpf(1)
    if kind == "misclassified":
        t = read(negatives["factor"])
        return t * z + t - 1, t
    mean = read(case["state"]["target_mean"])
    return z * (mean + z), mean + 2 * z


def norm_momentum(margin):
    for value in (margin["value"], margin["plus"], margin["minus"]):
        if value and value["per"] == "norm-standardized":
            return read(value["momentum"])
    return None


def updated(case, inputs):
    """Returns the state updated with the batch of the case, as exact numbers."""
    state = {k: mpf(v) if isinstance(v, float) else v for k, v in case["state"].items()}
    rows = [i for i, y in enumerate(case["targets"]) if y != case["ignored"]]
    blend = lambda momentum, new, old: momentum * new + (1 - momentum) * old
    mean = lambda values: sum(values) / len(values)
    finite = [z for z in (inputs.z[i][case["targets"][i]] for i in rows) if not mp.isinf(z)]
    if case["negatives"]["kind"] == "curricular" and finite:
        state["target_mean"] = blend(read(case["negatives"]["momentum"]), mean(finite), state["target_mean"])
    momentum = norm_momentum(case["margin"])
    if momentum is not None and rows:
        norms = [clamped_norm(inputs.xn[i]) for i in rows]
        state["norm_mean"] = blend(momentum, mean(norms), state["norm_mean"])
        if len(norms) > 1:
            std = mp.sqrt(sum((a - mean(norms)) ** 2 for a in norms) / (len(norms) - 1))
            state["norm_std"] = blend(momentum, std, state["norm_std"])
    return state
