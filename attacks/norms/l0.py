"""L0: the number of changed values."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from attacks.geometry.largest import largest
from attacks.geometry.plane import one_after_another
from attacks.geometry.rows import column, flat
from attacks.norms.protocol import Norm
from attacks.searches.draws import uniform


@dataclass(frozen=True)
class L0(Norm):
    """The number of changed values (a pixel with three channels has three); a value changes by at most 1.

    Example:
        >>> import torch
        >>> L0().project(torch.tensor([[0.5, -0.7, 0.1]]), 2)
        tensor([[ 0.5000, -0.7000,  0.0000]])
    """

    name: ClassVar[str] = "l0"
    sparse: ClassVar[bool] = True
    grain: ClassVar[float] = 1.0

    def measure(self, delta: Tensor) -> Tensor:
        """Size of each row: (N, ...) -> (N,), as a float."""
        return (flat(delta) != 0).sum(1).to(delta.dtype)

    def dual(self, gradient: Tensor) -> Tensor:
        """The largest absolute value of each row: the effect of one changed value."""
        return flat(gradient).abs().amax(1)

    def project(self, delta: Tensor, eps: float | Tensor) -> Tensor:
        """Keep the ``eps`` largest values."""
        return torch.where(largest(flat(delta).abs(), column(eps, flat(delta))).view_as(delta), delta, 0)

    def steepest(self, gradient: Tensor, eps: float | Tensor) -> Tensor:
        """1 at the ``eps`` largest values of the gradient, with their signs."""
        return self.project(gradient, eps).sign()

    def random(self, shape: Sequence[int], eps: float | Tensor, seed: int, ids: Tensor, draw: int) -> Tensor:
        """``eps`` random values, each uniform in [-1, 1]."""
        noise = uniform(seed, ids, draw, (2, *shape))
        # The first half of the block picks the positions, the second the values.
        kept = self.project(noise[:, 0] + 1, eps) > 0
        return (2 * noise[:, 1] - 1) * kept

    def to_plane(self, x: Tensor, normal: Tensor, rise: Tensor) -> Tensor:
        """The values that gain most move to 0 or 1, one after another."""
        return one_after_another(x, normal, rise, lambda steepness, span: steepness * span)

    def round_radius(self, radius: Tensor) -> Tensor:
        """Whole values only, at least one."""
        return radius.floor().clamp_min(1)
