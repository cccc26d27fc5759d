"""Losses to 50 digits: values and analytic gradients."""

from margin_values import RowContext, margin_value_at
from mpmath import mp, mpf
from number_formats import INF, read
from negatives_and_state import modify


# ---------------------------------------------------------------- smooth functions


def logistic(t):
    if mp.isinf(t):
        return mpf(1 if t > 0 else 0)
    return 1 / (1 + mp.exp(-t)) if t > 0 else mp.exp(t) / (1 + mp.exp(t))


def softplus(t):
    if mp.isinf(t):
        return INF if t > 0 else mpf(0)
    return max(t, mpf(0)) + mp.log1p(mp.exp(-abs(t)))


def gate(kind, t):
    """Returns value and derivative of a gate."""
    if kind == "identity":
        return t, mpf(1)
    if kind == "relu":
        return (t, mpf(1)) if t > 0 else (mpf(0), mpf(0))
    return softplus(t), logistic(t)


def lse(values):
    """Returns log-sum-exp and softmax; entries at +inf share the softmax equally."""
    top = max(values)
    if mp.isinf(top):
        hits = [v == top for v in values]
        return top, [mpf(h) / sum(hits) for h in hits]
    powers = [mp.exp(v - top) for v in values]
    rest = sum(powers) - 1
    total = 1 + rest
    return top + mp.log1p(rest), [p / total for p in powers]



# ---------------------------------------------------------------- margins


def radius_of(case, row, label, xn, wn):
    return {
        "cosine": lambda: mpf(1),
        "unit-weights": lambda: xn[row],
        "inner-product": lambda: xn[row] * wn[label],
    }[case["geometry"]]()


def psi_of_cos(margin, context, cos):
    """Returns psi and its exact derivatives with respect to the cosine (sine bounded below) and the norm."""
    times = read(margin["times"])
    plus, plus_grad_norm = margin_value_at(margin["plus"], context, "plus")
    minus, minus_grad_norm = margin_value_at(margin["minus"], context, "minus")
    theta = mp.acos(cos)
    phi = times * theta + plus
    sine = mp.sin(theta)
    if margin["sin_floor"] is not None:
        sine = max(sine, read(margin["sin_floor"]))
    beyond = margin["beyond_pi"]
    k = int(mp.floor(phi / mp.pi))
    slope = times * mp.sin(phi) / sine if sine else None
    grad_plus = -mp.sin(phi)
    if phi < 0:
        value, slope, grad_plus = 1 - minus, mpf(0), mpf(0)
    elif phi <= mp.pi or beyond == "plain":
        value = mp.cos(phi) - minus
    elif beyond == "continue":
        value, slope = -1 - minus + cos - mp.cos((mp.pi - plus) / times), mpf(1)
        grad_plus = -mp.sin((mp.pi - plus) / times) / times
    elif beyond == "extend":
        assert times == 1
        value, slope = cos - plus * mp.sin(plus) - minus, mpf(1)
        grad_plus = -mp.sin(plus) - plus * mp.cos(plus)
    elif beyond == "piecewise":
        sign = -1 if k % 2 else 1
        value, slope = sign * mp.cos(phi) - 2 * k - minus, sign * slope
        grad_plus = -sign * mp.sin(phi)
    elif beyond == "clamp":
        value, slope, grad_plus = -1 - minus, mpf(0), mpf(0)
    grad_norm = grad_plus * plus_grad_norm - minus_grad_norm
    if margin["anneal_lambda"] is not None:
        blend = read(margin["anneal_lambda"])
        value = (blend * cos + value) / (1 + blend)
        slope = None if slope is None else (blend + slope) / (1 + blend)
        grad_norm /= 1 + blend
    return value, slope, grad_norm


class Target:
    """The target's scaled score u after the margin, and its derivatives."""

    def __init__(self, case, row, label, z, s, xn, wn, margin=None):
        margin = margin or case["margin"]
        kind = margin["kind"]
        self.grad_z, self.grad_r, self.grad_norm = s, mpf(0), mpf(0)
        norm = None if xn is None else xn[row]
        context = RowContext(case, row, label, norm, norm)
        if kind == "none" or mp.isinf(z):
            self.u, self.grad_s = s * z, z
        elif kind == "score":
            value, grad_norm = margin_value_at(margin["value"], context, "score")
            self.grad_s, self.grad_norm = z - value, -s * grad_norm
            self.u = s * self.grad_s
        elif kind == "logit":
            value, grad_norm = margin_value_at(margin["value"], context, "logit")
            self.u, self.grad_s, self.grad_norm = s * z - value, z, -grad_norm
        else:
            r = radius_of(case, row, label, xn, wn)
            if r == 0:
                self.u, self.grad_z, self.grad_s = mpf(0), mpf(0), mpf(0)
                return
            cos = min(max(z / r, mpf(-1)), mpf(1))
            value, slope, grad_norm = psi_of_cos(margin, context, cos)
            if margin["gradient"] == "straight-through":
                slope, grad_norm = mpf(1), mpf(0)
            elif margin["sin_floor"] is None:
                assert mp.sin(mp.acos(cos)) >= mpf(2) ** -12, f"{case['name']}: the result depends on the lower bound of the sine"
            if slope is None:
                raise ValueError(f"{case['name']}: row {row} has a pole and no lower bound of the sine")
            self.u, self.grad_s = s * r * value, r * value
            self.grad_z, self.grad_r, self.grad_norm = s * slope, s * (value - cos * slope), s * r * grad_norm



