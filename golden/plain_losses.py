"""Values of the losses by definition, and comparison of the gradients with their numerical derivatives."""

from margin_values import RowContext, margin_value_at
from exact_losses import Inputs, psi_of_cos, radius_of, row_weights
from mpmath import mp, mpf
from number_formats import INF, read


class Plain:
    """Value of the loss by definition, with probabilities and plain sums.

    A straight-through margin is replaced by its surrogate, score + radius * frozen step. Standardized margin values
    and the choice of modified negatives are frozen at the case.
    """

    def __init__(self, case, inputs=None):
        self.case, self.at = case, inputs or Inputs(case)
        self.weights = row_weights(case, self.at)
        self.frozen = {}
        self.value(self.at.z, self.at.scale, self.at.xn, self.at.wn, self.at.radius)

    def row_context(self, i, y, xn):
        return RowContext(self.case, i, y, *((None, None) if xn is None else (xn[i], self.at.xn[i])))

    def negative(self, z, psi, plain_psi):
        """Returns the modified score of a negative."""
        negatives = self.case["negatives"]
        if negatives["kind"] == "misclassified" and z > psi:
            return z + (read(negatives["factor"]) - 1) * (z + 1)
        if negatives["kind"] == "curricular" and z > plain_psi:
            return z**2 + read(self.case["state"]["target_mean"]) * z
        if negatives["kind"] == "divided-angle":
            # The real part of e^(i theta / m).
            power = mp.mpc(z, mp.sqrt((1 - z) * (1 + z))) ** (1 / read(negatives["by"]))
            return power.real
        return z

    def psi(self, i, y, z, xn, wn, margin):
        r = radius_of(self.case, i, y, xn, wn)
        if r == 0:
            return mpf(0)
        cos = min(max(z / r, mpf(-1)), mpf(1))
        if margin["gradient"] == "straight-through":
            key = (i, margin["beyond_pi"])
            step = self.frozen.setdefault(key, psi_of_cos(margin, self.row_context(i, y, xn), cos)[0] - cos)
            return z + r * step
        return r * psi_of_cos(margin, self.row_context(i, y, xn), cos)[0]

    def hard(self, i, z, s, xn, wn):
        case, y = self.case, self.case["targets"][i]
        others = [j for j in range(len(z)) if j != y and z[j] != -INF]
        if len(z) == 1 or (not others and case["comparison"] != "against-zero"):
            return mpf(0)
        kind = case["margin"]["kind"]
        value = 0 if kind in ("none", "angle") else margin_value_at(case["margin"]["value"], self.row_context(i, y, xn), kind)[0]
        modified = lambda margin: {
            "none": lambda: s * z[y],
            "score": lambda: s * (z[y] - value),
            "logit": lambda: s * z[y] - value,
            "angle": lambda: s * self.psi(i, y, z[y], xn, wn, margin),
        }[kind]()
        u = modified(case["margin"])
        plain_psi = modified(dict(case["margin"], beyond_pi="plain")) / s
        negatives = [s * self.negative(z[j], u / s, plain_psi) for j in others]
        gate = {
            "relu": lambda t: max(t, mpf(0)),
            "softplus": lambda t: mp.log(1 + mp.exp(t)),
            "identity": lambda t: t,
        }[case["gate"]]
        name = case["comparison"]
        if name == "log-sum-exp" and case["gate"] == "softplus":
            total = mp.exp(u) + sum(mp.exp(v) for v in negatives)
            count = len(others) + 1
            eps = read(case["label_smoothing"])
            loss = -(1 - eps + eps / count) * mp.log(mp.exp(u) / total)
            loss -= sum(eps / count * mp.log(mp.exp(v) / total) for v in negatives)
            return loss + read(case["z_loss"]) * mp.log(total) ** 2
        if name == "log-sum-exp":
            return gate(mp.log(sum(mp.exp(v) for v in negatives)) - u)
        if name == "hardest":
            return gate(max(negatives) - u)
        if name == "each-pair":
            return sum(gate(v - u) for v in negatives)
        return gate(-u) + sum((gate(v) for v in negatives), mpf(0))

    def soft(self, p, z, s):
        valid = [k for k in range(len(z)) if z[k] != -INF]
        total = sum(mp.exp(s * z[k]) for k in valid)
        loss = -sum(p[k] * mp.log(mp.exp(s * z[k]) / total) for k in valid)
        return loss + read(self.case["z_loss"]) * mp.log(total) ** 2

    def value(self, z, scale, xn, wn, radius):
        case, valid = self.case, [i for i, w in enumerate(self.weights) if w > 0]
        s = scale / self.at.temperature
        mean = case["reduction"] == "mean"
        if not valid:
            return mpf(0)
        soft = self.at.soft
        total = sum(
            self.weights[i]
            * (self.hard(i, z[i], s, xn, wn) if soft is None else self.soft(soft[i], z[i], s))
            for i in valid
        )
        if mean:
            total /= sum(self.weights[i] for i in valid)
        term = case["regularizer"]
        if term is None:
            return total
        weight = read(term["weight"])
        if term["kind"] == "ring":
            rows = valid
            extra = sum(self.weights[i] * weight / 2 * (xn[i] - radius) ** 2 for i in rows)
        elif term["kind"] == "magnitude":
            rows, low, high = valid, read(term["low"]), read(term["high"])
            clamped = {i: min(max(xn[i], low), high) for i in rows}
            extra = sum(self.weights[i] * weight * (clamped[i] / high**2 + 1 / clamped[i]) for i in rows)
        else:
            rows = [i for i in valid if z[i].index(max(z[i])) == case["targets"][i]]
            extra = sum((self.weights[i] * weight / xn[i] ** 2 for i in rows), mpf(0))
        if mean and rows:
            extra /= sum(self.weights[i] for i in rows)
        return total + extra


