"""Optimizers of a weight, whose step a head fuses with its gradients."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from softmargin import _core
from softmargin._arrays import floats, whole

__all__ = ["Optimizer"]

KINDS = ("sgd", "adamw")
BETAS, EPS = (0.9, 0.999), 1e-8
WEIGHT_DECAY = {"sgd": 0.0, "adamw": 0.01}
SAVED = ("kind", "steps", "first", "second", "bias_first", "bias_second", "scale", "radius", "lr")


class Optimizer:
    """SGD or AdamW on the rows of a weight (R, D) in ``float32``: the steps of ``torch.optim.SGD`` and ``AdamW``.

    - ``kind``: ``"sgd"`` or ``"adamw"``.
    - ``weight``: The weight, or its shape (R, D).
    - ``lr``: The learning rate, 0 or above.
    - ``momentum``, ``nesterov``: Only for SGD: from 0 up to 1, and True for Nesterov's momentum.
    - ``betas``, ``eps``: Only for AdamW: the decay rates of the two moments, from 0 up to 1, and the number above 0
      that is added to the denominator.
    - ``weight_decay``: 0 or above; default 0 for SGD, 0.01 for AdamW, where it is decoupled from the gradient.
    - ``row_rates``: (R): multiplies the learning rate of each row. Default: 1.

    The names are PyTorch's. The other interfaces have these:

    ================ ================ ================== ==============================
    here             ``torch.optim``  Rust               the command's files and flags
    ================ ================ ================== ==============================
    ``"sgd"``        ``SGD``          ``Rule::Sgd``      ``kind = "sgd"``
    ``"adamw"``      ``AdamW``        ``Rule::AdamW``    ``kind = "adamw"``
    ``lr``           ``lr``           ``learning_rate``  ``learning-rate``, ``--lr``
    ``momentum``     ``momentum``     ``momentum``       ``momentum``
    ``nesterov``     ``nesterov``     ``nesterov``       always on
    ``betas[0]``     ``betas[0]``     ``beta1``          ``beta-1``
    ``betas[1]``     ``betas[1]``     ``beta2``          ``beta-2``
    ``eps``          ``eps``          ``epsilon``        ``epsilon``
    ``weight_decay`` ``weight_decay`` ``weight_decay``   ``weight-decay``
    ``row_rates``    parameter groups ``with_row_rates`` none
    ================ ================ ================== ==============================

    Raises ``ValueError`` on numbers out of range; ``TypeError`` on arguments that the kind does not use;
    ``MemoryError`` if there is no memory for the moments.

    >>> import numpy as np
    >>> import softmargin
    >>> weight = np.array([[1.0, -1.0]], dtype=np.float32)
    >>> optimizer = softmargin.Optimizer("sgd", weight, lr=0.5)
    >>> optimizer.apply(weight, np.array([[1.0, 0.0]], dtype=np.float32))
    >>> weight
    array([[ 0.5, -1. ]], dtype=float32)
    """

    def __init__(
        self,
        kind: Literal["sgd", "adamw"],
        weight: NDArray[Any] | tuple[int, int],
        *,
        lr: float,
        momentum: float = 0.0,
        nesterov: bool = False,
        betas: tuple[float, float] = BETAS,
        eps: float = EPS,
        weight_decay: float | None = None,
        row_rates: ArrayLike | None = None,
    ) -> None:
        if kind not in KINDS:
            raise ValueError(f"kind: expected one of {', '.join(KINDS)}, found {kind!r}")
        _check_unused(kind, momentum, nesterov, betas, eps)
        weight_decay = WEIGHT_DECAY[kind] if weight_decay is None else weight_decay
        self._shape = tuple(
            whole(side, "weight") for side in (weight if isinstance(weight, (tuple, list)) else weight.shape)
        )
        if len(self._shape) != 2:
            raise ValueError(f"weight: expected a matrix, found shape {self._shape}")
        self._kind, self._lr = kind, float(lr)
        self._numbers = {
            "momentum": float(momentum),
            "nesterov": bool(nesterov),
            "betas": (float(betas[0]), float(betas[1])),
            "eps": float(eps),
            "weight_decay": float(weight_decay),
            "row_rates": None if row_rates is None else np.asarray(row_rates, dtype=np.float32),
        }
        rates = self._numbers["row_rates"]
        rates = None if rates is None else rates.tolist()
        self._core = _core.Optimizer(_rule(kind, self._numbers), self._lr, self._shape, rates)

    def __reduce__(self):
        return _resumed, (self._kind, self._shape, self._lr, self._numbers, self.state_dict())

    @property
    def lr(self) -> float:
        """The learning rate of the next steps; may be set. Raises ``ValueError`` on one below 0."""
        return self._lr

    @lr.setter
    def lr(self, value: float) -> None:
        self._core.set_learning_rate(float(value))
        self._lr = float(value)

    @property
    def steps(self) -> int:
        """The number of steps done."""
        return self._core.steps

    def apply(self, weight: NDArray[np.float32], gradient: ArrayLike) -> None:
        """Steps on the whole weight (R, D), in place, with a gradient (R, D), which may have been clipped.

        Raises ``ValueError`` on other shapes and on a read-only weight; ``TypeError`` on other types.
        """
        self._core.apply(writeable(weight), floats(gradient, "gradient", 2, np.dtype(np.float32)))

    def state_dict(self) -> dict[str, Any]:
        """Returns the moments, the steps and the learning rate: arrays and numbers, as :func:`numpy.savez` takes them.

        >>> import io, numpy as np, softmargin
        >>> weight, file = np.ones((2, 3), dtype=np.float32), io.BytesIO()
        >>> optimizer = softmargin.Optimizer("adamw", weight, lr=0.1)
        >>> np.savez(file, weight=weight, **optimizer.state_dict())
        >>> optimizer.load_state_dict(np.load(io.BytesIO(file.getvalue())))
        """
        found, names = self._core.moments(), ("first", "second")
        moments = dict(zip(names, found["weight"], strict=True))
        moments |= dict(zip((f"bias_{name}" for name in names), found["bias"], strict=True))
        moments |= {name: np.asarray(found[name], dtype=np.float32) for name in ("scale", "radius")}
        return {"kind": self._kind, "steps": self.steps, **moments, "lr": self.lr}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what :meth:`state_dict` returned. Raises ``ValueError`` on another shape or kind."""
        missing = [name for name in SAVED if name not in state]
        if missing:
            raise ValueError(f"state: expected what state_dict() returned, found nothing under {missing[0]!r}")
        if str(state["kind"]) != self._kind:
            raise ValueError(f"state: expected one of {self._kind}, found one of {state['kind']}")
        single = np.dtype(np.float32)
        weight = [floats(state[name], name, 2, single) for name in ("first", "second")]
        bias = [floats(state[name], name, 1, single).tolist() for name in ("bias_first", "bias_second")]
        scale, radius = (floats(state[name], name, 1, single).tolist() for name in ("scale", "radius"))
        self._core.restore(whole(np.asarray(state["steps"])[()], "steps", 0), weight, bias, scale, radius)
        self.lr = float(state["lr"])


