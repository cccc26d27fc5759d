"""A last layer with its loss, as a module."""

from typing import Any

import torch
from torch import nn

from softmargin._head import Head
from softmargin._loss import Loss
from softmargin.torch._functional import head_loss

__all__ = ["MarginHead"]

AVERAGES = ("target-mean", "norm-mean", "norm-deviation")


class MarginHead(nn.Module):
    """Prototypes, and any loss of the family on the scores that embeddings have with them.

    ``embedding_size`` is D, ``num_classes`` C; ``loss`` and ``parameters`` (``scale``, ``margin``, ``spec``,
    ``class_weights``, ``ignored_label``, ``class_counts``, ``label_smoothing``, ``z_loss``) are those of
    :class:`softmargin.Loss`; ``mode``, ``memory`` and ``precision`` those of :class:`softmargin.Head`. ``reduction`` is
    ``"mean"``, ``"mean-or-nan"``, ``"sum"`` or ``"none"``.

    Its parameters: ``weight`` (C K, D), K prototypes a class; ``bias`` (C K) where the geometry has one; ``scale`` and
    ``radius``, single numbers, where they are learned; else these are None. A loss with a state (averages, annealed or
    drawn margins) keeps it in buffers: a forward pass in training mode that records gradients takes the batch into the
    averages and counts a step, in evaluation the state is read as it is. ``seed`` decides what is drawn.

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
        loss: str | dict[str, Any] = "am-softmax",
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
        made = Loss(loss, num_classes, **parameters)
        self._head = Head(made, embedding_size=embedding_size, mode=mode, memory=memory, precision=precision)
        self.reduction = reduction
        self.embedding_size, self.num_classes = self._head.embedding_size, made.num_classes
        spec, place = made.spec, {"device": device, "dtype": dtype}
        rows = self._head.num_prototypes
        self.weight = nn.Parameter(torch.empty((rows, embedding_size), **place))
        self.bias = nn.Parameter(torch.empty(rows, **place)) if spec["geometry"].get("bias") else None
        self._starts = {"scale": _start(spec["scale"], "initial"), "radius": _start(spec.get("regulariser"), "radius")}
        for name, start in self._starts.items():
            self.register_parameter(name, None if start is None else nn.Parameter(torch.empty((), **place)))
        self._register_state(made.initial_state(seed), device)
        self.reset_parameters()

    @property
    def loss(self) -> Loss:
        """The :class:`softmargin.Loss`."""
        return self._head.loss

    def reset_parameters(self) -> None:
        """Prototypes of about unit norm in random directions; bias 0; scale and radius where they start."""
        nn.init.normal_(self.weight, std=self.embedding_size**-0.5)
        if self.bias is not None:
            nn.init.zeros_(self.bias)
        for name, start in self._starts.items():
            if start is not None:
                nn.init.constant_(getattr(self, name), start)

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

        ``sample_weights`` (N), 0 or above; ``margins`` (N), for an amount per sample; ``reduction`` in place of the
        head's.
        """
        state = self._state_of(embeddings, target, sample_weights, margins)
        return head_loss(
            self._head,
            embeddings,
            self._like(self.weight, embeddings),
            target,
            bias=self._like(self.bias, embeddings),
            scale=self._like(self.scale, embeddings),
            radius=self._like(self.radius, embeddings),
            sample_weights=sample_weights,
            margins=margins,
            state=state,
            reduction=self.reduction if reduction is None else reduction,
        )

    def scores(self, embeddings: torch.Tensor) -> torch.Tensor:
        """The score of every class (N, C), differentiable: cosines of a cosine loss, without margin and scale."""
        from softmargin.torch._composed import scores

        return scores(
            self.loss, embeddings, self._like(self.weight, embeddings), bias=self._like(self.bias, embeddings)
        )

    def extra_repr(self) -> str:
        return f"embedding_size={self.embedding_size}, loss={self.loss!r}"

    def _register_state(self, state, device):
        self._has_state = state is not None
        if self._has_state:
            numbers = [state[name] for name in AVERAGES]
            self.register_buffer("loss_steps", torch.tensor([state["step"], state["seed"]], device=device))
            self.register_buffer("loss_averages", torch.tensor(numbers, dtype=torch.float32, device=device))

    @property
    def state(self) -> dict[str, Any] | None:
        """The state of the loss, as :meth:`softmargin.Loss.initial_state` has it; None of a loss without."""
        if not self._has_state:
            return None
        (step, seed), averages = self.loss_steps.tolist(), self.loss_averages.tolist()
        return {"step": step, "seed": seed, **dict(zip(AVERAGES, averages, strict=True))}

    def _state_of(self, embeddings, target, sample_weights, margins):
        """The state that a forward pass reads; in training its batch has been taken in, and its step is counted."""
        state = self.state
        if state is None or not (self.training and torch.is_grad_enabled()):
            return state
        from softmargin.torch._composed import next_state

        extras = {"sample_weights": sample_weights, "margins": margins}
        state = next_state(self.loss, state, embeddings, self._like(self.weight, embeddings), target, **extras)
        self.loss_averages.copy_(torch.tensor([state[name] for name in AVERAGES]))
        self.loss_steps[0] += 1
        return state

    def _like(self, parameter, embeddings):
        """A parameter beside embeddings; autocast makes those in half precision, whatever the parameter is in."""
        if (
            parameter is None
            or not isinstance(embeddings, torch.Tensor)
            or not torch.is_autocast_enabled(embeddings.device.type)
        ):
            return parameter
        return parameter.float()


def _start(part, name):
    """Where a learned number of a part of the loss starts; None where it is not learned."""
    if part is None:
        return None
    if name == "radius":
        return part.get("radius")
    return part.get("initial") if part.get("kind") == "learned" else None
