"""Losses of scores."""

from __future__ import annotations

import copy
import dataclasses
import reprlib
from collections.abc import Sequence
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from softmargin import _core
from softmargin._arrays import MOST_INTEGER, floats, scalar, targets, vector, whole

__all__ = ["Loss", "LossResult", "losses"]

Reduction = Literal["mean", "mean-or-nan", "sum", "none"]


@overload
def losses(name: None = None) -> list[dict[str, Any]]: ...
@overload
def losses(name: str) -> dict[str, Any]: ...
def losses(name: str | None = None) -> Any:
    """Describes the published losses: returns a list of dictionaries, or the one of a name or an alias.

    Each dictionary has ``name``, ``aliases``, ``summary``, ``equation``, ``gradient``, ``paper``, the default ``scale``
    and ``margin`` (a list, named by ``margin-names``), and ``spec``, the complete specification.

    Raises ``ValueError`` on an unknown name.

    >>> import softmargin
    >>> [loss["name"] for loss in softmargin.losses()][:3]
    ['cross-entropy', 'weston-watkins', 'crammer-singer']
    >>> softmargin.losses("cosface")["name"]
    'am-softmax'
    """
    return _core.losses(name)


@dataclasses.dataclass(frozen=True)
class LossOptions:
    """The keyword arguments of :class:`Loss`, as one object that heads pass on."""

    scale: float | None = None
    margin: float | Sequence[float] | None = None
    spec: dict[str, Any] | None = None
    class_weights: ArrayLike | None = None
    ignored_label: int | None = None
    class_counts: Sequence[int] | NDArray[Any] | None = None
    label_smoothing: float | None = None
    z_loss: float | None = None

    def given(self) -> dict[str, Any]:
        """Returns the arguments that are not None."""
        named = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: value for name, value in named.items() if value is not None}


@dataclasses.dataclass(frozen=True)
class ScoreInputs:
    """The optional inputs of a batch of scores, as one object."""

    scale: float | None = None
    radius: float | None = None
    embedding_norms: ArrayLike | None = None
    weight_norms: ArrayLike | None = None
    sample_weights: ArrayLike | None = None
    margins: ArrayLike | None = None
    state: dict[str, Any] | None = None

    def read(self, dtype: np.dtype[Any]) -> dict[str, Any]:
        """Returns them as the extension reads them, arrays in the type of the scores."""
        return {
            "scale": scalar(self.scale),
            "radius": scalar(self.radius),
            "embedding_norms": vector(self.embedding_norms, "embedding_norms", dtype),
            "weight_norms": vector(self.weight_norms, "weight_norms", dtype),
            "sample_weights": vector(self.sample_weights, "sample_weights", dtype),
            "margins": vector(self.margins, "margins", dtype),
            "state": self.state,
        }


@dataclasses.dataclass(frozen=True)
class LossResult:
    """The loss of a batch of scores, its parts and its gradients.

    - ``value``: The loss of the batch; with ``reduction="none"`` the sum of ``row_losses``. All gradients are those of
      ``value``.
    - ``row_losses``: (N): the weighted loss of each row, 0 for ignored ones.
    - ``total_weight``: The sum of the rows' weights.
    - ``num_valid``: The number of rows that are not ignored and have a weight above 0.
    - ``grad_scores``: (N, C): the gradient with respect to the scores, the norms held fixed.
    - ``grad_scale``: The gradient with respect to the scale, learned or not.
    - ``grad_radius``: The gradient with respect to the radius of ring loss.
    - ``grad_embedding_norms``: (N): the gradient with respect to the embeddings' norms, if the loss needs them.
    - ``grad_weight_norms``: (C): the gradient with respect to the prototypes' norms, if the loss needs them.

    Gradients are None if ``gradients=False``.
    """

    value: float
    row_losses: NDArray[Any]
    total_weight: float
    num_valid: int
    grad_scores: NDArray[Any] | None = None
    grad_scale: float | None = None
    grad_radius: float | None = None
    grad_embedding_norms: NDArray[Any] | None = None
    grad_weight_norms: NDArray[Any] | None = None


