"""The classification losses of pytorch-metric-learning, with its names, arguments and results, on the fused kernels.

Change ``from pytorch_metric_learning.losses import ArcFaceLoss`` to ``from softmargin.torch.metric_learning import
ArcFaceLoss``: values and gradients are those of release 2.9, its checkpoints load, and its reducers, regularizers and
miners keep working; pytorch-metric-learning itself is not needed. ``COMPARE.md`` lists the differences, next to the
tests that show them.

Every loss has the prototypes ``W`` (D, C K), a parameter in the shape of that library; its memory layout is that of the
kernels, and ``weight`` (C K, D) is a view of it.

Keyword arguments that every loss has besides its own:

- ``weight_init_func``: Fills a tensor (D, C K) in place. Default: ``torch.nn.init.normal_``. The same seed gives the
  same ``W`` as in that library.
- ``weight_regularizer``, ``weight_reg_weight``: A function of the prototypes (C K, D) that returns a scalar, and the
  factor of that scalar in the loss.
- ``embedding_regularizer``, ``embedding_reg_weight``: The same for the embeddings (N, D).
- ``reducer``: Called with a dictionary of losses, the embeddings and the labels. Default: the mean over the batch.
- ``distance``: ``CosineSimilarity()`` of that library, the default; :class:`NormalizedSoftmaxLoss` accepts
  ``DotProductSimilarity`` too, with embeddings normalized or not. Others raise ``ValueError``.
- ``collect_stats``: Nothing is recorded here, so true raises ``ValueError``.

>>> import torch
>>> from softmargin.torch.metric_learning import CosFaceLoss
>>> loss = CosFaceLoss(num_classes=10, embedding_size=8, margin=0.2, scale=16)
>>> embeddings = torch.randn(4, 8, requires_grad=True)
>>> loss(embeddings, torch.tensor([1, 2, 3, 4])).backward()
>>> loss.W.grad.shape, loss.weight.shape
(torch.Size([8, 10]), torch.Size([10, 8]))
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.functional import normalize

from softmargin._loss import Loss
from softmargin.torch import head_loss

__all__ = [
    "ArcFaceLoss",
    "CosFaceLoss",
    "LargeMarginSoftmaxLoss",
    "NormalizedSoftmaxLoss",
    "SphereFaceLoss",
    "SubCenterArcFaceLoss",
]

# Methods that subclasses override in that library, and that nothing here would call.
INNER_METHODS = {
    "cast_types",
    "compute_loss",
    "get_angles",
    "get_cos_with_margin",
    "get_cosine",
    "get_default_distance",
    "get_default_reducer",
    "get_default_weight_init_func",
    "get_target_mask",
    "init_margin",
    "modify_cosine_of_target_classes",
    "scale_logits",
}
# Reducers that need all losses at once; the others are called with one at a time.
WHOLE_REDUCERS = {"DoNothingReducer", "MultipleReducers"}


@dataclasses.dataclass(frozen=True)
class _Options:
    """The keyword arguments that every loss has, described in the module."""

    weight_init_func: Callable[[torch.Tensor], Any] | None
    weight_regularizer: Callable[[torch.Tensor], torch.Tensor] | None
    weight_reg_weight: float
    embedding_regularizer: Callable[[torch.Tensor], torch.Tensor] | None
    embedding_reg_weight: float
    reducer: Callable[..., torch.Tensor] | None
    distance: Any
    collect_stats: bool | None

    def check(self) -> None:
        """Raises ``ValueError`` on options without effect."""
        if self.collect_stats:
            raise ValueError("collect_stats: expected None or False, nothing is recorded here; leave it out")
        check_reg_weight("weight", self.weight_regularizer, self.weight_reg_weight)
        check_reg_weight("embedding", self.embedding_regularizer, self.embedding_reg_weight)


class _PrototypeLoss(nn.Module):
    """Prototypes, and a loss of the family: the common part of these losses."""

    W: nn.Parameter
    scale: float
    _loss: Loss

    def __init__(self, options: _Options, /, num_classes: int, embedding_size: int, sub_centers: int = 1) -> None:
        super().__init__()
        options.check()
        self.num_classes, self.embedding_size, self.sub_centers = num_classes, embedding_size, sub_centers
        self.weight_regularizer, self.weight_reg_weight = options.weight_regularizer, options.weight_reg_weight
        self.embedding_regularizer = options.embedding_regularizer
        self.embedding_reg_weight = options.embedding_reg_weight
        self.reducer = copy.deepcopy(options.reducer)
        self._geometry = self._geometry_of(options.distance)
        self.weight_init_func = options.weight_init_func or nn.init.normal_
        initial = torch.empty(embedding_size, num_classes * sub_centers)
        self.weight_init_func(initial)
        # The shape is that of the other library, the memory layout that of the kernels: (C K, D) row by row.
        self.W = nn.Parameter(initial.t().contiguous().t())

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        ignored = sorted(INNER_METHODS & set(vars(cls)))
        if ignored:
            raise TypeError(f"{cls.__name__}.{ignored[0]}: nothing here calls it; write a softmargin.Loss instead")

    @property
    def weight(self) -> torch.Tensor:
        """(C K, D): a view of ``W``, differentiable; the prototypes of class c are the rows c K to c K + K - 1."""
        return self.W.t()

    def extra_repr(self) -> str:
        """Returns what ``print`` shows between the parentheses."""
        return f"num_classes={self.num_classes}, embedding_size={self.embedding_size}"

    def forward(
        self,
        embeddings: torch.Tensor,
        labels: torch.Tensor | None = None,
        indices_tuple: Sequence[torch.Tensor] | None = None,
        ref_emb: torch.Tensor | None = None,
        ref_labels: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Returns the loss of embeddings (N, D) and labels (N), integers from 0.

        ``indices_tuple`` is the result of a miner: the weight of a row is the number of times it occurs there, relative
        to the row that occurs most. ``ref_emb`` and ``ref_labels`` are for pair losses, which are not supported here.

        Raises ``ValueError`` on shapes that disagree, missing labels, ``ref_emb`` and NaN; ``IndexError`` on labels
        that are no classes; ``TypeError`` on labels that are no integers.
        """
        labels = self._checked(embeddings, labels, ref_emb, ref_labels)
        x, weight = self._operands(embeddings)
        counts = row_weights(indices_tuple, len(labels), x)
        terms = self._regularization(weight, embeddings)
        if self.reducer is None:
            total = head_loss(self._loss, x, weight, labels, sample_weights=counts, reduction="sum")
            # The mean over all rows, those of weight 0 included; 0 for no rows.
            return total / max(1, len(labels)) + sum(terms.values())
        rows = head_loss(self._loss, x, weight, labels, sample_weights=counts, reduction="none")
        return self._reduced(rows, terms, embeddings, labels)

    def get_logits(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Returns the scaled scores without margin (N, C) of embeddings (N, D), differentiable.

        A class's score is that of its best sub-center. Raises ``RuntimeError`` on embeddings of another size.
        """
        x, weight = self._operands(embeddings)
        x = normalize(x) if self._geometry == "cosine" else x
        weight = weight if self._geometry == "inner-product" else normalize(weight)
        scores = x @ weight.t()
        if self.sub_centers > 1:
            scores = scores.view(-1, self.num_classes, self.sub_centers).max(dim=2).values
        return scores * self._multiplier()

    def _build(self) -> Loss:
        """Returns the loss of the family."""
        raise NotImplementedError

    def _multiplier(self) -> float:
        return self.scale

    def _set(self, **numbers: float) -> None:
        """Sets numbers of the loss and builds it again; restores them after an error."""
        before = {name: getattr(self, name, None) for name in numbers}
        vars(self).update(numbers)
        try:
            self._loss = self._build()
        except Exception:
            vars(self).update(before)
            raise

    def _geometry_of(self, distance: Any) -> str:
        check_distance(distance, ("CosineSimilarity",))
        return "cosine"

    def _checked(
        self,
        embeddings: torch.Tensor,
        labels: torch.Tensor | None,
        ref_emb: torch.Tensor | None,
        ref_labels: torch.Tensor | None,
    ) -> torch.Tensor:
        if labels is None:
            raise ValueError("labels: expected the class of each row (N), found nothing")
        if embeddings.ndim != 2 or labels.ndim != 1 or len(labels) != len(embeddings):
            raise ValueError(
                f"labels: expected one for each row of embeddings (N, D), found {tuple(labels.shape)} for embeddings "
                f"{tuple(embeddings.shape)}"
            )
        for name, reference, own in (("ref_emb", ref_emb, embeddings), ("ref_labels", ref_labels, labels)):
            if reference is not None and reference is not own:
                raise ValueError(f"{name}: this loss has prototypes and takes no pairs; leave it out")
        return labels.to(embeddings.device)

    def _operands(self, embeddings: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns embeddings and prototypes in the wider of their precisions, on the device of the embeddings."""
        if self.W.device != embeddings.device:
            # The parameter stays the same object, which optimizers refer to.
            self.W.data = self.W.data.to(embeddings.device)
        dtype = torch.promote_types(embeddings.dtype, self.W.dtype)
        return embeddings.to(dtype), self.weight.to(dtype)

    def _regularization(self, weight: torch.Tensor, embeddings: torch.Tensor) -> dict[str, torch.Tensor]:
        """Returns the terms besides the loss, with the names that reducers expect."""
        terms = {}
        if self.weight_regularizer is not None:
            terms["weight_reg_loss"] = self.weight_regularizer(weight) * self.weight_reg_weight
        if self.embedding_regularizer is not None:
            terms["embedding_reg_loss"] = self.embedding_regularizer(embeddings) * self.embedding_reg_weight
        return terms

    def _reduced(
        self, rows: torch.Tensor, terms: dict[str, torch.Tensor], embeddings: torch.Tensor, labels: torch.Tensor
    ) -> torch.Tensor:
        indices = torch.arange(len(rows), device=rows.device)
        parts = {"loss": {"losses": rows, "indices": indices, "reduction_type": "element"}}
        for name, term in terms.items():
            parts[name] = {"losses": term, "indices": None, "reduction_type": "already_reduced"}
        if WHOLE_REDUCERS & {kind.__name__ for kind in type(self.reducer).__mro__}:
            return self.reducer(parts, embeddings, labels)
        return sum(self.reducer({name: part}, embeddings, labels) for name, part in parts.items())

    def _load_from_state_dict(self, state_dict, prefix, metadata, strict, missing_keys, unexpected_keys, error_msgs):
        """Accepts ``W`` (D, C K), saved by this loss or pytorch-metric-learning, or ``weight`` (C K, D) of a head."""
        if f"{prefix}weight" in state_dict:
            if f"{prefix}W" in state_dict:
                error_msgs.append(f"{prefix}weight: expected it or {prefix}W, found both; leave one of them out")
            else:
                state_dict[f"{prefix}W"] = state_dict[f"{prefix}weight"].t()
            del state_dict[f"{prefix}weight"]
        super()._load_from_state_dict(state_dict, prefix, metadata, strict, missing_keys, unexpected_keys, error_msgs)


class NormalizedSoftmaxLoss(_PrototypeLoss):
    """Softmax cross-entropy of cosines that are divided by ``temperature``, above 0 (NormFace, arXiv 1704.06369).

    With ``distance=DotProductSimilarity(normalize_embeddings=False)`` the embeddings keep their norm. Rows whose label
    is -100 have loss 0. Other arguments: see the module.
    """

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        temperature: float = 0.05,
        *,
        weight_init_func: Callable[[torch.Tensor], Any] | None = None,
        weight_regularizer: Callable[[torch.Tensor], torch.Tensor] | None = None,
        weight_reg_weight: float = 1,
        embedding_regularizer: Callable[[torch.Tensor], torch.Tensor] | None = None,
        embedding_reg_weight: float = 1,
        reducer: Callable[..., torch.Tensor] | None = None,
        distance: Any = None,
        collect_stats: bool | None = None,
    ) -> None:
        options = _Options(
            weight_init_func,
            weight_regularizer,
            weight_reg_weight,
            embedding_regularizer,
            embedding_reg_weight,
            reducer,
            distance,
            collect_stats,
        )
        super().__init__(options, num_classes, embedding_size)
        self.temperature = temperature

    @property
    def temperature(self) -> float:
        """The divisor of the cosines, above 0; may be set."""
        return self._temperature

    @temperature.setter
    def temperature(self, value: float) -> None:
        if not value > 0:
            raise ValueError(f"temperature: expected a number above 0, found {value}")
        self._set(_temperature=value)

    def _build(self) -> Loss:
        scale = {"kind": "fixed", "value": 1.0 / self._temperature}
        # The default ignore_index of torch.nn.CrossEntropyLoss, which only this loss calls unchanged in that library.
        spec = {"scale": scale, "geometry": {"kind": self._geometry}}
        return Loss("normface", self.num_classes, spec=spec, ignored_label=-100)

    def _multiplier(self) -> float:
        return 1.0 / self._temperature

    def _geometry_of(self, distance: Any) -> str:
        check_distance(distance, ("CosineSimilarity", "DotProductSimilarity"))
        return "cosine" if distance is None or distance.normalize_embeddings else "unit-weights"


