"""softmargin.sklearn: scikit-learn's own checks, the results of LogisticRegression, and every loss."""

import doctest
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
import scipy.sparse
import softmargin
import softmargin.sklearn.classifier
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.utils.estimator_checks import parametrize_with_checks
from softmargin.sklearn import MarginClassifier
from threadpoolctl import threadpool_limits

NAMES = [loss["name"] for loss in softmargin.losses()]
TIGHT = {"tol": 1e-8, "max_iter": 5000}


@pytest.fixture(autouse=True)
def one_thread():
    """Limits BLAS to one thread: the small products of LogisticRegression are slower with more."""
    with threadpool_limits(1, "blas"):
        yield


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    return X[:700], y[:700], X[900:], y[900:]


@pytest.fixture(scope="module")
def small():
    random = np.random.default_rng(3)
    y = random.integers(4, size=240)
    X = random.standard_normal((4, 6))[y] + random.standard_normal((240, 6))
    return X * [1, 3, 0.2, 1, 10, 1] + 2, y, random.uniform(0, 2, size=240)


@parametrize_with_checks([MarginClassifier()])
def test_checks_of_scikit_learn(estimator, check):
    check(estimator)


def test_examples():
    for module in (softmargin.sklearn, softmargin.sklearn.classifier):
        found = doctest.testmod(module)
        assert found.attempted > 0 and found.failed == 0


def test_softmargin_alone_does_not_need_scikit_learn():
    program = "import sys, softmargin; assert 'sklearn' not in sys.modules and 'scipy' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("class_weight", [None, "balanced", {0: 3.0, 1: 0.5}])
@pytest.mark.parametrize("options", [{}, {"C": 0.03}, {"fit_intercept": False}])
@pytest.mark.parametrize("classes", [2, 4])
def test_cross_entropy_is_logistic_regression(small, classes, options, class_weight, weighted):
    X, y, weights = small
    if isinstance(class_weight, dict):
        class_weight = {0: 1.0, 1: 1.0, 2: 1.0, 3: 1.0, **class_weight} if classes == 4 else class_weight
    y = y if classes == 4 else y % 2
    weights = weights if weighted else None
    ours, theirs = (
        model(class_weight=class_weight, **TIGHT, **options).fit(X, y, sample_weight=weights)
        for model in (MarginClassifier, LogisticRegression)
    )
    assert ours.coef_.shape == theirs.coef_.shape and ours.intercept_.shape == theirs.intercept_.shape
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-3)
    # A constant added to the intercepts of all classes changes nothing, and is not determined.
    centered = [model.intercept_ - (model.intercept_.mean() if classes == 4 else 0.0) for model in (ours, theirs)]
    np.testing.assert_allclose(*centered, atol=1e-3)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-3)
    assert ours.decision_function(X).shape == theirs.decision_function(X).shape


@pytest.mark.parametrize("name", NAMES)
def test_every_loss_learns_the_digits(digits, name):
    X, y, test_X, test_y = digits
    model = MarginClassifier(name, random_state=0, max_iter=40)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X, y)
    assert model.score(test_X, test_y) > 0.85
    proba = model.predict_proba(test_X)
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    assert (model.classes_[proba.argmax(axis=1)] == model.predict(test_X)).all()
    assert np.isfinite(model.loss_) and 1 <= model.n_iter_ <= 40
    if name == "sub-center-arcface":
        assert model.prototypes_.shape == (30, 64) and not hasattr(model, "coef_")
    else:
        assert model.coef_.shape == (10, 64) and model.intercept_.shape == (10,)
    assert model.scale_ != 20 if name == "normface" else model.scale_ == softmargin.losses(name)["scale"]


@pytest.mark.parametrize("name", NAMES)
def test_every_loss_takes_two_classes(small, name):
    X, y, weights = small
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = MarginClassifier(name, random_state=0, max_iter=30).fit(X, y % 2 == 1, sample_weight=weights)
    scores = model.decision_function(X)
    assert scores.shape == (240,) and model.predict_proba(X).shape == (240, 2)
    assert (model.predict(X) == (scores > 0)).all()
    assert ((model.predict_proba(X)[:, 1] > 0.5) == (scores > 0)).all()