class Loss:
    """A loss of scores (N, C) and targets.

    - ``loss``: The name of a published loss (see :func:`losses`), or a dictionary like the section ``[loss]`` of the
      command's files: ``name``, ``scale``, ``margin`` and ``spec``.
    - ``num_classes``: C, 1 or more.
    - ``scale``: Multiplies the scores; the initial value of a learned scale. Default: the published one.
    - ``margin``: A number, or one for each of ``losses(name)["margin-names"]``, in radians for an angle. Default: the
      published one.
    - ``spec``: The parts of the specification that differ from the published one; ``losses(name)["spec"]`` shows them
      all.
    - ``class_weights``: (C): multiplies the loss of the rows of each class (``weight`` of PyTorch's losses). The whole
      loss of a row is weighted, label smoothing included; in PyTorch, and in
      :func:`softmargin.torch.linear_cross_entropy`, the smoothed part has the weight of each class.
    - ``ignored_label``: Rows with this label are ignored (``ignore_index`` of PyTorch's losses). Default: none.
    - ``class_counts``: (C): the number of samples of each class, for a margin that depends on it.
    - ``label_smoothing``, ``z_loss``: Options of softmax cross-entropy. Default: 0.

    Raises ``ValueError`` on an unknown name, on numbers out of range and on parts that do not go together, with the
    reason; ``TypeError`` on values of a wrong type.

    >>> import numpy as np
    >>> import softmargin
    >>> loss = softmargin.Loss("cross-entropy", num_classes=2)
    >>> loss(np.array([[20.0, 0.0]], dtype=np.float32), [0])  # a difference of logarithms would be 0 here
    2.06115369216775e-09
    >>> loss.spec["geometry"]
    {'kind': 'inner-product', 'bias': True, 'temperature': 1.0}
    """

    def __init__(
        self,
        loss: str | dict[str, Any],
        num_classes: int,
        *,
        scale: float | None = None,
        margin: float | Sequence[float] | None = None,
        spec: dict[str, Any] | None = None,
        class_weights: ArrayLike | None = None,
        ignored_label: int | None = None,
        class_counts: Sequence[int] | NDArray[Any] | None = None,
        label_smoothing: float | None = None,
        z_loss: float | None = None,
    ) -> None:
        options = LossOptions(scale, margin, spec, class_weights, ignored_label, class_counts, label_smoothing, z_loss)
        # Copies: pickles and copies are made from the arguments as they are now.
        self._arguments = copy.deepcopy(options.given())
        self._given = copy.deepcopy(loss)
        name, scale, margin, spec = _section(loss, options)
        parts = _parts(name, spec, options)
        counts = None if class_counts is None else [whole(count, "class_counts", 0) for count in class_counts]
        self._core = _core.Loss(name, whole(num_classes, "num_classes", 0), scale, margin, parts or None, counts)

    def __reduce__(self):
        return _rebuilt, (type(self), self._given, self.num_classes, self._arguments)

    def __repr__(self) -> str:
        numbers = "".join(f", {key}={reprlib.repr(value)}" for key, value in self._arguments.items())
        return f"{type(self).__name__}({self._given!r}, num_classes={self.num_classes}{numbers})"

    @property
    def name(self) -> str:
        """The name of the published loss that this one is based on."""
        return self._core.name

    @property
    def num_classes(self) -> int:
        """C."""
        return self._core.num_classes

    @property
    def spec(self) -> dict[str, Any]:
        """The complete specification, a dictionary with the keys of the command's files."""
        return self._core.spec

    @property
    def needs_embedding_norms(self) -> bool:
        """True if calls need ``embedding_norms``."""
        return self._core.needs_embedding_norms

    @property
    def needs_weight_norms(self) -> bool:
        """True if calls need ``weight_norms``."""
        return self._core.needs_weight_norms

    def initial_state(self, seed: int = 0) -> dict[str, Any] | None:
        """Returns the state at the start of training, a dictionary; None for a loss without state.

        A loss has a state if its margin is annealed or drawn (from ``seed``), or if it uses moving averages. A training
        step is: :meth:`update` adds the batch to the averages, the loss is computed with ``state=``, and
        ``state["step"]`` is increased by 1.

        Raises ``ValueError`` on a seed below 0.

        >>> import softmargin
        >>> softmargin.Loss("curricularface", num_classes=10).initial_state()["target-mean"]
        0.0
        """
        return self._core.initial_state(whole(seed, "seed", 0, MOST_INTEGER))

    def __call__(
        self,
        scores: ArrayLike,
        target: ArrayLike,
        reduction: Reduction = "mean",
        *,
        scale: float | None = None,
        radius: float | None = None,
        embedding_norms: ArrayLike | None = None,
        weight_norms: ArrayLike | None = None,
        sample_weights: ArrayLike | None = None,
        margins: ArrayLike | None = None,
        state: dict[str, Any] | None = None,
    ) -> float | NDArray[Any]:
        """Returns the loss: a number, or an array (N) with ``reduction="none"``.

        Arguments and errors as :meth:`evaluate`.
        """
        inputs = ScoreInputs(scale, radius, embedding_norms, weight_norms, sample_weights, margins, state)
        return value_of(self._evaluate(scores, target, reduction, False, inputs), reduction)

    def value_and_grad(
        self,
        scores: ArrayLike,
        target: ArrayLike,
        reduction: Reduction = "mean",
        *,
        scale: float | None = None,
        radius: float | None = None,
        embedding_norms: ArrayLike | None = None,
        weight_norms: ArrayLike | None = None,
        sample_weights: ArrayLike | None = None,
        margins: ArrayLike | None = None,
        state: dict[str, Any] | None = None,
    ) -> tuple[Any, NDArray[Any]]:
        """Returns the loss, and its gradient with respect to the scores (N, C).

        With ``reduction="none"`` the loss is an array (N), and the gradient is that of its sum. Arguments and errors as
        :meth:`evaluate`.

        >>> import numpy as np
        >>> import softmargin
        >>> loss = softmargin.Loss("arcface", num_classes=3, scale=16)
        >>> value, gradient = loss.value_and_grad(np.array([[0.8, 0.1, -0.2]]), [0], reduction="sum")
        >>> gradient.shape, bool(gradient[0, 0] < 0 < gradient[0, 1])
        ((1, 3), True)
        """
        inputs = ScoreInputs(scale, radius, embedding_norms, weight_norms, sample_weights, margins, state)
        found = self._evaluate(scores, target, reduction, True, inputs)
        return value_of(found, reduction), found["grad_scores"]

    def evaluate(
        self,
        scores: ArrayLike,
        target: ArrayLike,
        reduction: Reduction = "mean",
        *,
        gradients: bool = True,
        scale: float | None = None,
        radius: float | None = None,
        embedding_norms: ArrayLike | None = None,
        weight_norms: ArrayLike | None = None,
        sample_weights: ArrayLike | None = None,
        margins: ArrayLike | None = None,
        state: dict[str, Any] | None = None,
    ) -> LossResult:
        """Returns the loss of a batch with its parts and, by default, all its gradients: a :class:`LossResult`.

        - ``scores``: (N, C), cosines for a loss over cosines, in ``float32`` or ``float64``, of any strides.
        - ``target``: Labels (N) from 0, or for softmax cross-entropy distributions (N, C).
        - ``reduction``: ``"mean"``: weighted by the rows' weights, 0 if no row is valid; ``"mean-or-nan"``: the same,
          but NaN if no row is valid; ``"sum"``; ``"none"``.
        - ``gradients``: True if gradients are computed.
        - ``scale``, ``radius``: The current value of a learned scale, and of the radius of ring loss.
        - ``embedding_norms``, ``weight_norms``: (N) and (C), if the loss needs them.
        - ``sample_weights``: (N), 0 or above. Default: 1.
        - ``margins``: (N), for a margin per sample.
        - ``state``: See :meth:`initial_state`.

        Raises ``ValueError`` on shapes that disagree, on NaN, and on inputs that the loss needs and does not get, or
        gets and does not use; ``IndexError`` on labels that are no classes; ``TypeError`` on arrays of other types.

        >>> import numpy as np
        >>> import softmargin
        >>> result = softmargin.Loss("normface", num_classes=2, ignored_label=-1).evaluate(np.eye(2), [0, -1])
        >>> result.num_valid, result.row_losses.shape, result.grad_scores.shape
        (1, (2,), (2, 2))
        """
        inputs = ScoreInputs(scale, radius, embedding_norms, weight_norms, sample_weights, margins, state)
        return LossResult(**self._evaluate(scores, target, reduction, gradients, inputs))

    def update(
        self,
        state: dict[str, Any],
        scores: ArrayLike,
        target: ArrayLike,
        *,
        scale: float | None = None,
        radius: float | None = None,
        embedding_norms: ArrayLike | None = None,
        weight_norms: ArrayLike | None = None,
        sample_weights: ArrayLike | None = None,
        margins: ArrayLike | None = None,
    ) -> dict[str, Any]:
        """Returns ``state`` with the batch added to its averages; the argument is not changed.

        In training it is called before the loss of the batch is computed. Other arguments and errors as
        :meth:`evaluate`.

        >>> import numpy as np
        >>> import softmargin
        >>> loss = softmargin.Loss("curricularface", num_classes=2)
        >>> state = loss.update(loss.initial_state(), np.array([[0.8, 0.1], [0.3, 0.4]]), [0, 1])
        >>> round(state["target-mean"], 6)
        0.006
        """
        inputs = ScoreInputs(scale, radius, embedding_norms, weight_norms, sample_weights, margins, state)
        scores = floats(scores, "scores", 2)
        return self._core.update(scores, targets(target, "target", scores.dtype), inputs.read(scores.dtype))

    def _evaluate(
        self, scores: ArrayLike, target: ArrayLike, reduction: str, gradients: bool, inputs: ScoreInputs
    ) -> dict[str, Any]:
        """Returns the fields of a :class:`LossResult`."""
        scores = floats(scores, "scores", 2)
        read = inputs.read(scores.dtype)
        return self._core.evaluate(scores, targets(target, "target", scores.dtype), reduction, gradients, read)


