"""A loss of scores."""

from __future__ import annotations

import copy
import dataclasses
import reprlib
from collections.abc import Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from softmargin import _core
from softmargin._arrays import floats, targets, vector, whole

__all__ = ["Loss", "LossOutcome", "losses"]

MOST_SEED = (1 << 63) - 1


@overload
def losses(name: None = None) -> list[dict[str, Any]]: ...
@overload
def losses(name: str) -> dict[str, Any]: ...
def losses(name: str | None = None) -> Any:
    """What is known of the published losses: a list of dictionaries, or the one of a name or an alias.

    Each has ``name``, ``aliases``, ``summary``, ``equation``, ``gradient``, ``paper``, the usual ``scale`` and
    ``margin`` (a list, named by ``margin-names``), and ``spec``, the whole of its parts. ``ValueError`` on an unknown
    name.

    >>> import softmargin
    >>> [loss["name"] for loss in softmargin.losses()][:3]
    ['cross-entropy', 'weston-watkins', 'crammer-singer']
    >>> softmargin.losses("cosface")["name"]
    'am-softmax'
    """
    return _core.losses(name)


@dataclasses.dataclass(frozen=True)
class LossOutcome:
    """All that is known of the loss of a batch.

    - ``value``: The rows, reduced; with ``reduction="none"`` their sum, whose gradient is the one given.
    - ``rows``: (N): the weighted loss of each row, 0 for ignored ones.
    - ``weight``: The sum of the rows' weights.
    - ``kept``: Rows that counted.
    - ``grad``: (N, C): by the scores, the norms held fixed.
    - ``grad_scale``: By the scale, learned or not.
    - ``grad_radius``: By the radius of ring loss.
    - ``grad_embedding_norms``: (N): by the norms of the embeddings, where the loss looks at them.
    - ``grad_weight_norms``: (C): by the norms of the prototypes, where the loss looks at them.
    """

    value: float
    rows: NDArray[Any]
    weight: float
    kept: int
    grad: NDArray[Any] | None = None
    grad_scale: float | None = None
    grad_radius: float | None = None
    grad_embedding_norms: NDArray[Any] | None = None
    grad_weight_norms: NDArray[Any] | None = None


