"""The classes of the scores: all classes, or those that one of several processes holds.

A tensor is of one of two kinds. Columns (N, 1), and the learned parameters beside the prototypes, are the same in all
processes. Scores (N, c) belong to the classes of one process. ``spread`` makes the first kind an input of the second;
``sum``, ``max`` and ``min`` reduce the second kind to the first. In one process, here, these four are the identity.
"""

import torch

LAST = torch.iinfo(torch.int64).max


class Whole:
    """All classes, in one process."""

    def __init__(self, num_classes, device):
        self.classes = torch.arange(num_classes, device=device)
        """(c): the numbers of this process's classes, in rising order."""
        self.most_classes = num_classes
        """The most classes that a process holds."""

    def spread(self, replicated):
        """Returns the tensor, such that its gradient is summed over the processes."""
        return replicated

    def sum(self, partial):
        """Returns the sum over the processes, differentiable."""
        return partial

    def max(self, partial):
        """Returns the maximum over the processes, of a tensor without gradient."""
        return partial

    def min(self, partial):
        """Returns the minimum over the processes, of a tensor without gradient."""
        return partial

    def is_class(self, numbers):
        """Returns True (N, c) if the class of a column is that of the row, given as numbers (N, 1)."""
        return self.classes == numbers

    def of_rows(self, values, numbers):
        """Returns each row's score (N, 1), of (N, c), of its class in ``numbers`` (N, 1); 0 if no process holds it."""
        if values.shape[1] == 0:
            return self.sum(values.sum(1, keepdim=True))
        column, here = self._find(numbers)
        return self.sum(values.gather(1, column).masked_fill(~here, 0))

    def of_classes(self, values, numbers):
        """Returns the entries (N, ...) of ``values`` (c, ...) of classes (N, 1); 0 if no process holds one."""
        if values.shape[0] == 0:
            return self.sum(values.sum(0).expand(numbers.shape[0], *values.shape[1:]))
        column, here = self._find(numbers)
        absent = ~here.reshape(-1, *[1] * (values.dim() - 1))
        return self.sum(values[column[:, 0]].masked_fill(absent, 0))

    def largest(self, values):
        """Returns the largest (N, 1) of each row of ``values`` (N, c), minus infinity if there is none; detached."""
        return self.max(_largest(values.detach())[0])

    def first_largest(self, values):
        """Returns the class number (N, 1) of the largest value of each row, the lowest on ties."""
        own, column = _largest(values.detach())
        number = self.classes[column] if values.shape[1] else torch.full_like(column, LAST)
        # NaN equals nothing, but must be found too.
        return self.min(number.masked_fill((own != self.max(own)) & ~own.isnan(), LAST))

    def _find(self, numbers):
        """Returns the column of each class, and True if there is one, (N, 1) both."""
        column = torch.searchsorted(self.classes, numbers).clamp(max=len(self.classes) - 1)
        return column, self.classes[column] == numbers


def _largest(values):
    """Returns the largest of each row and its first column, (N, 1) both."""
    if values.shape[1] == 0:
        shape = (values.shape[0], 1)
        return values.new_full(shape, -torch.inf), torch.zeros(shape, dtype=torch.int64, device=values.device)
    largest, column = values.max(1, keepdim=True)
    return largest, column