# ---------------------------------------------------------------- one row


class Row:
    """Loss of one row, and its derivatives with respect to scores z, effective scale s, radius r and norm."""

    def __init__(self, classes):
        self.loss = mpf(0)
        self.grad_z = [mpf(0)] * classes
        self.grad_s = mpf(0)
        self.grad_r = mpf(0)
        self.grad_norm = mpf(0)


def compare(case, u, negatives):
    """Returns the loss, dL/du and dL/d(negative) for the scaled scores of the negatives."""
    kind, name = case["gate"], case["comparison"]
    if name == "log-sum-exp":
        top, share = lse(negatives)
        value, slope = gate(kind, top - u)
        return value, -slope, [slope * q for q in share]
    if name == "hardest":
        at = negatives.index(max(negatives))
        value, slope = gate(kind, negatives[at] - u)
        return value, -slope, [slope if j == at else mpf(0) for j in range(len(negatives))]
    if name == "each-pair":
        pairs = [gate(kind, v - u) for v in negatives]
        return sum(p[0] for p in pairs), -sum(p[1] for p in pairs), [p[1] for p in pairs]
    target = gate(kind, -u)
    pairs = [gate(kind, v) for v in negatives]
    return target[0] + sum((p[0] for p in pairs), mpf(0)), -target[1], [p[1] for p in pairs]


def hard_row(case, row, label, z, s, xn, wn):
    out = Row(len(z))
    others = [j for j in range(len(z)) if j != label and z[j] != -INF]
    if len(z) == 1 or (not others and case["comparison"] != "against-zero"):
        return out
    target = Target(case, row, label, z[label], s, xn, wn)
    u = target.u
    continued = dict(case["margin"], beyond_pi="plain")
    plain_psi = Target(case, row, label, z[label], s, xn, wn, continued).u / s
    modified = [modify(case, z[j], u / s, plain_psi) for j in others]
    negatives = [s * v for v, _ in modified]
    out.loss, grad_u, grad_negative = compare(case, u, negatives)

    smoothing = read(case["label_smoothing"])
    if smoothing:
        share = smoothing / (len(others) + 1)
        if out.loss != INF:
            out.loss += share * sum(u - v for v in negatives)
        grad_u += share * len(others)
        grad_negative = [g - share for g in grad_negative]

    z_loss = read(case["z_loss"])
    if z_loss:
        every, share = lse([u] + negatives)
        out.loss += z_loss * every**2
        grad_u += 2 * z_loss * every * share[0]
        grad_negative = [g + 2 * z_loss * every * q for g, q in zip(grad_negative, share[1:])]

    out.grad_z[label] = grad_u * target.grad_z
    for j, g, (_, slope) in zip(others, grad_negative, modified):
        out.grad_z[j] = g * s * slope
    if out.loss == INF:
        out.grad_s = INF
    else:
        out.grad_s = sum((g * v for (v, _), g in zip(modified, grad_negative) if g), mpf(0))
        out.grad_s += grad_u * target.grad_s if grad_u else 0
    out.grad_r = grad_u * target.grad_r if target.grad_r else mpf(0)
    out.grad_norm = grad_u * target.grad_norm if target.grad_norm else mpf(0)
    return out


def soft_row(case, p, z, s):
    out = Row(len(z))
    unmasked = [k for k in range(len(z)) if z[k] != -INF]
    impossible = any(p[k] > 0 and z[k] == -INF for k in range(len(z)))
    if len(z) == 1:
        return out
    every, share = lse([s * z[k] for k in unmasked])
    out.grad_z = [-s * v for v in p]
    for k, q in zip(unmasked, share):
        out.grad_z[k] = s * (q - p[k])
    out.loss = INF if impossible else sum(p[k] * (every - s * z[k]) for k in unmasked)
    out.grad_s = INF if impossible else sum((q - p[k]) * z[k] for k, q in zip(unmasked, share))
    z_loss = read(case["z_loss"])
    if z_loss:
        out.loss += z_loss * every**2
        for k, q in zip(unmasked, share):
            out.grad_z[k] += 2 * z_loss * every * q * s
            out.grad_s += 2 * z_loss * every * q * z[k]
    return out



# ---------------------------------------------------------------- the batch


class Inputs:
    """The numerical inputs of a case as exact numbers."""

    def __init__(self, case):
        self.z = [[read(v) for v in row] for row in case["scores"]]
        norms = lambda key: None if case[key] is None else [read(v) for v in case[key]]
        self.xn, self.wn = norms("embedding_norms"), norms("weight_norms")
        self.soft = case["soft_targets"]
        if self.soft is not None:
            self.soft = [[read(v) for v in row] for row in self.soft]
        self.scale, self.temperature = read(case["scale"]), read(case["temperature"])
        ring = case["regularizer"]
        self.radius = None if ring is None or ring["radius"] is None else read(ring["radius"])


