"""Training with mini-batches: steps of the fused head, and their learning rate."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import ArrayLike, NDArray

from softmargin._head import Head, HeadResult
from softmargin._optimizer import Optimizer
from softmargin.sklearn.form import Form, Found

DIVERGED = 1e12
OPTIONS = {"sgd": {"momentum": 0.9, "nesterov": True}, "adamw": {"weight_decay": 0.0}}


class Steps:
    """Trains the parameters of a form with mini-batches, through the fused head."""

    def __init__(self, form: Form, kind: str, rate: float, start: Found) -> None:
        self.kind, self.state = kind, start.state
        self.weight = Parameter(start.prototypes, kind, rate)
        bias = np.zeros(form.prototypes) if start.bias is None else start.bias
        self.bias = Parameter(bias[None, :], kind, rate) if form.has_bias else None
        self.log_scale = Parameter([[np.log(start.scale)]], kind, rate) if form.learns_scale else None
        self.use(form)

    def copied(self) -> Steps:
        """Returns a copy with its own arrays, for steps that may raise an error."""
        other = copy.copy(self)
        other.weight, other.bias, other.log_scale = copy.deepcopy((self.weight, self.bias, self.log_scale))
        return other

    def use(self, form: Form) -> None:
        """Continues with another loss."""
        self.form = form
        self.head = Head(form.loss, form.loss.num_classes, self.weight.array.shape[1])

    def lower(self, factor: float) -> None:
        """Multiplies all learning rates by a factor."""
        for parameter in self._parameters():
            parameter.set_rate(parameter.rate * factor)

    def _parameters(self) -> list[Parameter]:
        return [parameter for parameter in (self.weight, self.bias, self.log_scale) if parameter is not None]

    @property
    def scale(self) -> float:
        """The current scale, within its bounds."""
        if self.log_scale is None:
            return self.form.initial_scale
        return float(np.clip(np.exp(np.float64(self.log_scale.array[0, 0])), *self.form.scale_bounds))

    def found(self) -> Found:
        """Returns the current parameters and state."""
        bias = None if self.bias is None else self.bias.array[0].astype(np.float64)
        return Found(self.weight.array.astype(np.float64), bias, self.scale, self.state)

    def epoch(
        self,
        X: Any,
        codes: NDArray[Any],
        weights: NDArray[Any] | None,
        order: NDArray[Any],
        batch_size: int,
        decay: float,
    ) -> tuple[float, float]:
        """Trains on the rows in this order; returns mean loss and mean objective, of each batch before its step.

        The objective is the mean loss plus ``decay / 2`` times the square of the weight.
        """
        if self.kind == "sgd":
            # The rate suits the curvature of the loss; the penalty has a curvature too.
            self.weight.optimizer.lr = self.weight.rate / (1.0 + self.weight.rate * decay)
        mean = 1.0 if weights is None else weights.mean()
        total = penalty = 0.0
        for first in range(0, len(order), batch_size):
            rows = order[first : first + batch_size]
            # The mean is 1 over all batches, not within each: batches of little weight have little effect.
            of_rows = np.ones(len(rows)) if weights is None else weights[rows] / mean
            penalty += 0.5 * decay * float(np.vdot(self.weight.array, self.weight.array)) * len(rows)
            total += self._step(dense(X[rows]), codes[rows], of_rows / len(rows), decay) * len(rows)
        self._check(total / len(order))
        return total / len(order), (total + penalty) / len(order)

    def _check(self, loss: float) -> None:
        """Raises ``ValueError`` on diverging losses and parameters: a bias may diverge while the loss does not."""
        most = np.max([loss, *(np.abs(parameter.array).max() for parameter in self._parameters())])
        if not most < DIVERGED:
            raise ValueError(f"learning_rate: training diverges, to a loss or weight of {most:g}; give a smaller one")

    def _step(self, x: NDArray[Any], codes: NDArray[Any], weights: NDArray[Any], decay: float) -> float:
        """Does a step; returns the loss of the batch before it."""
        inputs = {"sample_weights": weights.astype(np.float32)}
        if self.bias is not None:
            inputs["bias"] = self.bias.array[0].copy()  # the fused step moves the copy: the bias has its own optimizer
        if self.log_scale is not None:
            inputs["scale"] = scale = self.scale
        if self.state is not None:
            inputs["state"] = self.state = self.head.update(self.state, x, self.weight.array, codes, **inputs)
        result = self._step_of_weight(x, codes, inputs, decay)
        if self.bias is not None:
            self.bias.optimizer.apply(self.bias.array, result.grad_bias[None, :])
        if self.log_scale is not None:
            gradient = np.array([[result.grad_scale * scale]], dtype=np.float32)
            self.log_scale.optimizer.apply(self.log_scale.array, gradient)
            self.log_scale.array[...] = np.log(self.scale)
        if self.state is not None:
            self.state = {**self.state, "step": self.state["step"] + 1}
        return result.value

    def _step_of_weight(self, x: NDArray[Any], codes: NDArray[Any], inputs: dict[str, Any], decay: float) -> HeadResult:
        weight, optimizer = self.weight.array, self.weight.optimizer
        if not decay:
            return self.head.step(x, weight, codes, optimizer, "sum", **inputs)
        # The penalty is part of the gradient: decoupled from it, as in AdamW, another objective would be minimized.
        result = self.head.evaluate(x, weight, codes, "sum", **inputs)
        optimizer.apply(weight, result.grad_weight + np.float32(decay) * weight)
        return result


class Parameter:
    """A matrix in ``float32`` with its optimizer."""

    def __init__(self, array: ArrayLike, kind: str, rate: float, state: dict[str, Any] | None = None) -> None:
        self.array, self.kind, self.rate = np.array(array, dtype=np.float32, order="C"), kind, rate
        self.optimizer = Optimizer(kind, self.array, lr=rate, **OPTIONS[kind])
        if state is not None:
            self.optimizer.load_state_dict(state)

    def set_rate(self, rate: float) -> None:
        """Sets the learning rate."""
        self.rate = self.optimizer.lr = rate

    def __reduce__(self):
        return Parameter, (self.array, self.kind, self.rate, self.optimizer.state_dict())


class Schedule:
    """Lowers the learning rate when the objective stops falling, and in the last fifth of all epochs.

    The objective must stop for several epochs in a row, with a minimum number of steps: along directions of little
    curvature convergence is slow.
    """

    CUTS, FACTOR, EPOCHS, STEPS = 4, 0.2, 3, 100

    def __init__(self, steps: Steps, tol: float, max_iter: int, batches: int) -> None:
        self.steps, self.tol, self.max_iter = steps, tol, max_iter
        self.patience = max(self.EPOCHS, min(-(-self.STEPS // batches), max_iter // 10))
        self.best, self.idle, self.cuts, self.left, self.is_hurried = np.inf, 0, 0, max_iter, False

    def is_over(self, objective: float) -> bool:
        """Records an epoch; returns True if it was the last one."""
        self.left -= 1
        if not np.isfinite(self.best) or objective < self.best - self.tol * max(1.0, abs(self.best)):
            self.best, self.idle = objective, 0
        else:
            self.idle += 1
        is_late = self.left <= 0.2 * self.max_iter * (self.CUTS - self.cuts) / self.CUTS
        if self.idle < self.patience and not is_late:
            return False
        self.is_hurried = self.is_hurried or self.idle < self.patience
        self.idle, self.cuts = 0, self.cuts + 1
        self.steps.lower(self.FACTOR)
        return self.cuts > self.CUTS and not self.is_hurried


def dense(rows: Any) -> NDArray[Any]:
    """Returns dense or sparse rows as a dense array in ``float32``."""
    rows = rows.toarray() if scipy.sparse.issparse(rows) else rows
    return np.ascontiguousarray(rows, dtype=np.float32)
