"""The classes that scores are of: all of them, or those that one process among several holds.

A tensor is of one of two kinds. Columns (N, 1), and what is learned beside the prototypes, are the same in every
process. Scores (N, c) belong to the classes of one. ``spread`` takes the first kind into what is computed of scores,
``sum``, ``max`` and ``min`` bring the second kind back. On one device, here, these four are the identity.
"""

import torch

LAST = torch.iinfo(torch.int64).max


class Whole:
    """All classes, in one process."""

    def __init__(self, num_classes, device):
        self.classes = torch.arange(num_classes, device=device)
        """(c): the numbers of the classes at hand, rising."""
        self.most_classes = num_classes
        """The most classes that a process holds."""

    def spread(self, replicated):
        """The tensor, whose gradient is to be summed over the processes."""
        return replicated

    def sum(self, partial):
        """The sum over the processes; gradients flow."""
        return partial

    def max(self, partial):
        """The largest over the processes, of a tensor without gradient."""
        return partial

    def min(self, partial):
        """The least over the processes, of a tensor without gradient."""
        return partial

    def is_class(self, numbers):
        """(N, c): whether the class of a column is that of a row, of numbers (N, 1)."""
        return self.classes == numbers

    def of_rows(self, values, numbers):
        """(N, 1): of scores (N, c) each row's entry of the class that numbers (N, 1) name; 0 where nobody holds it."""
        if values.shape[1] == 0:
            return self.sum(values.sum(1, keepdim=True))
        column, here = self._find(numbers)
        return self.sum(values.gather(1, column).masked_fill(~here, 0))

    def of_classes(self, values, numbers):
        """(N, ...): the entry of ``values`` (c, ...) of the class that numbers (N, 1) name; 0 where nobody holds it."""
        if values.shape[0] == 0:
            return self.sum(values.sum(0).expand(numbers.shape[0], *values.shape[1:]))
        column, here = self._find(numbers)
        absent = ~here.reshape(-1, *[1] * (values.dim() - 1))
        return self.sum(values[column[:, 0]].masked_fill(absent, 0))

    def largest(self, values):
        """(N, 1): the largest of each row of ``values`` (N, c), minus infinity where there is none; detached."""
        return self.max(_largest(values.detach())[0])

    def first_largest(self, values):
        """(N, 1): the number of the class of the largest of each row, the lowest on ties."""
        own, column = _largest(values.detach())
        number = self.classes[column] if values.shape[1] else torch.full_like(column, LAST)
        # NaN is equal to nothing, and is to be found all the same.
        return self.min(number.masked_fill((own != self.max(own)) & ~own.isnan(), LAST))

    def _find(self, numbers):
        """(N, 1) twice: the column of a class, and whether there is one."""
        column = torch.searchsorted(self.classes, numbers).clamp(max=len(self.classes) - 1)
        return column, self.classes[column] == numbers


def _largest(values):
    """(N, 1) twice: the largest of each row and its first column."""
    if values.shape[1] == 0:
        shape = (values.shape[0], 1)
        return values.new_full(shape, -torch.inf), torch.zeros(shape, dtype=torch.int64, device=values.device)
    largest, column = values.max(1, keepdim=True)
    return largest, column
