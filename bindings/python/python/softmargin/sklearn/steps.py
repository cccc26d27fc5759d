"""Mini-batches: steps through the fused head, and their learning rate."""

import copy

import numpy as np
import scipy.sparse

from softmargin._head import Head, Optimizer
from softmargin.sklearn.form import Found

DIVERGED = 1e12
NUMBERS = {"sgd": {"momentum": 0.9, "nesterov": True}, "adamw": {"weight_decay": 0.0}}


class Steps:
    """Mini-batches through the fused head."""

    def __init__(self, form, kind, rate, start):
        self.kind, self.state = kind, start.state
        self.weight = Parameter(start.prototypes, kind, rate)
        bias = np.zeros(form.prototypes) if start.bias is None else start.bias
        self.bias = Parameter(bias[None, :], kind, rate) if form.has_bias else None
        self.log_scale = Parameter([[np.log(start.scale)]], kind, rate) if form.learns_scale else None
        self.use(form)

    def copied(self):
        """The same with arrays of its own, for steps that may be refused half way."""
        twin = copy.copy(self)
        twin.weight, twin.bias, twin.log_scale = copy.deepcopy((self.weight, self.bias, self.log_scale))
        return twin

    def use(self, form):
        self.form = form
        self.head = Head(form.loss, embedding_size=self.weight.array.shape[1])

    def lower(self, factor):
        for parameter in self._parameters():
            parameter.set_rate(parameter.rate * factor)

    def _parameters(self):
        return [parameter for parameter in (self.weight, self.bias, self.log_scale) if parameter is not None]

    @property
    def scale(self):
        if self.log_scale is None:
            return self.form.initial_scale
        return float(np.clip(np.exp(np.float64(self.log_scale.array[0, 0])), *self.form.scale_bounds))

    def found(self):
        bias = None if self.bias is None else self.bias.array[0].astype(np.float64)
        return Found(self.weight.array.astype(np.float64), bias, self.scale, self.state)

    def epoch(self, X, codes, weights, order, batch_size, decay):
        """Mean loss, and mean objective, of a pass over rows in this order, each batch before its step.

        The objective is the mean loss and ``decay / 2`` times the square of the weight.
        """
        if self.kind == "sgd":
            # The penalty has a curvature too, beside that of the loss, by which the rate was chosen.
            self.weight.optimizer.learning_rate = self.weight.rate / (1.0 + self.weight.rate * decay)
        mean = 1.0 if weights is None else weights.mean()
        total = penalty = 0.0
        for first in range(0, len(order), batch_size):
            rows = order[first : first + batch_size]
            # Weights of mean 1 over all batches: within each alone, batches with little weight would count as much.
            of_rows = np.ones(len(rows)) if weights is None else weights[rows] / mean
            penalty += 0.5 * decay * float(np.vdot(self.weight.array, self.weight.array)) * len(rows)
            total += self._step(dense(X[rows]), codes[rows], of_rows / len(rows), decay) * len(rows)
        self._check(total / len(order))
        return total / len(order), (total + penalty) / len(order)

    def _check(self, loss):
        """Refuses losses and parameters without bounds: a bias may grow while the loss does not."""
        most = np.max([loss, *(np.abs(parameter.array).max() for parameter in self._parameters())])
        if not most < DIVERGED:
            raise ValueError(f"learning_rate: training diverges, to a loss or weight of {most:g}; give a smaller one")

    def _step(self, x, codes, weights, decay):
        extras = {"sample_weights": weights.astype(np.float32)}
        if self.bias is not None:
            extras["bias"] = self.bias.array[0]
        if self.log_scale is not None:
            extras["scale"] = scale = self.scale
        if self.state is not None:
            extras["state"] = self.state = self.head.update(self.state, x, self.weight.array, codes, **extras)
        outcome = self._step_of_weight(x, codes, extras, decay)
        if self.bias is not None:
            self.bias.optimizer.apply(self.bias.array, outcome.grad_bias[None, :])
        if self.log_scale is not None:
            gradient = np.array([[outcome.grad_scale * scale]], dtype=np.float32)
            self.log_scale.optimizer.apply(self.log_scale.array, gradient)
            self.log_scale.array[...] = np.log(self.scale)
        if self.state is not None:
            self.state = {**self.state, "step": self.state["step"] + 1}
        return outcome.value

    def _step_of_weight(self, x, codes, extras, decay):
        weight, optimizer = self.weight.array, self.weight.optimizer
        if not decay:
            return self.head.step_and_run(x, weight, codes, optimizer, "sum", **extras)
        # The penalty is a part of the gradient: decoupled from it, as in AdamW, another objective would be minimized.
        outcome = self.head.run(x, weight, codes, "sum", **extras)
        optimizer.apply(weight, outcome.grad_weight + np.float32(decay) * weight)
        return outcome


class Parameter:
    """A matrix in single precision with its optimizer."""

    def __init__(self, array, kind, rate, state=None):
        self.array, self.kind, self.rate = np.array(array, dtype=np.float32, order="C"), kind, rate
        self.optimizer = Optimizer(kind, self.array, learning_rate=rate, **NUMBERS[kind])
        if state is not None:
            self.optimizer.load_state_dict(state)

    def set_rate(self, rate):
        self.rate = self.optimizer.learning_rate = rate

    def __reduce__(self):
        return Parameter, (self.array, self.kind, self.rate, self.optimizer.state_dict())


class Schedule:
    """Lowers the learning rate where the objective stands still, and in the last fifth of all epochs.

    Standing still is wanted of some epochs in turn, and of so many that they have some steps together: what is far
    along a direction of little curvature is long on its way.
    """

    CUTS, FACTOR, EPOCHS, STEPS = 4, 0.2, 3, 100

    def __init__(self, steps, tol, max_iter, batches):
        self.steps, self.tol, self.max_iter = steps, tol, max_iter
        self.patience = max(self.EPOCHS, min(-(-self.STEPS // batches), max_iter // 10))
        self.best, self.idle, self.cuts, self.left, self.is_hurried = np.inf, 0, 0, max_iter, False

    def is_over(self, objective):
        """Takes an epoch in; whether it was the last one."""
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


def dense(rows):
    rows = rows.toarray() if scipy.sparse.issparse(rows) else rows
    return np.ascontiguousarray(rows, dtype=np.float32)