class Loss:
    """A loss of the family, for scores (N, C) and targets.

    ``loss`` is the name of a published loss (see :func:`losses`), or a dictionary with the names that the command
    ``softmargin`` has in the section ``[loss]`` of its files: ``name``, ``scale``, ``margin`` and ``spec``, the parts
    that differ from the published ones. ``scale`` is what scores are multiplied by, or where a learned scale starts;
    ``margin`` a number, or several where the loss has several, in radians where it is an angle. ``class_weights`` (C)
    weights the rows of each class, rows whose label is ``ignored_label`` do not count, ``class_counts`` (C) are the
    samples of each class for a margin that goes by them. ``label_smoothing`` and ``z_loss`` are options of softmax
    cross-entropy. A class weight multiplies the whole loss of a row, smoothing included (in PyTorch each class has its
    own weight in the smoothed part, and so it has in :func:`softmargin.torch.linear_cross_entropy`).
    ``losses(name)["spec"]`` shows what ``spec`` may change.

    ``ValueError`` on an unknown name, numbers out of range and parts that do not go together, with the reason;
    ``TypeError`` on values of a wrong type.

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
        loss: str | dict[str, Any] = "cross-entropy",
        num_classes: int | None = None,
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
        if num_classes is None:
            raise TypeError("num_classes: expected the number of classes, found nothing")
        named = {
            "scale": scale,
            "margin": margin,
            "spec": spec,
            "class_weights": class_weights,
            "ignored_label": ignored_label,
            "class_counts": class_counts,
            "label_smoothing": label_smoothing,
            "z_loss": z_loss,
        }
        # Copies: what is pickled or copied later is what was given now.
        self._arguments = copy.deepcopy({key: value for key, value in named.items() if value is not None})
        self._given = copy.deepcopy(loss)
        name, scale, margin, spec = _section(loss, scale, margin, spec)
        parts = _parts(name, spec, class_weights, ignored_label, label_smoothing, z_loss)
        counts = None if class_counts is None else [whole(count, "class_counts", 0) for count in class_counts]
        self._core = _core.Loss(name, whole(num_classes, "num_classes", 0), scale, margin, parts or None, counts)

    def __reduce__(self):
        return _rebuilt, (type(self), self._given, self.num_classes, self._arguments)

    def __repr__(self) -> str:
        numbers = "".join(f", {key}={reprlib.repr(value)}" for key, value in self._arguments.items())
        return f"{type(self).__name__}({self._given!r}, num_classes={self.num_classes}{numbers})"

    @property
    def name(self) -> str:
        """The name of the published loss that it was made from."""
        return self._core.name

    @property
    def num_classes(self) -> int:
        """C."""
        return self._core.num_classes

    @property
    def spec(self) -> dict[str, Any]:
        """All its parts, a dictionary with the names of the command's files."""
        return self._core.spec

    @property
    def needs_embedding_norms(self) -> bool:
        """Whether batches must bring ``embedding_norms``."""
        return self._core.needs_embedding_norms

    @property
    def needs_weight_norms(self) -> bool:
        """Whether batches must bring ``weight_norms``."""
        return self._core.needs_weight_norms

    def initial_state(self, seed: int = 0) -> dict[str, Any] | None:
        """The state at the start of training, a dictionary, of a loss that has one; else None.

        A loss has a state where its margin is annealed or drawn (``seed`` decides what is drawn), or where it looks at
        averages. A step of training is: :meth:`update` takes the batch in, the loss is computed with ``state=``, and
        ``state["step"]`` is counted up.

        >>> import softmargin
        >>> softmargin.Loss("curricularface", num_classes=10).initial_state()["target-mean"]
        0.0
        """
        return self._core.initial_state(whole(seed, "seed", 0, MOST_SEED))

    def __call__(
        self, scores: ArrayLike, target: ArrayLike, reduction: str = "mean", **extras: Any
    ) -> float | NDArray[Any]:
        """The loss: a number, or an array (N) with ``reduction="none"``. Arguments as :meth:`run`."""
        outcome = self._run(scores, target, reduction, False, extras)
        return outcome["rows"] if reduction == "none" else outcome["value"]

    def value_and_grad(
        self, scores: ArrayLike, target: ArrayLike, reduction: str = "mean", **extras: Any
    ) -> tuple[Any, NDArray[Any]]:
        """The loss, and its gradient by the scores (N, C). Arguments as :meth:`run`.

        With ``reduction="none"`` the loss is an array (N), the gradient that of its sum.

        >>> import numpy as np
        >>> import softmargin
        >>> loss = softmargin.Loss("arcface", num_classes=3, scale=16)
        >>> value, gradient = loss.value_and_grad(np.array([[0.8, 0.1, -0.2]]), [0], reduction="sum")
        >>> gradient.shape, bool(gradient[0, 0] < 0 < gradient[0, 1])
        ((1, 3), True)
        """
        outcome = self._run(scores, target, reduction, True, extras)
        return (outcome["rows"] if reduction == "none" else outcome["value"]), outcome["grad"]

    def run(
        self,
        scores: ArrayLike,
        target: ArrayLike,
        reduction: str = "mean",
        *,
        gradients: bool = True,
        **extras: Any,
    ) -> LossOutcome:
        """The loss of a batch with all that is known of it: a :class:`LossOutcome`.

        ``scores`` (N, C), cosines for a loss over cosines, in ``float32`` or ``float64``, of any strides. ``target``:
        labels (N) from 0, or for softmax cross-entropy distributions (N, C). ``reduction``: ``"mean"`` by the rows'
        weights, 0 where nothing counts; ``"mean-or-nan"``, NaN there; ``"sum"``; ``"none"``.

        What a loss may want besides: ``sample_weights`` (N), 0 or above; ``margins`` (N), for an value per sample;
        ``embedding_norms`` (N) and ``weight_norms`` (C), where the loss looks at norms; ``scale``, where a learned one
        stands now; ``radius``, the same of ring loss; ``state``, see :meth:`initial_state`.

        ``ValueError`` on shapes that disagree, NaN, and extras that the loss needs and does not get, or gets and has no
        use for; ``IndexError`` on labels that are no classes; ``TypeError`` on arrays of other types.
        """
        return LossOutcome(**self._run(scores, target, reduction, gradients, extras))

    def update(self, state: dict[str, Any], scores: ArrayLike, target: ArrayLike, **extras: Any) -> dict[str, Any]:
        """``state`` once a batch has been taken into its averages, before the loss of the batch is computed with it.

        Arguments as :meth:`run`. The dictionary that is given stays as it is.

        >>> import numpy as np
        >>> import softmargin
        >>> loss = softmargin.Loss("curricularface", num_classes=2)
        >>> state = loss.update(loss.initial_state(), np.array([[0.8, 0.1], [0.3, 0.4]]), [0, 1])
        >>> round(state["target-mean"], 6)
        0.006
        """
        return self._core.update(*_batch(scores, target, {**extras, "state": state}))

    def _run(self, scores, target, reduction, gradients, extras):
        scores, target, extras = _batch(scores, target, extras)
        return self._core.run(scores, target, reduction, gradients, extras)