class _MarginLoss(_PrototypeLoss):
    """A loss with ``margin`` and ``scale``."""

    def __init__(
        self,
        options: _Options,
        /,
        num_classes: int,
        embedding_size: int,
        margin: float,
        scale: float,
        sub_centers: int = 1,
    ) -> None:
        super().__init__(options, num_classes, embedding_size, sub_centers)
        self._set(_margin=margin, _scale=scale)

    @property
    def margin(self) -> float:
        """The margin; may be set. An angle is in radians here, also if the argument is in degrees."""
        return self._margin

    @margin.setter
    def margin(self, value: float) -> None:
        self._set(_margin=value)

    @property
    def scale(self) -> float:
        """The factor of the scores; may be set."""
        return self._scale

    @scale.setter
    def scale(self, value: float) -> None:
        self._set(_scale=value)

    def extra_repr(self) -> str:
        """Returns what ``print`` shows between the parentheses."""
        return f"{super().extra_repr()}, margin={self.margin:g}, scale={self.scale:g}"


class LargeMarginSoftmaxLoss(_MarginLoss):
    """Multiplies the target's angle by ``margin``; both norms have an effect (L-Softmax, arXiv 1612.02295).

    ``margin`` is a whole number from 1; it has its full effect from the first step on, without annealing. Other
    arguments: see the module. Raises ``ValueError`` on other margins.
    """

    GEOMETRY = {"kind": "inner-product", "bias": False, "temperature": 1.0}

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        margin: int = 4,
        scale: float = 1,
        *,
        weight_init_func: Callable[[torch.Tensor], Any] | None = None,
        weight_regularizer: Callable[[torch.Tensor], torch.Tensor] | None = None,
        weight_reg_weight: float = 1,
        embedding_regularizer: Callable[[torch.Tensor], torch.Tensor] | None = None,
        embedding_reg_weight: float = 1,
        reducer: Callable[..., torch.Tensor] | None = None,
        distance: Any = None,
        collect_stats: bool | None = None,
    ) -> None:
        options = _Options(
            weight_init_func,
            weight_regularizer,
            weight_reg_weight,
            embedding_regularizer,
            embedding_reg_weight,
            reducer,
            distance,
            collect_stats,
        )
        super().__init__(options, num_classes, embedding_size, margin, scale)

    def _geometry_of(self, distance: Any) -> str:
        # Cosines are multiplied by the norms again.
        super()._geometry_of(distance)
        return self.GEOMETRY["kind"]

    def _build(self) -> Loss:
        if self._margin % 1 != 0:
            raise ValueError(f"margin: expected a whole number, found {self._margin}; round it")
        margin = {"times": float(self._margin), "anneal": None}
        return Loss(
            "l-softmax", self.num_classes, scale=self._scale, spec={"geometry": self.GEOMETRY, "margin": margin}
        )


