"""Softmax-style classification losses as one composable, exact function with its gradients; and fused heads.

    loss = gate( comparison_{j != y}( s * score_j ) - s * psi(score_y) )

Twenty-two published losses are points on a few axes of that equation; :func:`losses` lists them.

>>> import numpy as np
>>> import softmargin
>>> loss = softmargin.Loss("am-softmax", num_classes=3, scale=30, margin=0.35)
>>> cosines = np.array([[0.9, 0.1, -0.3], [0.2, 0.4, 0.3]], dtype=np.float32)
>>> value, gradient = loss.value_and_grad(cosines, [0, 1])
>>> print(f"{value:.4f}")
3.7746

:class:`Loss` takes scores. :class:`Head` takes embeddings and prototypes, and limits its memory. Both have the
same calls: ``loss(...)`` returns the value, ``value_and_grad(...)`` the value with its gradients, ``evaluate(...)`` a
:class:`LossResult` or :class:`HeadResult` with everything; ``Head.step(...)`` does a training step with an
:class:`Optimizer` and returns a :class:`HeadResult`.

``softmargin.torch`` is for PyTorch, ``softmargin.sklearn`` for scikit-learn; each is imported on its own.
:mod:`softmargin.measures` and :mod:`softmargin.smooth` are the functions that the losses consist of;
:mod:`softmargin.metrics` has metrics of trained models.

Arrays are NumPy arrays or objects in main memory that support DLPack, in ``float32`` or ``float64``; they are read
without copying, and the GIL is released during the computation. Gradients are first order. Results are bitwise
identical for any number of threads.
"""

from softmargin import measures, metrics, smooth
from softmargin._core import __version__
from softmargin._head import Head, HeadResult, SampledClasses, release_memory
from softmargin._loss import Loss, LossResult, losses
from softmargin._optimizer import Optimizer

__all__ = [
    "__version__",
    "Head",
    "HeadResult",
    "Loss",
    "LossResult",
    "Optimizer",
    "SampledClasses",
    "losses",
    "measures",
    "metrics",
    "release_memory",
    "smooth",
]
