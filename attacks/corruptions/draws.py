"""Random numbers for the corruption of one image, in the order of the calls."""

import torch
from torch import Tensor

from attacks.searches import draws


class Draws:
    """Random numbers that depend only on the seed, the image's id and the number of the draw.

    Args:
        seed: Seed of the run.
        image: Id of the image.

    Example:
        >>> bool((Draws(0, 7).uniform(2, 3) == Draws(0, 7).uniform(2, 3)).all())
        True
    """

    def __init__(self, seed: int, image: int) -> None:
        self._seed, self._ids, self._drawn = seed, torch.tensor([image]), 0

    def uniform(self, *shape: int) -> Tensor:
        """Uniform numbers in [0, 1), float64, with the given shape."""
        return draws.uniform(self._seed, self._ids, self._next(), shape)[0].double()

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers, float64, with the given shape."""
        return draws.normal(self._seed, self._ids, self._next(), shape)[0].double()

    def between(self, low: float, high: float, *shape: int) -> Tensor:
        """Uniform numbers from ``low`` to ``high``, float64, with the given shape."""
        return low + (high - low) * self.uniform(*shape)

    def _next(self) -> int:
        self._drawn += 1
        return self._drawn - 1
