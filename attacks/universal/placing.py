"""Placement of a patch in images: random position, rotation and scale."""

import math
from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
from torch import Tensor
from torch.nn import functional

from attacks.geometry.outline import check_shape, check_share, side_of
from attacks.queries.plain import plain_number
from attacks.searches.draws import uniform


class Spots(NamedTuple):
    """Placement of a patch in each of several images.

    Example:
        >>> Spots(torch.tensor([[4.0, 4.0]]), torch.tensor([0.0]), torch.tensor([2.0])).size
        tensor([2.])
    """

    centre: Tensor
    """Row and column of the centre of the patch, pixels from the upper left corner of the image (n, 2)."""
    angle: Tensor
    """Rotation angle in degrees, counter-clockwise (n,)."""
    size: Tensor
    """Side of the square or diameter of the circle, pixels (n,)."""


@dataclass(frozen=True, kw_only=True)
class Placing:
    """The distribution of a patch's position, rotation and size.

    Args:
        share: Largest share of the image that the patch covers, above 0, at most 1.
        shape: square or circle.
        max_rotation: Largest angle either way, degrees; 0: no rotation.
        min_scale: Smallest side as a fraction of the largest, above 0, at most 1; 1: constant size.

    Raises:
        ValueError: If an argument is outside its range.

    Example:
        >>> spots = Placing(share=0.25).spots(torch.zeros(3, 1, 32, 32), torch.arange(3), seed=0, draw=0)
        >>> bool((spots.size <= 16).all()), spots.centre.shape
        (True, torch.Size([3, 2]))
    """

    share: float = 0.05
    """Largest share of the image that the patch covers."""
    shape: str = "square"
    """Shape of the patch, square or circle."""
    max_rotation: float = 20.0
    """Largest rotation angle either way, degrees."""
    min_scale: float = 0.7
    """Smallest side as a fraction of the largest."""

    def __post_init__(self) -> None:
        for name in ("share", "max_rotation", "min_scale"):
            value = plain_number(getattr(self, name))
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise ValueError(f"expected {name} of a patch as a number, got {value!r}")
            object.__setattr__(self, name, value)
        check_share(self.share)
        check_shape(self.shape)
        if not 0 <= self.max_rotation <= 180:
            raise ValueError(f"expected max_rotation of a patch from 0 to 180 degrees, got {self.max_rotation:g}")
        if not 0 < self.min_scale <= 1:
            raise ValueError(f"expected min_scale of a patch above 0 and at most 1, got {self.min_scale:g}")

    def side(self, height: int, width: int) -> int:
        """Largest side or diameter in images of that size, whole pixels.

        Raises:
            ValueError: If the patch does not fit.
        """
        return side_of(self.shape, self.share, height, width)

    def spots(self, x: Tensor, ids: Tensor, *, seed: int, draw: int) -> Spots:
        """Draw the placement of the patch, separately for each image.

        Args:
            x: Images (n, C, H, W).
            ids: Ids of the images (n,).
            seed: Seed of the draws.
            draw: Number of the draw, for each step and copy of an image.

        Raises:
            ValueError: If the patch does not fit into the images.
        """
        height, width = x.shape[2:]
        chance = uniform(seed, ids, draw, (4,))
        size = self.side(height, width) * (self.min_scale + (1 - self.min_scale) * chance[:, 0])
        angle = self.max_rotation * (2 * chance[:, 1] - 1)
        turned = torch.deg2rad(angle)
        spread = turned.cos().abs() + turned.sin().abs() if self.shape == "square" else torch.ones_like(turned)
        sides = torch.tensor([height, width], device=x.device, dtype=chance.dtype)
        # Keeps its extent away from the edges; a rotated patch that fills the image loses its corners.
        reach = torch.minimum((size * spread / 2).unsqueeze(1), sides / 2)
        return Spots(reach + chance[:, 2:] * (sides - 2 * reach), angle, size)


