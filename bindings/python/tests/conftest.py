"""What the tests share."""

import numpy as np
import pytest
import softmargin

NAMES = [loss["name"] for loss in softmargin.losses()]


def make_loss(name, num_classes, **arguments):
    """A loss of the family; margins by frequency are told some counts."""
    if name == "ldam":
        arguments.setdefault("class_counts", [5 + 7 * k for k in range(num_classes)])
    return softmargin.Loss(name, num_classes, **arguments)


@pytest.fixture
def rng():
    return np.random.default_rng(20261126)
