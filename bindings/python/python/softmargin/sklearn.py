"""A classifier for scikit-learn with any loss of the family, on features as they are given.

>>> from sklearn.datasets import load_digits
>>> from sklearn.pipeline import make_pipeline
>>> from sklearn.preprocessing import StandardScaler
>>> from softmargin.sklearn import MarginClassifier
>>> X, y = load_digits(return_X_y=True)
>>> model = make_pipeline(StandardScaler(), MarginClassifier("am-softmax", scale=16, random_state=0))
>>> model.fit(X[:1200], y[:1200]).score(X[1200:], y[1200:]) > 0.85
True
"""

import dataclasses
import sys
import time
import warnings

import numpy as np
import scipy.optimize
import scipy.sparse
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import normalize
from sklearn.utils import check_random_state, check_scalar
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.extmath import row_norms
from sklearn.utils.multiclass import check_classification_targets, unique_labels
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
from threadpoolctl import threadpool_limits  # of scikit-learn

from softmargin import smooth
from softmargin._head import Head, Optimiser
from softmargin._loss import Loss

__all__ = ["MarginClassifier"]

SOLVERS = ("auto", "lbfgs", "sgd", "adamw")
BATCH_SIZE = 256
SMALL = 100_000_000  # multiplications
DIVERGED = 1e12
NUMBERS = {"sgd": {"momentum": 0.9, "nesterov": True}, "adamw": {}}
PAIR = np.array([-0.5, 0.5])  # of one vector of two classes, what each class has


