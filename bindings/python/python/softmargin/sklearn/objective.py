"""Training with full batches: the objective as a function of one vector."""

from __future__ import annotations

import contextlib
import functools
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from sklearn.utils.extmath import row_norms
from threadpoolctl import ThreadpoolController  # a dependency of scikit-learn

from softmargin.sklearn.form import PAIR, Form, Found, total_weight

SMALL = 100_000_000  # multiplications of a product below which one thread is faster
ROWS = 2048  # rows whose scores are computed together


class Objective:
    """Mean loss and penalty of all rows as a function of one vector, with its gradient.

    The vector has the prototypes (one for two paired classes), the bias, and the logarithm of a learned scale, which
    makes its steps relative. Inner products are conditioned as if all features had the same curvature and, if a
    bias can compensate for it, were centered. The minimum is the same, and is found in fewer iterations.
    """

    def __init__(
        self,
        form: Form,
        X: Any,
        codes: NDArray[Any],
        weights: NDArray[Any] | None,
        inverse_strength: float,
        tol: float,
    ) -> None:
        self.form, self.codes, self.weights, self.tol = form, codes, weights, tol
        X = X.astype(np.float64, copy=False)
        self.inputs = {"sample_weights": weights}
        if form.loss.needs_embedding_norms:
            self.inputs["embedding_norms"] = row_norms(X)
        self.X = form.features(X)
        self.total = total_weight(codes, weights)
        self.penalty = 1.0 / (inverse_strength * self.total) if form.is_inner_product else 0.0
        self.vectors = 1 if form.is_paired else form.prototypes
        self.mean, self.root, self.bias_root = np.zeros(X.shape[1]), np.ones(X.shape[1]), 1.0
        if form.is_inner_product:
            self._condition()
        self.loss, self.buffer = None, None

    def _condition(self) -> None:
        mean, square = moments(self.X, self.weights)
        # The curvature of softmax cross-entropy if all classes are equally likely.
        classes = self.form.loss.num_classes
        curvature = (self.form.initial_scale / self.form.temperature) ** 2 * (classes - 1) / classes**2
        if self.form.has_bias:
            self.mean, self.bias_root = mean, np.sqrt(curvature)
            square = np.maximum(square - mean**2, 0.0)
        self.root = np.sqrt(curvature * square + self.penalty)

    def pack(self, found: Found) -> tuple[NDArray[Any], list[tuple[Any, Any]] | None]:
        """Returns the vector of parameters, and the bounds of its entries."""
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

    def unpack(self, theta: NDArray[Any], state: dict[str, Any] | None) -> Found:
        """Returns the parameters that a vector has."""
        vectors, bias, scale = self._parts(theta)
        if self.form.is_paired:
            vectors, bias = PAIR[:, None] * vectors, None if bias is None else PAIR * bias
        return Found(vectors, bias, self.form.initial_scale if scale is None else float(scale), state)

    def _parts(self, theta: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any] | None, float | None]:
        """Returns prototypes, bias and scale of a vector, without conditioning."""
        entries = self.vectors * self.X.shape[1]
        vectors, bias = theta[:entries].reshape(self.vectors, -1) / self.root, None
        if self.form.has_bias:
            bias = theta[entries : entries + self.vectors] / self.bias_root - vectors @ self.mean
        return vectors, bias, np.exp(theta[-1]) if self.form.learns_scale else None

    def __call__(self, theta: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        """Returns the objective and its gradient; raises :class:`Converged` if the gradient is small."""
        vectors, bias, scale = self._parts(theta)
        directions, norms = self.form.directions(vectors)
        scores, winners = self._scores(directions, bias)
        weight_norms = norms if self.form.loss.needs_weight_norms else None
        result = self.form.loss.evaluate(
            scores, self.codes, "sum", scale=scale, weight_norms=weight_norms, **self.inputs
        )
        self.loss = result.value / self.total
        of_best = result.grad_scores
        of_scores = of_best @ PAIR[:, None] if self.form.is_paired else self.form.spread(of_best, winners)
        # Not of_scores.T @ X: with few columns and many rows BLAS is several times as fast this way.
        gradient = np.ascontiguousarray((self.X.T @ of_scores).T)
        self._to_prototypes(gradient, directions, norms, result.grad_weight_norms)
        gradient = gradient / self.total + self.penalty * vectors
        grad_bias = None if bias is None else of_scores.sum(axis=0) / self.total
        grad_log_scale = None if scale is None else result.grad_scale * scale / self.total
        self._stop_if_small(theta, gradient, grad_bias, grad_log_scale)
        parts = [gradient if bias is None else gradient - grad_bias[:, None] * self.mean]
        parts = [(parts[0] / self.root).ravel(), *([] if bias is None else [grad_bias / self.bias_root])]
        parts += [] if scale is None else [[grad_log_scale]]
        return self.loss + 0.5 * self.penalty * np.vdot(vectors, vectors), np.concatenate(parts)

    def _stop_if_small(
        self,
        theta: NDArray[Any],
        gradient: NDArray[Any],
        grad_bias: NDArray[Any] | None,
        grad_log_scale: float | None,
    ) -> None:
        """Checks the gradient without conditioning, so that tolerances do not depend on it."""
        most = np.abs(gradient).max()
        if grad_bias is not None:
            most = max(most, np.abs(grad_bias).max())
        if grad_log_scale is not None:
            # A scale at an end of its range cannot move beyond it.
            most = max(most, abs(np.clip(theta[-1] - grad_log_scale, *np.log(self.form.scale_bounds)) - theta[-1]))
        if most <= self.tol:
            raise Converged(theta.copy())

    def _scores(self, directions: NDArray[Any], bias: NDArray[Any] | None) -> tuple[NDArray[Any], NDArray[Any] | None]:
        """Returns the scores of all rows (N, C), and their sub-centers."""
        scores = self._products(directions, 0.0 if bias is None else bias)
        return (scores * PAIR, None) if self.form.is_paired else self.form.best(scores)

    def _products(self, directions: NDArray[Any], bias: NDArray[Any] | float) -> NDArray[Any]:
        """Returns inner products plus bias for all rows, in a reused buffer; in blocks of rows that fit into caches."""
        if scipy.sparse.issparse(self.X):
            return self.X @ directions.T + bias
        if self.buffer is None:
            self.buffer = np.empty((self.X.shape[0], len(directions)))
        for first in range(0, len(self.X), ROWS):
            rows = slice(first, first + ROWS)
            np.matmul(self.X[rows], directions.T, out=self.buffer[rows])
            self.buffer[rows] += bias
        return self.buffer

    def _to_prototypes(
        self,
        gradient: NDArray[Any],
        directions: NDArray[Any],
        norms: NDArray[Any],
        grad_norms: NDArray[Any] | None,
    ) -> None:
        """Converts a gradient with respect to directions to one with respect to prototypes, in place."""
        safe = np.where(norms > 0, norms, 1.0)[:, None]
        if not self.form.is_inner_product:
            gradient -= np.einsum("ij,ij->i", gradient, directions)[:, None] * directions
            gradient /= safe
        if grad_norms is not None:
            gradient += grad_norms[:, None] * directions / (safe if self.form.is_inner_product else 1.0)


class Converged(Exception):
    """Raised when the gradient is within the tolerance."""

    def __init__(self, theta: NDArray[Any]) -> None:
        super().__init__()
        self.theta = theta


def moments(X: Any, weights: NDArray[Any] | None) -> tuple[NDArray[Any], NDArray[Any]]:
    """Returns the weighted means (D) of the features and of their squares."""
    shares = np.full(X.shape[0], 1.0 / X.shape[0]) if weights is None else weights / weights.sum()
    if scipy.sparse.issparse(X):
        return X.T @ shares, X.multiply(X).T @ shares
    return shares @ X, np.einsum("i,ij,ij->j", shares, X, X)


def few_threads(multiplications: float) -> contextlib.AbstractContextManager[Any]:
    """Returns a context that limits BLAS to one thread if more would be slower.

    For small products threads wait longer than they compute. And if SciPy has its own BLAS, as its wheels have, its
    threads wait actively after each step of L-BFGS, on the processors that NumPy's products need.
    """
    if multiplications < SMALL:
        return blas().limit(limits=1, user_api="blas")
    own = [found["filepath"] for found in blas().info() if "scipy.libs" in found["filepath"]]
    return blas().select(filepath=own).limit(limits=1) if own else contextlib.nullcontext()


@functools.cache
def blas() -> ThreadpoolController:
    """Returns the BLAS libraries of the process; cached, since the search takes as long as a small fit."""
    return ThreadpoolController()
