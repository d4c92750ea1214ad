"""Positions of images in a batch, found by their ids."""

import torch
from torch import Tensor


class Places:
    """Positions of images by id, for queries about some of them in any order.

    Args:
        ids: Ids of the images, int64 (N,).

    Example:
        >>> Places(torch.tensor([7, 3, 5])).of(torch.tensor([5, 7]))
        tensor([2, 0])
    """

    def __init__(self, ids: Tensor) -> None:
        self._sorted, self._order = ids.sort()

    def of(self, ids: Tensor) -> Tensor:
        """Positions (n,) of images by their ids, which must be known; one of them for equal ids."""
        return self._order[torch.searchsorted(self._sorted, ids)]