class MarginClassifier(ClassifierMixin, BaseEstimator):
    """A linear classifier, or one over cosines, trained with any loss of the family.

    The default is logistic regression: with ``loss="cross-entropy"`` the objective is that of
    :class:`sklearn.linear_model.LogisticRegression`, ``C * sum_i weight_i loss_i + |coef|^2 / 2`` with the intercept
    not penalised, and so is the answer. Two classes share one vector there, as they do with every loss that looks at
    nothing but differences of inner products (the hinges: support vector machines). Losses over cosines do not feel
    the length of their prototypes, and have no penalty.

    Parameters
    ----------
    loss : str or dict, default="cross-entropy"
        A name (see :func:`softmargin.losses`) or the dictionary that :class:`softmargin.Loss` takes. A margin by
        frequency counts the rows of each class in ``y``. Embeddings are fixed here, so that a term on their norms
        counts in ``loss_`` alone; ring loss and feature incay, which are nothing else, are refused.
    scale : float, default=None
        What scores are multiplied by, or where a learned scale starts; None: the loss's own.
    margin : float or sequence of float, default=None
        In radians where it is an angle; None: the loss's own.
    C : float, default=1.0
        Inverse strength of the L2 penalty, above 0. Only for inner products.
    fit_intercept : bool or "auto", default="auto"
        "auto": with a bias for inner products, but where the margin is on the angle or the dictionary ``loss`` names
        another geometry. True is refused where scores are not inner products.
    class_weight : dict or "balanced", default=None
        Weights of classes; "balanced": inverse to their share of the weights of the rows.
    solver : {"auto", "lbfgs", "sgd", "adamw"}, default="auto"
        "lbfgs": full batches in ``float64``; refused for a loss with a state (annealed or drawn margins, averages).
        "sgd" (Nesterov's momentum 0.9) and "adamw": mini-batches in ``float32`` through the fused head. The penalty is
        a decay of the weight in each step: of "sgd" the same objective, of "adamw" decoupled, so about the same.
        "auto": "lbfgs" where the loss is a smooth function of the weight alone, else "adamw".
    max_iter : int, default=100
        Iterations of "lbfgs", epochs of the others.
    tol : float, default=1e-4
        "lbfgs" ends where no entry of the gradient is larger, of the objective divided by ``C`` and the sum of weights.
        The others divide the learning rate by 5 where three epochs lower the mean loss by less than ``tol`` (times the
        loss, where that is above 1), and end the fourth time.
    batch_size : int, default=256
        Rows of a mini-batch, in ``fit`` and ``partial_fit``.
    learning_rate : float or "auto", default="auto"
        Of mini-batches. "auto" goes by the root mean square ``a`` of the norms of the first rows (1 for normalised
        ones), and the scale ``s``: "sgd" ``1 / (s^2 (1 + a^2))``; "adamw" ``0.1 / sqrt(1 + a^2)``, or
        ``0.1 / sqrt(D)`` where prototypes are normalised.
    random_state : int, RandomState instance or None, default=None
        Of prototypes at the start (the default loss starts at 0), the order of rows and drawn margins.
    warm_start : bool, default=False
        Whether ``fit`` starts from what the last one found.
    verbose : int, default=0
        1: a fit longer than two seconds says on standard error how far it is.

    Attributes
    ----------
    classes_ : ndarray (C)
    coef_ : ndarray (C, D), or (1, D) for two classes
        Normalised where the geometry does. Not there where a class has several prototypes.
    intercept_ : ndarray (C), or (1)
        Zeros where there is none. Not there where a class has several prototypes.
    prototypes_ : ndarray (C K, D)
        As trained, K sub-centres a class.
    scale_ : float
        What scores are multiplied by, where it is learned the one found.
    loss_ : float
        The mean loss of the rows by their weights, penalty not counted; of mini-batches the mean over the last epoch.
    n_iter_ : int
        Iterations or epochs done, those of ``partial_fit`` included.
    n_features_in_ : int
    feature_names_in_ : ndarray (D)
        Where ``X`` had names.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from softmargin.sklearn import MarginClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = MarginClassifier(C=10.0, max_iter=500).fit(X, y)
    >>> model.coef_.shape, model.predict_proba(X[:2]).shape
    ((3, 4), (2, 3))
    >>> bool(model.score(X, y) > 0.95)
    True
    """

    def __init__(
        self,
        loss="cross-entropy",
        *,
        scale=None,
        margin=None,
        C=1.0,
        fit_intercept="auto",
        class_weight=None,
        solver="auto",
        max_iter=100,
        tol=1e-4,
        batch_size=BATCH_SIZE,
        learning_rate="auto",
        random_state=None,
        warm_start=False,
        verbose=0,
    ):
        self.loss = loss
        self.scale = scale
        self.margin = margin
        self.C = C
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight
        self.solver = solver
        self.max_iter = max_iter
        self.tol = tol
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def fit(self, X, y, sample_weight=None):
        """Trains on all rows.

        Parameters
        ----------
        X : array-like or sparse matrix (N, D)
        y : array-like (N)
            Labels of any kind.
        sample_weight : array-like (N), default=None
            0 or above. Rows that count twice are as good as rows that are there twice.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            On data that scikit-learn refuses, parameters out of range, and parts of a loss that do not go together.

        Warns
        -----
        ConvergenceWarning
            Where ``max_iter`` comes first.
        """
        self._check_parameters()
        before = self.warm_start and hasattr(self, "prototypes_")
        X, y = _checked(self, X, y, reset=True)
        classes, codes = np.unique(y, return_inverse=True)
        if before and not np.array_equal(classes, self.classes_):
            expected = f"the classes of the last fit with warm_start, {self.classes_}"
            raise ValueError(f"y: expected {expected}, found {classes}")
        self.classes_ = classes
        weights = self._weights(X, codes, sample_weight)
        self._counts, self._seen = np.bincount(codes, minlength=len(classes)), _total(codes, weights)
        self._form = self._make_form(self._counts)
        start = self._resumed(X) if before else self._start(X, codes, weights)
        solve = self._solve_whole if self._solver() == "lbfgs" else self._solve_batches
        solve(X, codes, weights, start)
        self._steps = None
        return self

    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """One pass over rows in their order, in mini-batches of ``batch_size``.

        From where the last call or ``fit`` ended, with the optimiser "sgd", or "adamw" for "auto", which starts afresh
        after ``fit`` and where ``set_params`` has changed loss, solver or learning rate; a learning rate
        that is "auto" is set by the rows of that call.
        The penalty goes by the weights of all rows that calls have brought so far, and so do counts of classes.
        "balanced" weights go by the rows of the call.

        Parameters
        ----------
        X : array-like or sparse matrix (N, D)
        y : array-like (N)
        classes : array-like (C), default=None
            All classes that will come; wanted in the first call.
        sample_weight : array-like (N), default=None

        Returns
        -------
        self

        Raises
        ------
        ValueError
            As :meth:`fit`; with ``solver="lbfgs"``; on labels that are not among the classes.
        """
        if self.solver == "lbfgs":
            raise ValueError("solver: expected 'auto', 'sgd' or 'adamw' for partial_fit, found 'lbfgs'")
        self._check_parameters()
        first = not hasattr(self, "prototypes_")
        classes = self._check_classes(classes, first)
        X, y = _checked(self, X, y, reset=first)
        codes = _codes(y, classes)
        self.classes_ = classes
        weights = self._weights(X, codes, sample_weight)
        counts, total = np.bincount(codes, minlength=len(classes)), _total(codes, weights)
        self._counts, self._seen = (counts, total) if first else (self._counts + counts, self._seen + total)
        self._form = self._make_form(self._counts)
        settings = repr((self.loss, self.scale, self.margin, self.fit_intercept, self._kind(), self.learning_rate))
        if first or self._steps is None or self._settings != settings:
            start = self._start(X, codes, weights) if first else self._resumed(X)
            self._steps, self._settings = self._make_steps(X, start), settings
        self._steps.use(self._form)
        order = np.arange(len(codes))
        self.loss_ = self._steps.epoch(X, codes, weights, order, self.batch_size, self._decay())
        self._keep(self._steps.found())
        self.n_iter_ = 1 if first else self.n_iter_ + 1
        return self

    def decision_function(self, X):
        """Scores (N, C) of the classes; for two classes (N), that of ``classes_[1]`` less the other.

        Not multiplied by the scale. Inner products with the intercept, or cosines; of several prototypes of a class
        that of the best.
        """
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse="csr", dtype=[np.float64, np.float32], reset=False)
        X = self._form.features(X)
        if hasattr(self, "coef_"):
            scores = X @ self.coef_.T + self.intercept_
            return scores.ravel() if len(self.classes_) == 2 else scores
        scores, _ = self._form.best(X @ self._form.directions(self.prototypes_)[0].T + self._bias)
        return scores[:, 1] - scores[:, 0] if len(self.classes_) == 2 else scores

    def predict(self, X):
        """The class of the largest score of each row (N)."""
        scores = self.decision_function(X)
        return self.classes_[(scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(axis=1)]

    def predict_proba(self, X):
        """The softmax (N, C) of the scaled scores.

        Cross-entropy is trained to make these probabilities. Of hinges, margins and one-versus-rest losses they order
        the classes rightly, and are not calibrated.
        """
        scores = self.decision_function(X)
        scores = scores[:, None] * PAIR if scores.ndim == 1 else scores
        return smooth.softmax(np.asarray(scores, dtype=np.float64) * (self.scale_ / self._form.temperature))

    def _check_parameters(self):
        check_scalar(self.C, "C", _NUMBER, min_val=0, include_boundaries="neither")
        check_scalar(self.tol, "tol", _NUMBER, min_val=0)
        check_scalar(self.max_iter, "max_iter", _WHOLE, min_val=1)
        check_scalar(self.batch_size, "batch_size", _WHOLE, min_val=1)
        check_scalar(self.verbose, "verbose", (*_WHOLE, bool), min_val=0)
        if not isinstance(self.solver, str) or self.solver not in SOLVERS:
            raise ValueError(f"solver: expected one of {', '.join(SOLVERS)}, found {self.solver!r}")
        if not isinstance(self.fit_intercept, (bool, np.bool_)) and self.fit_intercept != "auto":
            raise ValueError(f"fit_intercept: expected True, False or 'auto', found {self.fit_intercept!r}")
        if not isinstance(self.warm_start, (bool, np.bool_)):
            raise ValueError(f"warm_start: expected True or False, found {self.warm_start!r}")
        if self.learning_rate != "auto":
            check_scalar(self.learning_rate, "learning_rate", _NUMBER, min_val=0, include_boundaries="neither")
        if self.solver == "lbfgs" and (self.learning_rate != "auto" or self.batch_size != BATCH_SIZE):
            raise ValueError("solver: expected 'sgd' or 'adamw' with learning_rate or batch_size, found 'lbfgs'")

    def _check_classes(self, classes, first):
        if first and classes is None:
            raise ValueError("classes must be passed on the first call to partial_fit.")
        found = self.classes_ if classes is None else unique_labels(classes)
        if not first and not np.array_equal(found, self.classes_):
            raise ValueError(f"classes: expected those of the first call, {self.classes_}, found {found}")
        return found

    def _make_form(self, counts):
        """The loss for the classes there are, refused here where parameters and loss do not go together."""
        if len(self.classes_) < 2:
            raise ValueError(f"y: expected samples of at least 2 classes, found one class: {self.classes_.tolist()}")
        form = _Form(_loss(self.loss, len(self.classes_), self.scale, self.margin, counts))
        spec = form.spec
        if "ignored-label" in spec:
            raise ValueError("loss: expected no ignored-label, found one; leave such rows out")
        if spec.get("regulariser", {}).get("kind") in ("ring", "feature-incay"):
            raise ValueError("loss: expected no term on the norms of features, which are fixed, found a regulariser")
        if not form.is_inner_product and self.C != 1.0:
            raise ValueError(f"C: expected 1.0, there is no penalty where prototypes are normalised; found {self.C}")
        bias = self._wants_bias(form)
        if form.is_inner_product and spec["geometry"]["bias"] != bias:
            parts = {"geometry": {**spec["geometry"], "bias": bias}}
            form = _Form(_loss(self.loss, len(self.classes_), self.scale, self.margin, counts, parts))
        return form

    def _wants_bias(self, form):
        if self.fit_intercept == "auto":
            named = self.loss.get("spec") if isinstance(self.loss, dict) else None
            if "geometry" in (named or {}):
                return form.has_bias
            return form.is_inner_product and form.spec["margin"]["kind"] != "angle"
        if self.fit_intercept and not form.is_inner_product:
            reason = f"the scores of {form.loss.name} have no bias"
            raise ValueError(f"fit_intercept: expected False or 'auto', {reason}; found True")
        return bool(self.fit_intercept)

    def _solver(self):
        if self.solver == "auto":
            return "lbfgs" if self._form.is_smooth else "adamw"
        if self.solver == "lbfgs" and self._form.loss.initial_state() is not None:
            raise ValueError(
                f"solver: expected 'auto', 'sgd' or 'adamw', {self._form.loss.name} changes from step to step; "
                "found 'lbfgs'"
            )
        return self.solver

    def _weights(self, X, codes, sample_weight):
        """Of rows (N), those of their classes included; None where all are 1."""
        if sample_weight is None and self.class_weight is None:
            return None
        weights = _check_sample_weight(sample_weight, X, dtype=np.float64, copy=True)
        if (weights < 0).any():
            raise ValueError("Negative values in data passed to `sample_weight`")
        if isinstance(self.class_weight, str) and self.class_weight == "balanced":
            sums = np.bincount(codes, weights, minlength=len(self.classes_))
            of_class = np.divide(weights.sum(), len(self.classes_) * sums, out=np.zeros(len(sums)), where=sums > 0)
            weights *= of_class[codes]
        elif self.class_weight is not None:
            weights *= compute_class_weight(self.class_weight, classes=self.classes_, y=self.classes_)[codes]
        if not weights.sum() > 0:
            raise ValueError("sample_weight: expected a row whose weight is above 0, found none")
        return weights

    def _start(self, X, codes, weights):
        """What training starts from: zeros for a smooth loss of inner products, else directions to means of classes."""
        form, random = self._form, check_random_state(self.random_state)
        seed = self._seed(random)
        shape = (form.prototypes, X.shape[1])
        prototypes = np.zeros(shape)
        if not (form.is_inner_product and form.is_smooth):
            centres = _centres(form.features(X), codes, weights, form.loss.num_classes)
            centres = np.repeat(centres, form.sub_centres, axis=0)
            # Sub-centres have to differ, and no prototype may be 0, whose gradient is 0.
            prototypes = centres + 0.1 * normalize(random.standard_normal(shape))
        return _Found(prototypes, None, form.initial_scale, form.loss.initial_state(seed))

    def _seed(self, random):
        return int(random.randint(np.iinfo(np.int32).max))

    def _resumed(self, X):
        """What the last training found, as the start of one whose loss may be another."""
        form = self._form
        if self.prototypes_.shape != (form.prototypes, X.shape[1]):
            expected = (form.prototypes, X.shape[1])
            found = self.prototypes_.shape
            raise ValueError(f"prototypes_: expected prototypes of shape {expected} to go on from, found {found}")
        scale = float(np.clip(self.scale_, *form.scale_bounds)) if form.learns_scale else form.initial_scale
        fresh = form.loss.initial_state(self._seed(check_random_state(self.random_state)))
        return _Found(self.prototypes_, self._bias, scale, fresh and (self._state or fresh))

    def _keep(self, found):
        form = self._form
        self.prototypes_, self.scale_, self._state = found.prototypes, found.scale, found.state
        self._bias = np.zeros(form.prototypes) if found.bias is None else found.bias
        for name in ("coef_", "intercept_"):
            self.__dict__.pop(name, None)
        if form.sub_centres > 1:
            return
        directions, bias = form.directions(found.prototypes)[0], self._bias
        if len(self.classes_) == 2:
            directions, bias = directions[1:] - directions[:1], bias[1:] - bias[:1]
        self.coef_, self.intercept_ = directions.copy(), bias.copy()

    def _solve_whole(self, X, codes, weights, start):
        objective = _Objective(self._form, X, codes, weights, self.C, self.tol)
        theta, bounds = objective.pack(start)
        progress = _Progress(self.verbose, self.max_iter, "iteration")
        # LogisticRegression has the same options; the objective itself ends the search where its gradient is small.
        options = {"maxiter": self.max_iter, "gtol": 0.0, "maxls": 50, "ftol": 64 * np.finfo(float).eps}
        with _few_threads(X.shape[0] * X.shape[1] * self._form.prototypes):
            try:
                answer = scipy.optimize.minimize(
                    objective,
                    theta,
                    method="L-BFGS-B",
                    jac=True,
                    bounds=bounds,
                    options=options,
                    callback=lambda _: progress(objective.loss),
                )
                theta, self.n_iter_ = answer.x, max(1, progress.done)
                objective.tol = -1.0
                objective(theta)  # the last point that was tried need not be the best one
                if answer.status != 0:
                    message = f"lbfgs failed to converge after {progress.done} iterations: {answer.message}"
                    _warn(message, progress.done >= self.max_iter)
            except _Converged as end:
                theta, self.n_iter_ = end.theta, min(progress.done + 1, self.max_iter)
        self._keep(objective.unpack(theta, start.state))
        self.loss_ = objective.loss

    def _solve_batches(self, X, codes, weights, start):
        steps, random = self._make_steps(X, start), check_random_state(self.random_state)
        progress, schedule = _Progress(self.verbose, self.max_iter, "epoch"), _Schedule(steps, self.tol)
        for epoch in range(1, self.max_iter + 1):
            self.loss_ = steps.epoch(X, codes, weights, random.permutation(len(codes)), self.batch_size, self._decay())
            self.n_iter_ = epoch
            progress(self.loss_)
            if schedule.is_over(self.loss_):
                break
        else:
            _warn(f"{self._kind()} failed to converge after {self.max_iter} epochs", True)
        self._keep(steps.found())

    def _kind(self):
        return "sgd" if self.solver == "sgd" else "adamw"

    def _decay(self):
        """Of the weight in a step of learning rate 1: the penalty beside a mean over rows of so much weight."""
        if not self._form.is_inner_product:
            return 0.0
        # Of one vector w the two classes have halves: |w|^2 is twice what the squares of both sum up to.
        return (2.0 if self._form.is_paired else 1.0) / (self.C * self._seen)

    def _make_steps(self, X, start):
        rate = self.learning_rate
        if rate == "auto":
            rate = self._form.usual_rate(X, self._kind(), start.scale)
        return _Steps(self._form, self._kind(), float(rate), start)


_NUMBER = (int, float, np.integer, np.floating)
_WHOLE = (int, np.integer)


@dataclasses.dataclass
class _Found:
    """What training changes."""

    prototypes: np.ndarray  # (C K, D)
    bias: np.ndarray | None  # (C K)
    scale: float
    state: dict | None


class _Form:
    """A loss, and how features and prototypes become its scores."""

    def __init__(self, loss):
        self.loss = loss
        self.spec = loss.spec
        geometry, comparison = self.spec["geometry"], self.spec["comparison"]
        self.is_inner_product = geometry["kind"] == "inner-product"
        self.is_cosine = geometry["kind"] == "cosine"
        self.has_bias = geometry.get("bias", False)
        self.temperature = geometry.get("temperature", 1.0)
        self.sub_centres = self.spec.get("sub-centres", 1)
        self.prototypes = loss.num_classes * self.sub_centres
        scale = self.spec["scale"]
        self.learns_scale = scale["kind"] == "learned"
        self.initial_scale = scale["initial"] if self.learns_scale else scale["value"]
        self.scale_bounds = (scale["min"], scale["max"]) if self.learns_scale else None
        gate = comparison.get("gate")
        gate = gate if isinstance(gate, dict) else {"kind": gate}
        self.is_smooth = (
            loss.initial_state() is None
            and self.sub_centres == 1
            and comparison["kind"] != "hardest"
            and gate["kind"] != "relu"
            and self.spec["rivals"]["kind"] in ("plain", "divided-angle")
        )
        # Where only the difference of two scores counts, one vector has all of it.
        self.is_paired = (
            self.is_inner_product
            and self.prototypes == 2
            and comparison["kind"] != "against-zero"
            and not gate.get("z-loss")
            and self.spec["margin"]["kind"] != "angle"
        )

    def features(self, X):
        """Rows as scores see them."""
        return normalize(X) if self.is_cosine else X

    def directions(self, prototypes):
        """Prototypes as scores see them, and their norms (C K)."""
        norms = np.sqrt(np.einsum("ij,ij->i", prototypes, prototypes))
        if self.is_inner_product:
            return prototypes, norms
        return prototypes / np.where(norms > 0, norms, 1.0)[:, None], norms

    def best(self, scores):
        """Of scores (N, C K) the best of each class (N, C), and which that was."""
        if self.sub_centres == 1:
            return scores, None
        scores = scores.reshape(len(scores), -1, self.sub_centres)
        winners = scores.argmax(axis=2)[:, :, None]
        return np.take_along_axis(scores, winners, axis=2)[:, :, 0], winners

    def spread(self, slopes, winners):
        """The gradient by all scores (N, C K) of that by the best ones (N, C)."""
        if winners is None:
            return slopes
        spread = np.zeros((*slopes.shape, self.sub_centres))
        np.put_along_axis(spread, winners, slopes[:, :, None], axis=2)
        return spread.reshape(len(slopes), -1)

    def usual_rate(self, X, kind, scale):
        square = 1.0 if self.is_cosine else float(row_norms(X, squared=True).mean())
        if kind == "sgd":
            return 1.0 / (scale**2 * (1.0 + square))
        return 0.1 / np.sqrt(1.0 + square if self.is_inner_product else X.shape[1])


class _Converged(Exception):
    """The gradient is as small as asked for."""

    def __init__(self, theta):
        super().__init__()
        self.theta = theta


class _Objective:
    """Mean loss and penalty of all rows as a function of one vector, with its gradient.

    The vector has the prototypes (one for two classes that are paired), the bias, and the logarithm of a learned scale,
    whose steps are relative ones. Inner products are conditioned: as if features were centred, where a bias makes up
    for that, and all had one curvature. The minimum is the same, and is found in fewer iterations.
    """

    def __init__(self, form, X, codes, weights, inverse_strength, tol):
        self.form, self.codes, self.weights, self.tol = form, codes, weights, tol
        X = X.astype(np.float64, copy=False)
        self.extras = {"sample_weights": weights}
        if form.loss.needs_embedding_norms:
            self.extras["embedding_norms"] = row_norms(X)
        self.X = form.features(X)
        self.total = _total(codes, weights)
        self.penalty = 1.0 / (inverse_strength * self.total) if form.is_inner_product else 0.0
        self.vectors = 1 if form.is_paired else form.prototypes
        self.mean, self.root, self.bias_root = np.zeros(X.shape[1]), np.ones(X.shape[1]), 1.0
        if form.is_inner_product:
            self._condition()
        self.loss = None

    def _condition(self):
        mean, square = _moments(self.X, self.weights)
        # That of softmax cross-entropy where all classes are as likely.
        classes = self.form.loss.num_classes
        curvature = (self.form.initial_scale / self.form.temperature) ** 2 * (classes - 1) / classes**2
        if self.form.has_bias:
            self.mean, self.bias_root = mean, np.sqrt(curvature)
            square = np.maximum(square - mean**2, 0.0)
        self.root = np.sqrt(curvature * square + self.penalty)

    def pack(self, found):
        """The vector of what was found, and the bounds of its entries."""
        form = self.form
        bias = np.zeros(form.prototypes) if found.bias is None else found.bias
        vectors = found.prototypes
        if form.is_paired:
            vectors, bias = vectors[1:] - vectors[:1], bias[1:] - bias[:1]
        parts = [(vectors * self.root).ravel()]
        if form.has_bias:
            parts.append((bias + vectors @ self.mean) * self.bias_root)
        bounds = None
        if form.learns_scale:
            parts.append([np.log(found.scale)])
            bounds = [(None, None)] * sum(map(len, parts[:-1])) + [tuple(np.log(form.scale_bounds))]
        return np.concatenate(parts), bounds

    def unpack(self, theta, state):
        vectors, bias, scale = self._parts(theta)
        if self.form.is_paired:
            vectors, bias = PAIR[:, None] * vectors, None if bias is None else PAIR * bias
        return _Found(vectors, bias, self.form.initial_scale if scale is None else float(scale), state)

    def _parts(self, theta):
        entries = self.vectors * self.X.shape[1]
        vectors, bias = theta[:entries].reshape(self.vectors, -1) / self.root, None
        if self.form.has_bias:
            bias = theta[entries : entries + self.vectors] / self.bias_root - vectors @ self.mean
        return vectors, bias, np.exp(theta[-1]) if self.form.learns_scale else None

    def __call__(self, theta):
        vectors, bias, scale = self._parts(theta)
        directions, norms = self.form.directions(vectors)
        scores, winners = self._scores(directions, bias)
        extras = dict(self.extras, scale=scale, weight_norms=norms if self.form.loss.needs_weight_norms else None)
        outcome = self.form.loss.run(scores, self.codes, "sum", **extras)
        self.loss = outcome.value / self.total
        slopes = outcome.grad @ PAIR[:, None] if self.form.is_paired else self.form.spread(outcome.grad, winners)
        # Not slopes.T @ X: with few columns and many rows BLAS is several times as fast this way round.
        gradient = np.ascontiguousarray((self.X.T @ slopes).T)
        self._bend(gradient, directions, norms, outcome.grad_weight_norms)
        gradient = gradient / self.total + self.penalty * vectors
        by_bias = None if bias is None else slopes.sum(axis=0) / self.total
        by_scale = None if scale is None else outcome.grad_scale * scale / self.total
        self._end_where_small(theta, gradient, by_bias, by_scale)
        parts = [gradient if bias is None else gradient - by_bias[:, None] * self.mean]
        parts = [(parts[0] / self.root).ravel(), *([] if bias is None else [by_bias / self.bias_root])]
        parts += [] if scale is None else [[by_scale]]
        return self.loss + 0.5 * self.penalty * np.vdot(vectors, vectors), np.concatenate(parts)

    def _end_where_small(self, theta, gradient, by_bias, by_scale):
        """Looks at the gradient by what the user gets, so that tolerances do not depend on the conditioning."""
        most = np.abs(gradient).max()
        if by_bias is not None:
            most = max(most, np.abs(by_bias).max())
        if by_scale is not None:
            # A scale that stands at an end of its range has nowhere to go.
            most = max(most, abs(np.clip(theta[-1] - by_scale, *np.log(self.form.scale_bounds)) - theta[-1]))
        if most <= self.tol:
            raise _Converged(theta.copy())

    def _scores(self, directions, bias):
        scores = self.X @ directions.T
        if bias is not None:
            scores += bias
        return (scores * PAIR, None) if self.form.is_paired else self.form.best(scores)

    def _bend(self, gradient, directions, norms, by_norms):
        """From a gradient by directions to one by prototypes, in place."""
        safe = np.where(norms > 0, norms, 1.0)[:, None]
        if not self.form.is_inner_product:
            gradient -= np.einsum("ij,ij->i", gradient, directions)[:, None] * directions
            gradient /= safe
        if by_norms is not None:
            gradient += by_norms[:, None] * directions / (safe if self.form.is_inner_product else 1.0)


class _Parameter:
    """A matrix in single precision with its optimiser."""

    def __init__(self, array, kind, rate, state=None):
        self.array, self.kind, self.rate = np.array(array, dtype=np.float32, order="C"), kind, rate
        self.optimiser = Optimiser(kind, self.array, learning_rate=rate, **{**NUMBERS[kind], "weight_decay": 0.0})
        if state is not None:
            self.optimiser.load_state_dict(state)

    def __reduce__(self):
        return _Parameter, (self.array, self.kind, self.rate, self.optimiser.state_dict())


class _Steps:
    """Mini-batches through the fused head."""

    def __init__(self, form, kind, rate, start):
        self.kind, self.state = kind, start.state
        self.weight = _Parameter(start.prototypes, kind, rate)
        bias = np.zeros(form.prototypes) if start.bias is None else start.bias
        self.bias = _Parameter(bias[None, :], kind, rate) if form.has_bias else None
        self.log_scale = _Parameter([[np.log(start.scale)]], kind, rate) if form.learns_scale else None
        self.use(form)

    def use(self, form):
        self.form = form
        self.head = Head(form.loss, embedding_size=self.weight.array.shape[1])

    def parameters(self):
        return [parameter for parameter in (self.weight, self.bias, self.log_scale) if parameter is not None]

    @property
    def scale(self):
        if self.log_scale is None:
            return self.form.initial_scale
        return float(np.clip(np.exp(np.float64(self.log_scale.array[0, 0])), *self.form.scale_bounds))

    def found(self):
        bias = None if self.bias is None else self.bias.array[0].astype(np.float64)
        return _Found(self.weight.array.astype(np.float64), bias, self.scale, self.state)

    def epoch(self, X, codes, weights, order, batch_size, decay):
        """The mean loss of a pass over rows in this order, each batch before its step."""
        mean = 1.0 if weights is None else weights.mean()
        total = 0.0
        for first in range(0, len(order), batch_size):
            rows = order[first : first + batch_size]
            # Weights of mean 1 over all batches: within each alone, batches with little weight would count as much.
            of_rows = np.ones(len(rows)) if weights is None else weights[rows] / mean
            total += self._step(_dense(X[rows]), codes[rows], of_rows / len(rows), decay) * len(rows)
        if not total < DIVERGED * len(order):
            found = f"training diverges, to a loss of {total / len(order):g}"
            raise ValueError(f"learning_rate: {found}; give a smaller one")
        return total / len(order)

    def _step(self, x, codes, weights, decay):
        extras = {"sample_weights": weights.astype(np.float32)}
        if self.bias is not None:
            extras["bias"] = self.bias.array[0]
        if self.log_scale is not None:
            extras["scale"] = scale = self.scale
        if self.state is not None:
            extras["state"] = self.state = self.head.update(self.state, x, self.weight.array, codes, **extras)
        if decay:
            # A step of momentum 0.9 goes ten times its rate in the end, and the decay has to keep up.
            lag = 1.0 - NUMBERS[self.kind].get("momentum", 0.0)
            self.weight.array *= np.float32(1.0 - min(1.0, self.weight.optimiser.learning_rate * decay / lag))
        outcome = self.head.step_and_run(x, self.weight.array, codes, self.weight.optimiser, "sum", **extras)
        if self.bias is not None:
            self.bias.optimiser.apply(self.bias.array, outcome.grad_bias[None, :])
        if self.log_scale is not None:
            gradient = np.array([[outcome.grad_scale * scale]], dtype=np.float32)
            self.log_scale.optimiser.apply(self.log_scale.array, gradient)
            self.log_scale.array[...] = np.log(self.scale)
        if self.state is not None:
            self.state = {**self.state, "step": self.state["step"] + 1}
        return outcome.value


class _Schedule:
    """Lowers the learning rate where the loss stands still."""

    PATIENCE, CUTS, FACTOR = 3, 3, 0.2

    def __init__(self, steps, tol):
        self.steps, self.tol, self.best, self.idle, self.cuts = steps, tol, np.inf, 0, 0

    def is_over(self, loss):
        gained = not np.isfinite(self.best) or loss < self.best - self.tol * max(1.0, abs(self.best))
        self.best, self.idle = min(self.best, loss), 0 if gained else self.idle + 1
        if self.idle < self.PATIENCE:
            return False
        self.idle, self.cuts = 0, self.cuts + 1
        for parameter in self.steps.parameters():
            parameter.optimiser.learning_rate *= self.FACTOR
        return self.cuts > self.CUTS


class _Progress:
    """Says on standard error how far a long fit is."""

    def __init__(self, verbose, most, name):
        self.verbose, self.most, self.name, self.done = verbose, most, name, 0
        self.started = time.monotonic()
        self.next = self.started + 2.0

    def __call__(self, loss):
        self.done += 1
        now = time.monotonic()
        if not self.verbose or now < self.next:
            return
        self.next = now + 1.0
        left = (now - self.started) / self.done * (self.most - self.done)
        text = f"{self.name} {self.done} of {self.most} at most, loss {loss:.6g}, {left:.0f} s left at most"
        print(f"softmargin: {text}", file=sys.stderr, flush=True)


def _loss(loss, num_classes, scale, margin, counts, spec=None):
    """The loss of the classes; counts of rows go to the losses that want them."""
    try:
        return Loss(loss, num_classes, scale=scale, margin=margin, spec=spec)
    except ValueError as refusal:
        if "class-counts" not in str(refusal):
            raise
    return Loss(loss, num_classes, scale=scale, margin=margin, spec=spec, class_counts=counts)


def _checked(estimator, X, y, reset):
    X, y = validate_data(estimator, X, y, accept_sparse="csr", dtype=[np.float64, np.float32], reset=reset)
    check_classification_targets(y)
    return X, y


def _moments(X, weights):
    """The mean (D) of features, and of their squares."""
    shares = np.full(X.shape[0], 1.0 / X.shape[0]) if weights is None else weights / weights.sum()
    if scipy.sparse.issparse(X):
        return X.T @ shares, X.multiply(X).T @ shares
    return shares @ X, np.einsum("i,ij,ij->j", shares, X, X)


def _few_threads(multiplications):
    """A single thread for BLAS where products are small: others would wait longer for each other than they work."""
    return threadpool_limits(1 if multiplications < SMALL else None, "blas")


def _total(codes, weights):
    return float(len(codes) if weights is None else weights.sum())


def _codes(y, classes):
    """Numbers from 0 of labels among the classes."""
    unknown = np.setdiff1d(y, classes)
    if len(unknown):
        raise ValueError(f"y: expected labels among the classes {classes}, found {unknown}")
    return np.searchsorted(classes, y)


def _dense(rows):
    rows = rows.toarray() if scipy.sparse.issparse(rows) else rows
    return np.ascontiguousarray(rows, dtype=np.float32)


def _centres(features, codes, weights, num_classes):
    """Directions (C, D) from the mean of all rows to that of each class."""
    rows = np.arange(len(codes))
    chosen = scipy.sparse.csr_array(
        (np.ones(len(codes)) if weights is None else weights, (codes, rows)), shape=(num_classes, len(codes))
    )
    sums, totals = chosen @ features, np.asarray(chosen.sum(axis=1)).ravel()[:, None]
    sums = np.asarray(sums.todense() if scipy.sparse.issparse(sums) else sums, dtype=np.float64)
    means = np.divide(sums, totals, out=np.zeros_like(sums), where=totals > 0)
    # A class without rows has no direction yet.
    return normalize(np.where(totals > 0, means - sums.sum(axis=0) / totals.sum(), 0.0))


def _warn(message, is_short):
    advice = "Increase max_iter, or scale the data, as in https://scikit-learn.org/stable/modules/preprocessing.html"
    advice = advice if is_short else "Scale the data, or take another solver."
    warnings.warn(f"{message}\n{advice}", ConvergenceWarning, stacklevel=4)