class SphereFaceLoss(LargeMarginSoftmaxLoss):
    """Multiplies the target's angle by ``margin``; the embedding's norm has an effect (A-Softmax, arXiv 1704.08063).

    ``margin`` is as in :class:`LargeMarginSoftmaxLoss`, without annealing. Other arguments: see the module.
    """

    GEOMETRY = {"kind": "unit-weights"}


class CosFaceLoss(_MarginLoss):
    """Subtracts ``margin``, from 0 to 2, from the target's cosine (arXiv 1801.09414).

    Other arguments: see the module.
    """

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        *,
        margin: float = 0.35,
        scale: float = 64,
        weight_init_func: Callable[[torch.Tensor], Any] | None = None,
        weight_regularizer: Callable[[torch.Tensor], torch.Tensor] | None = None,
        weight_reg_weight: float = 1,
        embedding_regularizer: Callable[[torch.Tensor], torch.Tensor] | None = None,
        embedding_reg_weight: float = 1,
        reducer: Callable[..., torch.Tensor] | None = None,
        distance: Any = None,
        collect_stats: bool | None = None,
    ) -> None:
        options = _Options(
            weight_init_func,
            weight_regularizer,
            weight_reg_weight,
            embedding_regularizer,
            embedding_reg_weight,
            reducer,
            distance,
            collect_stats,
        )
        super().__init__(options, num_classes, embedding_size, margin, scale)

    def _build(self) -> Loss:
        return Loss("am-softmax", self.num_classes, scale=self._scale, margin=self._margin)


