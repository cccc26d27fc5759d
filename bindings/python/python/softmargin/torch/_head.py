"""A last layer with its loss, as a module."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from softmargin._head import Head, Mode, Precision
from softmargin._loss import Loss, LossOptions, Reduction, loss_of
from softmargin.torch._composed import next_state, scores
from softmargin.torch._functional import array_of, beside, check_devices, head_loss, labels, values_of, widened

__all__ = ["MarginHead"]

COUNTERS = ("step", "seed")
AVERAGES = ("target-mean", "norm-mean", "norm-std")


class MarginHead(nn.Module):
    """Prototypes, and any loss of the family on the scores of embeddings with them.

    - ``embedding_size``, ``num_classes``: D and C.
    - ``loss``: The name of a published loss, a dictionary or a :class:`softmargin.Loss`. The default ``"am-softmax"``
      is that of the command.
    - ``scale``, ``margin``, ``spec``, ``class_weights``, ``ignored_label``, ``class_counts``, ``label_smoothing``,
      ``z_loss``: As in :class:`softmargin.Loss`.
    - ``reduction``: ``"mean"``, ``"mean-or-nan"``, ``"sum"`` or ``"none"``.
    - ``mode``, ``memory``, ``precision``: As in :class:`softmargin.Head`; on the CPU.
    - ``seed``: Determines the margins that are drawn.
    - ``device``, ``dtype``: Of the parameters.

    The parameters are ``weight`` (C K, D), with K prototypes per class; ``bias`` (C K), if the geometry has one;
    ``scale`` and ``radius``, scalars, if they are learned. Those that a loss does not have are None. A learned scale
    beyond the bounds of its spec is clamped to them, with a gradient that leads back.

    A loss with a state (averages, annealed or drawn margins) stores it in two buffers: ``loss_averages`` in
    ``float64``, also if the module is converted to another precision, and ``loss_counters`` in ``int64``. A forward
    pass in training mode with gradients enabled adds the batch to the averages and counts a step; in evaluation mode
    the state is only read. ``torch.utils.checkpoint`` runs a forward pass twice, so leave such a head out of it.

    Raises ``ValueError`` on an invalid loss; ``TypeError`` on values of a wrong type.

    >>> import torch
    >>> from softmargin.torch import MarginHead
    >>> head = MarginHead(embedding_size=8, num_classes=10, loss="am-softmax", scale=30, margin=0.35)
    >>> head(torch.randn(4, 8), torch.tensor([0, 1, 2, 3])).shape
    torch.Size([])
    >>> head.scores(torch.randn(4, 8)).shape
    torch.Size([4, 10])
    """

    weight: nn.Parameter
    bias: nn.Parameter | None
    scale: nn.Parameter | None
    radius: nn.Parameter | None
    loss_averages: torch.Tensor
    loss_counters: torch.Tensor

    def __init__(
        self,
        embedding_size: int,
        num_classes: int,
        loss: str | dict[str, Any] | Loss = "am-softmax",
        *,
        scale: float | None = None,
        margin: float | Sequence[float] | None = None,
        spec: dict[str, Any] | None = None,
        class_weights: ArrayLike | None = None,
        ignored_label: int | None = None,
        class_counts: Sequence[int] | NDArray[Any] | None = None,
        label_smoothing: float | None = None,
        z_loss: float | None = None,
        reduction: Reduction = "mean",
        mode: Mode = "auto",
        memory: int = 1 << 30,
        precision: Precision = "f32",
        seed: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if reduction not in ("mean", "mean-or-nan", "sum", "none"):
            raise ValueError(f'reduction: expected "mean", "mean-or-nan", "sum" or "none", found {reduction!r}')
        options = LossOptions(scale, margin, spec, class_weights, ignored_label, class_counts, label_smoothing, z_loss)
        made = loss_of(loss, num_classes, options)
        self._head = Head(made, made.num_classes, embedding_size, mode=mode, memory=memory, precision=precision)
        self.reduction = reduction
        self.embedding_size, self.num_classes = self._head.embedding_size, made.num_classes
        spec, place = made.spec, {"device": device, "dtype": dtype}
        rows = self._head.num_prototypes
        self.weight = nn.Parameter(torch.empty((rows, embedding_size), **place))
        self.bias = nn.Parameter(torch.empty(rows, **place)) if spec["geometry"].get("bias") else None
        self._initial = {
            "scale": _initial(spec["scale"], "initial"),
            "radius": _initial(spec.get("regularizer"), "radius"),
        }
        for name, value in self._initial.items():
            self.register_parameter(name, None if value is None else nn.Parameter(torch.empty((), **place)))
        self._initial_state = made.initial_state(seed)
        self._has_state = self._initial_state is not None
        if self._has_state:
            averages = torch.empty(len(AVERAGES), dtype=torch.float64)
            self.register_buffer("loss_averages", _in_double(averages, lambda tensor: tensor.to(self.weight.device)))
            self.register_buffer("loss_counters", torch.empty(len(COUNTERS), dtype=torch.int64, device=device))
        self.reset_parameters()

    @property
    def loss(self) -> Loss:
        """The :class:`softmargin.Loss`."""
        return self._head.loss

    def reset_parameters(self) -> None:
        """Draws prototypes with about unit norm in random directions; resets bias, scale, radius and state."""
        nn.init.normal_(self.weight, std=self.embedding_size**-0.5)
        if self.bias is not None:
            nn.init.zeros_(self.bias)
        for name, value in self._initial.items():
            if value is not None:
                nn.init.constant_(getattr(self, name), value)
        if self._has_state:
            self._store(self._initial_state)

    def forward(
        self,
        embeddings: torch.Tensor,
        target: torch.Tensor,
        *,
        sample_weights: torch.Tensor | None = None,
        margins: torch.Tensor | None = None,
        reduction: Reduction | None = None,
    ) -> torch.Tensor:
        """Returns the loss of embeddings (N, D) with a target: a scalar, or (N) with ``reduction="none"``.

        - ``target``: Labels (N) from 0, or for softmax cross-entropy distributions (N, C).
        - ``sample_weights``: (N), 0 or above. Default: 1.
        - ``margins``: (N), for a margin per sample.
        - ``reduction``: Default: that of the head.

        Errors as :meth:`softmargin.Head.evaluate`.
        """
        embeddings = beside(widened("weight", self.weight), embeddings)
        parts = {name: self._wide(name) for name in ("weight", "bias", "scale", "radius")}
        of_rows = {"sample_weights": sample_weights, "margins": margins}
        trains = self._has_state and self.training and torch.is_grad_enabled()
        state = self._next_state(embeddings, target, parts, of_rows) if trains else self.state
        reduction = self.reduction if reduction is None else reduction
        loss = head_loss(self._head, embeddings, target=target, state=state, reduction=reduction, **parts, **of_rows)
        if trains:  # not after an error
            self._store({**state, "step": state["step"] + 1})
        return loss

    def scores(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Returns the score of every class (N, C), differentiable: cosines for a cosine loss, without margin and scale.

        Errors as :meth:`forward`.
        """
        embeddings = beside(widened("weight", self.weight), embeddings)
        return scores(self.loss, embeddings, self._wide("weight"), bias=self._wide("bias"))

    def extra_repr(self) -> str:
        """Returns what ``print`` shows between the parentheses."""
        return f"embedding_size={self.embedding_size}, loss={self.loss!r}"

    @property
    def state(self) -> dict[str, Any] | None:
        """The state of the loss, as :meth:`softmargin.Loss.initial_state` returns it; None for a loss without state."""
        if not self._has_state:
            return None
        counters = zip(COUNTERS, self.loss_counters.tolist(), strict=True)
        averages = zip(AVERAGES, self.loss_averages.tolist(), strict=True)
        return {**dict(counters), **dict(averages)}

    @state.setter
    def state(self, state: dict[str, Any]) -> None:
        if not self._has_state:
            raise ValueError(f"state: expected none, {self.loss.name} has no state")
        self._store(state)

    def _store(self, state):
        with torch.no_grad():
            self.loss_averages.copy_(torch.tensor([state[name] for name in AVERAGES], dtype=torch.float64))
            self.loss_counters.copy_(torch.tensor([state[name] for name in COUNTERS]))

    @torch.compiler.disable
    def _next_state(self, embeddings, target, parts, of_rows):
        """Returns the state with a batch added to its averages."""
        weight, bias = parts["weight"], parts["bias"]
        if embeddings.device.type != "cpu":
            return next_state(self.loss, self.state, embeddings, weight, target, **of_rows)
        check_devices(embeddings, weight=weight)
        of_rows = {name: values_of(tensor, name) for name, tensor in of_rows.items()}
        arrays = array_of(embeddings), array_of(weight), labels(target)
        return self._head.update(self.state, *arrays, bias=None if bias is None else array_of(bias), **of_rows)

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> MarginHead:
        """Applies a conversion of the module (``half``, ``to``, ...); the averages are moved and never rounded."""
        averages = self._buffers.get("loss_averages")
        if averages is None:
            return super()._apply(fn, recurse)
        self._buffers["loss_averages"] = None
        super()._apply(fn, recurse)
        self._buffers["loss_averages"] = _in_double(averages, fn)
        return self

    def _wide(self, name):
        parameter = getattr(self, name)
        return None if parameter is None else widened(name, parameter)


def _in_double(tensor, fn):
    """Returns ``fn(tensor)`` in ``float64``; the tensor itself if its device has no such type."""
    try:
        converted = fn(tensor)
    except TypeError:
        return tensor
    return converted if converted.dtype == torch.float64 else tensor.to(converted.device)


def _initial(part, name):
    """Returns the initial value of a learned number of a part of the spec; None if it is not learned."""
    if part is None:
        return None
    if name == "radius":
        return part.get("radius")
    return part.get("initial") if part.get("kind") == "learned" else None
