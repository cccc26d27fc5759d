"""Heads: a linear layer and a loss, fused."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from softmargin import _core
from softmargin._arrays import MOST_INTEGER, floats, scalar, targets, vector, whole
from softmargin._loss import Loss, LossOptions, Reduction, loss_of, value_of
from softmargin._optimizer import Optimizer, writeable

__all__ = ["Head", "HeadResult", "SampledClasses", "release_memory"]

Mode = Literal["auto", "store", "store-half", "recompute", "row-chunked", "unfused"]
Precision = Literal["f32", "bf16"]

MOST_SCORES = 1 << 22  # scores that a prediction computes at a time


@dataclasses.dataclass(frozen=True)
class HeadInputs:
    """The optional inputs of a batch of embeddings, as one object."""

    bias: ArrayLike | None = None
    scale: float | None = None
    radius: float | None = None
    sample_weights: ArrayLike | None = None
    margins: ArrayLike | None = None
    state: dict[str, Any] | None = None
    sampled: SampledClasses | None = None

    def read(self, dtype: np.dtype[Any]) -> dict[str, Any]:
        """Returns them as the extension reads them, arrays in the type of the embeddings."""
        if self.sampled is not None and not isinstance(self.sampled, SampledClasses):
            raise TypeError(f"sampled: expected what Head.sample() returns, found {type(self.sampled).__name__}")
        return {
            "bias": vector(self.bias, "bias", dtype),
            "scale": scalar(self.scale),
            "radius": scalar(self.radius),
            "sample_weights": vector(self.sample_weights, "sample_weights", dtype),
            "margins": vector(self.margins, "margins", dtype),
            "state": self.state,
            "sampled": None if self.sampled is None else self.sampled._core,
        }


@dataclasses.dataclass(frozen=True)
class HeadResult:
    """The loss of a batch of embeddings, its parts and its gradients.

    - ``value``: The loss of the batch; with ``reduction="none"`` the sum of ``row_losses``. All gradients are those of
      ``value``.
    - ``row_losses``: (N): the weighted loss of each row, 0 for ignored ones.
    - ``total_weight``: The sum of the rows' weights.
    - ``num_valid``: The number of rows that are not ignored and have a weight above 0.
    - ``target_scores``: (N): the score of the target, without margin; 0 for ignored rows and soft targets.
    - ``predictions``: (N): the class of the largest score, the lowest on ties; -1 if there is none.
    - ``log_sum_exp``: (N): of the scaled scores; None without ``statistics``.
    - ``entropy``: (N): of the softmax of the scaled scores, in nats; None without ``statistics``.
    - ``grad_embeddings``: (N, D): the gradient with respect to the embeddings.
    - ``grad_weight``: (C K, D): the gradient with respect to the weight; None after a step, which consumes it.
    - ``grad_bias``: (C K): the gradient with respect to the bias; empty without a bias.
    - ``grad_scale``: The gradient with respect to the scale, learned or not.
    - ``grad_radius``: The gradient with respect to the radius of ring loss.
    - ``scale``, ``radius``: The new values after a step, if they were passed.

    Gradients are None if ``gradients=False``.
    """

    value: float
    row_losses: NDArray[Any]
    total_weight: float
    num_valid: int
    target_scores: NDArray[Any]
    predictions: NDArray[Any]
    log_sum_exp: NDArray[Any] | None = None
    entropy: NDArray[Any] | None = None
    grad_embeddings: NDArray[Any] | None = None
    grad_weight: NDArray[Any] | None = None
    grad_bias: NDArray[Any] | None = None
    grad_scale: float | None = None
    grad_radius: float | None = None
    scale: float | None = None
    radius: float | None = None


_HEADS: weakref.WeakSet[Head] = weakref.WeakSet()


def release_memory() -> None:
    """Returns reserved memory to the system: the workspaces of heads, and unused buffers of large gradients.

    >>> import softmargin
    >>> softmargin.release_memory()
    """
    for head in list(_HEADS):
        head.release_memory()
    _core.release_memory()


class SampledClasses:
    """A sample of the classes, which alone take part in a step; returned by :meth:`Head.sample`."""

    def __init__(self, core: _core.SampledClasses) -> None:
        self._core = core

    @property
    def classes(self) -> NDArray[np.int64]:
        """The class numbers, in rising order."""
        return self._core.classes


class Head:
    """A linear layer and a loss as one operation, within a memory limit.

    The weight (C K, D), with K sub-centers per class, belongs to the caller: see :meth:`initial_weight`.

    - ``loss``: A :class:`~softmargin.Loss`; or a name or a dictionary, which make one together with ``num_classes``
      and the keyword arguments of :class:`~softmargin.Loss`.
    - ``num_classes``: C; the same as that of a :class:`~softmargin.Loss`.
    - ``embedding_size``: D, 1 or more.
    - ``mode``: The storage of the scores between the two sweeps over the classes: ``"auto"``; ``"store"``, 4 bytes per
      score; ``"store-half"``, 2 bytes; ``"recompute"``, nothing; ``"row-chunked"``, for many rows and few classes; or
      ``"unfused"``, the plain computation.
    - ``memory``: The bytes that a call may take beyond embeddings, weight and their gradients, 64 MiB or more.
    - ``precision``: ``"f32"``, or ``"bf16"`` for processors that multiply it.
    - ``statistics``: True if results have log-sum-exp and entropy of each row.

    Arrays in ``float64`` take the plain computation in every mode.

    Raises ``ValueError`` on an invalid loss, size, mode or memory; ``TypeError`` on values of a wrong type.

    >>> import numpy as np
    >>> import softmargin
    >>> head = softmargin.Head("am-softmax", num_classes=1000, embedding_size=16)
    >>> weight = head.initial_weight(seed=1)
    >>> embeddings = np.ones((2, 16), dtype=np.float32)
    >>> value, grad_embeddings, grad_weight = head.value_and_grad(embeddings, weight, [7, 900])
    >>> grad_embeddings.shape, grad_weight.shape
    ((2, 16), (1000, 16))
    """

    def __init__(
        self,
        loss: str | dict[str, Any] | Loss,
        num_classes: int,
        embedding_size: int,
        *,
        scale: float | None = None,
        margin: float | Sequence[float] | None = None,
        spec: dict[str, Any] | None = None,
        class_weights: ArrayLike | None = None,
        ignored_label: int | None = None,
        class_counts: Sequence[int] | NDArray[Any] | None = None,
        label_smoothing: float | None = None,
        z_loss: float | None = None,
        mode: Mode = "auto",
        memory: int = 1 << 30,
        precision: Precision = "f32",
        statistics: bool = False,
    ) -> None:
        options = LossOptions(scale, margin, spec, class_weights, ignored_label, class_counts, label_smoothing, z_loss)
        self.loss = loss_of(loss, num_classes, options)
        self.embedding_size = whole(embedding_size, "embedding_size", 1)
        memory = whole(memory, "memory", 0, MOST_INTEGER)
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
        """The number of rows of the weight: C, or C K with K sub-centers."""
        return self._core.num_prototypes

    def initial_weight(self, seed: int = 0, dtype: DTypeLike = np.float32) -> NDArray[Any]:
        """Returns prototypes (C K, D) with about unit norm in random directions, determined by the seed, 0 or above."""
        normal = np.random.Generator(np.random.Philox(whole(seed, "seed", 0))).standard_normal
        return normal((self.num_prototypes, self.embedding_size), dtype=dtype) / np.sqrt(
            self.embedding_size, dtype=dtype
        )

    def sample(self, target: ArrayLike, share: float, seed: int = 0, step: int = 0) -> SampledClasses:
        """Returns the classes of the targets (N) and a ``share`` (above 0, up to 1) of the others.

        The others are drawn from ``(seed, step)``. In a call with ``sampled=`` only these classes take part: the
        gradient with respect to all other prototypes is 0, and a step does not change them.

        Raises ``ValueError`` on a share out of range.

        >>> import softmargin
        >>> head = softmargin.Head("arcface", num_classes=1000, embedding_size=8)
        >>> len(head.sample([7, 900], 0.1).classes)
        102
        """
        labels = targets(target, "target", np.dtype(np.float32))
        numbers = (whole(seed, "seed", 0, MOST_INTEGER), whole(step, "step", 0, MOST_INTEGER))
        return SampledClasses(self._core.sample(labels, float(share), *numbers))

    def __call__(
        self,
        embeddings: ArrayLike,
        weight: ArrayLike,
        target: ArrayLike,
        reduction: Reduction = "mean",
        *,
        bias: ArrayLike | None = None,
        scale: float | None = None,
        radius: float | None = None,
        sample_weights: ArrayLike | None = None,
        margins: ArrayLike | None = None,
        state: dict[str, Any] | None = None,
        sampled: SampledClasses | None = None,
    ) -> float | NDArray[Any]:
        """Returns the loss: a number, or an array (N) with ``reduction="none"``.

        Arguments and errors as :meth:`evaluate`.
        """
        inputs = HeadInputs(bias, scale, radius, sample_weights, margins, state, sampled)
        return value_of(self._evaluate(embeddings, weight, target, reduction, False, inputs), reduction)

    def value_and_grad(
        self,
        embeddings: ArrayLike,
        weight: ArrayLike,
        target: ArrayLike,
        reduction: Reduction = "mean",
        *,
        bias: ArrayLike | None = None,
        scale: float | None = None,
        radius: float | None = None,
        sample_weights: ArrayLike | None = None,
        margins: ArrayLike | None = None,
        state: dict[str, Any] | None = None,
        sampled: SampledClasses | None = None,
    ) -> tuple[Any, NDArray[Any], NDArray[Any]]:
        """Returns the loss, and its gradients with respect to the embeddings (N, D) and the weight (C K, D).

        A gradient of 4 MiB or more uses memory that is reused once the array and all its views are freed. Arguments
        and errors as :meth:`evaluate`.
        """
        inputs = HeadInputs(bias, scale, radius, sample_weights, margins, state, sampled)
        found = self._evaluate(embeddings, weight, target, reduction, True, inputs)
        return value_of(found, reduction), found["grad_embeddings"], found["grad_weight"]

    def evaluate(
        self,
        embeddings: ArrayLike,
        weight: ArrayLike,
        target: ArrayLike,
        reduction: Reduction = "mean",
        *,
        gradients: bool = True,
        bias: ArrayLike | None = None,
        scale: float | None = None,
        radius: float | None = None,
        sample_weights: ArrayLike | None = None,
        margins: ArrayLike | None = None,
        state: dict[str, Any] | None = None,
        sampled: SampledClasses | None = None,
    ) -> HeadResult:
        """Returns the loss of a batch with its parts and, by default, all its gradients: a :class:`HeadResult`.

        - ``embeddings``, ``weight``: (N, D) and (C K, D), both ``float32`` or both ``float64``, of any strides.
        - ``target``: Labels (N) from 0, or for softmax cross-entropy distributions (N, C).
        - ``reduction``: As in :meth:`Loss.evaluate`.
        - ``gradients``: True if gradients are computed.
        - ``bias``: (C K), for a geometry that has one.
        - ``scale``, ``radius``: The current value of a learned scale, and of the radius of ring loss.
        - ``sample_weights``: (N), 0 or above. Default: 1.
        - ``margins``: (N), for a margin per sample.
        - ``state``: See :meth:`Loss.initial_state`.
        - ``sampled``: See :meth:`sample`. Default: all classes take part.

        Raises the errors of :meth:`Loss.evaluate`; a NaN score is a ``ValueError`` that names the row.
        """
        inputs = HeadInputs(bias, scale, radius, sample_weights, margins, state, sampled)
        return HeadResult(**self._evaluate(embeddings, weight, target, reduction, gradients, inputs))

    def step(
        self,
        embeddings: ArrayLike,
        weight: NDArray[np.float32],
        target: ArrayLike,
        optimizer: Optimizer,
        reduction: Reduction = "mean",
        *,
        bias: ArrayLike | None = None,
        scale: float | None = None,
        radius: float | None = None,
        sample_weights: ArrayLike | None = None,
        margins: ArrayLike | None = None,
        state: dict[str, Any] | None = None,
        sampled: SampledClasses | None = None,
    ) -> HeadResult:
        """Does a training step on every parameter that is passed, and returns a :class:`HeadResult`.

        ``weight`` and ``bias`` (``float32``) are changed in place; the new ``scale`` and ``radius`` are in the result.
        Weight decay is that of the weight alone. ``grad_embeddings`` of the result is for the network before the head.
        The gradient with respect to the weight is never stored as a whole, so it cannot be clipped by its norm here:
        call :meth:`value_and_grad`, clip, and :meth:`Optimizer.apply` instead. After an error the parameters and the
        optimizer are as they were.

        Other arguments and errors as :meth:`evaluate`.

        >>> import numpy as np
        >>> import softmargin
        >>> head = softmargin.Head("normface", num_classes=3, embedding_size=2)
        >>> weight = head.initial_weight()
        >>> optimizer = softmargin.Optimizer("sgd", weight, lr=0.1, momentum=0.9)
        >>> embeddings = np.array([[1.0, 1.0], [-1.0, 0.0]], dtype=np.float32)
        >>> losses = [head.step(embeddings, weight, [1, 2], optimizer).value for _ in range(5)]
        >>> losses == sorted(losses, reverse=True)
        True
        """
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"optimizer: expected a softmargin.Optimizer, found {type(optimizer).__name__}")
        inputs = HeadInputs(bias, scale, radius, sample_weights, margins, state, sampled)
        embeddings, target, read = self._batch(embeddings, target, inputs)
        if embeddings.dtype != np.float32:
            raise TypeError(f"embeddings: expected float32 for a step, found {embeddings.dtype}")
        weight = writeable(weight)
        if bias is not None:
            read["bias"] = writeable(bias, "bias", 1)
        return HeadResult(**self._core.step(embeddings, weight, target, optimizer._core, reduction, read))

    def scores(self, embeddings: ArrayLike, weight: ArrayLike, bias: ArrayLike | None = None) -> NDArray[Any]:
        """Returns the score of every class (N, C), cosines for a cosine loss, without margin and scale.

        The score of a class with several prototypes is the largest of theirs. Errors as :meth:`evaluate`.
        """
        embeddings = floats(embeddings, "embeddings", 2)
        weight = floats(weight, "weight", 2, embeddings.dtype)
        return self._core.scores(embeddings, weight, vector(bias, "bias", embeddings.dtype))

    def predict(self, embeddings: ArrayLike, weight: ArrayLike, bias: ArrayLike | None = None) -> NDArray[np.int64]:
        """Returns the class of the largest score of each row (N), the lowest on ties.

        The scores are computed some rows at a time. Errors as :meth:`evaluate`.
        """
        embeddings = floats(embeddings, "embeddings", 2)
        answer = np.empty(len(embeddings), np.int64)
        step = max(1, MOST_SCORES // self.num_classes)
        for first in range(0, len(embeddings), step):
            rows = slice(first, first + step)
            answer[rows] = self.scores(embeddings[rows], weight, bias).argmax(axis=1)
        return answer

    def update(
        self,
        state: dict[str, Any],
        embeddings: ArrayLike,
        weight: ArrayLike,
        target: ArrayLike,
        *,
        bias: ArrayLike | None = None,
        scale: float | None = None,
        radius: float | None = None,
        sample_weights: ArrayLike | None = None,
        margins: ArrayLike | None = None,
        sampled: SampledClasses | None = None,
    ) -> dict[str, Any]:
        """Returns ``state`` with the batch added to its averages; see :meth:`Loss.update`.

        Only the scores of the targets are computed. Other arguments and errors as :meth:`evaluate`.
        """
        inputs = HeadInputs(bias, scale, radius, sample_weights, margins, state, sampled)
        embeddings, target, read = self._batch(embeddings, target, inputs)
        return self._core.update(embeddings, _weight(weight, embeddings), target, read)

    def release_memory(self) -> None:
        """Returns the workspace of this head to the system; the next call allocates it again."""
        self._core.release_memory()

    def _evaluate(
        self,
        embeddings: ArrayLike,
        weight: ArrayLike,
        target: ArrayLike,
        reduction: str,
        gradients: bool,
        inputs: HeadInputs,
    ) -> dict[str, Any]:
        """Returns the fields of a :class:`HeadResult`."""
        embeddings, target, read = self._batch(embeddings, target, inputs)
        return self._core.evaluate(embeddings, _weight(weight, embeddings), target, reduction, gradients, read)

    def _batch(self, embeddings, target, inputs):
        embeddings = floats(embeddings, "embeddings", 2)
        if embeddings.shape[1] != self.embedding_size:
            raise ValueError(f"embeddings: expected shape (N, {self.embedding_size}), found {embeddings.shape}")
        read = inputs.read(embeddings.dtype)
        return embeddings, targets(target, "target", embeddings.dtype), read


def _weight(weight, embeddings):
    weight = floats(weight, "weight", 2)
    if weight.dtype != embeddings.dtype:
        raise TypeError(
            f"weight: expected {embeddings.dtype} as the embeddings, found {weight.dtype}; convert one of the two"
        )
    return weight


def _rebuilt(loss, embedding_size, options):
    return Head(loss, loss.num_classes, embedding_size, **options)