class ArcFaceLoss(_MarginLoss):
    """Adds ``margin`` to the target's angle (arXiv 1801.07698); beyond pi it subtracts ``m sin(m)`` from the cosine.

    ``margin_unit`` is the unit of ``margin``: ``"degrees"``, as in release 2.9 and before, or ``"radians"``; it is
    never guessed from the number. The angle is from 0 to pi, and the attribute ``margin`` is in radians, as in that
    library. Other arguments: see the module. Raises ``ValueError`` on other units and angles.
    """

    PRESET = "arcface"

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        margin: float = 28.6,
        scale: float = 64,
        *,
        margin_unit: Literal["degrees", "radians"] = "degrees",
        weight_init_func: Callable[[torch.Tensor], Any] | None = None,
        weight_regularizer: Callable[[torch.Tensor], torch.Tensor] | None = None,
        weight_reg_weight: float = 1,
        embedding_regularizer: Callable[[torch.Tensor], torch.Tensor] | None = None,
        embedding_reg_weight: float = 1,
        reducer: Callable[..., torch.Tensor] | None = None,
        distance: Any = None,
        collect_stats: bool | None = None,
    ) -> None:
        options = _Options(
            weight_init_func,
            weight_regularizer,
            weight_reg_weight,
            embedding_regularizer,
            embedding_reg_weight,
            reducer,
            distance,
            collect_stats,
        )
        super().__init__(options, num_classes, embedding_size, radians(margin, margin_unit), scale)

    def _build(self) -> Loss:
        margin = {"plus": {"one": float(self._margin)}, "beyond-pi": "extend"}
        return Loss(self.PRESET, self.num_classes, scale=self._scale, spec={**self._parts(), "margin": margin})

    def _parts(self) -> dict[str, Any]:
        return {}


