"""Metrics against scikit-learn."""

import numpy as np
import pytest
from softmargin import metrics


def test_classification_is_that_of_scikit_learn():
    reference = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(3)
    labels, scores = rng.integers(0, 6, 200), rng.normal(size=(200, 8)).astype(np.float32)
    scores[:, 7] = -9  # a class without samples and without predictions
    found = metrics.classification(scores, labels)
    predicted = scores.argmax(1)
    expected = reference.precision_recall_fscore_support(labels, predicted, labels=range(8), zero_division=np.nan)
    for name, values in zip(("precision", "recall", "f1", "support"), expected, strict=True):
        np.testing.assert_allclose(found[name], values, rtol=1e-15, err_msg=name)
    assert found["accuracy"] == reference.accuracy_score(labels, predicted)
    np.testing.assert_allclose(found["mean_recall"], reference.balanced_accuracy_score(labels, predicted), rtol=1e-15)
    np.testing.assert_allclose(found["mean_f1"], np.mean(expected[2][:6]), rtol=1e-15)


def test_the_first_class_wins_ties():
    assert metrics.classification([[1.0, 1.0], [1.0, 1.0]], [0, 1])["recall"].tolist() == [1, 0]


@pytest.mark.parametrize(
    "scores, labels, error, words",
    [
        ([[0.1, 0.2]], [2], IndexError, "labels: expected class indices below 2, found 2"),
        ([[0.1, 0.2]], [-1], IndexError, "labels: expected class indices below 2, found -1"),
        ([[0.1, 0.2]], [0, 1], ValueError, "predictions: expected 2, one for each label, found 1"),
        ([[0.1, np.nan]], [0], ValueError, "scores of row 0: expected numbers, found NaN"),
        (np.zeros((0, 2)), [], ValueError, "labels: expected at least one, found none"),
        (np.zeros((2, 0)), [0, 0], ValueError, "scores: expected at least one class"),
        ([0.1, 0.2], [0], ValueError, "scores: expected 2 dimensions"),
        ([[0.1, 0.2]], [[0.5, 0.5]], ValueError, "labels: expected class indices"),
        ([[0.1, 0.2]], [0.0], TypeError, "labels: expected integers"),
    ],
)
def test_invalid_input_is_an_error(scores, labels, error, words):
    with pytest.raises(error, match=words):
        metrics.classification(scores, labels)