@pytest.mark.parametrize("name", ["normface", "arcface", "sphereface-r-v2", "sub-center-arcface", "one-versus-rest"])
@pytest.mark.parametrize("classes", [2, 4])
def test_gradients_of_full_batches(small, name, classes):
    X, y, weights = small
    y = y % classes
    model = MarginClassifier(name, random_state=1)
    model.classes_ = np.arange(classes)
    model._form = form = model._make_form(np.bincount(y))
    objective = softmargin.sklearn.objective.Objective(form, X, y, weights, 1.0, -1.0)
    theta, _ = objective.pack(model._start(X, y, weights))
    theta = theta + 0.1 * np.random.default_rng(0).standard_normal(len(theta))
    _, gradient = objective(theta)
    for k in (0, 5, len(theta) - 1):
        step = np.zeros(len(theta))
        step[k] = 1e-6
        slope = (objective(theta + step)[0] - objective(theta - step)[0]) / 2e-6
        np.testing.assert_allclose(gradient[k], slope, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("solver", ["sgd", "adamw"])
@pytest.mark.parametrize("classes", [2, 4])
def test_mini_batches_come_near_full_ones(small, solver, classes):
    X, y, weights = small
    X, y = StandardScaler().fit_transform(X), y % classes
    whole = MarginClassifier(**TIGHT).fit(X, y, sample_weight=weights)
    options = {"max_iter": 500, "tol": 1e-5, "batch_size": 60, "random_state": 0}
    batches = MarginClassifier(solver=solver, **options).fit(X, y, sample_weight=weights)
    np.testing.assert_allclose(batches.coef_, whole.coef_, atol=0.1)
    np.testing.assert_allclose(batches.predict_proba(X), whole.predict_proba(X), atol=0.1)
    assert abs(batches.loss_ - whole.loss_) < 0.02


@pytest.mark.parametrize("solver", ["sgd", "adamw"])
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("C", [1.0, 0.1, 0.01, 0.001])
def test_mini_batches_have_the_same_penalty(solver, classes, C):
    random = np.random.default_rng(0)
    y = random.integers(classes, size=60)
    X = random.standard_normal((classes, 4))[y] + random.standard_normal((60, 4))
    whole = MarginClassifier(C=C, tol=1e-10, max_iter=5000).fit(X, y)
    for batch_size, max_iter in ((10, 500), (256, 2000)):
        options = {"tol": 1e-6, "batch_size": batch_size, "max_iter": max_iter, "random_state": 0}
        batches = MarginClassifier(C=C, solver=solver, **options).fit(X, y)
        assert np.linalg.norm(batches.coef_ - whole.coef_) < 0.05 * np.linalg.norm(whole.coef_)
        assert batches.n_iter_ < max_iter


def test_the_penalty_bounds_the_learning_rate_of_sgd(small):
    X, y, _ = small
    X = StandardScaler().fit_transform(X)
    whole = MarginClassifier(C=1e-6, **TIGHT).fit(X, y)
    options = {"learning_rate": 0.3, "max_iter": 500, "tol": 1e-8, "random_state": 0}
    batches = MarginClassifier(C=1e-6, solver="sgd", **options).fit(X, y)
    assert np.linalg.norm(batches.coef_ - whole.coef_) < 0.05 * np.linalg.norm(whole.coef_)


def test_the_hinge_of_two_classes_has_the_objective_of_a_support_vector_machine(small):
    X, y, _ = small
    X, y = StandardScaler().fit_transform(X), y % 2
    model = MarginClassifier("crammer-singer", solver="adamw", max_iter=300, tol=1e-6, random_state=0, C=0.1).fit(X, y)
    theirs = LinearSVC(loss="hinge", C=0.1, max_iter=1_000_000, intercept_scaling=10).fit(X, y)

    def value(coef, intercept):
        gaps = (2 * y - 1) * (X @ coef.ravel() + intercept)
        return 0.1 * np.maximum(1 - gaps, 0).sum() + 0.5 * (coef**2).sum()

    best = value(theirs.coef_, theirs.intercept_)
    assert value(model.coef_, model.intercept_) < 1.02 * best


def test_sparse_rows_give_the_results_of_dense_ones(digits):
    X, y, test_X, _ = digits
    X, test_X = X * (X > 0), test_X * (test_X > 0)
    for name in ("cross-entropy", "am-softmax", "crammer-singer"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            dense = MarginClassifier(name, random_state=0, max_iter=10).fit(X, y)
            sparse = MarginClassifier(name, random_state=0, max_iter=10).fit(scipy.sparse.csr_array(X), y)
        found = sparse.decision_function(scipy.sparse.csr_array(test_X))
        np.testing.assert_allclose(found, dense.decision_function(test_X), rtol=1e-2, atol=1e-2)


def test_single_and_double_precision_agree_in_mini_batches(digits):
    X, y, test_X, _ = digits
    single, double = (MarginClassifier("arcface", solver="adamw", random_state=0).fit(X.astype(t), y) for t in "fd")
    np.testing.assert_allclose(single.decision_function(test_X), double.decision_function(test_X), atol=1e-2)


def test_pipelines_searches_copies_and_pickles(digits):
    X, y, test_X, test_y = digits
    names = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])
    y, test_y = names[y], names[test_y]
    search = GridSearchCV(
        make_pipeline(StandardScaler(), MarginClassifier("am-softmax", random_state=0, max_iter=50)),
        {"marginclassifier__margin": [0.1, 0.3], "marginclassifier__scale": [8, 16]},
        cv=2,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        search.fit(X, y)
        assert search.score(test_X, test_y) > 0.85
        assert cross_val_score(search.best_estimator_, X, y, cv=2).min() > 0.8
    model = search.best_estimator_[-1]
    copy = clone(model)
    assert copy.get_params() == model.get_params() and not hasattr(copy, "coef_")
    again = pickle.loads(pickle.dumps(search.best_estimator_))
    assert (again.predict(test_X) == search.predict(test_X)).all()


@pytest.mark.parametrize("name", ["cross-entropy", "curricularface", "normface", "elasticface"])
def test_the_same_seed_gives_bitwise_identical_results(digits, name):
    X, y, _, _ = digits
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        models = [MarginClassifier(name, random_state=7, max_iter=5).fit(X, y) for _ in range(2)]
    assert np.array_equal(models[0].prototypes_, models[1].prototypes_)


@pytest.mark.parametrize("name", ["cross-entropy", "am-softmax", "elasticface", "normface"])
def test_a_warm_start_goes_on(digits, name):
    X, y, _, _ = digits
    model = MarginClassifier(name, random_state=0, warm_start=True, max_iter=8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        first = model.fit(X, y).loss_
        assert model.fit(X, y).loss_ < first
    with pytest.raises(ValueError, match="classes of the last fit"):
        model.fit(X, y % 3)
    with pytest.raises(ValueError, match="expected prototypes of shape"):
        model.fit(X[:, :9], y)


def test_a_warm_start_at_the_minimum_stays_there(small):
    X, y, _ = small
    model = MarginClassifier(warm_start=True, **TIGHT).fit(X, y)
    found = model.coef_
    np.testing.assert_allclose(model.fit(X, y).coef_, found, atol=1e-6)
    assert model.n_iter_ <= 2


@pytest.mark.parametrize(
    "name", ["cross-entropy", "am-softmax", "normface", "ldam", "curricularface", "sub-center-arcface"]
)
@pytest.mark.parametrize("solver", ["auto", "sgd"])
def test_partial_fit_learns_from_parts(digits, name, solver):
    X, y, test_X, test_y = digits
    model = MarginClassifier(name, random_state=0, batch_size=50, solver=solver)
    for epoch in range(15):
        for first in range(0, 700, 350):
            part = slice(first, first + 350)
            model.partial_fit(X[part], y[part], classes=range(10) if epoch == first == 0 else None)
        if epoch == 7:
            model = pickle.loads(pickle.dumps(model))
    assert model.score(test_X, test_y) > 0.8 and model.n_iter_ == 30


def test_pickles_of_partial_fit_go_on_to_the_bit(digits):
    X, y, _, _ = digits
    model = MarginClassifier("elasticface", random_state=0).partial_fit(X, y, classes=np.arange(10))
    again = pickle.loads(pickle.dumps(model))
    assert np.array_equal(model.partial_fit(X, y).prototypes_, again.partial_fit(X, y).prototypes_)


def test_partial_fit_goes_on_from_fit_and_rejects_other_labels(digits):
    X, y, test_X, test_y = digits
    model = MarginClassifier("am-softmax", random_state=0).fit(X, y)
    before, done = model.score(test_X, test_y), model.n_iter_
    assert model.partial_fit(X, y).score(test_X, test_y) > before - 0.03 and model.n_iter_ == done + 1
    with pytest.raises(ValueError, match="expected labels among the classes"):
        model.partial_fit(X, y + 1)
    with pytest.raises(ValueError, match="expected those of the first call"):
        model.partial_fit(X, y, classes=range(11))
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        MarginClassifier().partial_fit(X, y)
    with pytest.raises(ValueError, match="for partial_fit"):
        MarginClassifier(solver="lbfgs").partial_fit(X, y, classes=range(10))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"C": 0}, ValueError, "C == 0"),
        ({"C": "1"}, TypeError, "C must be an instance"),
        ({"tol": -1.0}, ValueError, "tol == -1.0"),
        ({"max_iter": 0}, ValueError, "max_iter == 0"),
        ({"batch_size": 0}, ValueError, "batch_size == 0"),
        ({"learning_rate": 0.0}, ValueError, "learning_rate == 0.0"),
        ({"solver": "newton"}, ValueError, "solver: expected one of"),
        ({"fit_intercept": "no"}, ValueError, "fit_intercept: expected True, False or 'auto'"),
        ({"warm_start": 3}, ValueError, "warm_start: expected True or False"),
        ({"class_weight": "even"}, ValueError, "balanced"),
        ({"loss": "arcface", "fit_intercept": True}, ValueError, "the scores of arcface have no bias"),
        ({"loss": "arcface", "C": 2.0}, ValueError, "no penalty where prototypes are normalized"),
        ({"loss": "arcface", "margin": 40}, ValueError, "if that is in degrees"),
        ({"loss": "arcface", "scale": -1}, ValueError, "scale"),
        ({"loss": "l-softmax", "fit_intercept": True}, ValueError, "geometry.bias"),
        ({"loss": "soft"}, ValueError, "soft"),
        ({"loss": 3}, TypeError, "expected a name or a dictionary"),
        ({"loss": "curricularface", "solver": "lbfgs"}, ValueError, "changes from step to step"),
        ({"solver": "lbfgs", "learning_rate": 0.1}, ValueError, "with learning_rate or batch_size"),
        ({"batch_size": 64}, ValueError, "found 'auto', which is 'lbfgs' for this loss"),
        ({"loss": {"name": "arcface", "spec": {"ignored-label": 1}}}, ValueError, "leave such rows out"),
        (
            {"loss": {"name": "normface", "spec": {"regularizer": {"kind": "ring", "weight": 1.0, "radius": 1.0}}}},
            ValueError,
            "norms of features",
        ),
        ({"solver": "sgd", "learning_rate": 1e30}, ValueError, "give a smaller one"),
        ({"class_weight": {0: 0.0, 1: 0.0, 2: 0.0, 3: 0.0}}, ValueError, "weight is above 0"),
    ],
)
def test_conflicting_parameters_are_rejected(small, options, error, message):
    with pytest.raises(error, match=message):
        MarginClassifier(**options).fit(*small[:2])


