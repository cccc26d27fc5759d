"""The cases of every preset."""

import math
import random

import heads
from margin_values import normal, uniforms
from exact_losses import KEYS, Inputs, evaluate
from mpmath import mp, mpf
from plain_losses import verify
from number_formats import f32, grid, show, show_all
from negatives_and_state import INITIAL, updated


# ---------------------------------------------------------------- parts of a case


def one(v):
    return {"per": "one", "values": [v]}


def per_class(*v):
    return {"per": "class", "values": list(v)}


def per_sample(*v):
    return {"per": "sample", "values": list(v)}


def by_frequency(largest, counts=None):
    return {"per": "frequency", "largest": largest, "class_counts": counts}


def linear(low, high, norm_low, norm_high):
    return {"per": "norm-linear", "low": low, "high": high, "norm_low": norm_low, "norm_high": norm_high}


def standardized(value, concentration, momentum=0.01):
    return {"per": "norm-standardized", "value": value, "concentration": concentration, "momentum": momentum}


def drawn(mean, std):
    return {"per": "drawn", "mean": mean, "std": std}


PLAIN = {"kind": "plain", "factor": None, "momentum": None, "by": None, "sin_floor": None}


def misclassified(factor):
    return PLAIN | {"kind": "misclassified", "factor": factor}


def curricular(momentum=0.01):
    return PLAIN | {"kind": "curricular", "momentum": momentum}


def divided(by, sin_floor=None):
    return PLAIN | {"kind": "divided-angle", "by": by, "sin_floor": sin_floor}


def magnitude(weight, low, high):
    return {"kind": "magnitude", "weight": weight, "radius": None, "low": low, "high": high}


def state(**options):
    return INITIAL | options


def margin(kind="none", value=None, times=None, plus=None, minus=None, beyond_pi=None,
           gradient=None, anneal_lambda=None, sin_floor=None):
    if kind == "angle":
        plus, minus = plus or one(0.0), minus or one(0.0)
        beyond_pi, gradient, times = beyond_pi or "continue", gradient or "exact", times or 1.0
    return {
        "kind": kind, "value": value, "times": times, "plus": plus, "minus": minus,
        "beyond_pi": beyond_pi, "gradient": gradient, "anneal_lambda": anneal_lambda,
        "sin_floor": sin_floor,
    }


def angle(**options):
    return margin("angle", **options)


def rounded(x):
    """Returns x with every number rounded to the nearest f32."""
    if isinstance(x, bool) or x is None or isinstance(x, (str, int)):
        return x
    if isinstance(x, float):
        return f32(x)
    if isinstance(x, dict):
        return {k: rounded(v) for k, v in x.items()}
    return [rounded(v) for v in x]


BLANK = {
    "note": "", "targets": None, "soft_targets": None, "embedding_norms": None,
    "weight_norms": None, "temperature": 1.0, "label_smoothing": 0.0, "z_loss": 0.0,
    "class_weights": None, "sample_weights": None, "ignored": None, "reduction": "mean",
}
ORDER = [
    "name", "note", "scores", "targets", "soft_targets", "embedding_norms", "weight_norms",
    "geometry", "scale", "temperature", "margin", "negatives", "sub_centers", "state", "comparison", "gate",
    "label_smoothing", "z_loss",
    "class_weights", "sample_weights", "ignored", "regularizer", "reduction", "expected",
]


# The name of a preset seeds its random inputs. Renamed presets keep the seed of their former name.
SEEDS = {"sub-center-arcface": "sub-centre-arcface"}


