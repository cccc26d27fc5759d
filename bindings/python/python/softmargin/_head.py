"""Heads: embeddings, prototypes and targets to a loss and its gradients."""

from __future__ import annotations

import dataclasses
import weakref
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from softmargin import _core
from softmargin._arrays import floats, targets, vector, whole
from softmargin._loss import MOST_SEED, Loss, checked_arguments, checked_extras

__all__ = ["Head", "HeadOutcome", "Optimizer", "Sampled", "release_memory"]

MOST_SCORES = 1 << 22  # of a prediction, at a time

EXTRAS = ("bias", "sample_weights", "margins", "scale", "radius", "state", "sampled")


@dataclasses.dataclass(frozen=True)
class HeadOutcome:
    """All that is known of a head's loss of a batch.

    - ``value``: The rows, reduced; with ``reduction="none"`` their sum, whose gradient is the one given.
    - ``rows``: (N): the weighted loss of each row, 0 for ignored ones.
    - ``weight``: The sum of the rows' weights.
    - ``kept``: Rows that counted.
    - ``target_score``: (N): the target's score, without margin; 0 for ignored rows and soft targets.
    - ``top``: (N): the class of the largest score, the lowest on ties; -1 where there is none.
    - ``log_sum_exp``: (N): of the scaled scores, where ``statistics`` are asked for.
    - ``entropy``: (N): of the softmax of the scaled scores, in nats, where ``statistics`` are asked for.
    - ``grad_embeddings``: (N, D)
    - ``grad_weight``: (C K, D); None after a step, which has used it up.
    - ``grad_bias``: (C K); empty without a bias.
    - ``grad_scale``: By the scale, learned or not.
    - ``grad_radius``: By the radius of ring loss.
    """

    value: float
    rows: NDArray[Any]
    weight: float
    kept: int
    target_score: NDArray[Any]
    top: NDArray[Any]
    log_sum_exp: NDArray[Any] | None = None
    entropy: NDArray[Any] | None = None
    grad_embeddings: NDArray[Any] | None = None
    grad_weight: NDArray[Any] | None = None
    grad_bias: NDArray[Any] | None = None
    grad_scale: float | None = None
    grad_radius: float | None = None


_HEADS: weakref.WeakSet[Head] = weakref.WeakSet()


def release_memory() -> None:
    """Gives the memory that is kept for the next call back to the system: what heads work in, and large gradients that
    nobody holds any more.

    >>> import softmargin
    >>> softmargin.release_memory()
    """
    for head in list(_HEADS):
        head.release_memory()
    _core.release_memory()


class Sampled:
    """The classes that take part in a step, where not all do: made by :meth:`Head.sample`."""

    def __init__(self, core):
        self._core = core

    @property
    def classes(self) -> NDArray[np.int64]:
        """Their numbers, in rising order."""
        return self._core.classes


