"""A last layer with its loss, as a module."""

from typing import Any

import numpy as np
import torch
from torch import nn

from softmargin._head import Head
from softmargin._loss import Loss, checked_arguments
from softmargin.torch._composed import next_state, scores
from softmargin.torch._functional import beside, head_loss, widened

__all__ = ["MarginHead"]

AVERAGES = ("target-mean", "norm-mean", "norm-std")


class MarginHead(nn.Module):
    """Prototypes, and any loss of the family on the scores that embeddings have with them.

    ``embedding_size`` is D, ``num_classes`` C; ``loss`` and ``parameters`` (``scale``, ``margin``, ``spec``,
    ``class_weights``, ``ignored_label``, ``class_counts``, ``label_smoothing``, ``z_loss``) are those of
    :class:`softmargin.Loss`; ``mode``, ``memory`` and ``precision`` those of :class:`softmargin.Head`. ``reduction`` is
    ``"mean"``, ``"mean-or-nan"``, ``"sum"`` or ``"none"``.

    Its parameters: ``weight`` (C K, D), K prototypes a class; ``bias`` (C K) where the geometry has one; ``scale`` and
    ``radius``, single numbers, where they are learned; else these are None. A scale past the bounds of its spec counts
    as the nearer one, and its gradient leads back. A loss with a state (averages, annealed or drawn margins) keeps it
    in a buffer: a forward pass in training mode that records gradients takes the batch into the averages and counts a
    step, in evaluation the state is read as it is. ``seed`` decides what is drawn. Such a head is to stay outside
    ``torch.utils.checkpoint``, which runs a forward pass twice.

    ``ValueError`` on a loss that cannot be; ``TypeError`` on values of a wrong type.

    >>> import torch
    >>> from softmargin.torch import MarginHead
    >>> head = MarginHead(embedding_size=8, num_classes=10, loss="am-softmax", scale=30, margin=0.35)
    >>> head(torch.randn(4, 8), torch.tensor([0, 1, 2, 3])).shape
    torch.Size([])
    >>> head.scores(torch.randn(4, 8)).shape
    torch.Size([4, 10])
    """

    def __init__(
        self,
        embedding_size: int,
        num_classes: int,
        loss: str | dict[str, Any] | Loss = "am-softmax",
        *,
        reduction: str = "mean",
        mode: str = "auto",
        memory: int = 1 << 30,
        precision: str = "f32",
        seed: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        **parameters: Any,
    ) -> None:
        super().__init__()
        if reduction not in ("mean", "mean-or-nan", "sum", "none"):
            raise ValueError(f'reduction: expected "mean", "mean-or-nan", "sum" or "none", found {reduction!r}')
        if isinstance(loss, Loss) and (parameters or loss.num_classes != num_classes):
            raise TypeError("loss: expected no arguments of a loss beside a Loss, and as many classes, found others")
        made = loss if isinstance(loss, Loss) else Loss(loss, num_classes, **checked_arguments(parameters))
        self._head = Head(made, embedding_size=embedding_size, mode=mode, memory=memory, precision=precision)
        self.reduction = reduction
        self.embedding_size, self.num_classes = self._head.embedding_size, made.num_classes
        spec, place = made.spec, {"device": device, "dtype": dtype}
        rows = self._head.num_prototypes
        self.weight = nn.Parameter(torch.empty((rows, embedding_size), **place))
        self.bias = nn.Parameter(torch.empty(rows, **place)) if spec["geometry"].get("bias") else None
        self._starts = {"scale": _start(spec["scale"], "initial"), "radius": _start(spec.get("regularizer"), "radius")}
        for name, start in self._starts.items():
            self.register_parameter(name, None if start is None else nn.Parameter(torch.empty((), **place)))
        self._initial_state = made.initial_state(seed)
        self._has_state = self._initial_state is not None
        if self._has_state:
            self.register_buffer("loss_state", torch.empty(2 + len(AVERAGES), dtype=torch.int64, device=device))
        self.reset_parameters()

    @property
    def loss(self) -> Loss:
        """The :class:`softmargin.Loss`."""
        return self._head.loss

    def reset_parameters(self) -> None:
        """Prototypes of about unit norm in random directions; bias 0; scale, radius and state where they start."""
        nn.init.normal_(self.weight, std=self.embedding_size**-0.5)
        if self.bias is not None:
            nn.init.zeros_(self.bias)
        for name, start in self._starts.items():
            if start is not None:
                nn.init.constant_(getattr(self, name), start)
        if self._has_state:
            self._keep(self._initial_state)

    def forward(
        self,
        embeddings: torch.Tensor,
        target: torch.Tensor,
        *,
        sample_weights: torch.Tensor | None = None,
        margins: torch.Tensor | None = None,
        reduction: str | None = None,
    ) -> torch.Tensor:
        """The loss of embeddings (N, D) with ``target``: labels (N), or distributions (N, C) for softmax cross-entropy.

        ``sample_weights`` (N), 0 or above; ``margins`` (N), for an value per sample; ``reduction`` in place of the
        head's.
        """
        embeddings = beside(widened("weight", self.weight), embeddings)
        parts = {name: self._wide(name) for name in ("weight", "bias", "scale", "radius")}
        extras = {"sample_weights": sample_weights, "margins": margins}
        trains = self._has_state and self.training and torch.is_grad_enabled()
        state = self.state
        if trains:
            state = next_state(self.loss, state, embeddings, parts["weight"], target, **extras)
        reduction = self.reduction if reduction is None else reduction
        loss = head_loss(self._head, embeddings, target=target, state=state, reduction=reduction, **parts, **extras)
        if trains:  # not where the loss has refused the batch
            self._keep({**state, "step": state["step"] + 1})
        return loss

    def scores(self, embeddings: torch.Tensor) -> torch.Tensor:
        """The score of every class (N, C), differentiable: cosines of a cosine loss, without margin and scale."""
        embeddings = beside(widened("weight", self.weight), embeddings)
        return scores(self.loss, embeddings, self._wide("weight"), bias=self._wide("bias"))

    def extra_repr(self) -> str:
        return f"embedding_size={self.embedding_size}, loss={self.loss!r}"

    @property
    def state(self) -> dict[str, Any] | None:
        """The state of the loss, as :meth:`softmargin.Loss.initial_state` has it; None of a loss without."""
        if not self._has_state:
            return None
        numbers = self.loss_state.cpu().numpy()
        averages = numbers[2:].view(np.float64).tolist()
        return {"step": int(numbers[0]), "seed": int(numbers[1]), **dict(zip(AVERAGES, averages, strict=True))}

    @state.setter
    def state(self, state: dict[str, Any]) -> None:
        if not self._has_state:
            raise ValueError(f"state: expected none, {self.loss.name} has no state")
        self._keep(state)

    def _keep(self, state):
        """Writes a state to its buffer, as bits: a module that is made half as precise keeps its averages whole."""
        averages = np.array([state[name] for name in AVERAGES]).view(np.int64)
        with torch.no_grad():
            self.loss_state.copy_(torch.tensor([state["step"], state["seed"], *averages.tolist()]))

    def _wide(self, name):
        parameter = getattr(self, name)
        return None if parameter is None else widened(name, parameter)


def _start(part, name):
    """Where a learned number of a part of the loss starts; None where it is not learned."""
    if part is None:
        return None
    if name == "radius":
        return part.get("radius")
    return part.get("initial") if part.get("kind") == "learned" else None
