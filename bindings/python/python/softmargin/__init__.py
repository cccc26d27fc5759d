"""Softmax-style classification losses as one composition, exact, with their gradients; and fused heads for them.

    loss = gate( comparison_{j != y}( s * score_j ) - s * psi(score_y) )

Twenty-two published losses are points on a few axes of that equation; :func:`losses` tells of them.

>>> import numpy as np
>>> import softmargin
>>> loss = softmargin.Loss("am-softmax", num_classes=3, scale=30, margin=0.35)
>>> cosines = np.array([[0.9, 0.1, -0.3], [0.2, 0.4, 0.3]], dtype=np.float32)
>>> value, gradient = loss.value_and_grad(cosines, [0, 1])
>>> print(f"{value:.4f}")
3.7746

Where the rest is: :class:`Head` takes embeddings and prototypes instead of scores, and never holds the scores;
``softmargin.torch`` has modules for PyTorch, ``softmargin.sklearn`` a classifier for scikit-learn, each imported on its
own; :mod:`softmargin.measures` and :mod:`softmargin.smooth` are the functions that the family is made of.

Arrays are NumPy's, or anything that speaks DLPack and lies in main memory, in ``float32`` or ``float64``; they are read
where they lie. Gradients are first order. Results have the same bits for any number of threads.
"""

from softmargin import measures, smooth
from softmargin._core import __version__
from softmargin._head import Head, HeadOutcome, Optimizer, Sampled, release_memory
from softmargin._loss import Loss, LossOutcome, losses

__all__ = [
    "__version__",
    "Head",
    "HeadOutcome",
    "Loss",
    "LossOutcome",
    "Optimizer",
    "Sampled",
    "losses",
    "measures",
    "release_memory",
    "smooth",
]