class Windows(NamedTuple):
    """The parts of images that a patch can reach, and the point of the patch at each pixel there.

    Example:
        >>> x = torch.zeros(1, 1, 4, 4)
        >>> spots = Spots(torch.tensor([[1.0, 1.0]]), torch.tensor([0.0]), torch.tensor([2.0]))
        >>> Windows.of(x, spots, "square").put(torch.ones(1, 2, 2), x)[0, 0]
        tensor([[1., 1., 0., 0.],
                [1., 1., 0., 0.],
                [0., 0., 0., 0.],
                [0., 0., 0., 0.]])
    """

    corners: tuple[tuple[int, int], ...]
    """Row and column of the upper left corner of each window in its image (n)."""
    source: Tensor
    """Coordinates in the patch of each pixel of a window, -1 to 1 across and down (n, h, w, 2)."""
    covered: Tensor
    """Pixels of the windows covered by the patch, bool (n, 1, h, w)."""

    @classmethod
    def of(cls, x: Tensor, spots: Spots, shape: str) -> Self:
        """The windows of images (n, C, H, W) for a patch of the given shape at the given spots."""
        sides = torch.tensor(x.shape[2:], device=x.device)
        reach = math.ceil(float(spots.size.max()) * (math.sqrt(2) if shape == "square" else 1)) + 2
        height, width = (min(int(side), reach) for side in sides)
        extent = torch.tensor([height, width], device=x.device)
        first = (spots.centre - extent / 2).round().long()
        corners = torch.minimum(first.clamp_min(0), sides - extent)
        # Pixel centres, relative to the centre of the patch.
        away = spots.centre - corners
        down = torch.arange(height, device=x.device).view(1, -1, 1) + 0.5 - away[:, 0].view(-1, 1, 1)
        right = torch.arange(width, device=x.device).view(1, 1, -1) + 0.5 - away[:, 1].view(-1, 1, 1)
        half, turned = (spots.size / 2).view(-1, 1, 1), torch.deg2rad(spots.angle).view(-1, 1, 1)
        across = (turned.cos() * right - turned.sin() * down) / half
        along = (turned.sin() * right + turned.cos() * down) / half
        far = torch.maximum(across.abs(), along.abs()) if shape == "square" else torch.hypot(across, along)
        places = tuple((int(row), int(column)) for row, column in corners.tolist())
        return cls(places, torch.stack([across, along], 3).to(x), (far <= 1).unsqueeze(1))

    def shown(self, content: Tensor) -> Tensor:
        """Appearance of a patch (C, S, S) in the windows (n, C, h, w), even beyond its edges."""
        patches = content.unsqueeze(0).expand(len(self.source), -1, -1, -1)
        return functional.grid_sample(patches, self.source, padding_mode="border", align_corners=False)

    def put(self, content: Tensor, x: Tensor) -> Tensor:
        """Images (n, C, H, W) with the patch (C, S, S); pixels it does not cover stay the same, bit for bit."""
        x_adv, shown = x.clone(), self.shown(content.to(x))
        for window, new, covered in zip(self._cut(x_adv), shown, self.covered, strict=True):
            window.copy_(torch.where(covered, new, window))
        return x_adv

    def adjoint(self, content: Tensor, gradient: Tensor) -> Tensor:
        """Map the gradient with respect to images (n, C, H, W) to that with respect to the patch (C, S, S), summed."""
        seen = torch.stack(self._cut(gradient)) * self.covered
        with torch.enable_grad():
            variable = content.detach().clone().requires_grad_()
            (found,) = torch.autograd.grad(self.shown(variable), variable, seen)
        return found

    def _cut(self, x: Tensor) -> list[Tensor]:
        """The windows of images (n, C, H, W), as views (C, h, w)."""
        height, width = self.covered.shape[2:]
        return [x[i, :, r : r + height, c : c + width] for i, (r, c) in enumerate(self.corners)]
