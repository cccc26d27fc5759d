"""Full batches: the objective as a function of one vector."""

import contextlib
import functools

import numpy as np
import scipy.sparse
from sklearn.utils.extmath import row_norms
from threadpoolctl import ThreadpoolController  # of scikit-learn

from softmargin.sklearn.form import PAIR, Found, total_weight

SMALL = 100_000_000  # multiplications


ROWS = 2048  # whose scores are finished together


class Objective:
    """Mean loss and penalty of all rows as a function of one vector, with its gradient.

    The vector has the prototypes (one for two classes that are paired), the bias, and the logarithm of a learned scale,
    whose steps are relative ones. Inner products are conditioned: as if features were centerd, where a bias makes up
    for that, and all had one curvature. The minimum is the same, and is found in fewer iterations.
    """

    def __init__(self, form, X, codes, weights, inverse_strength, tol):
        self.form, self.codes, self.weights, self.tol = form, codes, weights, tol
        X = X.astype(np.float64, copy=False)
        self.extras = {"sample_weights": weights}
        if form.loss.needs_embedding_norms:
            self.extras["embedding_norms"] = row_norms(X)
        self.X = form.features(X)
        self.total = total_weight(codes, weights)
        self.penalty = 1.0 / (inverse_strength * self.total) if form.is_inner_product else 0.0
        self.vectors = 1 if form.is_paired else form.prototypes
        self.mean, self.root, self.bias_root = np.zeros(X.shape[1]), np.ones(X.shape[1]), 1.0
        if form.is_inner_product:
            self._condition()
        self.loss, self.room = None, None

    def _condition(self):
        mean, square = moments(self.X, self.weights)
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
        return Found(vectors, bias, self.form.initial_scale if scale is None else float(scale), state)

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
            raise Converged(theta.copy())

    def _scores(self, directions, bias):
        scores = self._products(directions, 0.0 if bias is None else bias)
        return (scores * PAIR, None) if self.form.is_paired else self.form.best(scores)

    def _products(self, directions, bias):
        """Inner products with all rows, in memory that is used again, some rows at a time while they are at hand."""
        if scipy.sparse.issparse(self.X):
            return self.X @ directions.T + bias
        if self.room is None:
            self.room = np.empty((self.X.shape[0], len(directions)))
        for first in range(0, len(self.X), ROWS):
            rows = slice(first, first + ROWS)
            np.matmul(self.X[rows], directions.T, out=self.room[rows])
            self.room[rows] += bias
        return self.room

    def _bend(self, gradient, directions, norms, by_norms):
        """From a gradient by directions to one by prototypes, in place."""
        safe = np.where(norms > 0, norms, 1.0)[:, None]
        if not self.form.is_inner_product:
            gradient -= np.einsum("ij,ij->i", gradient, directions)[:, None] * directions
            gradient /= safe
        if by_norms is not None:
            gradient += by_norms[:, None] * directions / (safe if self.form.is_inner_product else 1.0)


class Converged(Exception):
    """The gradient is as small as asked for."""

    def __init__(self, theta):
        super().__init__()
        self.theta = theta


def moments(X, weights):
    """The mean (D) of features, and of their squares."""
    shares = np.full(X.shape[0], 1.0 / X.shape[0]) if weights is None else weights / weights.sum()
    if scipy.sparse.issparse(X):
        return X.T @ shares, X.multiply(X).T @ shares
    return shares @ X, np.einsum("i,ij,ij->j", shares, X, X)


def few_threads(multiplications):
    """One thread for a BLAS whose others would be in the way.

    Where products are small, threads wait longer for each other than they work. And where SciPy has a BLAS of its own,
    as its wheels have, the threads of that one go on watching for work after each step of L-BFGS, on the processors
    that NumPy's products want.
    """
    if multiplications < SMALL:
        return blas().limit(limits=1, user_api="blas")
    own = [found["filepath"] for found in blas().info() if "scipy.libs" in found["filepath"]]
    return blas().select(filepath=own).limit(limits=1) if own else contextlib.nullcontext()


@functools.cache
def blas():
    """Looks at all libraries of the process, which takes as long as a small fit; so once."""
    return ThreadpoolController()
