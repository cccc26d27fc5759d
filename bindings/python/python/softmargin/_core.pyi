# The extension module, called by the Python modules around it; not for direct use.

from typing import Any, final

from numpy import float32, float64, int64
from numpy.typing import NDArray

__all__ = [
    "Head",
    "Loss",
    "Optimizer",
    "RowPlan",
    "SampledClasses",
    "__version__",
    "classification",
    "cross_entropy",
    "entropy",
    "kl_divergence",
    "log_softmax",
    "log_sum_exp",
    "losses",
    "needs_class_counts",
    "plan_rows",
    "release_memory",
    "self_information",
    "softmax",
    "softplus",
    "sweep_of",
    "update_rows",
]
__version__: str

def self_information(p: NDArray[float64], unit: str) -> NDArray[float64]: ...
def entropy(p: NDArray[float64], unit: str) -> NDArray[float64]: ...
def cross_entropy(p: NDArray[float64], q: NDArray[float64], unit: str) -> NDArray[float64]: ...
def kl_divergence(p: NDArray[float64], q: NDArray[float64], unit: str) -> NDArray[float64]: ...
def softmax(scores: NDArray[Any], temperature: float) -> NDArray[Any]: ...
def log_softmax(scores: NDArray[Any], temperature: float) -> NDArray[Any]: ...
def log_sum_exp(scores: NDArray[Any], temperature: float) -> NDArray[Any]: ...
def softplus(x: NDArray[float64]) -> NDArray[float64]: ...
def classification(predicted: NDArray[int64], labels: NDArray[int64], num_classes: int) -> Any: ...
def losses(name: str | None = None) -> Any: ...
def needs_class_counts(
    name: str, scale: float | None = None, margin: list[float] | None = None, parts: dict[str, Any] | None = None
) -> bool: ...
def release_memory() -> None: ...

@final
class Loss:
    def __new__(
        cls,
        name: str,
        num_classes: int,
        scale: float | None = None,
        margin: list[float] | None = None,
        parts: dict[str, Any] | None = None,
        class_counts: list[int] | None = None,
    ) -> Loss: ...
    @property
    def name(self) -> str: ...
    @property
    def num_classes(self) -> int: ...
    @property
    def needs_embedding_norms(self) -> bool: ...
    @property
    def needs_weight_norms(self) -> bool: ...
    @property
    def spec(self) -> dict[str, Any]: ...
    def initial_state(self, seed: int) -> dict[str, Any] | None: ...
    def evaluate(
        self, scores: NDArray[Any], target: NDArray[Any], reduction: str, gradients: bool, extras: dict[str, Any]
    ) -> dict[str, Any]: ...
    def update(self, scores: NDArray[Any], target: NDArray[Any], extras: dict[str, Any]) -> dict[str, Any]: ...

@final
class SampledClasses:
    @property
    def classes(self) -> NDArray[int64]: ...

@final
class Head:
    def __new__(cls, loss: Loss, mode: str, memory: int, precision: str, statistics: bool) -> Head: ...
    @property
    def num_prototypes(self) -> int: ...
    def release_memory(self) -> None: ...
    def sample(self, target: NDArray[int64], share: float, seed: int, step: int) -> SampledClasses: ...
    def evaluate(
        self,
        embeddings: NDArray[Any],
        weight: NDArray[Any],
        target: NDArray[Any],
        reduction: str,
        gradients: bool,
        extras: dict[str, Any],
    ) -> dict[str, Any]: ...
    def step(
        self,
        embeddings: NDArray[float32],
        weight: NDArray[float32],
        target: NDArray[Any],
        optimizer: Optimizer,
        reduction: str,
        extras: dict[str, Any],
    ) -> dict[str, Any]: ...
    def scores(
        self, embeddings: NDArray[Any], weight: NDArray[Any], bias: NDArray[Any] | None = None
    ) -> NDArray[Any]: ...
    def update(
        self, embeddings: NDArray[Any], weight: NDArray[Any], target: NDArray[Any], extras: dict[str, Any]
    ) -> dict[str, Any]: ...

def plan_rows(
    loss: Loss,
    target: NDArray[Any],
    *,
    sample_weights: NDArray[float64] | None = None,
    margins: NDArray[float64] | None = None,
    embedding_norms: NDArray[float64] | None = None,
    state: dict[str, Any] | None = None,
    scale: float | None = None,
    radius: float | None = None,
) -> RowPlan: ...
def update_rows(
    loss: Loss,
    state: dict[str, Any],
    target: NDArray[Any],
    target_scores: NDArray[float64],
    *,
    sample_weights: NDArray[float64] | None = None,
    margins: NDArray[float64] | None = None,
    embedding_norms: NDArray[float64] | None = None,
) -> dict[str, Any]: ...
def sweep_of(loss: Loss) -> tuple[str, str | None]: ...

@final
class RowPlan:
    @property
    def weights(self) -> NDArray[float64]: ...
    @property
    def classes(self) -> NDArray[int64]: ...
    @property
    def scale(self) -> float: ...
    def set_target_norms(self, norms: NDArray[float64]) -> None: ...
    def row_factors(self, reduction: str) -> NDArray[float64]: ...
    def targets(self, first: int, scores: NDArray[float64], single: bool) -> dict[str, Any]: ...
    def outcomes(
        self,
        first: int,
        scores: NDArray[float64],
        single: bool,
        accumulators: NDArray[float64],
        alone: list[bool],
        correct: list[bool],
    ) -> dict[str, NDArray[float64]]: ...
    def soft_outcomes(self, first: int, losses: NDArray[float64], scale: NDArray[float64]) -> None: ...
    def totals(self, reduction: str) -> dict[str, Any]: ...

@final
class Optimizer:
    def __new__(
        cls,
        rule: dict[str, Any],
        learning_rate: float,
        shape: tuple[int, int],
        row_rates: list[float] | None = None,
    ) -> Optimizer: ...
    @property
    def steps(self) -> int: ...
    def set_learning_rate(self, learning_rate: float) -> None: ...
    def moments(self) -> dict[str, Any]: ...
    def restore(
        self,
        steps: int,
        weight: list[NDArray[float32]],
        bias: list[list[float]],
        scale: list[float],
        radius: list[float],
    ) -> None: ...
    def apply(self, weight: NDArray[float32], gradient: NDArray[float32]) -> None: ...