def test_a_rejected_fit_leaves_the_last_one(small):
    X, y, _ = small
    model = MarginClassifier("am-softmax", random_state=0).fit(X, y)
    before, proba = dict(vars(model)), model.predict_proba(X)
    others = np.arange(240) % 5 + 10
    with pytest.raises(ValueError, match="margin"):
        model.set_params(margin=40).fit(X[:, :3], others)
    model.set_params(margin=None)
    with pytest.raises(ValueError, match="give a smaller one"):
        model.set_params(loss="cross-entropy", solver="sgd", learning_rate=1e30).fit(X[:, :3], others)
    model.set_params(loss="am-softmax", solver="auto", learning_rate="auto")
    assert vars(model) == before
    assert np.array_equal(model.predict_proba(X), proba) and set(model.predict(X)) <= set(y)


def test_a_first_fit_that_is_rejected_fits_nothing(small):
    X, y, _ = small
    model = MarginClassifier(solver="sgd", learning_rate=1e30)
    with pytest.raises(ValueError, match="give a smaller one"):
        model.fit(X, y)
    assert vars(model) == model.get_params()
    with pytest.raises(NotFittedError):
        model.predict(X)
    # The estimator has other attributes than those with a trailing underscore, which scikit-learn looks for.
    model.classes_ = np.arange(4)
    with pytest.raises(NotFittedError):
        model.predict(X)


