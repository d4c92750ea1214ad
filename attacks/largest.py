"""Which numbers of a row are its largest, without sorting all of them."""

import torch
from torch import Tensor


def largest(size: Tensor, count: Tensor) -> Tensor:
    """The ``count`` largest numbers of each row, of equal ones the first.

    Args:
        size: Not negative (n, d).
        count: Not negative (n, 1); what is behind the point does not count.

    Returns:
        Bool (n, d).

    Example:
        >>> largest(torch.tensor([[0.3, 0.1, 0.3], [0.3, 0.1, 0.3]]), torch.tensor([[1.0], [2.5]]))
        tensor([[ True, False, False],
                [ True, False,  True]])
    """
    count = count.clamp(0, size.shape[1]).long()
    if not len(size) or not (most := int(count.max())):
        return torch.zeros_like(size, dtype=torch.bool)
    least = size.topk(most, dim=1).values.gather(1, (count - 1).clamp_min(0))
    chosen = (size >= least) & (count > 0)
    if bool((chosen.sum(1, keepdim=True) > count).any()):
        above, equal = size > least, size == least
        chosen &= above | (equal.cumsum(1) <= count - above.sum(1, keepdim=True))
    return chosen
