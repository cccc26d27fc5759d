"""Shared helpers of the tests."""

import numpy as np
import pytest
import softmargin

NAMES = [loss["name"] for loss in softmargin.losses()]


def make_loss(name, num_classes, **arguments):
    """Returns a loss by name; with some class counts for margins by frequency."""
    if name == "ldam":
        arguments.setdefault("class_counts", [5 + 7 * k for k in range(num_classes)])
    return softmargin.Loss(name, num_classes, **arguments)


@pytest.fixture
def rng():
    return np.random.default_rng(20261126)