def close(found, expected):
    return abs(found - expected) <= mpf(10) ** -18 * (1 + abs(expected))


def verify(case, answer):
    """Compares the gradients with numerical derivatives of the plain loss. Returns the number of derivatives."""
    plain = Plain(case)
    z, scale, xn, wn, radius = (getattr(plain.at, k) for k in ("z", "scale", "xn", "wn", "radius"))
    value = plain.value(z, scale, xn, wn, radius)
    if not close(value, answer["loss"]):
        raise SystemExit(f"{case['name']}: found loss {value}, expected {answer['loss']}")
    checks = []
    for i, row in enumerate(z):
        for j, v in enumerate(row):
            if not mp.isinf(v):
                move = lambda t, i=i, j=j: [
                    [t if (a, b) == (i, j) else w for b, w in enumerate(r)] for a, r in enumerate(z)
                ]
                checks.append((lambda t, m=move: plain.value(m(t), scale, xn, wn, radius), v,
                               answer["grad_scores"][i][j], f"score {i},{j}"))
    checks.append((lambda t: plain.value(z, t, xn, wn, radius), scale, answer["grad_scale"], "scale"))
    for name, norms, key in (("xn", xn, "grad_embedding_norms"), ("wn", wn, "grad_weight_norms")):
        for k, v in enumerate(norms or []):
            if v:
                move = lambda t, norms=norms, k=k: [t if a == k else n for a, n in enumerate(norms)]
                f = {
                    "xn": lambda t, m=move: plain.value(z, scale, m(t), wn, radius),
                    "wn": lambda t, m=move: plain.value(z, scale, xn, m(t), radius),
                }[name]
                checks.append((f, v, answer[key][k], f"{key} {k}"))
    if answer["grad_radius"] is not None:
        checks.append((lambda t: plain.value(z, scale, xn, wn, t), radius, answer["grad_radius"], "radius"))
    for f, at, expected, what in checks:
        found = mp.diff(f, at)
        if not close(found, expected):
            raise SystemExit(f"{case['name']}: {what}: found {mp.nstr(found, 25)}, expected {mp.nstr(expected, 25)}")
    return len(checks)