def test_a_rejected_partial_fit_counts_nothing(small):
    X, y, _ = small
    X = StandardScaler().fit_transform(X)
    model, same = (MarginClassifier(random_state=0, batch_size=60).partial_fit(X, y, np.arange(4)) for _ in range(2))
    before = dict(vars(model))
    for rows, labels, message in ((X, y + 1, "labels among the classes"), (X[:, :3], y, "features")):
        with pytest.raises(ValueError, match=message):
            model.partial_fit(rows, labels)
    for large in (1e20, 1e30):
        with pytest.raises(ValueError, match="give a smaller one|row"):
            # The first three batches are valid.
            model.partial_fit(np.vstack([X[:180], np.full((60, 6), large)]), y)
    assert vars(model) == before
    assert np.array_equal(model.partial_fit(X, y).prototypes_, same.partial_fit(X, y).prototypes_)


@pytest.mark.parametrize("spec", ["by-frequency", "by_frequency"])
def test_margins_by_frequency_get_the_counts_of_the_rows(small, spec):
    X, y, _ = small
    margin = {"kind": "score", "value": {spec: {"largest": 0.3}}}
    model = MarginClassifier({"name": "normface", "spec": {"margin": margin}}, random_state=0).fit(X, y)
    assert model._form.spec["margin"]["value"]["by-frequency"]["class-counts"] == np.bincount(y).tolist()
    own = {"margin": {"value": {spec: {"class_counts": [5, 6, 7, 8]}}}}
    model = MarginClassifier({"name": "ldam", "spec": own}, random_state=0).fit(X, y)
    assert model._form.spec["margin"]["value"]["by-frequency"]["class-counts"] == [5, 6, 7, 8]
    # A margin by number takes the place of the one by frequency.
    model = MarginClassifier({"name": "am-softmax", "spec": {"margin": margin}}, margin=0.2, random_state=0).fit(X, y)
    assert model._form.spec["margin"]["value"] == {"one": 0.2}
    plain = {"name": "ldam", "spec": {"margin": {"kind": "none"}}}
    assert MarginClassifier(plain, random_state=0, max_iter=5000).fit(X, y)._form.spec["margin"] == {"kind": "none"}


