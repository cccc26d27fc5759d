"""Fit time and accuracy of softmargin.sklearn.MarginClassifier, compared with scikit-learn's LogisticRegression.

Both have the same objective, `C`, `max_iter` and `tol`, and run alternately; times are medians. The digits are the
1,797 images of scikit-learn, with a third of them as the test set. The larger problem is synthetic: random class
centers with noise. Features are standardized. In the row "one thread" BLAS uses a single thread in both programs,
because with several threads small products may wait longer for threads than they compute if the machine has other
load.

    python -m venv bench/.venv
    bench/.venv/bin/pip install scikit-learn bindings/python
    bench/.venv/bin/python bench/logistic.py                  # about two minutes on two cores
    bench/.venv/bin/python bench/logistic.py --rows 5000 --turns 5
"""

import argparse
import contextlib
import statistics
import sys
import time
import warnings

import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from softmargin.sklearn import MarginClassifier
from threadpoolctl import threadpool_limits


def main():
    options = arguments()
    warnings.simplefilter("ignore", ConvergenceWarning)  # the table shows the number of iterations
    print(f"{'problem':<30}{'ours, s':>10}{'theirs, s':>11}{'ratio':>8}{'iterations':>13}{'accuracy, %':>16}")
    digits = standardized(*load_digits(return_X_y=True), test_size=1 / 3)
    large = f"{options.rows} x {options.features} x {options.classes}"
    row("digits", digits, options)
    row("digits, one thread", digits, options, threads=1)
    row(large, standardized(*synthetic(options), test_size=0.2), options)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000, help="training rows of the larger problem")
    parser.add_argument("--features", type=int, default=384)
    parser.add_argument("--classes", type=int, default=150)
    parser.add_argument("--noise", type=float, default=4.0, help="standard deviation of the noise (1 for the centers)")
    parser.add_argument("--C", type=float, default=0.01, help="inverse strength of the penalty")
    parser.add_argument("--max-iter", type=int, default=100)
    parser.add_argument("--tol", type=float, default=1e-4)
    parser.add_argument("--turns", type=int, default=3, help="number of alternating fits of each model")
    return parser.parse_args()


def synthetic(options):
    """Returns features and labels of the training rows plus a quarter more for the test set."""
    random, rows = np.random.default_rng(0), options.rows * 5 // 4
    labels = random.integers(options.classes, size=rows)
    centers = random.standard_normal((options.classes, options.features))
    return centers[labels] + options.noise * random.standard_normal((rows, options.features)), labels


def standardized(features, labels, test_size):
    X, test_X, y, test_y = train_test_split(features, labels, test_size=test_size, random_state=0, stratify=labels)
    scaler = StandardScaler().fit(X)
    return scaler.transform(X), scaler.transform(test_X), y, test_y


def row(name, problem, options, threads=None):
    X, test_X, y, test_y = problem
    settings = {"C": options.C, "max_iter": options.max_iter, "tol": options.tol}
    models, seconds = [MarginClassifier(**settings), LogisticRegression(**settings)], ([], [])
    with threadpool_limits(threads, "blas") if threads else contextlib.nullcontext():
        for turn in range(options.turns):
            for model, times in zip(models, seconds, strict=True):
                started = time.perf_counter()
                model.fit(X, y)
                times.append(time.perf_counter() - started)
                print(f"{name}, turn {turn + 1}: {type(model).__name__} {times[-1]:.3f} s", file=sys.stderr, flush=True)
    ours, theirs = map(statistics.median, seconds)
    iterations = "/".join(str(int(np.max(model.n_iter_))) for model in models)
    accuracy = " / ".join(f"{100 * model.score(test_X, test_y):.2f}" for model in models)
    print(f"{name:<30}{ours:>10.3f}{theirs:>11.3f}{theirs / ours:>8.2f}{iterations:>13}{accuracy:>16}", flush=True)


if __name__ == "__main__":
    main()