def row_weights(case, inputs):
    weights = []
    for i in range(len(inputs.z)):
        w = mpf(1) if case["sample_weights"] is None else read(case["sample_weights"][i])
        table = case["class_weights"]
        if inputs.soft is not None:
            if table is not None:
                w *= sum(p * read(c) for p, c in zip(inputs.soft[i], table))
        elif case["targets"][i] == case["ignored"]:
            w = mpf(0)
        elif table is not None:
            w *= read(table[case["targets"][i]])
        weights.append(w)
    return weights


def first_error(case, inputs):
    for i, z in enumerate(inputs.z):
        if any(mp.isnan(v) for v in z):
            return "nan", i
    for i, z in enumerate(inputs.z):
        if inputs.soft is None and case["targets"][i] != case["ignored"]:
            y = case["targets"][i]
            if z[y] == INF and any(v == INF for j, v in enumerate(z) if j != y):
                return "both-infinite", i
    return None, None


def regularize(case, inputs, i):
    """Returns the value and its derivatives with respect to norm and radius, or None if the row has no penalty."""
    term = case["regularizer"]
    weight, norm = read(term["weight"]), inputs.xn[i]
    if term["kind"] == "ring":
        gap = norm - inputs.radius
        return weight * gap**2 / 2, weight * gap, -weight * gap
    if term["kind"] == "magnitude":
        low, high = read(term["low"]), read(term["high"])
        clamped = min(max(norm, low), high)
        slope = weight * (1 / high**2 - 1 / clamped**2)
        return weight * (clamped / high**2 + 1 / clamped), slope if low < norm < high else mpf(0), mpf(0)
    z = inputs.z[i]
    if z.index(max(z)) != case["targets"][i]:
        return None
    return weight / norm**2, -2 * weight / norm**3, mpf(0)


KEYS = [
    "error", "error_row", "row_losses", "row_regularizers", "loss", "nothing_kept", "grad_scores",
    "grad_scale", "grad_embedding_norms", "grad_weight_norms", "grad_radius",
]


def evaluate(case, inputs=None):
    """Returns the expected values of a case as exact numbers."""
    inputs = inputs or Inputs(case)
    answer = dict.fromkeys(KEYS)
    answer["error"], answer["error_row"] = first_error(case, inputs)
    if answer["error"]:
        return answer
    rows, classes = len(inputs.z), len(inputs.z[0])
    weights = row_weights(case, inputs)
    valid = [w > 0 for w in weights]
    mean = case["reduction"] == "mean"
    share = 1 / sum(weights) if mean and any(valid) else mpf(1)
    s = inputs.scale / inputs.temperature

    answer["nothing_kept"] = not any(valid)
    answer["row_losses"] = [mpf(0)] * rows
    answer["grad_scores"] = [[mpf(0)] * classes for _ in range(rows)]
    answer["grad_scale"] = loss = mpf(0)
    grad_x = [mpf(0)] * rows
    grad_w = [mpf(0)] * classes
    for i in range(rows):
        if not valid[i]:
            continue
        if inputs.soft is None:
            y = case["targets"][i]
            row = hard_row(case, i, y, inputs.z[i], s, inputs.xn, inputs.wn)
            grad_x[i] += weights[i] * share * row.grad_norm
            if case["geometry"] == "unit-weights" and inputs.xn:
                grad_x[i] += weights[i] * share * row.grad_r
            if case["geometry"] == "inner-product" and inputs.xn and inputs.wn:
                grad_x[i] += weights[i] * share * row.grad_r * inputs.wn[y]
                grad_w[y] += weights[i] * share * row.grad_r * inputs.xn[i]
        else:
            row = soft_row(case, inputs.soft[i], inputs.z[i], s)
        answer["row_losses"][i] = weights[i] * row.loss
        answer["grad_scores"][i] = [weights[i] * share * g for g in row.grad_z]
        answer["grad_scale"] += weights[i] * share * row.grad_s / inputs.temperature
        loss += weights[i] * share * row.loss

    if case["regularizer"] is not None:
        answer["row_regularizers"] = [mpf(0)] * rows
        terms = [regularize(case, inputs, i) if valid[i] else None for i in range(rows)]
        term_weight = sum((w for w, t in zip(weights, terms) if t), mpf(0))
        share = 1 / term_weight if mean and term_weight else mpf(1)
        grad_radius = mpf(0)
        for i, term in enumerate(terms):
            if term:
                answer["row_regularizers"][i] = weights[i] * term[0]
                answer["row_losses"][i] += weights[i] * term[0]
                loss += weights[i] * share * term[0]
                grad_x[i] += weights[i] * share * term[1]
                grad_radius += weights[i] * share * term[2]
        if case["regularizer"]["kind"] == "ring":
            answer["grad_radius"] = grad_radius
    answer["loss"] = loss
    answer["grad_embedding_norms"] = grad_x if inputs.xn is not None else None
    answer["grad_weight_norms"] = grad_w if inputs.wn is not None else None
    return answer