EXTRAS = ("sample_weights", "margins", "embedding_norms", "weight_norms", "scale", "radius", "state")


def _batch(scores, target, extras):
    scores = floats(scores, "scores", 2)
    return scores, targets(target, "target", scores.dtype), checked_extras(extras, EXTRAS, scores.dtype)


def checked_arguments(arguments):
    """Arguments of a loss that are passed on to it."""
    known = ("scale", "margin", "spec", "class_weights", "ignored_label", "class_counts", "label_smoothing", "z_loss")
    elsewhere = {"ignore_index": "ignored_label", "weight": "class_weights", "smoothing": "label_smoothing"}
    for name in arguments:
        if name not in known:
            hint = f"; here it is {elsewhere[name]}" if name in elsewhere else ""
            raise TypeError(f"{name}: expected one of {', '.join(known)}{hint}")
    return arguments


def checked_extras(extras, known, dtype):
    """Extras of a call with all names there, arrays of the type of the scores or embeddings."""
    unknown = sorted(set(extras) - set(known))
    if unknown:
        raise TypeError(f"{unknown[0]}: expected one of {', '.join(known)}")
    answer = dict.fromkeys(known)
    for name, value in extras.items():
        if value is None or name in ("state", "sampled"):
            answer[name] = value
        elif name in ("scale", "radius"):
            answer[name] = float(value)
        else:
            answer[name] = vector(value, name, dtype)
    return answer


def _rebuilt(kind, loss, num_classes, arguments):
    return kind(loss, num_classes, **arguments)


def needs_class_counts(loss, scale=None, margin=None, spec=None):
    """Returns whether a margin of the loss goes by the frequency of the classes, and their counts are not given."""
    name, scale, margin, spec = _section(loss, scale, margin, spec)
    return _core.needs_class_counts(name, scale, margin, _plain(spec) or None)


def _section(loss, scale, margin, spec):
    """Name, scale, margin and other parts of a name or a dictionary; arguments of their own win."""
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
    scale = section.get("scale") if scale is None else scale
    margin = section.get("margin") if margin is None else margin
    if margin is not None:
        margin = [float(m) for m in margin] if np.ndim(margin) else [float(margin)]
    parts = section.get("spec") or {}
    return section["name"], None if scale is None else float(scale), margin, {**parts, **(spec or {})}


def _parts(name, spec, class_weights, ignored_label, label_smoothing, z_loss):
    parts = _plain(spec)
    if class_weights is not None:
        parts["class-weights"] = [float(weight) for weight in np.asarray(class_weights).reshape(-1)]
    if ignored_label is not None:
        parts["ignored-label"] = whole(ignored_label, "ignored_label")
    options = {"label-smoothing": label_smoothing, "z-loss": z_loss}
    options = {key: float(value) for key, value in options.items() if value is not None}
    if options:
        if "comparison" not in parts and "label-smoothing" not in losses(name)["spec"]["comparison"]["gate"]:
            option = next(iter(options)).replace("-", "_")
            raise ValueError(f"{option}: expected none, {name} is no softmax cross-entropy; leave it out")
        comparison = parts.setdefault("comparison", {})
        gate = comparison.get("gate", {})
        comparison["gate"] = {**(gate if isinstance(gate, dict) else {"kind": gate}), **options}
    return parts


def _plain(value):
    """Returns plain data of Python: dictionaries and lists without arrays and numbers of NumPy."""
    if isinstance(value, dict):
        return {key: _plain(below) for key, below in value.items()}
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value.item() if isinstance(value, np.generic) else value
