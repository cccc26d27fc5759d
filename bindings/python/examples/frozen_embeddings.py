"""Fits a last layer for ten thousand classes on embeddings that another network has made, with NumPy alone.

    pip install ./bindings/python
    python bindings/python/examples/frozen_embeddings.py

The optimizer's step is part of the head: neither the scores (N x C) nor the gradient by the prototypes (C x D) ever is
as a whole. The embeddings here are made up, four about each of ten thousand random centers.
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
    asked = centers + 0.5 * rng.standard_normal((CLASSES, WIDTH), dtype=np.float32)

    head = softmargin.Head("am-softmax", num_classes=CLASSES, embedding_size=WIDTH, scale=16, margin=0.2)
    weight = head.initial_weight(seed=0)
    optimizer = softmargin.Optimizer("adamw", weight, learning_rate=1e-2, weight_decay=0.0)
    for epoch in range(epochs):
        start, total = time.perf_counter(), 0.0
        for rows in np.array_split(rng.permutation(len(labels)), len(labels) // BATCH):
            value, _ = head.step(embeddings[rows], weight, labels[rows], optimizer)
            total += value * len(rows)
        print(f"epoch {epoch + 1}: loss {total / len(labels):.3f}, {time.perf_counter() - start:.1f} s")
    right = float((head.predict(asked, weight) == np.arange(CLASSES)).mean())
    print(f"of {CLASSES} new embeddings {right:.1%} find their class")
    return right


if __name__ == "__main__":
    main()
