"""Cosine heads: scores from embeddings and prototypes, pooled over the prototypes of a class, and their gradients."""

from exact_losses import evaluate
from mpmath import mp, mpf
from plain_losses import Plain, close
from number_formats import read


def dot(a, b):
    return sum(p * q for p, q in zip(a, b))


def length(a):
    return mp.sqrt(dot(a, a))


def unit(a):
    size = length(a)
    return [v / size if size else mpf(0) for v in a]


class HeadInputs:
    """Scores and norms of a case, computed from embeddings `x` (N, D) and prototypes `w` (C K, D)."""

    def __init__(self, case, x, w):
        assert case["geometry"] == "cosine"
        k = case["sub_centers"]
        every = [[dot(unit(a), unit(b)) for b in w] for a in x]
        best = lambda row, c: max(range(c * k, c * k + k), key=lambda at: (row[at], -at))
        self.winners = [[best(row, c) for c in range(len(w) // k)] for row in every]
        self.z = [[row[at] for at in winners] for row, winners in zip(every, self.winners)]
        self.xn, self.wn = [length(a) for a in x], None
        self.soft, self.scale, self.temperature, self.radius = None, read(case["scale"]), mpf(1), None


def gradients(case, x, w):
    """Returns the expected values of a head as exact numbers."""
    inputs = HeadInputs(case, x, w)
    answer = evaluate(case, inputs)
    grad_x = [[mpf(0)] * len(x[0]) for _ in x]
    grad_w = [[mpf(0)] * len(x[0]) for _ in w]
    for i, a in enumerate(x):
        unit_a = unit(a)
        for c, at in enumerate(inputs.winners[i]):
            g, cos, unit_b = answer["grad_scores"][i][c], inputs.z[i][c], unit(w[at])
            if length(a) and length(w[at]):
                grad_x[i] = [v + g * (q - cos * p) / length(a) for v, p, q in zip(grad_x[i], unit_a, unit_b)]
                grad_w[at] = [v + g * (p - cos * q) / length(w[at]) for v, p, q in zip(grad_w[at], unit_a, unit_b)]
        grad_x[i] = [v + answer["grad_embedding_norms"][i] * p for v, p in zip(grad_x[i], unit_a)]
    keep = ("row_losses", "loss", "grad_scores", "grad_scale")
    return {"scores": inputs.z, "winners": inputs.winners} | {k: answer[k] for k in keep} | {"grad_x": grad_x, "grad_w": grad_w}


def verify(case, x, w, answer):
    """Compares the gradients with numerical derivatives of the plain loss. Returns the number of derivatives."""
    plain = Plain(case, HeadInputs(case, x, w))

    def value(x, w):
        at = HeadInputs(case, x, w)
        return plain.value(at.z, at.scale, at.xn, at.wn, at.radius)

    count = 0
    for key, table in (("grad_x", x), ("grad_w", w)):
        for i, row in enumerate(table):
            for d, v in enumerate(row):
                def f(t, i=i, d=d):
                    moved = [[t if (a, b) == (i, d) else u for b, u in enumerate(r)] for a, r in enumerate(table)]
                    return value(moved, w) if key == "grad_x" else value(x, moved)
                found = mp.diff(f, v)
                if not close(found, answer[key][i][d]):
                    raise SystemExit(f"{case['name']}: {key} {i},{d}: found {found}, expected {answer[key][i][d]}")
                count += 1
    return count