class Head:
    """A linear layer and a loss of the family as one operation, which never holds the N x C scores.

    ``loss`` is a :class:`~softmargin.Loss`, or what one is made of, together with ``num_classes`` and the other
    arguments of :class:`~softmargin.Loss`. ``embedding_size`` is D. The weight (C K, D), K sub-centers a class, stays
    with the caller.

    ``mode`` is what is kept of the scores between the two sweeps over the classes: ``"auto"``; ``"store"`` 4 bytes a
    score, ``"store-half"`` 2, ``"recompute"`` nothing; ``"row-chunked"`` for many rows and few classes; ``"unfused"``
    the plain computation. ``memory`` is how many bytes a call may take beyond embeddings, weight and their gradients,
    64 MiB or more. ``precision`` is ``"f32"``, or ``"bf16"`` for processors that multiply it. ``statistics`` asks for
    log-sum-exp and entropy of each row. Arrays in ``float64`` go through the plain computation.

    ``ValueError`` on a loss, mode or memory that cannot be; ``TypeError`` on values of a wrong type.

    >>> import numpy as np
    >>> import softmargin
    >>> head = softmargin.Head("am-softmax", num_classes=1000, embedding_size=16)
    >>> weight = head.initial_weight(seed=1)
    >>> x = np.ones((2, 16), dtype=np.float32)
    >>> value, grad_x, grad_weight = head.value_and_grad(x, weight, [7, 900])
    >>> grad_x.shape, grad_weight.shape
    ((2, 16), (1000, 16))
    """

    def __init__(
        self,
        loss: str | dict[str, Any] | Loss = "am-softmax",
        num_classes: int | None = None,
        embedding_size: int | None = None,
        *,
        mode: str = "auto",
        memory: int = 1 << 30,
        precision: str = "f32",
        statistics: bool = False,
        **arguments: Any,
    ) -> None:
        if isinstance(loss, Loss):
            if arguments or num_classes not in (None, loss.num_classes):
                raise TypeError(
                    "loss: expected nothing but its head's options beside a Loss, found arguments of a loss"
                )
            self.loss = loss
        else:
            self.loss = Loss(loss, num_classes, **checked_arguments(arguments))
        if embedding_size is None:
            raise TypeError("embedding_size: expected the width of the embeddings, found nothing")
        self.embedding_size = whole(embedding_size, "embedding_size", 1)
        memory = whole(memory, "memory", 0, MOST_SEED)
        self._options = {"mode": mode, "memory": memory, "precision": precision, "statistics": statistics}
        self._core = _core.Head(self.loss._core, mode, memory, precision, statistics)
        _HEADS.add(self)

    def __reduce__(self):
        return _rebuilt, (self.loss, self.embedding_size, self._options)

    def __repr__(self) -> str:
        return f"Head({self.loss!r}, embedding_size={self.embedding_size})"

    @property
    def num_classes(self) -> int:
        """C."""
        return self.loss.num_classes

    @property
    def num_prototypes(self) -> int:
        """Rows of the weight: C, or C K with K sub-centers."""
        return self._core.num_prototypes

    def initial_weight(self, seed: int = 0, dtype: DTypeLike = np.float32) -> NDArray[Any]:
        """Prototypes (C K, D) of about unit norm in random directions; the same of the same seed."""
        normal = np.random.Generator(np.random.Philox(whole(seed, "seed", 0))).standard_normal
        return normal((self.num_prototypes, self.embedding_size), dtype=dtype) / np.sqrt(
            self.embedding_size, dtype=dtype
        )

    def sample(self, target: ArrayLike, share: float, seed: int = 0, step: int = 0) -> Sampled:
        """The classes of the targets (N) and a ``share`` (above 0, up to 1) of all others, drawn by ``(seed, step)``.

        Given to a call as ``sampled=``, only they take part: the gradient of all other prototypes is 0, and a step does
        not touch them. ``ValueError`` on a share outside its range.

        >>> import softmargin
        >>> head = softmargin.Head("arcface", num_classes=1000, embedding_size=8)
        >>> len(head.sample([7, 900], 0.1).classes)
        102
        """
        numbers = (whole(seed, "seed", 0, MOST_SEED), whole(step, "step", 0, MOST_SEED))
        return Sampled(self._core.sample(targets(target, "target", np.dtype(np.float32)), float(share), *numbers))

    def __call__(
        self, x: ArrayLike, weight: ArrayLike, target: ArrayLike, reduction: str = "mean", **extras: Any
    ) -> float | NDArray[Any]:
        """The loss: a number, or an array (N) with ``reduction="none"``. Arguments as :meth:`run`."""
        outcome = self._run(x, weight, target, reduction, False, extras)
        return outcome["rows"] if reduction == "none" else outcome["value"]

    def value_and_grad(
        self, x: ArrayLike, weight: ArrayLike, target: ArrayLike, reduction: str = "mean", **extras: Any
    ) -> tuple[Any, NDArray[Any], NDArray[Any]]:
        """The loss, its gradient by the embeddings (N, D), and by the weight (C K, D). Arguments as :meth:`run`.

        A gradient of 4 MiB or more lies in memory that is used again once nobody holds the array, or a part of it.
        """
        outcome = self._run(x, weight, target, reduction, True, extras)
        value = outcome["rows"] if reduction == "none" else outcome["value"]
        return value, outcome["grad_embeddings"], outcome["grad_weight"]

    def run(
        self,
        x: ArrayLike,
        weight: ArrayLike,
        target: ArrayLike,
        reduction: str = "mean",
        *,
        gradients: bool = True,
        **extras: Any,
    ) -> HeadOutcome:
        """The loss of a batch with all that is known of it: a :class:`HeadOutcome`.

        ``x`` (N, D) and ``weight`` (C K, D), both ``float32`` or both ``float64``, of any strides. ``target``: labels
        (N) from 0, or for softmax cross-entropy distributions (N, C). ``reduction`` as in :meth:`Loss.run`.

        What a loss may want besides: ``bias`` (C K), for a geometry that has one; ``sample_weights`` (N); ``margins``
        (N); ``scale``, where a learned one stands; ``radius``; ``state``, see :meth:`Loss.initial_state`; ``sampled``,
        see :meth:`sample`. Norms are computed here.

        Errors as :meth:`Loss.run`. A score that is NaN is an error, and names the row.
        """
        return HeadOutcome(**self._run(x, weight, target, reduction, gradients, extras))

    def step(
        self,
        x: ArrayLike,
        weight: NDArray[np.float32],
        target: ArrayLike,
        optimizer: Optimizer,
        reduction: str = "mean",
        **extras: Any,
    ) -> tuple[Any, NDArray[Any]]:
        """A step of training: the loss, and its gradient by the embeddings (N, D), for the network before the head.

        ``weight`` (``float32``) is changed where it lies, by an :class:`Optimizer`: its gradient never is as a whole,
        so it cannot be clipped by its norm here (take :meth:`value_and_grad`, clip, and :meth:`Optimizer.apply`). After
        an error weight and optimizer are as they were. A bias and a learned scale are not changed: their gradients are
        in what :meth:`step_and_run` gives. Other arguments as :meth:`run`.

        >>> import numpy as np
        >>> import softmargin
        >>> head = softmargin.Head("normface", num_classes=3, embedding_size=2)
        >>> weight = head.initial_weight()
        >>> optimizer = softmargin.Optimizer("sgd", weight, learning_rate=0.1, momentum=0.9)
        >>> x = np.array([[1.0, 1.0], [-1.0, 0.0]], dtype=np.float32)
        >>> losses = [head.step(x, weight, [1, 2], optimizer)[0] for _ in range(5)]
        >>> losses == sorted(losses, reverse=True)
        True
        """
        outcome = self.step_and_run(x, weight, target, optimizer, reduction, **extras)
        return (outcome.rows if reduction == "none" else outcome.value), outcome.grad_embeddings

    def step_and_run(
        self,
        x: ArrayLike,
        weight: NDArray[np.float32],
        target: ArrayLike,
        optimizer: Optimizer,
        reduction: str = "mean",
        **extras: Any,
    ) -> HeadOutcome:
        """As :meth:`step`, with all that is known of the batch: a :class:`HeadOutcome`."""
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"optimizer: expected a softmargin.Optimizer, found {type(optimizer).__name__}")
        x, target, extras = self._batch(x, target, extras)
        if x.dtype != np.float32:
            raise TypeError(f"x: expected float32 for a step, found {x.dtype}")
        weight = optimizer._writeable(weight)
        return HeadOutcome(**self._core.step(x, weight, target, optimizer._core, reduction, extras))

    def scores(self, x: ArrayLike, weight: ArrayLike, bias: ArrayLike | None = None) -> NDArray[Any]:
        """The score of every class (N, C) as the geometry makes it, without margin and scale: maybe cosines."""
        x = floats(x, "x", 2)
        return self._core.scores(x, floats(weight, "weight", 2, x.dtype), vector(bias, "bias", x.dtype))

    def predict(self, x: ArrayLike, weight: ArrayLike, bias: ArrayLike | None = None) -> NDArray[np.int64]:
        """The class of the largest score of each row (N), the lowest on ties; the scores of some rows at a time."""
        x = floats(x, "x", 2)
        answer = np.empty(len(x), np.int64)
        step = max(1, MOST_SCORES // self.num_classes)
        for first in range(0, len(x), step):
            answer[first : first + step] = self.scores(x[first : first + step], weight, bias).argmax(axis=1)
        return answer

    def update(
        self, state: dict[str, Any], x: ArrayLike, weight: ArrayLike, target: ArrayLike, **extras: Any
    ) -> dict[str, Any]:
        """``state`` once a batch has been taken into its averages; see :meth:`Loss.update`."""
        x, target, extras = self._batch(x, target, {**extras, "state": state})
        return self._core.update(x, self._weight(weight, x), target, extras)

    def release_memory(self) -> None:
        """Gives the memory that calls work in back to the system; the next call takes it anew."""
        self._core.release_memory()

    def _run(self, x, weight, target, reduction, gradients, extras):
        x, target, extras = self._batch(x, target, extras)
        return self._core.run(x, self._weight(weight, x), target, reduction, gradients, extras)

    def _batch(self, x, target, extras):
        x = floats(x, "x", 2)
        if x.shape[1] != self.embedding_size:
            raise ValueError(f"x: expected embeddings (N, {self.embedding_size}), found shape {x.shape}")
        extras = checked_extras(extras, EXTRAS, x.dtype)
        if extras["sampled"] is not None:
            if not isinstance(extras["sampled"], Sampled):
                raise TypeError(f"sampled: expected what sample() makes, found {type(extras['sampled']).__name__}")
            extras["sampled"] = extras["sampled"]._core
        return x, targets(target, "target", x.dtype), extras

    def _weight(self, weight, x):
        weight = floats(weight, "weight", 2)
        if weight.dtype != x.dtype:
            raise TypeError(
                f"weight: expected {x.dtype} as the embeddings, found {weight.dtype}; convert one of the two"
            )
        return weight


class Optimizer:
    """A step of an optimizer on the rows of a weight (R, D) in ``float32``, as PyTorch's SGD and AdamW have it.

    ``kind`` is ``"sgd"`` (``momentum`` 0 where not given, ``nesterov``, ``weight_decay``) or ``"adamw"`` (``beta1``
    0.9, ``beta2`` 0.999, ``epsilon`` 1e-8, ``weight_decay`` 0.01). ``weight`` is the matrix or its shape. ``row_rates``
    (R) multiply the learning rate of each row.

    ``ValueError`` on numbers out of range; ``TypeError`` on arguments that the kind does not have.

    >>> import numpy as np
    >>> import softmargin
    >>> weight = np.array([[1.0, -1.0]], dtype=np.float32)
    >>> optimizer = softmargin.Optimizer("sgd", weight, learning_rate=0.5)
    >>> optimizer.apply(weight, np.array([[1.0, 0.0]], dtype=np.float32))
    >>> weight
    array([[ 0.5, -1. ]], dtype=float32)
    """

    KINDS = {
        "sgd": {"momentum": 0.0, "nesterov": False, "weight_decay": 0.0},
        "adamw": {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "weight_decay": 0.01},
    }

    def __init__(
        self,
        kind: str,
        weight: NDArray[Any] | tuple[int, int],
        *,
        learning_rate: float,
        row_rates: ArrayLike | None = None,
        **numbers: Any,
    ) -> None:
        if kind not in self.KINDS:
            raise ValueError(f"kind: expected one of {', '.join(self.KINDS)}, found {kind!r}")
        unknown = sorted(set(numbers) - set(self.KINDS[kind]))
        if unknown:
            raise TypeError(f"{unknown[0]}: expected one of {', '.join(self.KINDS[kind])} for {kind}")
        self._given = (kind, numbers)
        rule = {"kind": {"adamw": "adam-w"}.get(kind, kind), **self.KINDS[kind], **numbers}
        self._rule = {key.replace("_", "-"): value for key, value in rule.items()}
        self._shape = tuple(int(side) for side in (weight if isinstance(weight, (tuple, list)) else weight.shape))
        if len(self._shape) != 2:
            raise ValueError(f"weight: expected a matrix, found shape {self._shape}")
        self._rates = None if row_rates is None else np.asarray(row_rates, dtype=np.float32)
        self._learning_rate = float(learning_rate)
        rates = None if self._rates is None else self._rates.tolist()
        self._core = _core.Optimizer(self._rule, self._learning_rate, self._shape, rates)

    def __reduce__(self):
        return _resumed, (*self._given, self._shape, self._learning_rate, self._rates, self.state_dict())

    @property
    def learning_rate(self) -> float:
        """The learning rate of the steps to come; may be set."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._core.set_learning_rate(float(value))
        self._learning_rate = float(value)

    @property
    def steps(self) -> int:
        """Steps made."""
        return self._core.steps

    def apply(self, weight: NDArray[np.float32], gradient: ArrayLike) -> None:
        """A step on the whole weight, in place, with a gradient at hand, which may have been clipped."""
        self._core.apply(self._writeable(weight), floats(gradient, "gradient", 2, np.dtype(np.float32)))

    def state_dict(self) -> dict[str, Any]:
        """What it remembers, to be saved with the weight: arrays and single values, as :func:`numpy.savez` takes them.

        >>> import io, numpy as np, softmargin
        >>> weight, file = np.ones((2, 3), dtype=np.float32), io.BytesIO()
        >>> optimizer = softmargin.Optimizer("adamw", weight, learning_rate=0.1)
        >>> np.savez(file, weight=weight, **optimizer.state_dict())
        >>> optimizer.load_state_dict(np.load(io.BytesIO(file.getvalue())))
        """
        first, second = self._core.moments()
        return {
            "kind": self._given[0],
            "steps": self.steps,
            "first": first,
            "second": second,
            "learning_rate": self.learning_rate,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from what :meth:`state_dict` gave. ``ValueError`` on another shape or kind."""
        missing = [name for name in ("kind", "steps", "first", "second", "learning_rate") if name not in state]
        if missing:
            raise ValueError(f"state: expected what state_dict() gave, found nothing under {missing[0]!r}")
        if str(state["kind"]) != self._given[0]:
            raise ValueError(f"state: expected one of {self._given[0]}, found one of {state['kind']}")
        single = np.dtype(np.float32)
        moments = (floats(state[name], name, 2, single) for name in ("first", "second"))
        self._core.restore(whole(np.asarray(state["steps"])[()], "steps", 0), *moments)
        self.learning_rate = float(state["learning_rate"])

    def _writeable(self, weight):
        """The array itself: a copy would take the step in the weight's place."""
        found = floats(weight, "weight", 2)
        if found.dtype != np.float32:
            raise TypeError(f"weight: expected float32, found {found.dtype}")
        if not (isinstance(weight, np.ndarray) or hasattr(weight, "__dlpack__")) or not np.shares_memory(
            found, np.asarray(weight)
        ):
            raise TypeError("weight: expected an array of NumPy that a step can write to")
        if not found.flags.writeable:
            raise ValueError("weight: expected an array that may be written to, found a read-only one")
        return found


def _rebuilt(loss, embedding_size, options):
    return Head(loss, embedding_size=embedding_size, **options)


def _resumed(kind, numbers, shape, learning_rate, row_rates, state):
    optimizer = Optimizer(kind, shape, learning_rate=learning_rate, row_rates=row_rates, **numbers)
    optimizer.load_state_dict(state)
    return optimizer
