"""The largest numbers of each row, without a full sort."""

import torch
from torch import Tensor


def largest(size: Tensor, count: Tensor) -> Tensor:
    """Select the ``count`` largest numbers of each row; among equal ones the first.

    Args:
        size: The numbers (n, d), not negative.
        count: Number to select in each row (n, 1), not negative; fractions are rounded down.

    Returns:
        Bool (n, d).

    Example:
        >>> largest(torch.tensor([[0.3, 0.1, 0.3], [0.3, 0.1, 0.3]]), torch.tensor([[1.0], [2.5]]))
        tensor([[ True, False, False],
                [ True, False,  True]])
    """
    count = count.clamp(0, size.shape[1]).long()
    if not len(size) or not int(count.max()):
        return torch.zeros_like(size, dtype=torch.bool)
    least, following = _last(size, count)
    chosen = size >= least
    if bool((least == following).any()):
        above, equal = size > least, size == least
        chosen &= above | (equal.cumsum(1) <= count - above.sum(1, keepdim=True))
    return chosen


def _last(size: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """The ``count``-th largest number of each row and the next, (n, 1); infinite before the first, -1 after all."""
    places = size.shape[1]
    last = size.new_full((len(size), 2), -1.0)
    # The time grows with the count, so rows with a large count must not slow down those with a small one.
    for low, high in zip((0, places // 256, places // 64), (places // 256, places // 64, places), strict=True):
        rows = ((count > low) & (count <= high)).squeeze(1).nonzero().squeeze(1)
        if len(rows):
            some = count[rows]
            numbers = size if len(rows) == len(size) else size[rows]
            values = numbers.topk(min(int(some.max()) + 1, places), dim=1).values
            values = torch.cat([values, values.new_full((len(rows), 1), -1.0)], 1)
            last[rows] = values.gather(1, torch.cat([some - 1, some], 1))
    last[:, :1].masked_fill_(count == 0, torch.inf)
    return last[:, :1], last[:, 1:]