def loss_of(loss: str | dict[str, Any] | Loss, num_classes: int, options: LossOptions) -> Loss:
    """Returns a :class:`Loss` unchanged, or makes one from a name or a dictionary. Errors as :class:`Loss`."""
    if not isinstance(loss, Loss):
        return Loss(loss, num_classes, **options.given())
    for name in options.given():
        raise TypeError(f"{name}: expected no options of a loss beside a softmargin.Loss, which has its own")
    if loss.num_classes != whole(num_classes, "num_classes", 0):
        raise TypeError(f"loss: expected a Loss of {num_classes} classes, found one of {loss.num_classes}")
    return loss


def value_of(found: dict[str, Any], reduction: str) -> Any:
    """Returns the losses of the rows (N) for ``"none"``, else the loss of the batch."""
    return found["row_losses"] if reduction == "none" else found["value"]


def _rebuilt(kind, loss, num_classes, arguments):
    return kind(loss, num_classes, **arguments)


def needs_class_counts(loss: str | dict[str, Any], options: LossOptions) -> bool:
    """Returns True if a margin depends on the counts of the classes, and they are not given."""
    name, scale, margin, spec = _section(loss, options)
    return _core.needs_class_counts(name, scale, margin, _plain(spec) or None)


def _section(loss, options):
    """Returns name, scale, margin and spec of a name or a dictionary; options take precedence over the dictionary."""
    if isinstance(loss, str):
        section = {"name": loss}
    elif isinstance(loss, dict):
        section = loss
        unknown = sorted(set(section) - {"name", "scale", "margin", "spec"})
        if unknown:
            raise ValueError(f"loss: expected the keys name, scale, margin and spec, found {unknown[0]!r}")
        if "name" not in section:
            raise ValueError("loss: expected the name of a loss, found a dictionary without one")
    else:
        raise TypeError(f"loss: expected a name or a dictionary, found {type(loss).__name__}")
    scale = section.get("scale") if options.scale is None else options.scale
    margin = section.get("margin") if options.margin is None else options.margin
    if margin is not None:
        margin = [float(m) for m in margin] if np.ndim(margin) else [float(margin)]
    spec = {**(section.get("spec") or {}), **(options.spec or {})}
    return section["name"], scalar(scale), margin, spec


