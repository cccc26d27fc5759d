"""Losses of NumPy scores: values, gradients, inputs and errors."""

import array
import copy
import pickle
import sys

import numpy as np
import pytest
import softmargin
from conftest import NAMES, make_loss


def needed(loss, rows, rng, dtype=np.float64):
    """Returns the inputs that a loss needs beside scores and targets."""
    extras = {}
    if loss.needs_embedding_norms:
        extras["embedding_norms"] = rng.uniform(5.0, 60.0, rows).astype(dtype)
    if loss.needs_weight_norms:
        extras["weight_norms"] = rng.uniform(0.5, 2.0, loss.num_classes).astype(dtype)
    if loss.initial_state() is not None:
        extras["state"] = loss.initial_state(seed=3)
    return extras


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_the_derivatives_of_the_value(name, rng):
    loss = make_loss(name, 7)
    scores, target = rng.uniform(-0.6, 0.6, (5, 7)), rng.integers(0, 7, 5)
    extras = needed(loss, 5, rng)
    if loss.needs_weight_norms:  # inner products: as large as the norms allow
        scores = scores * extras["embedding_norms"][:, None] * extras["weight_norms"]
    value, gradient = loss.value_and_grad(scores, target, **extras)
    assert value == loss(scores, target, **extras)
    if loss.spec["margin"].get("gradient") == "straight-through":
        return  # not the derivative of the value, by design
    step = 1e-6 * max(1.0, np.abs(scores).max())
    for place in [(0, 0), (1, 3), (4, 6), (2, int(target[2]))]:
        moved = np.zeros_like(scores)
        moved[place] = step
        slope = (loss(scores + moved, target, **extras) - loss(scores - moved, target, **extras)) / (2 * step)
        assert slope == pytest.approx(gradient[place], rel=2e-4, abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_single_precision_agrees_with_double(name, rng):
    loss = make_loss(name, 50)
    scores, target = rng.uniform(-0.6, 0.6, (9, 50)), rng.integers(0, 50, 9)
    extras = needed(loss, 9, rng)
    value, gradient = loss.value_and_grad(scores, target, **extras)
    single, of_single = loss.value_and_grad(scores.astype(np.float32), target, **extras)
    assert of_single.dtype == np.float32
    assert single == pytest.approx(value, rel=1e-4)
    np.testing.assert_allclose(of_single, gradient, rtol=1e-2, atol=1e-4 * np.abs(gradient).max())


def test_reductions(rng):
    loss = softmargin.Loss("am-softmax", 4, ignored_label=-1)
    scores, target, weights = rng.uniform(-1, 1, (3, 4)), [1, -1, 2], [0.5, 1.0, 2.0]
    rows = loss(scores, target, "none", sample_weights=weights)
    assert rows.shape == (3,) and rows[1] == 0.0
    assert loss(scores, target, "sum", sample_weights=weights) == pytest.approx(rows.sum())
    assert loss(scores, target, sample_weights=weights) == pytest.approx(rows.sum() / 2.5)
    nothing = loss.evaluate(scores, [-1, -1, -1])
    assert (nothing.value, nothing.num_valid) == (0.0, 0) and not nothing.grad_scores.any()
    assert np.isnan(loss(scores, [-1, -1, -1], "mean-or-nan"))


def test_soft_targets_and_smoothing(rng):
    scores, target = rng.normal(size=(3, 4)), np.array([0, 1, 3])
    smoothed = softmargin.Loss("cross-entropy", 4, label_smoothing=0.1)(scores, target)
    soft = 0.9 * np.eye(4)[target] + 0.1 / 4
    assert softmargin.Loss("cross-entropy", 4)(scores, soft) == pytest.approx(smoothed)


def test_a_name_a_dictionary_and_keywords_make_the_same_loss():
    whole = softmargin.Loss({"name": "arcface", "scale": 20, "margin": [0.3], "spec": {"ignored-label": -1}}, 5)
    assert whole.spec == softmargin.Loss("arcface", 5, scale=20, margin=0.3, ignored_label=-1).spec
    geometry = {"geometry": {"kind": "inner-product", "bias": False, "temperature": 2.0}}
    assert softmargin.Loss("cross-entropy", 5, spec=geometry).spec["geometry"]["temperature"] == 2.0
    underscores = {"sub_centers": np.int64(2), "margin": {"beyond_pi": "extend"}}
    hyphens = {"sub-centers": 2, "margin": {"beyond-pi": "extend"}}
    assert softmargin.Loss("arcface", 5, spec=underscores).spec == softmargin.Loss("arcface", 5, spec=hyphens).spec
    combined = softmargin.Loss("combined-margin", 5, margin=(0.9, 0.4, 0.15))
    assert combined.spec["margin"]["times"] == 0.9


def test_a_loss_survives_pickling_and_copying():
    loss = make_loss("ldam", 5, scale=12.0, label_smoothing=0.1)
    for other in (pickle.loads(pickle.dumps(loss)), copy.deepcopy(loss)):
        assert (other.name, other.num_classes, other.spec) == (loss.name, loss.num_classes, loss.spec)
        assert repr(other) == repr(loss)


def test_arrays_of_any_layout_are_read(rng):
    scores = rng.uniform(-1, 1, (6, 10)).astype(np.float32)
    loss, target = softmargin.Loss("am-softmax", 5), np.arange(6) % 5
    strided = scores[:, ::2]
    want = loss.value_and_grad(strided.copy(), target)
    for same in (strided, np.asfortranarray(strided), strided[::-1][::-1], strided.view(np.recarray), strided.tolist()):
        value, gradient = loss.value_and_grad(same, target)
        assert value == pytest.approx(want[0], rel=1e-6)
        np.testing.assert_allclose(gradient, want[1], atol=1e-5)
    swapped = strided.astype(">f4")
    assert loss(swapped, target.astype(">i4")) == want[0]
    read_only = strided.copy()
    read_only.flags.writeable = False
    assert loss(read_only, target.astype(np.uint8)) == want[0]


def test_labels_of_any_kind_are_read():
    class Wrapped:  # as a series of pandas is
        def __array__(self, dtype=None, copy=None):
            return np.array([0, 2], dtype=np.int16)

    loss, scores = softmargin.Loss("arcface", 3), np.zeros((2, 3))
    want = loss(scores, [0, 2])
    for labels in (Wrapped(), range(0, 3, 2), array.array("i", [0, 2]), (0, 2), np.array([0, 2], np.uint64)):
        assert loss(scores, labels) == want


def test_a_loss_copies_its_arguments():
    weights = np.ones(3)
    loss = softmargin.Loss("normface", 3, class_weights=weights)
    weights[:] = 5
    assert copy.deepcopy(loss)(np.eye(3), [0, 1, 2], "sum") == loss(np.eye(3), [0, 1, 2], "sum")
    assert len(repr(softmargin.Loss("ldam", 1000, class_counts=range(1, 1001)))) < 200


def test_objects_that_support_dlpack_are_read():
    class WithDLPack:
        def __init__(self, array):
            self.array = array

        def __dlpack__(self, **options):
            return self.array.__dlpack__(**options)

        def __dlpack_device__(self):
            return self.array.__dlpack_device__()

    scores = np.array([[0.5, 0.1]])
    loss = softmargin.Loss("normface", 2)
    assert loss(WithDLPack(scores), [0]) == loss(scores, [0])


@pytest.mark.parametrize(
    ("kind", "words", "call"),
    [
        (ValueError, "did you mean", lambda: softmargin.Loss("arcfase", 3)),
        (ValueError, "num_classes", lambda: softmargin.Loss("arcface", 0)),
        (TypeError, "num_classes", lambda: softmargin.Loss("arcface")),
        (TypeError, "num_classes", lambda: softmargin.Loss("arcface", 2.5)),
        (ValueError, "num_classes", lambda: softmargin.Loss("arcface", -1)),
        (ValueError, "class_counts", lambda: softmargin.Loss("ldam", 2, class_counts=[1, -1])),
        (ValueError, "seed", lambda: softmargin.Loss("adaface", 2).initial_state(-1)),
        (ValueError, "margin", lambda: softmargin.Loss("cross-entropy", 3, margin=0.5)),
        (ValueError, "label_smoothing: .*crammer", lambda: softmargin.Loss("crammer-singer", 3, label_smoothing=0.1)),
        (ValueError, "label_smoothing", lambda: softmargin.Loss("one-versus-rest", 3, label_smoothing=0.1)),
        (ValueError, "keys", lambda: softmargin.Loss({"name": "arcface", "scales": 3}, 3)),
        (ValueError, "parts of the loss", lambda: softmargin.Loss("arcface", 3, spec={"geometri": {}})),
        (ValueError, "sub-centers.*renamed", lambda: softmargin.Loss("arcface", 3, spec={"sub_centres": 2})),
        (ValueError, "class_counts", lambda: softmargin.Loss("arcface", 3, class_counts=[1, 2, 3])),
        (IndexError, "target", lambda: softmargin.Loss("arcface", 3)(np.zeros((1, 3)), [3])),
        (IndexError, "target", lambda: softmargin.Loss("arcface", 3)(np.zeros((1, 3)), [-1])),
        (ValueError, "scores", lambda: softmargin.Loss("arcface", 3)(np.zeros((1, 4)), [0])),
        (ValueError, "dimensions", lambda: softmargin.Loss("arcface", 3)(np.zeros(3), [0])),
        (ValueError, "NaN", lambda: softmargin.Loss("arcface", 3)(np.full((1, 3), np.nan), [0])),
        (TypeError, "float16", lambda: softmargin.Loss("arcface", 3)(np.zeros((1, 3), np.float16), [0])),
        (TypeError, "int64", lambda: softmargin.Loss("arcface", 3)(np.zeros((1, 3), np.int64), [0])),
        (TypeError, "integers", lambda: softmargin.Loss("arcface", 3)(np.zeros((1, 3)), [0.5])),
        (TypeError, "integers", lambda: softmargin.Loss("arcface", 3)(np.zeros((1, 3)), [True])),
        (TypeError, "mask", lambda: softmargin.Loss("arcface", 3)(np.ma.zeros((1, 3)), [0])),
        (TypeError, "numbers", lambda: softmargin.Loss("arcface", 3)(object(), [0])),
        (ValueError, "one length", lambda: softmargin.Loss("arcface", 3)([[1.0], [1.0, 2.0]], [0, 1])),
        (ValueError, "reduction", lambda: softmargin.Loss("arcface", 3)(np.zeros((1, 3)), [0], "average")),
        (TypeError, "weights", lambda: softmargin.Loss("arcface", 3)(np.zeros((1, 3)), [0], weights=[1.0])),
        (ValueError, "embedding norms", lambda: softmargin.Loss("adaface", 3)(np.zeros((1, 3)), [0])),
        (
            ValueError,
            "sample weights",
            lambda: softmargin.Loss("arcface", 3)(np.zeros((1, 3)), [0], sample_weights=[-1.0]),
        ),
    ],
)
def test_errors_say_what_was_expected(kind, words, call):
    with pytest.raises(kind, match=f"(?i){words}"):
        call()


def test_a_batch_of_no_rows():
    value, gradient = softmargin.Loss("arcface", 3).value_and_grad(np.zeros((0, 3)), [])
    assert value == 0.0 and gradient.shape == (0, 3)


def test_state_is_never_changed_in_place(rng):
    loss = softmargin.Loss("adaface", 4)
    state = loss.initial_state(seed=5)
    before = dict(state)
    norms = rng.uniform(5, 30, 6)
    updated = loss.update(state, rng.uniform(-1, 1, (6, 4)), np.arange(6) % 4, embedding_norms=norms)
    assert state == before and updated["seed"] == 5
    assert updated["norm-mean"] == pytest.approx(0.01 * norms.mean() + 0.99 * 20.0)


def test_import_is_quick_and_leaves_the_frameworks_alone():
    """At most 0.1 s beyond NumPy."""
    import subprocess

    code = (
        "import time, numpy; t = time.perf_counter(); import softmargin; print(time.perf_counter() - t); import sys; "
    )
    code += "print(sorted({'torch', 'sklearn', 'scipy'} & set(sys.modules)))"
    found = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split("\n")
        for _ in range(3)
    ]
    assert min(float(lines[0]) for lines in found) < 0.1
    assert found[0][1] == "[]"
