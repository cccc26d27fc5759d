"""The composition of PyTorch operations against the kernel in Rust, in ``float64``, and against finite differences."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import softmargin  # noqa: E402
from softmargin.torch import _composed  # noqa: E402
from softmargin.torch._composed import rows as composed_rows  # noqa: E402

CLASSES, WIDTH, ROWS = 7, 5, 12
COUNTS = [3, 5, 100, 7, 0, 1, 20]
PRESETS = [loss["name"] for loss in softmargin.losses()]
INNER = {"kind": "inner-product", "bias": False, "temperature": 2.0}
ANGLE = {"kind": "angle", "times": 1.0, "plus": {"one": 0.5}, "minus": {"one": 0.1}, "beyond-pi": "continue"}
EXACT, STRAIGHT = {**ANGLE, "gradient": "exact"}, {**ANGLE, "gradient": "straight-through"}
STANDARDIZED = {"from-norm": {"kind": "standardized", "value": 0.3, "concentration": 0.3, "momentum": 0.1}}
LINEAR = {"from-norm": {"kind": "linear", "low": 0.1, "high": 0.5, "norm-low": 1.0, "norm-high": 4.0}}
SPECS = {
    "label smoothing": ("am-softmax", {"label_smoothing": 0.1}),
    "z-loss": ("arcface", {"z_loss": 0.01}),
    "smoothed cross-entropy with temperature": (
        "cross-entropy",
        {"label_smoothing": 0.2, "z_loss": 0.1, "spec": {"geometry": {**INNER, "bias": True}}},
    ),
    "straight-through": ("arcface", {"spec": {"margin": STRAIGHT}}),
    "straight-through margin from the norm": ("normface", {"spec": {"margin": {**STRAIGHT, "plus": LINEAR}}}),
    "extended": ("arcface", {"spec": {"margin": {**EXACT, "beyond-pi": "extend"}}}),
    "plain": ("arcface", {"spec": {"margin": {**EXACT, "beyond-pi": "plain", "times": 2.5}}}),
    "angle of inner products": ("cross-entropy", {"spec": {"geometry": INNER, "margin": {**EXACT, "plus": LINEAR}}}),
    "angle of unit weights": (
        "normface",
        {"spec": {"geometry": {"kind": "unit-weights"}, "margin": {**EXACT, "minus": LINEAR}}},
    ),
    "per class": (
        "normface",
        {"spec": {"margin": {"kind": "score", "value": {"per-class": [0.1, 0, 0.5, 1, 2, 0.3, 0]}}}},
    ),
    "per sample": ("normface", {"spec": {"margin": {"kind": "score", "value": "per-sample"}}}),
    "per sample angle": ("normface", {"spec": {"margin": {**EXACT, "plus": "per-sample"}}}),
    "logit": ("cross-entropy", {"spec": {"margin": {"kind": "logit", "value": {"one": 0.7}}}}),
    "logit from the norm": ("normface", {"spec": {"margin": {"kind": "logit", "value": LINEAR}}}),
    "score from the norm": ("normface", {"spec": {"margin": {"kind": "score", "value": STANDARDIZED}}}),
    "drawn minus, norm plus": (
        "normface",
        {"spec": {"margin": {**EXACT, "plus": LINEAR, "minus": {"drawn": {"mean": 0.2, "std": 0.1}}}}},
    ),
    "soft pairs": ("weston-watkins", {"spec": {"comparison": {"kind": "each-pair", "gate": "softplus"}}}),
    "soft hardest": ("am-softmax", {"spec": {"comparison": {"kind": "hardest", "gate": "softplus"}}}),
    "identity": ("arcface", {"spec": {"comparison": {"kind": "log-sum-exp", "gate": {"kind": "identity"}}}}),
    "hinges against zero": ("one-versus-rest", {"spec": {"comparison": {"kind": "against-zero", "gate": "relu"}}}),
    "ring": ("am-softmax", {"spec": {"regularizer": {"kind": "ring", "weight": 0.3, "radius": 1.5}}}),
    "incay": ("cross-entropy", {"spec": {"regularizer": {"kind": "feature-incay", "weight": 0.3}}}),
    "learned scale of pairs": (
        "normface",
        {"spec": {"comparison": {"kind": "each-pair", "gate": "softplus"}}},
    ),
    "curricular, straight-through": ("curricularface", {"spec": {"margin": STRAIGHT}}),
    "sub-centers of unit weights": ("sphereface", {"spec": {"sub-centers": 2}}),
}
CASES = {**{name: (name, {}) for name in PRESETS}, **SPECS}


def made(name, num_classes=CLASSES, **more):
    preset, arguments = CASES[name]
    if preset == "ldam":
        arguments = {**arguments, "class_counts": COUNTS[:num_classes]}
    return softmargin.Loss(preset, num_classes, **{**arguments, **more})


def problem(loss, seed=0, rows=ROWS, near=False, **more):
    """Returns NumPy embeddings, weight and target, and the other inputs that the loss needs."""
    random = np.random.default_rng(seed)
    count = loss.spec.get("sub-centers", 1) * loss.num_classes
    weight = random.normal(size=(count, WIDTH))
    target = random.integers(0, loss.num_classes, rows)
    x = random.normal(size=(rows, WIDTH))
    if near:
        x = weight[target * loss.spec.get("sub-centers", 1)] + 0.01 * x
    if loss.name in ("adaface", "magface"):
        x = x * random.uniform(2, 60, size=(rows, 1))
    extras = dict(more)
    if loss.spec["geometry"].get("bias"):
        extras["bias"] = random.normal(size=count)
    if "per-sample" in str(loss.spec["margin"]):
        extras["margins"] = random.uniform(0, 0.6, rows)
    if loss.spec["scale"]["kind"] == "learned":
        extras["scale"] = 7.0
    if loss.spec.get("regularizer", {}).get("kind") == "ring":
        extras["radius"] = 1.2
    state = loss.initial_state(seed=3)
    if state is not None:
        extras["state"] = {**state, "step": 40_000, "target-mean": 0.3, "norm-mean": 30.0, "norm-std": 20.0}
    return x, weight, target, extras


def leaf(values):
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def tensors(extras):
    def one(name, value):
        if name in ("sample_weights", "margins"):
            return torch.tensor(value, dtype=torch.float64)
        return value if name == "state" else leaf(value)

    return {name: one(name, value) for name, value in extras.items()}


def assert_same(loss, x, weight, target, extras, reduction="mean", tolerance=1e-11):
    """Value and all gradients of the composition are those of the kernel."""
    expected = softmargin.Head(loss, loss.num_classes, WIDTH).evaluate(x, weight, target, reduction, **extras)
    x, weight, inputs = leaf(x), leaf(weight), tensors(extras)
    target = torch.as_tensor(target)
    value = _composed.batch_loss(loss, x, weight, target, reduction, **inputs)
    value.backward()
    near(value.item(), expected.value, tolerance)
    near(x.grad, expected.grad_embeddings, tolerance)
    near(weight.grad, expected.grad_weight, tolerance)
    for name in ("bias", "scale", "radius"):
        if name in inputs:
            near(inputs[name].grad, getattr(expected, f"grad_{name}"), tolerance)
    rows, weights = _composed.row_losses(loss, x, weight, target, **inputs)
    near(rows.detach(), expected.row_losses, tolerance)
    near(weights.sum().item(), expected.total_weight, tolerance)


def near(found, expected, tolerance):
    expected = np.asarray(expected)
    size = np.abs(expected).max() if expected.size else 0.0
    assert np.abs(np.asarray(found) - expected).max(initial=0.0) <= tolerance * size + 1e-300


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("name", CASES)
def test_value_and_gradients_are_those_of_the_kernel(name, reduction):
    loss = made(name)
    assert_same(loss, *problem(loss), reduction=reduction)


@pytest.mark.parametrize("name", CASES)
def test_targets_near_their_prototypes(name):
    loss = made(name)
    # The sine of a small angle is less accurate than its cosine.
    assert_same(loss, *problem(loss, near=True), tolerance=1e-8)


@pytest.mark.parametrize("name", CASES)
def test_weights_and_ignored_rows(name):
    loss = made(name, class_weights=np.linspace(0.5, 2, CLASSES), ignored_label=-1)
    x, weight, target, extras = problem(loss, seed=1)
    target[[2, 7]] = -1
    sample_weights = np.random.default_rng(5).uniform(0, 3, ROWS)
    sample_weights[4] = 0
    x[3] = 0
    weight[1] = 0
    assert_same(loss, x, weight, target, {**extras, "sample_weights": sample_weights})


@pytest.mark.parametrize("name", CASES)
def test_no_rows_and_all_rows_ignored(name):
    loss = made(name, ignored_label=-1)
    for rows in (0, 3):
        x, weight, _, extras = problem(loss, rows=rows)
        target = np.full(rows, -1, dtype=np.int64)
        assert_same(loss, x, weight, target, extras)
        inputs = {key: value if key == "state" else value.detach() for key, value in tensors(extras).items()}
        nan = _composed.batch_loss(loss, leaf(x), leaf(weight), torch.as_tensor(target), "mean-or-nan", **inputs)
        assert nan.isnan()


@pytest.mark.parametrize("name", PRESETS)
def test_one_class(name):
    loss = made(name, num_classes=1)
    assert_same(loss, *problem(loss, rows=4))


@pytest.mark.parametrize("name", CASES)
def test_chunks_change_nothing(name, monkeypatch):
    monkeypatch.setattr(composed_rows, "MOST_SCORES", 5 * CLASSES)
    loss = made(name)
    assert_same(loss, *problem(loss))


NOT_CHECKED = {
    "adaface": "its margin is treated as a constant, but depends on the norm",
    "score from the norm": "its margin is treated as a constant, but depends on the norm",
    "straight-through": "the gradient is not that of the value",
    "straight-through margin from the norm": "the gradient is not that of the value",
    "curricular, straight-through": "the gradient is not that of the value",
}


@pytest.mark.parametrize("name", [name for name in CASES if name not in NOT_CHECKED])
def test_gradients_are_those_of_the_value(name):
    loss = made(name)
    x, weight, target, extras = problem(loss, seed=2, rows=4)
    state, inputs = extras.pop("state", None), tensors(extras)
    fixed = {name: inputs.pop(name) for name in ("sample_weights", "margins") if name in inputs}
    names = list(inputs)

    def rows(x, weight, *values):
        given = {**fixed, **dict(zip(names, values, strict=True))}
        return _composed.row_losses(loss, x, weight, torch.as_tensor(target), state=state, **given)[0]

    arguments = (leaf(x), leaf(weight), *inputs.values())
    assert torch.autograd.gradcheck(rows, arguments, eps=1e-7, atol=1e-5, rtol=1e-4, fast_mode=True)


@pytest.mark.parametrize("parameter", [0.5, 1.0, 128.0, 300.0])
def test_a_learned_scale_is_kept_in_its_range(parameter):
    loss = made("normface")
    x, weight, target, extras = problem(loss)
    assert_same(loss, x, weight, target, {**extras, "scale": parameter}, tolerance=1e-10)


@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.1}, {"z_loss": 0.05}, {"class_weights": range(1, 8)}])
def test_distributions(options):
    loss = softmargin.Loss("cross-entropy", CLASSES, **options)
    x, weight, target, extras = problem(loss)
    given = np.random.default_rng(1).dirichlet(np.full(CLASSES, 0.3), ROWS)
    given[0] = np.eye(CLASSES)[3]
    assert_same(loss, 5 * x, weight, given, extras)


def test_a_class_of_score_minus_infinity_is_out():
    for name in ("cross-entropy", "one-versus-rest"):
        loss = made(name)
        x, weight, target, extras = problem(loss)
        extras["bias"][2] = -np.inf
        assert_same(loss, x, weight, np.where(target == 2, 1, target), extras)
    loss, given = made("cross-entropy"), np.full((ROWS, CLASSES), 1 / (CLASSES - 1))
    given[:, 2] = 0
    assert_same(loss, x, weight, given, extras)


def test_a_target_that_leads_keeps_its_loss():
    loss = softmargin.Loss("normface", 2, spec={"scale": {"kind": "fixed", "value": 10.0}})
    x, weight = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    rows, _ = _composed.row_losses(loss, x, weight, torch.tensor([0]))
    assert rows.item() == pytest.approx(2.0611536e-9, rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", PRESETS)
def test_other_types(name, dtype):
    loss = made(name)
    x, weight, target, extras = problem(loss)
    expected = softmargin.Head(loss, loss.num_classes, WIDTH).evaluate(x, weight, target, **extras).value
    inputs = {key: value if key == "state" else torch.tensor(value).to(dtype) for key, value in extras.items()}
    x, weight = (torch.tensor(values).to(dtype).requires_grad_() for values in (x, weight))
    value = _composed.batch_loss(loss, x, weight, torch.tensor(target), **inputs)
    value.backward()
    assert value.dtype == torch.float32 and x.grad.dtype == dtype and x.grad.isfinite().all()
    assert value.item() == pytest.approx(expected, rel=1e-4 if dtype == torch.float32 else 0.1)


@pytest.mark.parametrize("name", PRESETS)
def test_a_target_on_its_prototype_has_a_finite_gradient(name):
    loss = made(name)
    x, weight, target, extras = problem(loss)
    count = loss.spec.get("sub-centers", 1)
    for sign in (1, -1):
        x, w = leaf(sign * weight[target * count]), leaf(weight)
        _composed.batch_loss(loss, x, w, torch.tensor(target), **tensors(extras)).backward()
        assert x.grad.isfinite().all() and w.grad.isfinite().all()


@pytest.mark.parametrize("name", [name for name in CASES if made(name).initial_state() is not None])
def test_the_next_state_is_that_of_the_kernel(name):
    loss = made(name, ignored_label=-1)
    x, weight, target, extras = problem(loss)
    target[1] = -1
    state = extras.pop("state")
    extras.pop("scale", None)
    found = _composed.next_state(loss, state, leaf(x), leaf(weight), torch.tensor(target), **tensors(extras))
    expected = softmargin.Head(loss, loss.num_classes, WIDTH).update(state, x, weight, target, **extras)
    assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", PRESETS)
def test_scores(name):
    loss = made(name)
    x, weight, _, extras = problem(loss)
    bias = extras.get("bias")
    found = _composed.scores(loss, leaf(x), leaf(weight), None if bias is None else leaf(bias))
    near(found.detach(), softmargin.Head(loss, loss.num_classes, WIDTH).scores(x, weight, bias), 1e-14)


def test_invalid_inputs_are_rejected():
    loss, x, weight = made("am-softmax"), torch.ones(2, WIDTH), torch.ones(CLASSES, WIDTH)
    target = torch.tensor([0, 1])

    def rejects(error, words, *arguments, of=loss, **more):
        with pytest.raises(error, match=words):
            _composed.row_losses(of, *arguments, **more)

    rejects(IndexError, r"target of row 1: expected a class from 0 to 6, found 7", x, weight, torch.tensor([0, 7]))
    rejects(IndexError, r"target of row 0: expected .*, found -1", x, weight, torch.tensor([-1, 0]))
    rejects(ValueError, "target: expected length 2", x, weight, torch.tensor([0]))
    rejects(TypeError, "target: expected whole numbers", x, weight, torch.tensor([0.0, 1.0]))
    rejects(ValueError, "weight: expected 7 prototypes, found 6", x, weight[:6], target)
    rejects(ValueError, "weight: expected .*as wide", x, torch.ones(CLASSES, 4), target)
    rejects(TypeError, "weight: expected torch.float32", x, weight.double(), target)
    rejects(ValueError, "bias: expected nothing", x, weight, target, bias=torch.zeros(CLASSES))
    rejects(ValueError, "scale: expected nothing", x, weight, target, scale=torch.tensor(1.0))
    rejects(ValueError, "state: expected nothing", x, weight, target, state={})
    rejects(ValueError, r"sample weights\[1\]", x, weight, target, sample_weights=torch.tensor([1.0, -1.0]))
    rejects(ValueError, "soft targets: expected classes", x, weight, torch.full((2, CLASSES), 1 / CLASSES))
    rejects(ValueError, "state: expected to come", x, weight, target, of=made("curricularface"))
    rejects(ValueError, "margins: expected to come", x, weight, target, of=made("per sample"))
    beyond = torch.tensor([0.1, 4.0])
    words = r"margins\[1\]: expected .*from 0 to 2"
    rejects(ValueError, words, x, weight, target, of=made("per sample"), margins=beyond)
    plain = softmargin.Loss("cross-entropy", CLASSES)
    given, bias = torch.full((2, CLASSES), 1.0), torch.zeros(CLASSES)
    rejects(ValueError, r"targets of row 0: expected", x, weight, given, of=plain, bias=bias)
    with pytest.raises(ValueError, match="reduction: expected one of"):
        _composed.batch_loss(loss, x, weight, target, "none")
