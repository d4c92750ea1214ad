"""Images cut into blocks, each in its own way: the source of every pixel of the result."""

from typing import NamedTuple, Self

import torch
from torch import Tensor
from torch.nn import functional


class Strips(NamedTuple):
    """A side cut into strips: the strip of each position, and the offset within it.

    Leading dimensions, written as ``...``, stand for images, or for images and the strips of their other side.
    """

    strip: Tensor
    """Number of each position's strip, int64 (..., L)."""
    offset: Tensor
    """Distance of each position from the first one of its strip (..., L)."""
    start: Tensor
    """First position of that strip (..., L)."""
    length: Tensor
    """Number of positions in that strip (..., L)."""

    @classmethod
    def of(cls, edges: Tensor, side: int) -> Self:
        """The strips between given edges.

        Args:
            edges: Edges of the strips, int64 (..., B + 1), ascending from 0 to L; a strip may be empty.
            side: Number of positions L.

        Example:
            >>> strips = Strips.of(torch.tensor([[0, 1, 3]]), side=3)
            >>> strips.strip, strips.offset
            (tensor([[0, 1, 1]]), tensor([[0, 0, 1]]))
        """
        places = torch.arange(side, device=edges.device).expand(*edges.shape[:-1], side).contiguous()
        index = torch.searchsorted(edges[..., 1:].contiguous(), places, right=True)
        start = edges.gather(-1, index)
        return cls(index, places - start, start, edges.gather(-1, index + 1) - start)

    @classmethod
    def shuffled(cls, lengths: Tensor, order: Tensor, side: int) -> Self:
        """Reordered strips: for each position of the result, the strip it comes from.

        Args:
            lengths: Lengths of the strips in the original order, int64 (..., B), which add up to L.
            order: Indices of the strips in their new order (..., B).
            side: Number of positions L.

        Example:
            >>> strips = Strips.shuffled(torch.tensor([[1, 2]]), torch.tensor([[1, 0]]), side=3)
            >>> strips.start + strips.offset
            tensor([[1, 2, 0]])
        """
        before, after = _edges(lengths), _edges(lengths.gather(-1, order))
        placed = cls.of(after, side)
        index = order.gather(-1, placed.strip)
        return cls(index, placed.offset, before.gather(-1, index), placed.length)


def proportional(weights: Tensor, side: int) -> Tensor:
    """Integer lengths that add up to a side, approximately proportional to weights.

    Args:
        weights: Positive weights (..., B).
        side: Sum of the lengths.

    Returns:
        int64 (..., B).

    Example:
        >>> proportional(torch.tensor([1.0, 1.0, 2.0]), side=10)
        tensor([2, 3, 5])
    """
    edges = (weights.cumsum(-1) / weights.sum(-1, keepdim=True) * side).round().long()
    return edges.diff(dim=-1, prepend=torch.zeros_like(edges[..., :1]))


def shuffle_and_rotate(x: Tensor, random: Tensor, blocks: int, rotation: float) -> Tensor:
    """Cut images into strips and these into blocks, shuffle both, and rotate every block about its centre.

    Pixels beyond the edges of a rotated block are black. Strips and blocks are at most twice as long as the shortest.

    Args:
        x: Images (n, C, H, W).
        random: Uniform numbers in [0, 1), (n, :func:`numbers_for` of the blocks).
        blocks: Number of strips, and of blocks in each strip.
        rotation: Largest angle, degrees, either way.

    Returns:
        Images shaped like ``x``, differentiable.

    Example:
        >>> x = torch.tensor([[0.0, 0.5], [0.25, 1.0]]).view(1, 1, 2, 2)
        >>> turned = shuffle_and_rotate(x, torch.linspace(0.9, 0.1, numbers_for(2)).view(1, -1), blocks=2, rotation=0.0)
        >>> turned.flatten().sort().values
        tensor([0.0000, 0.2500, 0.5000, 1.0000])
    """
    down, right, angles, (row_weights, column_weights) = _parted(random, blocks)
    height, width = x.shape[2:]
    rows = Strips.shuffled(proportional(1 + row_weights, height), down.argsort(-1), height)
    within = Strips.shuffled(proportional(1 + column_weights, width), right.argsort(-1), width)
    angle = torch.deg2rad((2 * angles - 1) * rotation).gather(-1, within.strip)

    def of_strip(values: Tensor) -> Tensor:
        """Values of each strip (n, B, W) at each row of the result (n, H, W)."""
        return values.gather(1, rows.strip.unsqueeze(2).expand(-1, -1, width))

    high, wide = (rows.length.unsqueeze(2) - 1) / 2, (of_strip(within.length) - 1) / 2
    below, beside = rows.offset.unsqueeze(2) - high, of_strip(within.offset) - wide
    sine, cosine = of_strip(angle.sin()), of_strip(angle.cos())
    source_down, source_right = cosine * below + sine * beside, cosine * beside - sine * below
    inside = (source_down.abs() <= high + 0.5) & (source_right.abs() <= wide + 0.5)
    source_down = torch.maximum(torch.minimum(source_down, high), -high) + high + rows.start.unsqueeze(2)
    source_right = torch.maximum(torch.minimum(source_right, wide), -wide) + wide + of_strip(within.start)
    # From pixels to torch's coordinates, in which the image spans -1 to 1.
    source = torch.stack([(2 * source_right + 1) / width - 1, (2 * source_down + 1) / height - 1], 3).to(x)
    moved = functional.grid_sample(x, source, padding_mode="border", align_corners=False)
    return moved * inside.unsqueeze(1)


def numbers_for(blocks: int) -> int:
    """Number of random numbers per image for :func:`shuffle_and_rotate`.

    Example:
        >>> numbers_for(2)
        16
    """
    return 2 * blocks + 3 * blocks**2


def _parted(random: Tensor, blocks: int) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, Tensor]]:
    """Sort keys of strips (n, B) and blocks (n, B, B), angles (n, B, B), and weights of strips and of blocks."""
    sizes = [blocks, blocks**2, blocks**2, blocks, blocks**2]
    down, right, angles, rows, columns = torch.split(random.double(), sizes, dim=1)
    square = (len(random), blocks, blocks)
    return down, right.view(square), angles.view(square), (rows, columns.view(square))


def _edges(lengths: Tensor) -> Tensor:
    """Edges (..., B + 1) of strips with the given lengths (..., B)."""
    return functional.pad(lengths.cumsum(-1), (1, 0))
