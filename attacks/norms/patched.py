"""Any norm, for perturbations that one patch must cover, at any place."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attacks.geometry.outline import best_corners, check_shape, check_share, outline, placed, side_of
from attacks.norms.protocol import Norm
from attacks.norms.wrapping import Wrapping


@dataclass(frozen=True)
class Patched(Wrapping):
    """A norm of changes that one patch covers: a square or a circle of a given share of the image, at any place.

    It measures, projects and steps like the inner norm, which may have a mask. Only :meth:`confine` is specific to
    patches: it puts the patch where it covers the most changes and undoes all others, so that a judge can check that
    nothing else in the image was changed without knowing where the patch is.

    Args:
        norm: The norm of the changes under the patch.
        share: Largest share of the image that the patch covers, above 0, at most 1.
        shape: square or circle.

    Raises:
        ValueError: If the share or the shape is invalid; and later, in an attack, if the images are too small for the
            patch.

    Example:
        >>> from attacks.norms import L0
        >>> x, x_adv = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
        >>> x_adv[0, 0, 0, 0] = x_adv[0, 0, 2:, 2:] = 1.0
        >>> Patched(L0(), 0.25, "square").confine(x, x_adv)[0, 0, 0, 0], Patched(L0(), 0.25, "square").name
        (tensor(0.), 'l0')
    """

    norm: Norm
    """The norm of the changes under the patch."""
    share: float
    """Largest share of the image that the patch covers."""
    shape: str
    """Shape of the patch, square or circle."""

    def __post_init__(self) -> None:
        check_share(self.share)
        check_shape(self.shape)

    @property
    def inside(self) -> Norm:
        """The norm of the changes under the patch."""
        return self.norm

    def confine(self, x: Tensor, x_adv: Tensor) -> Tensor:
        """Candidates (n, C, H, W) with everything outside the patch taken from ``x``."""
        height, width = x.shape[2:]
        pixels = outline(self.shape, side_of(self.shape, self.share, height, width))
        corners = best_corners((x_adv != x).any(1), pixels)
        return self.norm.confine(x, torch.where(placed(pixels, corners, height, width).unsqueeze(1), x_adv, x))

    def measure(self, delta: Tensor) -> Tensor:
        """Size of each row: (N, ...) -> (N,)."""
        return self.norm.measure(delta)

    def dual(self, gradient: Tensor) -> Tensor:
        """As in the inner norm."""
        return self.norm.dual(gradient)

    def project(self, delta: Tensor, eps: float | Tensor) -> Tensor:
        """The nearest perturbation of size at most ``eps``, anywhere in the image."""
        return self.norm.project(delta, eps)

    def steepest(self, gradient: Tensor, eps: float | Tensor) -> Tensor:
        """As in the inner norm."""
        return self.norm.steepest(gradient, eps)

    def random(self, shape: Sequence[int], eps: float | Tensor, seed: int, ids: Tensor, draw: int) -> Tensor:
        """As in the inner norm."""
        return self.norm.random(shape, eps, seed, ids, draw)

    def to_plane(self, x: Tensor, normal: Tensor, rise: Tensor) -> Tensor:
        """As in the inner norm."""
        return self.norm.to_plane(x, normal, rise)

    def step(self, x: Tensor, gradient: Tensor, eps: float | Tensor) -> Tensor:
        """As in the inner norm."""
        return self.norm.step(x, gradient, eps)

    def within(self, x: Tensor, x_adv: Tensor, eps: float | Tensor) -> Tensor:
        """Bring candidates back into the ball, into [0, 1], and under a patch."""
        return self.norm.within(x, self.confine(x, x_adv), eps)
