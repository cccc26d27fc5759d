"""Measures of distributions and smooth functions."""

import random

from exact_losses import logistic, lse, softplus
from mpmath import mp, mpf
from number_formats import INF, f32, grid, read, show, show_all


def measures():
    sixty = [n / 64 for n in (3, 5, 8, 13, 35)]
    pairs = [
        ("two fair outcomes", [0.5, 0.5], [0.5, 0.5]),
        ("certain", [0.0, 1.0, 0.0], [0.25, 0.5, 0.25]),
        ("uniform over four", [0.25] * 4, [0.5, 0.25, 0.125, 0.125]),
        ("equal distributions", sixty, sixty),
        ("q is 0 where p is not", [0.5, 0.25, 0.25], [0.5, 0.5, 0.0]),
        ("both 0", [0.5, 0.5, 0.0], [0.25, 0.75, 0.0]),
        ("nearly equal", [0.5 + 2.0**-20, 0.5 - 2.0**-20], [0.5, 0.5]),
        ("tiny probabilities", [2.0**-24, 1 - 2.0**-24], [1 - 2.0**-24, 2.0**-24]),
        ("five outcomes", sixty, [n / 64 for n in (20, 4, 1, 9, 30)]),
        ("one outcome", [1.0], [1.0]),
    ]
    cases = []
    for name, ps, qs in pairs:
        assert sum(ps) == 1 and sum(qs) == 1, name
        p, q = [read(v) for v in ps], [read(v) for v in qs]
        for unit in ("nats", "bits"):
            base = mp.log(2) if unit == "bits" else mpf(1)
            info = lambda v: INF if v == 0 else -mp.log(v) / base
            entropy = sum((v * info(v) for v in p if v), mpf(0))
            cross = sum((a * info(b) for a, b in zip(p, q) if a), mpf(0))
            gap = sum((a * (info(b) - info(a)) for a, b in zip(p, q) if a), mpf(0))
            cases.append({
                "name": f"{name}, {unit}", "p": ps, "q": qs, "unit": unit,
                "self_information": show_all([info(v) for v in p]), "entropy": show(entropy),
                "cross_entropy": show(cross), "kullback_leibler": show(gap),
            })
    return cases


def smooth():
    draw = random.Random("smooth")
    spread = [grid(draw.uniform(-8, 8)) for _ in range(12)]
    vectors = [
        ("one to four", [1.0, 2.0, 3.0, 4.0], 1.0),
        ("one to four, times ten", [10.0, 20.0, 30.0, 40.0], 1.0),
        ("one to four, a tenth", [f32(0.1), f32(0.2), f32(0.3), f32(0.4)], 1.0),
        ("temperature 4", [1.0, 2.0, 3.0, 4.0], 4.0),
        ("temperature 1/64", [1.0, 2.0, 3.0, 4.0], 0.015625),
        ("one entry", [2.5], 1.0),
        ("equal entries", [0.5, 0.5, 0.5, 0.5], 1.0),
        ("20 and 0", [20.0, 0.0], 1.0),
        ("size 1e4", [10000.0, 9999.0], 1.0),
        ("size -1e4", [-10000.0, -9999.0, -10000.5], 1.0),
        ("far apart", [10000.0, -10000.0], 1.0),
        ("size 1e-30", [f32(1e-30), f32(-1e-30), 0.0], 1.0),
        ("an entry at -inf", [0.5, "-inf", -0.25], 1.0),
        ("twelve entries", spread, 1.0),
        ("twelve entries, temperature 1/2", spread, 0.5),
    ]
    out = []
    for name, z, temperature in vectors:
        t = read(temperature)
        scaled = [read(v) / t for v in z]
        value, share = lse(scaled)
        jacobian = None
        if len(z) <= 4:
            jacobian = [[((a if i == j else 0) - a * b) / t for j, b in enumerate(share)] for i, a in enumerate(share)]
            for i in range(len(z)):
                rest = [b for j, b in enumerate(share) if j != i]
                jacobian[i][i] = share[i] * sum(rest, mpf(0)) / t
        logs = []
        for i, v in enumerate(scaled):
            others = [w for j, w in enumerate(scaled) if j != i]
            logs.append(-INF if v == -INF else -softplus(lse(others)[0] - v) if others else mpf(0))
        out.append({
            "name": name, "z": z, "temperature": temperature, "log_sum_exp": show(t * value),
            "softmax": show_all(share), "log_softmax": show_all(logs), "softmax_jacobian": show_all(jacobian),
        })
    scalars = []
    for x in (-10000.0, -100.0, -20.0, -1.0, -0.5, f32(-1e-30), 0.0, f32(1e-30), 0.5, 1.0, 20.0, 88.0, 100.0, 10000.0):
        v = read(x)
        scalars.append({
            "x": x, "softplus": show(softplus(v)), "logistic": show(logistic(v)),
            "logistic_derivative": show(logistic(v) * logistic(-v)),
            "relu": show(max(v, mpf(0))), "relu_derivative": 1.0 if v > 0 else 0.0,
        })
    return out, scalars
