"""The classifier: its parameters, training and prediction."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import scipy.optimize
import scipy.sparse
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.preprocessing import normalize
from sklearn.utils import check_random_state, check_scalar
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets, unique_labels
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from softmargin import smooth
from softmargin.sklearn.form import PAIR, Form, Found, make_loss, total_weight
from softmargin.sklearn.objective import Converged, Objective, few_threads
from softmargin.sklearn.progress import Progress, warn
from softmargin.sklearn.steps import Schedule, Steps

SOLVERS = ("auto", "lbfgs", "sgd", "adamw")
BATCH_SIZE = 256
NUMBER = (int, float, np.integer, np.floating)
WHOLE = (int, np.integer)


class MarginClassifier(ClassifierMixin, BaseEstimator):
    """A linear classifier, or one over cosines, trained with any loss of the family.

    With ``loss="cross-entropy"`` the objective and the result are those of
    :class:`sklearn.linear_model.LogisticRegression`: ``C * sum_i weight_i loss_i + |coef|^2 / 2``, the intercept not
    penalized. It is the default, since the default of a linear classifier in scikit-learn is expected to be logistic
    regression; heads and the command, which train embeddings, default to ``"am-softmax"``. Two classes share one vector
    with every loss that depends on differences of inner products alone (with hinges: support vector machines). Losses
    over cosines do not depend on the length of their prototypes, and have no penalty.

    Parameters
    ----------
    loss : str or dict, default="cross-entropy"
        A name (see :func:`softmargin.losses`) or the dictionary that :class:`softmargin.Loss` takes. A margin by
        frequency uses the number of rows of each class in ``y``. Features are fixed here, so a term on their norms
        changes ``loss_`` alone; ring loss and feature incay, which consist of such a term, are errors.
    scale : float, default=None
        Multiplies the scores; the initial value of a learned scale. None: the published one.
    margin : float or sequence of float, default=None
        In radians for an angle. None: the published one.
    C : float, default=1.0
        Inverse strength of the L2 penalty, above 0. Only for inner products: to search among losses of both kinds, pass
        a list of grids to ``GridSearchCV``.
    fit_intercept : bool or "auto", default="auto"
        "auto": with a bias for inner products, except if the margin is on the angle or the dictionary ``loss`` has
        another geometry. True is an error if scores are not inner products.
    class_weight : dict or "balanced", default=None
        Weights of classes; "balanced": inversely proportional to their share of the weights of the rows.
    solver : {"auto", "lbfgs", "sgd", "adamw"}, default="auto"
        "lbfgs": full batches in ``float64``; an error for a loss with a state (annealed or drawn margins, averages).
        "sgd" (Nesterov's momentum 0.9) and "adamw": mini-batches in ``float32`` through the fused head, with the same
        objective: the penalty is part of each step's gradient, not decoupled from it. "auto": "lbfgs" if the loss is a
        smooth function of the weight alone, else "adamw".
    max_iter : int, default=100
        Iterations of "lbfgs", epochs of the others.
    tol : float, default=1e-4
        "lbfgs" stops when no entry of the gradient exceeds ``tol``, if the objective is divided by ``C`` and the sum of
        weights. The others divide the learning rate by 5 when several epochs in a row lower that objective by less than
        ``tol`` (times the objective, if that is above 1), and stop the fifth time. The number of epochs is 3, or more
        to have 100 steps, at most a tenth of ``max_iter``. In the last fifth of ``max_iter`` the rate is lowered in any
        case.
    batch_size : int, default=256
        Rows of a mini-batch, in ``fit`` and ``partial_fit``.
    learning_rate : float or "auto", default="auto"
        Of mini-batches. "auto" depends on the RMS ``a`` of the norms of the rows (1 for normalized ones) and the
        scale ``s``: "sgd" ``1 / (s^2 (1 + a^2))``; "adamw" ``0.1 / sqrt(1 + a^2)``, or ``0.1 / sqrt(D)`` if prototypes
        are normalized. With "sgd" the rate of the weight is ``r / (1 + r p)``, where ``p`` is the curvature of the
        penalty: ``1 / (C sum_i weight_i)``, twice that for two classes that share a vector.
    random_state : int, RandomState instance or None, default=None
        Determines the initial prototypes (0 for the default loss), the order of rows and drawn margins.
    warm_start : bool, default=False
        True if ``fit`` starts from the result of the last one.
    verbose : int, default=0
        1: a fit longer than two seconds prints its progress on standard error.

    Attributes
    ----------
    classes_ : ndarray (C)
    coef_ : ndarray (C, D), or (1, D) for two classes
        Normalized if the geometry normalizes prototypes. Absent if a class has several prototypes.
    intercept_ : ndarray (C), or (1)
        Zeros without a bias. Absent if a class has several prototypes.
    prototypes_ : ndarray (C K, D)
        As trained, with K sub-centers per class.
    scale_ : float
        The factor of the scores, learned or not.
    loss_ : float
        The weighted mean loss of the rows, without the penalty; with mini-batches the mean over the last epoch.
    n_iter_ : int
        Iterations or epochs done, those of ``partial_fit`` included.
    n_features_in_ : int
    feature_names_in_ : ndarray (D)
        If ``X`` has names.

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
        loss: str | dict[str, Any] = "cross-entropy",
        *,
        scale: float | None = None,
        margin: float | Sequence[float] | None = None,
        C: float = 1.0,
        fit_intercept: bool | Literal["auto"] = "auto",
        class_weight: dict[Any, float] | Literal["balanced"] | None = None,
        solver: Literal["auto", "lbfgs", "sgd", "adamw"] = "auto",
        max_iter: int = 100,
        tol: float = 1e-4,
        batch_size: int = BATCH_SIZE,
        learning_rate: float | Literal["auto"] = "auto",
        random_state: int | np.random.RandomState | None = None,
        warm_start: bool = False,
        verbose: int = 0,
    ) -> None:
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

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "prototypes_")

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> MarginClassifier:
        """Trains on all rows.

        Parameters
        ----------
        X : array-like or sparse matrix (N, D)
        y : array-like (N)
            Labels of any kind.
        sample_weight : array-like (N), default=None
            0 or above. A row of weight 2 is equivalent to the row occurring twice.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            On data that scikit-learn rejects, parameters out of range, and parts of a loss that do not go together.
            After an error the estimator is as it was.

        Warns
        -----
        ConvergenceWarning
            If ``max_iter`` is reached first.
        """
        with all_or_nothing(self):
            self._fit(X, y, sample_weight)
        return self

    def _fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None) -> None:
        self._check_parameters()
        before = self.warm_start and hasattr(self, "prototypes_")
        X, y = checked(self, X, y, reset=True)
        classes, codes = np.unique(y, return_inverse=True)
        if before and not np.array_equal(classes, self.classes_):
            expected = f"the classes of the last fit with warm_start, {self.classes_}"
            raise ValueError(f"y: expected {expected}, found {classes}")
        self.classes_ = classes
        weights = self._weights(X, codes, sample_weight)
        self._counts, self._seen = np.bincount(codes, minlength=len(classes)), total_weight(codes, weights)
        self._form = self._make_form(self._counts)
        start = self._resumed(X) if before else self._start(X, codes, weights)
        solve = self._solve_full_batches if self._solver() == "lbfgs" else self._solve_mini_batches
        solve(X, codes, weights, start)
        self._steps = None

    def partial_fit(
        self, X: Any, y: ArrayLike, classes: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> MarginClassifier:
        """Trains on the rows once, in their order, in mini-batches of ``batch_size``.

        Training continues from the last call or ``fit``, with the optimizer "sgd", or "adamw" for "auto". The optimizer
        is reset after ``fit``, and after ``set_params`` has changed loss, solver or learning rate; the learning rate
        "auto" is then computed from the rows of the call. The penalty and the counts of classes depend on all rows of
        all calls so far, "balanced" weights on the rows of the call.

        Parameters
        ----------
        X : array-like or sparse matrix (N, D)
        y : array-like (N)
        classes : array-like (C), default=None
            All classes of all calls; required in the first call.
        sample_weight : array-like (N), default=None

        Returns
        -------
        self

        Raises
        ------
        ValueError
            As :meth:`fit`; with ``solver="lbfgs"``; on labels that are not among the classes. After an error the
            estimator is as it was.
        """
        with all_or_nothing(self):
            self._fit_part(X, y, classes, sample_weight)
        return self

    def _fit_part(self, X: Any, y: ArrayLike, classes: ArrayLike | None, sample_weight: ArrayLike | None) -> None:
        if self.solver == "lbfgs":
            raise ValueError("solver: expected 'auto', 'sgd' or 'adamw' for partial_fit, found 'lbfgs'")
        self._check_parameters()
        first = not hasattr(self, "prototypes_")
        classes = self._check_classes(classes, first)
        X, y = checked(self, X, y, reset=first)
        codes = codes_of(y, classes)
        self.classes_ = classes
        weights = self._weights(X, codes, sample_weight)
        counts, total = np.bincount(codes, minlength=len(classes)), total_weight(codes, weights)
        self._counts, self._seen = (counts, total) if first else (self._counts + counts, self._seen + total)
        self._form = self._make_form(self._counts)
        settings = repr((self.loss, self.scale, self.margin, self.fit_intercept, self._kind(), self.learning_rate))
        if first or self._steps is None or self._settings != settings:
            start = self._start(X, codes, weights) if first else self._resumed(X)
            self._steps, self._settings = self._make_steps(X, start), settings
        else:
            self._steps = self._steps.copied()
        self._steps.use(self._form)
        order = np.arange(len(codes))
        self.loss_, _ = self._steps.epoch(X, codes, weights, order, self.batch_size, self._decay())
        self._store(self._steps.found())
        self.n_iter_ = 1 if first else self.n_iter_ + 1

    def decision_function(self, X: Any) -> NDArray[Any]:
        """Returns the scores (N, C) of the classes; for two classes (N), that of ``classes_[1]`` minus the other.

        They are inner products plus the intercept, or cosines, not multiplied by the scale. The score of a class with
        several prototypes is the largest of theirs.
        """
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse="csr", dtype=[np.float64, np.float32], reset=False)
        X = self._form.features(X)
        if hasattr(self, "coef_"):
            scores = X @ self.coef_.T + self.intercept_
            return scores.ravel() if len(self.classes_) == 2 else scores
        scores, _ = self._form.best(X @ self._form.directions(self.prototypes_)[0].T + self._bias)
        return scores[:, 1] - scores[:, 0] if len(self.classes_) == 2 else scores

    def predict(self, X: Any) -> NDArray[Any]:
        """Returns the class of the largest score of each row (N)."""
        scores = self.decision_function(X)
        return self.classes_[(scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(axis=1)]

    def predict_proba(self, X: Any) -> NDArray[Any]:
        """Returns the softmax (N, C) of the scaled scores.

        Cross-entropy trains these probabilities. For hinges, margins and one-versus-rest losses they have the order of
        the scores, but are not calibrated.
        """
        scores = self.decision_function(X)
        scores = scores[:, None] * PAIR if scores.ndim == 1 else scores
        return smooth.softmax(np.asarray(scores, dtype=np.float64) * (self.scale_ / self._form.temperature))

    def _check_parameters(self) -> None:
        check_scalar(self.C, "C", NUMBER, min_val=0, include_boundaries="neither")
        check_scalar(self.tol, "tol", NUMBER, min_val=0)
        check_scalar(self.max_iter, "max_iter", WHOLE, min_val=1)
        check_scalar(self.batch_size, "batch_size", WHOLE, min_val=1)
        check_scalar(self.verbose, "verbose", (*WHOLE, bool), min_val=0)
        if not isinstance(self.solver, str) or self.solver not in SOLVERS:
            raise ValueError(f"solver: expected one of {', '.join(SOLVERS)}, found {self.solver!r}")
        if not isinstance(self.fit_intercept, (bool, np.bool_)) and self.fit_intercept != "auto":
            raise ValueError(f"fit_intercept: expected True, False or 'auto', found {self.fit_intercept!r}")
        if not isinstance(self.warm_start, (bool, np.bool_)):
            raise ValueError(f"warm_start: expected True or False, found {self.warm_start!r}")
        if self.learning_rate != "auto":
            check_scalar(self.learning_rate, "learning_rate", NUMBER, min_val=0, include_boundaries="neither")

    def _check_classes(self, classes: ArrayLike | None, first: bool) -> NDArray[Any]:
        if first and classes is None:
            raise ValueError("classes must be passed on the first call to partial_fit.")
        found = self.classes_ if classes is None else unique_labels(classes)
        if not first and not np.array_equal(found, self.classes_):
            raise ValueError(f"classes: expected those of the first call, {self.classes_}, found {found}")
        return found

    def _make_form(self, counts: NDArray[Any]) -> Form:
        """Returns the loss for the classes; raises ``ValueError`` if parameters and loss do not go together."""
        if len(self.classes_) < 2:
            raise ValueError(f"y: expected samples of at least 2 classes, found one class: {self.classes_.tolist()}")
        form = Form(make_loss(self.loss, len(self.classes_), self.scale, self.margin, counts))
        spec = form.spec
        if "ignored-label" in spec:
            raise ValueError("loss: expected no ignored-label, found one; leave such rows out")
        if spec.get("regularizer", {}).get("kind") in ("ring", "feature-incay"):
            raise ValueError("loss: expected no term on the norms of features, which are fixed, found a regularizer")
        if not form.is_inner_product and self.C != 1.0:
            raise ValueError(f"C: expected 1.0, there is no penalty where prototypes are normalized; found {self.C}")
        bias = self._wants_bias(form)
        if form.is_inner_product and spec["geometry"]["bias"] != bias:
            parts = {"geometry": {**spec["geometry"], "bias": bias}}
            form = Form(make_loss(self.loss, len(self.classes_), self.scale, self.margin, counts, parts))
        return form

    def _wants_bias(self, form: Form) -> bool:
        if self.fit_intercept == "auto":
            named = self.loss.get("spec") if isinstance(self.loss, dict) else None
            if "geometry" in (named or {}):
                return form.has_bias
            return form.is_inner_product and form.spec["margin"]["kind"] != "angle"
        if self.fit_intercept and not form.is_inner_product:
            reason = f"the scores of {form.loss.name} have no bias"
            raise ValueError(f"fit_intercept: expected False or 'auto', {reason}; found True")
        return bool(self.fit_intercept)

    def _solver(self) -> str:
        """Returns the solver of ``fit``; raises ``ValueError`` if it does not go with the loss or another parameter."""
        solver = self.solver
        if solver == "auto":
            solver = "lbfgs" if self._form.is_smooth else "adamw"
        if solver == "lbfgs" and (self.learning_rate != "auto" or self.batch_size != BATCH_SIZE):
            found = "'lbfgs'" if self.solver == solver else "'auto', which is 'lbfgs' for this loss"
            raise ValueError(f"solver: expected 'sgd' or 'adamw' with learning_rate or batch_size, found {found}")
        if solver == "lbfgs" and self._form.loss.initial_state() is not None:
            raise ValueError(
                f"solver: expected 'auto', 'sgd' or 'adamw', {self._form.loss.name} changes from step to step; "
                "found 'lbfgs'"
            )
        return solver

    def _weights(self, X: Any, codes: NDArray[Any], sample_weight: ArrayLike | None) -> NDArray[Any] | None:
        """Returns the weights of the rows (N), times those of their classes; None if all are 1."""
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

    def _start(self, X: Any, codes: NDArray[Any], weights: NDArray[Any] | None) -> Found:
        """Returns initial parameters: 0 for a smooth loss of inner products, else the directions of class means."""
        form, random = self._form, check_random_state(self.random_state)
        seed = self._seed(random)
        shape = (form.prototypes, X.shape[1])
        prototypes = np.zeros(shape)
        if not (form.is_inner_product and form.is_smooth):
            centers = centers_of(form.features(X), codes, weights, form.loss.num_classes)
            centers = np.repeat(centers, form.sub_centers, axis=0)
            # Sub-centers must differ, and no prototype may be 0: its gradient would be 0.
            prototypes = centers + 0.1 * normalize(random.standard_normal(shape))
        return Found(prototypes, None, form.initial_scale, form.loss.initial_state(seed))

    def _seed(self, random: np.random.RandomState) -> int:
        return int(random.randint(np.iinfo(np.int32).max))

    def _resumed(self, X: Any) -> Found:
        """Returns the result of the last training as initial parameters, perhaps for another loss."""
        form = self._form
        if self.prototypes_.shape != (form.prototypes, X.shape[1]):
            expected = (form.prototypes, X.shape[1])
            found = self.prototypes_.shape
            raise ValueError(f"prototypes_: expected prototypes of shape {expected} to go on from, found {found}")
        scale = float(np.clip(self.scale_, *form.scale_bounds)) if form.learns_scale else form.initial_scale
        fresh = form.loss.initial_state(self._seed(check_random_state(self.random_state)))
        return Found(self.prototypes_, self._bias, scale, fresh and (self._state or fresh))

    def _store(self, found: Found) -> None:
        """Sets the fitted attributes."""
        form = self._form
        self.prototypes_, self.scale_, self._state = found.prototypes, found.scale, found.state
        self._bias = np.zeros(form.prototypes) if found.bias is None else found.bias
        for name in ("coef_", "intercept_"):
            self.__dict__.pop(name, None)
        if form.sub_centers > 1:
            return
        directions, bias = form.directions(found.prototypes)[0], self._bias
        if len(self.classes_) == 2:
            directions, bias = directions[1:] - directions[:1], bias[1:] - bias[:1]
        self.coef_, self.intercept_ = directions.copy(), bias.copy()

    def _solve_full_batches(self, X: Any, codes: NDArray[Any], weights: NDArray[Any] | None, start: Found) -> None:
        objective = Objective(self._form, X, codes, weights, self.C, self.tol)
        theta, bounds = objective.pack(start)
        progress = Progress(self.verbose, self.max_iter, "iteration")
        # The options of LogisticRegression; the objective itself ends the search when its gradient is small.
        options = {"maxiter": self.max_iter, "gtol": 0.0, "maxls": 50, "ftol": 64 * np.finfo(float).eps}
        with few_threads(X.shape[0] * X.shape[1] * self._form.prototypes):
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
                objective(theta)  # the last point evaluated need not be the best one
                if answer.status != 0:
                    message = f"lbfgs failed to converge after {progress.done} iterations: {answer.message}"
                    warn(message, progress.done >= self.max_iter)
            except Converged as end:
                theta, self.n_iter_ = end.theta, min(progress.done + 1, self.max_iter)
        self._store(objective.unpack(theta, start.state))
        self.loss_ = objective.loss

    def _solve_mini_batches(self, X: Any, codes: NDArray[Any], weights: NDArray[Any] | None, start: Found) -> None:
        steps, random = self._make_steps(X, start), check_random_state(self.random_state)
        progress = Progress(self.verbose, self.max_iter, "epoch")
        schedule = Schedule(steps, self.tol, self.max_iter, -(-len(codes) // self.batch_size))
        for epoch in range(1, self.max_iter + 1):
            order = random.permutation(len(codes))
            self.loss_, objective = steps.epoch(X, codes, weights, order, self.batch_size, self._decay())
            self.n_iter_ = epoch
            progress(self.loss_)
            if schedule.is_over(objective):
                break
        else:
            warn(f"{self._kind()} failed to converge after {self.max_iter} epochs", True)
        self._store(steps.found())

    def _kind(self) -> Literal["sgd", "adamw"]:
        return "sgd" if self.solver == "sgd" else "adamw"

    def _decay(self) -> float:
        """Returns the factor of the weight in the gradient of the penalty, relative to a mean loss."""
        if not self._form.is_inner_product:
            return 0.0
        # Each of two classes that share a vector w has half of it: |w|^2 is twice the sum of their squares.
        return (2.0 if self._form.is_paired else 1.0) / (self.C * self._seen)

    def _make_steps(self, X: Any, start: Found) -> Steps:
        rate = self.learning_rate
        if rate == "auto":
            rate = self._form.default_rate(X, self._kind(), start.scale)
        return Steps(self._form, self._kind(), float(rate), start)


@contextlib.contextmanager
def all_or_nothing(estimator: MarginClassifier) -> Iterator[None]:
    """Restores the attributes of an estimator after an error or an interrupt; none is changed in place."""
    before = dict(vars(estimator))
    try:
        yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(before)
        raise


def checked(estimator: MarginClassifier, X: Any, y: ArrayLike, reset: bool) -> tuple[Any, NDArray[Any]]:
    """Returns validated features and labels."""
    X, y = validate_data(estimator, X, y, accept_sparse="csr", dtype=[np.float64, np.float32], reset=reset)
    check_classification_targets(y)
    return X, y


def codes_of(y: NDArray[Any], classes: NDArray[Any]) -> NDArray[Any]:
    """Returns the class numbers (N), from 0, of labels."""
    unknown = np.setdiff1d(y, classes)
    if len(unknown):
        raise ValueError(f"y: expected labels among the classes {classes}, found {unknown}")
    return np.searchsorted(classes, y)


def centers_of(features: Any, codes: NDArray[Any], weights: NDArray[Any] | None, num_classes: int) -> NDArray[Any]:
    """Returns the directions (C, D) from the mean of all rows to that of each class."""
    rows = np.arange(len(codes))
    chosen = scipy.sparse.csr_array(
        (np.ones(len(codes)) if weights is None else weights, (codes, rows)), shape=(num_classes, len(codes))
    )
    sums, totals = chosen @ features, np.asarray(chosen.sum(axis=1)).ravel()[:, None]
    sums = np.asarray(sums.todense() if scipy.sparse.issparse(sums) else sums, dtype=np.float64)
    means = np.divide(sums, totals, out=np.zeros_like(sums), where=totals > 0)
    # A class without rows has no direction.
    return normalize(np.where(totals > 0, means - sums.sum(axis=0) / totals.sum(), 0.0))