def _parts(name, spec, options):
    """Returns the parts of the specification that ``spec`` and the options change."""
    parts = _plain(spec)
    if options.class_weights is not None:
        parts["class-weights"] = [float(weight) for weight in np.asarray(options.class_weights).reshape(-1)]
    if options.ignored_label is not None:
        parts["ignored-label"] = whole(options.ignored_label, "ignored_label")
    of_gate = {"label-smoothing": options.label_smoothing, "z-loss": options.z_loss}
    of_gate = {key: float(value) for key, value in of_gate.items() if value is not None}
    if of_gate:
        if "comparison" not in parts and "label-smoothing" not in losses(name)["spec"]["comparison"]["gate"]:
            option = next(iter(of_gate)).replace("-", "_")
            raise ValueError(f"{option}: expected none, {name} is no softmax cross-entropy; leave it out")
        comparison = parts.setdefault("comparison", {})
        gate = comparison.get("gate", {})
        comparison["gate"] = {**(gate if isinstance(gate, dict) else {"kind": gate}), **of_gate}
    return parts


def _plain(value):
    """Returns plain data: dictionaries, lists and numbers, not those of NumPy."""
    if isinstance(value, dict):
        return {key: _plain(below) for key, below in value.items()}
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value.item() if isinstance(value, np.generic) else value
