"""Fits a last layer for ten thousand classes on given embeddings, with NumPy alone.

    pip install ./bindings/python
    python bindings/python/examples/frozen_embeddings.py

The optimizer's step is fused with the head: neither the scores (N x C) nor the gradient with respect to the prototypes
(C x D) is ever stored as a whole. The embeddings here are synthetic, four around each of ten thousand random centers.
"""

import time

import numpy as np
import softmargin

CLASSES, WIDTH, BATCH = 10_000, 64, 512


def main(epochs=4):
    rng = np.random.default_rng(0)
    centers = rng.standard_normal((CLASSES, WIDTH), dtype=np.float32)
    labels = np.repeat(np.arange(CLASSES), 4)
    embeddings = centers[labels] + 0.5 * rng.standard_normal((len(labels), WIDTH), dtype=np.float32)
    queries = centers + 0.5 * rng.standard_normal((CLASSES, WIDTH), dtype=np.float32)

    head = softmargin.Head("am-softmax", num_classes=CLASSES, embedding_size=WIDTH, scale=16, margin=0.2)
    weight = head.initial_weight(seed=0)
    optimizer = softmargin.Optimizer("adamw", weight, lr=1e-2, weight_decay=0.0)
    for epoch in range(epochs):
        start, total = time.perf_counter(), 0.0
        for rows in np.array_split(rng.permutation(len(labels)), len(labels) // BATCH):
            total += head.step(embeddings[rows], weight, labels[rows], optimizer).value * len(rows)
        print(f"epoch {epoch + 1}: loss {total / len(labels):.3f}, {time.perf_counter() - start:.1f} s")
    right = float((head.predict(queries, weight) == np.arange(CLASSES)).mean())
    print(f"of {CLASSES} new embeddings {right:.1%} are assigned to their class")
    return right


if __name__ == "__main__":
    main()