class Preset:
    """Collects the cases of one preset."""

    def __init__(self, name, formula, source, geometry, scale, margin_, comparison, gate_, anneal=None,
                 negatives=PLAIN, sub_centers=1, state=None, regularizer=None):
        self.name, self.formula, self.source, self.anneal = name, formula, source, anneal
        self.defaults = {
            "geometry": geometry, "scale": scale, "margin": margin_, "comparison": comparison,
            "gate": gate_, "negatives": negatives, "sub_centers": sub_centers, "state": state, "regularizer": regularizer,
        }
        self.draw = random.Random(SEEDS.get(name, name))
        self.cases, self.heads, self.updates, self.draws, self.checked = [], [], [], [], 0

    @property
    def angular(self):
        return self.defaults["margin"]["kind"] == "angle"

    @property
    def depends_on_norms(self):
        """True if a margin value or the regularizer depends on the norms, which are then as large as after training."""
        margin = self.defaults["margin"]
        margin_values = [margin[k] for k in ("value", "plus", "minus") if margin[k]]
        return bool(self.defaults["regularizer"]) or any(value["per"].startswith("norm") for value in margin_values)

    @property
    def cross_entropy(self):
        return (self.defaults["comparison"], self.defaults["gate"]) == ("log-sum-exp", "softplus")

    def random_scores(self, rows, classes, size=1.0):
        """Returns random scores with matching norms, on the grid."""
        d = self.draw
        geometry = self.defaults["geometry"]
        low, high = (5.0, 125.0) if self.depends_on_norms else (0.5, 4.0)
        xn = [grid(d.uniform(low, high)) for _ in range(rows)]
        wn = [grid(d.uniform(0.5, 2.0)) for _ in range(classes)]
        if geometry == "cosine":
            bound = lambda i, j: 1.0
        elif geometry == "unit-weights":
            bound = lambda i, j: xn[i]
        elif self.angular:
            bound = lambda i, j: xn[i] * wn[j]
        else:
            bound = lambda i, j: 3.0 * size
        z = [[grid(d.uniform(-0.95, 0.95) * bound(i, j)) for j in range(classes)] for i in range(rows)]
        return z, xn, wn

    def add(self, name, scores, targets, differentiable=True, gradients_defined=True, **options):
        """Adds a case. `gradients_defined` is False if the gradients are not unique; they are then null in the file."""
        case = dict(BLANK) | rounded(self.defaults)
        needs_x = self.defaults["geometry"] == "unit-weights" and self.angular
        needs_both = self.defaults["geometry"] == "inner-product" and self.angular
        case |= {"name": name, "scores": rounded(scores), "targets": targets} | rounded(options)
        self.count_classes(case, len(scores[0]))
        needs_x |= self.depends_on_norms
        if needs_x or needs_both:
            assert case["embedding_norms"] is not None, name
        if needs_both:
            assert case["weight_norms"] is not None, name
        answer = evaluate(case)
        finite = answer["error"] is None and not mp.isinf(answer["loss"])
        if differentiable and finite:
            self.checked += verify(case, answer)
        if not gradients_defined:
            for key in KEYS:
                if key.startswith("grad_"):
                    answer[key] = None
        keep = ("error", "error_row", "nothing_kept")
        case["expected"] = {k: v if k in keep else show_all(v) for k, v in answer.items()}
        assert set(case) == set(ORDER), set(case) ^ set(ORDER)
        assert name not in [c["name"] for c in self.cases], name
        self.cases.append({k: case[k] for k in ORDER})

    def count_classes(self, case, classes):
        """Adds class counts to a margin value from class frequency that has none."""
        value = case["margin"]["value"]
        if value and value["per"] == "frequency" and value["class_counts"] is None:
            case["margin"]["value"] = value | {"class_counts": [1000, 40, 7, 350, 12][:classes]}

    def head(self, name, x, w, targets, **options):
        """Adds a cosine head."""
        case = dict(BLANK) | rounded(self.defaults) | {"name": name, "x": rounded(x), "w": rounded(w), "targets": targets}
        case |= rounded(options)
        self.count_classes(case, len(w) // case["sub_centers"])
        as_numbers = lambda table: [[mpf(v) for v in row] for row in case[table]]
        answer = heads.gradients(case, as_numbers("x"), as_numbers("w"))
        self.checked += heads.verify(case, as_numbers("x"), as_numbers("w"), answer)
        case["expected"] = {k: v if k == "winners" else show_all(v) for k, v in answer.items()}
        given = ("scores", "soft_targets", "embedding_norms", "weight_norms")
        self.heads.append({k: case[k] for k in ["name", "note", "x", "w"] + [k for k in ORDER[2:] if k not in given]})

    def update(self, name, scores, targets, **options):
        """Adds a state update with a batch."""
        case = dict(BLANK) | rounded(self.defaults)
        case |= {"name": name, "scores": rounded(scores), "targets": targets} | rounded(options)
        after = updated(case, Inputs(case))
        case["expected"] = {k: v if isinstance(v, int) else show(v) for k, v in after.items()}
        self.updates.append({k: case[k] for k in ORDER})

    def normal_draws(self, seed, step, rows):
        both = [uniforms(seed, step, i) for i in range(rows)]
        self.draws.append({"seed": seed, "step": step, "uniforms": show_all([list(u) for u in both]),
                           "normals": [show(normal(seed, step, i)) for i in range(rows)]})

    def norms(self, xn, wn):
        """Returns the norms that the preset needs."""
        if self.depends_on_norms:
            return {"embedding_norms": xn}
        if not self.angular or self.defaults["geometry"] == "cosine":
            return {}
        if self.defaults["geometry"] == "unit-weights":
            return {"embedding_norms": xn}
        return {"embedding_norms": xn, "weight_norms": wn}

    def random_case(self, name, rows=3, classes=4, targets=None, differentiable=True, **options):
        z, xn, wn = self.random_scores(rows, classes)
        targets = targets or [self.draw.randrange(classes) for _ in range(rows)]
        options = self.norms(xn, wn) | options
        if "soft_targets" in options:
            targets = None
        self.add(name, z, targets, differentiable=differentiable, **options)

    def flat_case(self, name, scores, targets, **options):
        """Adds a case with these scores, and with norms so large that |z| <= r."""
        rows, classes = len(scores), len(scores[0])
        largest_scores = [max([abs(v) for v in row if not isinstance(v, str)] + [1.0]) for row in scores]
        xn = [2.0 ** math.ceil(math.log2(b) + 0.5) for b in largest_scores]
        if self.depends_on_norms:
            xn = [16.0 + 24.0 * i for i in range(rows)]
        options = self.norms(xn, [1.0] * classes) | options
        self.add(name, scores, targets, **options)



# ---------------------------------------------------------------- cases that every preset has


def common_cases(p, incay=True):
    """Adds the common cases. `incay` is False if scores do not grow with the norm: feature incay is then rejected."""
    p.random_case("default, mean", rows=4, classes=5)
    p.random_case("default, none", reduction="none")
    p.random_case("another scale", scale=p.defaults["scale"] * 0.375)
    p.random_case("class and sample weights, mean", rows=4, classes=3, targets=[0, 1, 2, 1],
                  class_weights=[0.5, 2.0, 0.25], sample_weights=[1.0, 0.5, 3.0, 0.0])
    thorough = p.name in ("cross-entropy", "sphereface")
    if thorough:
        p.random_case("class and sample weights, none", rows=3, classes=3, targets=[2, 1, 0],
                      class_weights=[0.5, 2.0, 0.25], sample_weights=[1.0, 0.5, 3.0], reduction="none")
    p.random_case("ignored rows, mean", rows=4, classes=3, targets=[-100, 1, -100, 2], ignored=-100)
    p.random_case("ignored label inside the range, sum", rows=3, classes=3, targets=[0, 1, 2], ignored=1,
                  reduction="sum")
    p.random_case("everything ignored, mean", rows=2, classes=3, targets=[-100, -100], ignored=-100,
                  note="zero loss, zero gradients, and a flag")
    p.random_case("one class", rows=2, classes=1, targets=[0, 0], note="no negative: zero")
    p.random_case("two classes", rows=3, classes=2, targets=[0, 1, 0])
    n = {"embedding_norms": [0.75, 2.0, 3.5]}
    if p.defaults["geometry"] == "inner-product" and p.angular:
        n["weight_norms"] = [2.0, 2.0, 2.0]
    z = [[0.53125, 0.21875, -0.515625], [0.125, 0.71875, -0.265625], [0.546875, 0.375, -0.140625]]
    for reduction in ("mean", "sum", "none") if thorough else ("mean",):
        if incay:
            p.add(f"feature incay, {reduction}", z, [0, 1, 1], reduction=reduction,
                  regularizer={"kind": "feature-incay", "weight": 0.5, "radius": None},
                  sample_weights=[1.0, 2.0, 1.0], note="rows 0 and 1 are classified correctly", **n)
        p.add(f"ring, {reduction}", z, [0, 1, 1], reduction=reduction,
              regularizer={"kind": "ring", "weight": 0.25, "radius": 1.5},
              sample_weights=[1.0, 2.0, 1.0], **n)
    p.flat_case("tied negatives", [[0.25, 0.5, 0.5, 0.5], [0.5, 0.5, 0.25, 0.5]], [0, 2], differentiable=False,
                note="the lowest index wins where one must")
    p.flat_case("all scores equal", [[0.5, 0.5, 0.5], [0.0, 0.0, 0.0]], [1, 0], differentiable=False,
                note="ReLU'(0) = 0")
    p.flat_case("negatives at -inf", [[0.25, "-inf", 0.5, -0.25], ["-inf", 0.5, "-inf", 0.125], [0.5, "-inf", "-inf", "-inf"]],
                [0, 3, 0], differentiable=True, note="out of the comparison; row 2 has no negative left")
    p.flat_case("target at -inf", [["-inf", 0.5, 0.25], [0.25, 0.5, "-inf"]], [0, 0], reduction="sum")
    p.flat_case("negative at +inf", [[0.5, "inf", 0.25, 0.125], [0.5, "inf", 0.25, "inf"]], [0, 2], reduction="sum")
    p.flat_case("target at +inf alone", [["inf", 0.5, -0.25], [0.5, -0.5, 0.25]], [0, 1], differentiable=False)
    p.flat_case("both infinite", [[0.5, 0.25], ["inf", "inf"]], [0, 1])
    if thorough:
        p.flat_case("a score that is not a number", [[0.5, 0.25], [0.25, "nan"]], [0, 0])
    tiny = [[1e-30, -1e-30, 3e-30], [0.0, 2e-30, -1e-30]]
    p.flat_case("tiny scores", tiny, [0, 1], differentiable=False)


def unbounded_cases(p):
    """Adds cases with unbounded scores of an inner product."""
    p.flat_case("saturated, right", [[20.0, 0.0], [0.0, 60.0]], [0, 1], reduction="sum",
                note="in f32 lse - z_y would give 0")
    p.flat_case("saturated, wrong", [[-20.0, 0.0, -3.0], [0.5, -60.0, 0.25]], [0, 1], reduction="sum")
    p.flat_case("scores of 1e4", [[10000.0, 9999.0, -10000.0], [10000.0, 9999.0, 9998.5], [-10000.0, 10000.0, 0.0]],
                [0, 1, 0], differentiable=False)
    p.random_case("temperature", temperature=0.0625)
    p.random_case("scale and temperature", temperature=4.0, scale=2.5)


def cosine_cases(p):
    norms = lambda rows: p.norms([20.0, 90.0][:rows], None)
    p.add("right by far, large scale", [[0.984375, -0.5, -0.75]], [0], scale=256.0, **norms(1))
    p.add("wrong by far, large scale", [[-0.96875, 0.9375, -0.75]], [0], scale=256.0, **norms(1))
    p.add("small scale", [[0.5, -0.5, 0.25]], [0], scale=0.015625, **norms(1))
    p.add("scale 1e4", [[0.75, 0.5, -0.25], [0.25, 0.5, -0.5]], [0, 0], scale=10000.0, differentiable=False, **norms(2))


def cross_entropy_cases(p):
    """Adds cases with the options of log-sum-exp with softplus."""
    p.random_case("label smoothing", label_smoothing=0.1)
    p.flat_case("label smoothing with a negative at -inf", [[0.25, "-inf", 0.5, -0.25], [0.5, 0.25, "-inf", "-inf"]],
                [0, 1], label_smoothing=0.25, note="the smoothing is shared by the classes that remain")
    p.flat_case("label smoothing with infinite scores", [["-inf", 0.5, 0.25], [0.5, "inf", 0.25]], [0, 2],
                label_smoothing=0.25, reduction="sum", note="the target at -inf, then a negative at +inf")
    p.flat_case("label smoothing, one class", [[0.5]], [0], label_smoothing=0.25)
    p.random_case("z-loss", z_loss=0.125)
    p.flat_case("z-loss, one class", [[0.5]], [0], z_loss=0.125, note="zero by convention")
    p.random_case("label smoothing, z-loss, weights", label_smoothing=0.2, z_loss=0.01, targets=[0, 3, 1],
                  class_weights=[0.5, 1.0, 2.0, 3.0], sample_weights=[2.0, 0.25, 1.0])


def soft_target_cases(p):
    soft = [[0.5, 0.25, 0.125, 0.125], [0.0, 1.0, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25]]
    p.random_case("soft targets", soft_targets=soft)
    p.random_case("soft targets, weights, sum", soft_targets=soft, reduction="sum",
                  class_weights=[0.5, 1.0, 2.0, 3.0], sample_weights=[2.0, 0.25, 1.0])
    p.random_case("soft targets, z-loss", soft_targets=soft, z_loss=0.0625)
    p.flat_case("soft target 0 at -inf", [["-inf", 0.5, 0.25, -0.25]], None, soft_targets=[[0.0, 0.5, 0.25, 0.25]])
    p.flat_case("soft target above 0 at -inf", [["-inf", 0.5, 0.25, -0.25]], None,
                soft_targets=[[0.25, 0.25, 0.25, 0.25]])


def score_margin_cases(p, m):
    p.random_case("margin 0", margin=margin("score", one(0.0)), note="the same as no margin")
    p.random_case("twice the margin", margin=margin("score", one(2 * m)))
    p.random_case("margin per class", margin=margin("score", per_class(m, m / 2, 0.0, m / 4)), targets=[0, 1, 3])
    p.random_case("margin per sample", margin=margin("score", per_sample(m, m / 2, m / 8)))
    p.random_case("logit margin", margin=margin("logit", one(3.0)), scale=8.0,
                  note="a margin on the scaled logit: the scale does not touch it")
    p.random_case("logit margin per class", margin=margin("logit", per_class(1.0, 0.5, 0.0, 4.0)), targets=[3, 1, 0])


BOUNDARIES = ("continue", "extend", "plain", "clamp", "piecewise")


def at_the_poles(p, **shape):
    """Adds cases with theta at 0 and pi, where the exact gradient depends on the lower bound of the sine."""
    z = [[1.0, 0.25, -0.5], [-1.0, 0.5, 0.125]]
    if "plus" in shape:
        gradients_defined, note = True, "row 0 has theta = 0, row 1 theta = pi"
    else:
        gradients_defined, note = False, "gradients not pinned: sin(times theta) / sin(theta) is 0 / 0"
    for bits in (12, 20):
        p.add(f"theta at 0 and pi, floor 2^-{bits}", z, [0, 0], differentiable=False, gradients_defined=gradients_defined, scale=8.0,
              margin=angle(sin_floor=2.0**-bits, **shape), note=note)
    p.add("a cosine beyond 1 by rounding", [[1.0000001192092896, 0.25], [-1.0000001192092896, 0.25]], [0, 0],
          differentiable=False, gradients_defined=False, margin=angle(sin_floor=2.0**-20, **shape), scale=8.0,
          note="clamped to [-1, 1]; gradients not pinned")
    near = 1.0 - 2.0**-24
    p.add("theta near 0 and pi", [[near, 0.25], [-near, 0.25], [0.99990234375, 0.5], [-0.99990234375, 0.5]],
          [0, 0, 0, 0], margin=angle(**shape), reduction="sum", scale=8.0)
    p.add("straight-through at the poles", z, [0, 0], differentiable=False, reduction="sum", scale=8.0,
          margin=angle(gradient="straight-through", **shape))


def angle_cases(p, **shape):
    """Adds cases of angle margins under the cosine: poles, angles beyond pi, margin values, gradients."""
    at_the_poles(p, **shape)
    beyond_pi_cases(p, **shape)
    p.random_case("straight-through", margin=angle(gradient="straight-through", **shape), scale=16.0)
    p.random_case("plus per class", margin=angle(plus=per_class(0.5, 0.25, 0.0, 1.0)), targets=[0, 1, 3], scale=8.0)
    p.random_case("plus and minus per sample", scale=8.0,
                  margin=angle(plus=per_sample(0.5, 0.25, 0.125), minus=per_sample(0.125, 0.0, 0.25)))
    p.random_case("annealed", margin=angle(anneal_lambda=5.0, **shape), scale=8.0)
    p.random_case("neutral margin", margin=angle(times=1.0), scale=8.0, note="the same as no margin")
    p.random_case("times 1.5 with clamp", margin=angle(times=1.5, beyond_pi="clamp"), scale=8.0)


def beyond_pi_cases(p, **shape):
    z = [[-0.96875, 0.25, 0.5], [0.5, -0.99609375, 0.25], [0.125, 0.25, -0.75]]
    for choice in BOUNDARIES:
        if choice == "extend" and shape.get("times", 1.0) != 1.0:
            continue
        p.add(f"beyond pi, {choice}", z, [0, 1, 2], margin=angle(beyond_pi=choice, **shape), scale=4.0)
    p.add("beyond pi, continue, straight-through", z, [0, 1, 2], scale=4.0,
          margin=angle(gradient="straight-through", **shape))


def multiplicative_cases(p):
    """Adds cases of SphereFace and L-softmax with targets on every piece of psi."""
    both = p.defaults["geometry"] == "inner-product"

    def add_angles(cosines, r, name, label=0, **options):
        wn = [1.5, 0.5, 2.0] if both else None
        z = [[grid(c * r[i] * (wn[label] if both else 1.0)), 0.25, -0.125] for i, c in enumerate(cosines)]
        extra = {"weight_norms": wn} if both else {}
        p.add(name, z, [label] * len(z), embedding_norms=r, **extra, **options)

    cosines = [0.875, 0.375, -0.25, -0.875]
    r = [1.0, 2.5, 0.75, 3.0]
    for times in (1.0, 2.0, 3.0, 4.0):
        add_angles(cosines, r, f"times {times:g}, not annealed", margin=angle(times=times, beyond_pi="piecewise"))
    add_angles(cosines, r, "lambda 5", margin=angle(times=4.0, beyond_pi="piecewise", anneal_lambda=5.0))
    add_angles(cosines, r, "lambda 0", margin=angle(times=4.0, beyond_pi="piecewise", anneal_lambda=0.0))
    for choice in ("continue", "plain", "clamp"):
        add_angles(cosines, r, f"times 3, {choice}", margin=angle(times=3.0, beyond_pi=choice))
    add_angles(cosines, r, "times 1.5, clamp, scale 4", scale=4.0, margin=angle(times=1.5, beyond_pi="clamp"))
    add_angles(cosines, r, "plus and minus too", margin=angle(times=2.0, plus=one(0.25), minus=one(0.125), beyond_pi="piecewise"))
    add_angles([0.5, 0.25], [2.0, 1.0], "straight-through", reduction="sum",
               margin=angle(times=4.0, beyond_pi="piecewise", gradient="straight-through", anneal_lambda=5.0))
    add_angles([1.0, -1.0], [2.0, 2.0], "theta at 0 and pi", differentiable=False, gradients_defined=False,
               margin=angle(times=4.0, beyond_pi="piecewise", anneal_lambda=5.0, sin_floor=2.0**-20),
               note="gradients not pinned: sin(4 theta) / sin(theta) is 0 / 0")
    zero = {"embedding_norms": [0.0, 2.0], "weight_norms": [1.5, 0.0, 1.0]} if both else {"embedding_norms": [0.0, 2.0]}
    second = [0.75, 0.0, 0.5] if both else [0.75, 0.5, -0.25]
    p.add("a norm of 0", [[0.0, 0.0, 0.0], second], [0, 1 if both else 0], differentiable=False, reduction="sum",
          note="the target's term has gradient 0 where its radius is 0", **zero)



# ---------------------------------------------------------------- negatives, sub-centers, row-dependent margin values


def small_heads(p, rows=4, classes=3, dimension=3, **options):
    """Adds random heads with and without options."""
    d, k = p.draw, p.defaults["sub_centers"]
    draw = lambda n, size: [[grid(d.uniform(-size, size)) for _ in range(dimension)] for _ in range(n)]
    size = 60.0 if p.depends_on_norms else 2.0
    targets = [i % classes for i in range(rows)]
    p.head("default, mean", draw(rows, size), draw(classes * k, 2.0), targets, **options)
    p.head("small scale, weights, sum", draw(rows, size), draw(classes * k, 2.0), targets, reduction="sum", scale=4.0,
           sample_weights=[1.0, 0.5, 0.0, 2.0], **options)


def sub_center_cases(p):
    small_heads(p)
    x = [[1.0, 0.5], [-0.75, 1.0], [0.25, -1.5]]
    w = [[1.0, 0.25], [-0.5, 0.75], [0.25, 1.0], [-1.0, -0.5], [0.5, -1.0], [0.75, 0.5]]
    for k, targets in ((1, [0, 1, 4]), (2, [0, 1, 2]), (3, [0, 1, 1]), (6, [0, 0, 0])):
        p.head(f"{k} of 6 weights a class", x, w, targets, sub_centers=k, scale=8.0,
               note="one class: no loss" if k == 6 else "")


def negatives_at_the_poles(p, by):
    z = [[0.25, -1.0, 0.5], [-0.5, 0.125, -1.0]]
    for bits in (12, 20):
        p.add(f"a negative at pi, floor 2^-{bits}", z, [0, 0], differentiable=False, scale=8.0, negatives=divided(by, 2.0**-bits))
    p.add("a negative at 0", [[0.25, 1.0, 0.5]], [0], differentiable=False, gradients_defined=False, negatives=divided(by, 2.0**-20),
          scale=8.0, note="gradients not pinned: sin(theta / m) / sin(theta) is 0 / 0")
    p.add("a negative beyond 1 by rounding", [[0.25, 1.0000001192092896], [0.25, -1.0000001192092896]], [0, 0],
          differentiable=False, gradients_defined=False, negatives=divided(by, 2.0**-20), scale=8.0,
          note="clamped to [-1, 1]; gradients not pinned")
    near = 1.0 - 2.0**-24
    p.add("negatives near 0 and pi", [[0.25, near], [0.25, -near], [0.5, 0.99990234375], [0.5, -0.99990234375]],
          [0, 0, 0, 0], scale=8.0, reduction="sum")


def negatives_with_comparisons(p):
    """Adds cases of every comparison on modified scores."""
    z = [[0.25, 0.625, -0.375, 0.125], [-0.5, -0.25, 0.875, 0.375]]
    for name, gate in (("hardest", "relu"), ("hardest", "softplus"), ("each-pair", "softplus"), ("against-zero", "softplus"),
                       ("log-sum-exp", "relu"), ("log-sum-exp", "identity")):
        p.add(f"{name}, {gate}", z, [0, 1], comparison=name, gate=gate, scale=4.0)


def curricular_cases(p):
    z = [[0.5, 0.75, -0.25, 0.0625], [0.25, -0.125, 0.375, -0.5], [0.9375, 0.25, 0.125, -0.75]]
    for mean in (0.0, 0.25, 0.875, -0.125):
        p.add(f"T = {mean:g}", z, [0, 0, 0], scale=8.0, state=state(target_mean=mean))
    p.add("beyond pi", [[-0.96875, -0.9375, 0.5, -0.984375]], [0], scale=8.0, state=state(target_mean=0.5),
          note="compared with the plain cos(theta + m) = -0.97, not with its continuation -1.09: the last negative stays")
    p.random_case("straight-through", scale=8.0,
                  margin=angle(plus=one(0.5), gradient="straight-through"), state=state(target_mean=0.5))
    p.random_case("with a score margin", margin=margin("score", one(0.25)), scale=8.0, state=state(target_mean=0.5))
    p.random_case("without a margin", margin=margin(), scale=8.0, state=state(target_mean=0.5))
    negatives_with_comparisons(p)
    small_heads(p, state=state(target_mean=0.375))
    p.update("first batch", z, [0, 1, 2])
    p.update("later, ignored rows", z, [0, -1, 3], ignored=-1, state=state(step=900, seed=7, target_mean=0.625))
    p.update("everything ignored", z, [-1, -1, -1], ignored=-1, state=state(target_mean=0.5))
    p.update("momentum 1", z, [1, 0, 3], negatives=curricular(1.0), state=state(target_mean=0.5))
    p.update("an infinite target", [["-inf", 0.5], [0.75, 0.25]], [0, 0], note="it has no part in the mean")


def misclassified_cases(p):
    z = [[0.5, 0.75, -0.25, 0.0625], [0.25, -0.25, 0.375, -0.5], [0.9375, 0.25, 0.125, -0.75]]
    for factor in (1.0, 1.5, 3.0):
        p.add(f"factor {factor:g}", z, [0, 0, 0], scale=8.0, negatives=misclassified(factor))
    p.random_case("without a margin", margin=margin(), scale=8.0)
    p.random_case("logit margin", margin=margin("logit", one(3.0)), scale=8.0, note="psi = cos_y - m / s")
    p.random_case("with an angle margin", margin=angle(plus=one(0.5)), scale=8.0)
    p.add("with an angle margin beyond pi", [[-0.96875, -0.9375, 0.5, -0.984375]], [0], scale=8.0, margin=angle(plus=one(0.5)),
          note="compared with the continuation -1.09: the last negative is above it")
    negatives_with_comparisons(p)
    small_heads(p)


def frequency_cases(p):
    count = lambda *n, largest=0.5: margin("score", by_frequency(largest, list(n)))
    p.random_case("a class without samples", margin=count(16, 0, 1, 256), targets=[1, 0, 3], scale=8.0,
                  note="it has the largest margin, and is not the rarest")
    p.random_case("equal counts", margin=count(7, 7, 7, 7), scale=8.0)
    p.random_case("counts far apart", margin=count(1, 1000000007, 3, 50000, largest=1.0), targets=[1, 3, 2], scale=8.0)
    p.random_case("no samples at all", margin=count(0, 0, 0, 0), scale=8.0)
    p.random_case("on the angle", margin=angle(plus=by_frequency(0.5, [100, 20, 3, 1])), targets=[0, 1, 2], scale=8.0)
    p.random_case("on the logit", margin=margin("logit", by_frequency(4.0, [100, 20, 3, 1])), targets=[0, 1, 2], scale=8.0)
    small_heads(p)


def drawn_cases(p, shape):
    for seed, step in ((0, 1), (1, 0), (2**40 + 7, 123456)):
        p.random_case(f"seed {seed}, step {step}", rows=4, scale=16.0, state=state(seed=seed, step=step))
    p.random_case("std 0", margin=shape(drawn(0.25, 0.0)), scale=8.0)
    p.random_case("held within the range", rows=6, margin=shape(drawn(0.5, 2.0)), scale=4.0, state=state(seed=4),
                  note="draws below the least and above the greatest value")
    p.random_case("an ignored row draws too", rows=3, targets=[0, -1, 2], ignored=-1, scale=8.0, margin=shape(drawn(0.5, 0.25)))
    small_heads(p, state=state(seed=5, step=17))
    for seed, step, rows in ((0, 0, 8), (1, 0, 4), (0, 1, 4), (2**40 + 7, 2**33 + 5, 4)):
        p.normal_draws(seed, step, rows)


def standardized_cases(p):
    trained = state(step=5000, norm_mean=24.5, norm_std=3.25)
    z = [[0.5, 0.25, -0.375], [-0.25, 0.125, 0.75], [0.875, -0.5, 0.0625], [0.125, 0.25, -0.5]]
    norms = [24.0, 15.5, 31.0, 24.5]
    for case_state, name in ((state(), "at the beginning"), (trained, "in training")):
        p.add(name, z, [0, 1, 0, 2], embedding_norms=norms, state=case_state, scale=16.0)
    p.add("norms out of bounds", z, [0, 1, 0, 2], embedding_norms=[0.0, 5000.0, 100.5, 0.0005], state=trained, scale=16.0,
          note="held within [0.001, 100], u within [-1, 1]", differentiable=False)
    p.add("an angle below 0 and one beyond pi", [[0.9921875, 0.25], [-0.9921875, 0.25]], [0, 0], state=trained, scale=8.0,
          embedding_norms=[60.0, 2.0], note="the angles are 0 and pi, without slope; the score's part remains")
    p.add("std 0", z[:2], [0, 1], embedding_norms=[24.5, 24.500001907348633], scale=8.0,
          state=state(norm_mean=24.5, norm_std=0.0))
    p.add("on the score", z, [0, 1, 0, 2], embedding_norms=norms, state=trained, scale=8.0,
          margin=margin("score", standardized(0.4, 0.333)))
    p.add("straight-through", z, [0, 1, 0, 2], embedding_norms=norms, state=trained, scale=8.0,
          margin=angle(plus=standardized(0.4, 0.333), minus=standardized(0.4, 0.333), beyond_pi="clamp", gradient="straight-through"))
    small_heads(p, state=trained)
    p.update("first batch", z, [0, 1, 0, 2], embedding_norms=norms)
    p.update("norms out of bounds", z, [0, 1, 0, 2], embedding_norms=[0.0, 5000.0, 100.5, 0.0005], state=trained)
    p.update("ignored rows", z, [0, -1, -1, 2], embedding_norms=norms, ignored=-1, state=trained)
    p.update("a single row", z, [-1, -1, -1, 2], embedding_norms=norms, ignored=-1, state=trained,
             note="it has no deviation: that of the state stays")
    p.update("everything ignored", z, [-1] * 4, embedding_norms=norms, ignored=-1, state=trained)
    p.update("momentum 0.5", z, [0, 1, 0, 2], embedding_norms=norms, state=trained,
             margin=angle(plus=standardized(0.4, 0.333, 0.5), minus=standardized(0.4, 0.333, 0.5), beyond_pi="clamp"))


def linear_cases(p):
    z = [[0.5, 0.25, -0.375], [-0.25, 0.125, 0.75], [0.875, -0.5, 0.0625], [0.125, 0.25, -0.5]]
    for norms, name in (([20.0, 60.0, 90.0, 109.0], "inside"), ([2.0, 10.0, 110.0, 500.0], "at the ends and beyond"),
                        ([0.0, 1.0, 64.0, 100.0], "a norm of 0")):
        for reduction in ("mean", "sum"):
            p.add(f"norms {name}, {reduction}", z, [0, 1, 0, 2], embedding_norms=norms, scale=16.0, reduction=reduction,
                  differentiable=name == "inside", sample_weights=[1.0, 2.0, 0.5, 1.0])
    p.add("the margin alone", z, [0, 1, 0, 2], embedding_norms=[20.0, 60.0, 90.0, 109.0], scale=16.0, regularizer=None)
    p.add("the regularizer alone", z, [0, 1, 0, 2], embedding_norms=[20.0, 60.0, 90.0, 109.0], scale=16.0, margin=margin(),
          regularizer=magnitude(2.0, 16.0, 96.0))
    for choice in BOUNDARIES:
        p.add(f"beyond pi, {choice}", [[-0.96875, 0.25, 0.5], [0.5, -0.99609375, 0.25]], [0, 1], scale=4.0,
              embedding_norms=[30.0, 80.0], margin=angle(plus=linear(0.45, 0.8, 10.0, 110.0), beyond_pi=choice))
    p.add("straight-through", z, [0, 1, 0, 2], embedding_norms=[20.0, 60.0, 90.0, 109.0], scale=8.0,
          margin=angle(plus=linear(0.45, 0.8, 10.0, 110.0), gradient="straight-through"))
    p.add("plus and minus, annealed", z, [0, 1, 0, 2], embedding_norms=[20.0, 60.0, 90.0, 109.0], scale=8.0,
          margin=angle(plus=linear(0.45, 0.8, 10.0, 110.0), minus=linear(0.5, 0.25, 30.0, 80.0), anneal_lambda=2.0))
    p.add("on the score", z, [0, 1, 0, 2], embedding_norms=[20.0, 60.0, 90.0, 109.0], scale=8.0,
          margin=margin("score", linear(0.125, 0.5, 10.0, 110.0)))
    p.add("on the logit", z, [0, 1, 0, 2], embedding_norms=[20.0, 60.0, 90.0, 109.0], scale=8.0,
          margin=margin("logit", linear(1.0, 4.0, 10.0, 110.0)))
    small_heads(p)


def row_dependent_presets():
    def cosine_preset(name, formula, source, scale, margin_, **options):
        p = Preset(name, formula, source, "cosine", scale, margin_, "log-sum-exp", "softplus", **options)
        common_cases(p, incay=False), cosine_cases(p), cross_entropy_cases(p)
        return p

    arc = "ln(1 + sum_{j != y} e^(s cos_j - s cos(theta_y + m)))"
    p = cosine_preset("sub-center-arcface", arc + ", cos_j the largest over the K centers of class j", "Deng et al. 2020", 64.0,
                      angle(plus=one(0.5)), sub_centers=3)
    sub_center_cases(p)
    yield p

    p = cosine_preset("sphereface-r-v1", "ln(1 + sum_{j != y} e^(s cos_j - s cos(min(m theta_y, pi))))", "arXiv 2109.05565", 30.0,
                      angle(times=1.5, beyond_pi="clamp"))
    at_the_poles(p, times=1.5, beyond_pi="clamp")
    p.add("beyond pi", [[-0.96875, 0.25, 0.5], [0.5, -0.5625, 0.25]], [0, 1], scale=4.0)
    p.random_case("times 3", rows=5, targets=[0, 1, 2, 3, 0], margin=angle(times=3.0, beyond_pi="clamp"), scale=8.0)
    p.random_case("straight-through", margin=angle(times=1.5, beyond_pi="clamp", gradient="straight-through"), scale=8.0)
    small_heads(p)
    yield p

    p = cosine_preset("sphereface-r-v2", "ln(1 + sum_{j != y} e^(s cos(theta_j / m) - s cos_y))", "arXiv 2109.05565", 30.0, margin(),
                      negatives=divided(1.5))
    negatives_at_the_poles(p, 1.5), negatives_with_comparisons(p)
    p.random_case("neutral", negatives=divided(1.0), scale=8.0, note="the same as no margin")
    p.random_case("by 4", negatives=divided(4.0), scale=8.0)
    p.random_case("with an angle margin", margin=angle(plus=one(0.5)), scale=8.0)
    small_heads(p)
    yield p

    p = cosine_preset("ldam", "ln(1 + sum_{j != y} e^(s cos_j - s (cos_y - m_y))), m_y = m (n_y / n_min)^(-1/4)", "arXiv 1906.07413",
                      30.0, margin("score", by_frequency(0.5)))
    frequency_cases(p)
    yield p

    p = cosine_preset("elasticface", arc + ", m drawn for each row", "arXiv 2109.09416", 64.0, angle(plus=drawn(0.5, 0.0125)),
                      state=state())
    drawn_cases(p, lambda value: angle(plus=value))
    yield p

    p = cosine_preset("elasticface-cos", "ln(1 + sum_{j != y} e^(s cos_j - s (cos_y - m))), m drawn for each row", "arXiv 2109.09416",
                      64.0, margin("score", drawn(0.35, 0.0125)), state=state())
    drawn_cases(p, lambda value: margin("score", value))
    yield p

    value = standardized(0.4, 0.333)
    p = cosine_preset("adaface", "ln(1 + sum_{j != y} e^(s cos_j - s (cos(clip(theta_y - m u, 0, pi)) - m - m u)))", "arXiv 2204.00964",
                      64.0, angle(plus=value, minus=value, beyond_pi="clamp"), state=state())
    standardized_cases(p)
    yield p

    p = cosine_preset("magface", arc + ", m = .45 + .35 (a - 10) / 100; and 20 (a / 110^2 + 1 / a), a = |x| within [10, 110]",
                      "arXiv 2103.06627", 64.0, angle(plus=linear(0.45, 0.8, 10.0, 110.0)), regularizer=magnitude(20.0, 10.0, 110.0))
    linear_cases(p)
    yield p

    p = cosine_preset("curricularface", arc + ", cos_j (T + cos_j) in place of cos_j > cos(theta_y + m)", "arXiv 2004.00288", 64.0,
                      angle(plus=one(0.5)), negatives=curricular(), state=state())
    curricular_cases(p)
    yield p

    p = cosine_preset("mv-softmax", "ln(1 + sum_{j != y} e^(s cos_j - s (cos_y - m))), t cos_j + t - 1 in place of cos_j > cos_y - m",
                      "arXiv 1912.00833", 32.0, margin("score", one(0.35)), negatives=misclassified(1.12))
    misclassified_cases(p)
    yield p


# ---------------------------------------------------------------- the presets


def anneal(step):
    return max(mpf(5), 1000 * (1 + mpf(25) / 10**6 * step) ** -35)


def anneal_table():
    return [{"step": n, "lambda": show(anneal(n))} for n in (0, 1, 100, 1000, 5000, 6500, 6550, 100000)]


NOTES = "softmax cross-entropy seen as a smooth maximum"


def presets():
    p = Preset("cross-entropy", "ln(1 + sum_{j != y} e^(z_j - z_y))", NOTES,
               "inner-product", 1.0, margin(), "log-sum-exp", "softplus")
    common_cases(p), unbounded_cases(p), cross_entropy_cases(p), soft_target_cases(p)
    yield p

    p = Preset("weston-watkins", "sum_{j != y} max(0, z_j - z_y + m)", "Weston and Watkins 1999",
               "inner-product", 1.0, margin("score", one(1.0)), "each-pair", "relu")
    common_cases(p), unbounded_cases(p), score_margin_cases(p, 1.0)
    yield p

    p = Preset("crammer-singer", "max(0, max_{j != y} z_j - z_y + m)", "Crammer and Singer 2001",
               "inner-product", 1.0, margin("score", one(1.0)), "hardest", "relu")
    common_cases(p), unbounded_cases(p), score_margin_cases(p, 1.0)
    yield p

    p = Preset("lse-hinge", "max(0, ln sum_{j != y} e^(z_j) - z_y)", NOTES,
               "inner-product", 1.0, margin(), "log-sum-exp", "relu")
    common_cases(p), unbounded_cases(p)
    p.random_case("score margin", margin=margin("score", one(0.5)))
    yield p

    p = Preset("perceptron", "max(0, max_{j != y} z_j - z_y)", "Rosenblatt 1958, for several classes",
               "inner-product", 1.0, margin(), "hardest", "relu")
    common_cases(p), unbounded_cases(p)
    yield p

    p = Preset("one-versus-rest", "ln(1 + e^(-z_y)) + sum_{j != y} ln(1 + e^(z_j))", "binary logistic regression, once a class",
               "inner-product", 1.0, margin(), "against-zero", "softplus")
    common_cases(p), unbounded_cases(p)
    yield p

    p = Preset("normface", "ln(1 + sum_{j != y} e^(s cos_j - s cos_y))", "arXiv 1704.06369",
               "cosine", 20.0, margin(), "log-sum-exp", "softplus")
    common_cases(p), cosine_cases(p), cross_entropy_cases(p), soft_target_cases(p)
    yield p

    p = Preset("am-softmax", "ln(1 + sum_{j != y} e^(s cos_j - s (cos_y - m)))", "arXiv 1801.05599, arXiv 1801.09414",
               "cosine", 30.0, margin("score", one(0.35)), "log-sum-exp", "softplus")
    common_cases(p), cosine_cases(p), cross_entropy_cases(p), score_margin_cases(p, 0.35)
    yield p

    p = Preset("arcface", "ln(1 + sum_{j != y} e^(s cos_j - s cos(theta_y + m)))", "arXiv 1801.07698",
               "cosine", 64.0, angle(plus=one(0.5)), "log-sum-exp", "softplus")
    common_cases(p), cosine_cases(p), cross_entropy_cases(p), angle_cases(p, plus=one(0.5))
    yield p

    p = Preset("sphereface", "s |x| psi(theta_y) against s |x| cos_j, psi = (-1)^k cos(m theta) - 2k, blended (lambda cos + psi) / (1 + lambda)",
               "arXiv 1704.08063", "unit-weights", 1.0,
               angle(times=4.0, beyond_pi="piecewise", anneal_lambda=1000.0), "log-sum-exp", "softplus", anneal_table())
    common_cases(p), cross_entropy_cases(p), multiplicative_cases(p)
    yield p

    p = Preset("l-softmax", "s |x||w_y| psi(theta_y) against s <x, w_j>, psi = (-1)^k cos(m theta) - 2k, blended (lambda cos + psi) / (1 + lambda)",
               "arXiv 1612.02295", "inner-product", 1.0,
               angle(times=2.0, beyond_pi="piecewise", anneal_lambda=1000.0), "log-sum-exp", "softplus", anneal_table())
    common_cases(p), multiplicative_cases(p)
    p.random_case("label smoothing, z-loss", label_smoothing=0.1, z_loss=0.01)
    p.random_case("temperature", temperature=0.5)
    yield p

    p = Preset("combined-margin", "ln(1 + sum_{j != y} e^(s cos_j - s (cos(m1 theta_y + m2) - m3)))", "arXiv 1801.07698",
               "cosine", 64.0, angle(plus=one(0.3), minus=one(0.2)), "log-sum-exp", "softplus")
    common_cases(p), cosine_cases(p), beyond_pi_cases(p, plus=one(0.3), minus=one(0.2))
    p.random_case("label smoothing, z-loss", label_smoothing=0.1, z_loss=0.01)
    p.random_case("times .9, plus .4, minus .15", margin=angle(times=0.9, plus=one(0.4), minus=one(0.15)))
    p.random_case("times 2, plus .3, minus .2", margin=angle(times=2.0, plus=one(0.3), minus=one(0.2)), rows=5,
                  scale=4.0, targets=[0, 1, 2, 3, 0])
    yield p

    yield from row_dependent_presets()