def writeable(array: NDArray[np.float32], name: str = "weight", dimensions: int = 2) -> NDArray[np.float32]:
    """Returns the array itself, checked: a step on a copy would not change the array."""
    found = floats(array, name, dimensions)
    if found.dtype != np.float32:
        raise TypeError(f"{name}: expected float32, found {found.dtype}")
    if not (isinstance(array, np.ndarray) or hasattr(array, "__dlpack__")) or not np.shares_memory(
        found, np.asarray(array)
    ):
        raise TypeError(f"{name}: expected a NumPy array that a step can write to")
    if not found.flags.writeable:
        raise ValueError(f"{name}: expected an array that may be written to, found a read-only one")
    return found


def _check_unused(kind, momentum, nesterov, betas, eps):
    if kind == "sgd":
        unused = {"betas": tuple(betas) != BETAS, "eps": eps != EPS}
    else:
        unused = {"momentum": momentum != 0.0, "nesterov": bool(nesterov)}
    for name, is_given in unused.items():
        if is_given:
            raise TypeError(f"{name}: expected the default, {kind} does not use it; leave it out")


def _rule(kind, numbers):
    """Returns the rule as the extension reads it."""
    if kind == "sgd":
        names = {"momentum": numbers["momentum"], "nesterov": numbers["nesterov"]}
        return {"kind": "sgd", **names, "weight-decay": numbers["weight_decay"]}
    beta1, beta2 = numbers["betas"]
    names = {"beta1": beta1, "beta2": beta2, "epsilon": numbers["eps"]}
    return {"kind": "adam-w", **names, "weight-decay": numbers["weight_decay"]}


def _resumed(kind, shape, lr, numbers, state):
    # Numbers of the other kind are the defaults, which either kind accepts.
    optimizer = Optimizer(kind, shape, lr=lr, **numbers)
    optimizer.load_state_dict(state)
    return optimizer