class SubCenterArcFaceLoss(ArcFaceLoss):
    """:class:`ArcFaceLoss` with 1 to 64 ``sub_centers`` per class, of which the best one counts (ECCV 2020)."""

    PRESET = "sub-center-arcface"

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        *,
        margin: float = 28.6,
        scale: float = 64,
        sub_centers: int = 3,
        margin_unit: Literal["degrees", "radians"] = "degrees",
        weight_init_func: Callable[[torch.Tensor], Any] | None = None,
        weight_regularizer: Callable[[torch.Tensor], torch.Tensor] | None = None,
        weight_reg_weight: float = 1,
        embedding_regularizer: Callable[[torch.Tensor], torch.Tensor] | None = None,
        embedding_reg_weight: float = 1,
        reducer: Callable[..., torch.Tensor] | None = None,
        distance: Any = None,
        collect_stats: bool | None = None,
    ) -> None:
        options = _Options(
            weight_init_func,
            weight_regularizer,
            weight_reg_weight,
            embedding_regularizer,
            embedding_reg_weight,
            reducer,
            distance,
            collect_stats,
        )
        # Skips ArcFaceLoss, which has one prototype per class.
        super(ArcFaceLoss, self).__init__(
            options, num_classes, embedding_size, radians(margin, margin_unit), scale, sub_centers
        )

    def _parts(self) -> dict[str, Any]:
        return {"sub-centers": self.sub_centers}

    @torch.no_grad()
    def get_outliers(
        self,
        embeddings: torch.Tensor,
        labels: torch.Tensor,
        threshold: float = 75,
        return_dominant_centers: bool = True,
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Returns the rows (M) farther than ``threshold`` degrees from the dominant center of their class.

        The dominant center of a class is the one that is the best for most of its rows. ``embeddings`` are (N, D),
        ``labels`` (N). The rows are in the order of the classes. With ``return_dominant_centers`` it also returns the
        dominant centers (D, C), 0 for classes without rows.

        Raises ``ValueError`` on shapes that disagree; ``IndexError`` on labels that are no classes.
        """
        labels = self._checked(embeddings, labels, None, None)
        if len(labels) and not 0 <= labels.min() <= labels.max() < self.num_classes:
            raise IndexError(f"labels: expected from 0 to {self.num_classes - 1}, found others")
        x, weight = self._operands(embeddings)
        centers = weight.new_zeros(self.embedding_size, self.num_classes)
        outliers = [torch.zeros(0, dtype=torch.int64, device=x.device)]
        for label in labels.unique().tolist():
            rows = (labels == label).nonzero().flatten()
            own = weight[label * self.sub_centers : (label + 1) * self.sub_centers]
            cosines = normalize(x[rows]) @ normalize(own).t()
            dominant = torch.bincount(cosines.argmax(dim=1)).argmax()
            centers[:, label] = own[dominant]
            outliers.append(rows[cosines[:, dominant] < math.cos(math.radians(threshold))])
        outliers = torch.cat(outliers)
        return (outliers, centers) if return_dominant_centers else outliers


def radians(margin: float, unit: str) -> float:
    """Converts a margin to radians; checks its range and unit."""
    if unit not in ("degrees", "radians"):
        raise ValueError(f'margin_unit: expected "degrees" or "radians", found {unit!r}')
    angle = math.radians(margin) if unit == "degrees" else float(margin)
    if not 0.0 <= angle <= math.pi:
        most = "180 degrees" if unit == "degrees" else "pi radians"
        raise ValueError(f"margin: expected from 0 to {most}, found {margin} {unit}; margin_unit names the unit")
    return angle


def row_weights(indices_tuple: Sequence[torch.Tensor] | None, rows: int, like: torch.Tensor) -> torch.Tensor | None:
    """Returns how often each row (N) occurs in a miner's result, relative to the most frequent; None if none does."""
    if indices_tuple is None or all(len(indices) == 0 for indices in indices_tuple):
        return None
    counts = torch.bincount(torch.cat(tuple(indices_tuple)), minlength=rows)
    if len(counts) > rows:
        raise IndexError(f"indices_tuple: expected rows from 0 to {rows - 1}, found {len(counts) - 1}")
    dtype = torch.promote_types(like.dtype, torch.float32)
    return counts.to(device=like.device, dtype=dtype) / counts.max()


def check_reg_weight(name: str, regularizer: Callable[..., Any] | None, weight: float) -> None:
    """Raises ``ValueError`` on the weight of an absent regularizer."""
    if regularizer is None and weight != 1:
        raise ValueError(f"{name}_reg_weight: has no effect without {name}_regularizer; give that too, or leave it out")


def check_distance(distance: Any, known: tuple[str, ...]) -> None:
    """Raises ``ValueError`` on a distance of pytorch-metric-learning that is not among the known ones."""
    if distance is None:
        return
    plain = (getattr(distance, key, None) for key in ("p", "power"))
    if type(distance).__name__ not in known or tuple(plain) != (2, 1):
        found = f"{type(distance).__name__}(p={getattr(distance, 'p', None)}, power={getattr(distance, 'power', None)})"
        raise ValueError(f"distance: expected {' or '.join(known)} with p=2 and power=1, found {found}; leave it out")
