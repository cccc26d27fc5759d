"""Progress and warnings of a fit."""

from __future__ import annotations

import sys
import time
import warnings

from sklearn.exceptions import ConvergenceWarning


class Progress:
    """Prints the progress of a long fit on standard error."""

    def __init__(self, verbose: int, most: int, name: str) -> None:
        self.verbose, self.most, self.name, self.done = verbose, most, name, 0
        self.started = time.monotonic()
        self.next = self.started + 2.0

    def __call__(self, loss: float) -> None:
        self.done += 1
        now = time.monotonic()
        if not self.verbose or now < self.next:
            return
        self.next = now + 1.0
        left = (now - self.started) / self.done * (self.most - self.done)
        text = f"{self.name} {self.done} of {self.most} at most, loss {loss:.6g}, {left:.0f} s left at most"
        print(f"softmargin: {text}", file=sys.stderr, flush=True)


def warn(message: str, is_short: bool) -> None:
    """Warns that a fit did not converge; ``is_short`` if more iterations may help."""
    advice = "Increase max_iter, or scale the data, as in https://scikit-learn.org/stable/modules/preprocessing.html"
    advice = advice if is_short else "Scale the data, or use another solver."
    warnings.warn(f"{message}\n{advice}", ConvergenceWarning, stacklevel=5)