def test_bad_data_have_the_errors_of_scikit_learn(small):
    X, y, weights = small
    with pytest.raises(NotFittedError):
        MarginClassifier().predict(X)
    with pytest.raises(ValueError, match="one class"):
        MarginClassifier().fit(X, np.zeros(240))
    with pytest.raises(ValueError, match="Unknown label type"):
        MarginClassifier().fit(X, weights)
    with pytest.raises(ValueError, match="NaN"):
        MarginClassifier().fit(np.where(X > 9, np.nan, X), y)
    with pytest.raises(ValueError, match="Negative values"):
        MarginClassifier().fit(X, y, sample_weight=-weights)
    with pytest.raises(ValueError, match="at least one non-zero|weight is above 0"):
        MarginClassifier().fit(X, y, sample_weight=0 * weights)
    with pytest.raises(ValueError, match="features"):
        MarginClassifier().fit(X, y).predict(X[:, :3])


def test_parts_of_a_loss_take_effect(small):
    X, y, _ = small
    plain = MarginClassifier(max_iter=1000).fit(X, y)
    smoothed = MarginClassifier(
        {
            "name": "cross-entropy",
            "spec": {
                "comparison": {
                    "kind": "log-sum-exp",
                    "gate": {"kind": "softplus", "label-smoothing": 0.2, "z-loss": 0.0},
                }
            },
        },
        max_iter=1000,
    ).fit(X, y)
    assert smoothed.predict_proba(X).max() < plain.predict_proba(X).max()
    geometry = {"kind": "inner-product", "bias": False, "temperature": 2.0}
    cooled = MarginClassifier({"name": "cross-entropy", "spec": {"geometry": geometry}}, C=4.0, **TIGHT).fit(X, y)
    assert not cooled.intercept_.any()
    # Twice the weight with half the scores: C compensates for the penalty.
    same = LogisticRegression(fit_intercept=False, **TIGHT).fit(X, y)
    np.testing.assert_allclose(cooled.coef_, 2 * same.coef_, atol=1e-3)
    np.testing.assert_allclose(cooled.predict_proba(X), same.predict_proba(X), atol=1e-3)


def test_too_few_iterations_warn(small):
    for solver in ("lbfgs", "sgd"):
        with pytest.warns(ConvergenceWarning, match="Increase max_iter"):
            MarginClassifier(solver=solver, max_iter=2).fit(*small[:2])


def test_long_fits_say_how_far_they_are(monkeypatch, capsys, small):
    clock = iter(np.arange(0, 1e6, 0.9))
    monkeypatch.setattr(softmargin.sklearn.progress.time, "monotonic", lambda: next(clock))
    MarginClassifier(max_iter=1000).fit(*small[:2])
    assert capsys.readouterr().err == ""
    MarginClassifier(max_iter=1000, verbose=1).fit(*small[:2])
    lines = capsys.readouterr().err.splitlines()
    assert lines and all("s left at most" in line for line in lines)
