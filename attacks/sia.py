"""Structure invariant attack: transforms image blocks."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from attacks.geometry.blocks import Strips
from attacks.goals import Goal
from attacks.norms import Linf, Norm
from attacks.protocols import Access, Kind, Model, Precision, Search
from attacks.queries.inputs import check_call, check_parameters, check_planes
from attacks.searches.draws import uniform
from attacks.searches.momentum import descend_over_copies

NOISE = 16 / 255
"""Largest noise added to a block."""
DOWN, ACROSS, UPSIDE_DOWN, MIRRORED, TURNED, DIMMED, NOISY = range(7)
"""Change of a block: it is shifted vertically or horizontally, wrapping around; is mirrored top to bottom, left to
right, or both; is dimmed; or gets noise."""


@dataclass(frozen=True, kw_only=True)
class SIA:
    """Takes momentum steps along gradients at images whose blocks are each transformed in a different way.

    Every block of a copy is shifted around its own edges, mirrored, rotated by 180 degrees, dimmed, or gets noise; the
    image as a whole keeps its structure.

    References:
        Wang et al., Structure invariant transformation for better adversarial transferability
        <https://arxiv.org/abs/2309.14700>, 2023.

    Deviations:
        Any goal. Every image and copy draws its own blocks. Only seven of the paper's ten transforms, as in the
        authors' later code: blocks are not rescaled, and do not lose frequencies or values. In L2 no part of a step is
        spent on values that would leave [0, 1].

    Example:
        >>> import torch
        >>> from attacks import Untargeted
        >>> x, goal = torch.full((1, 1, 4, 4), 0.5), Untargeted(torch.tensor([0]))
        >>> model = lambda x: torch.stack([x.amax((1, 2, 3)), 2 * x.mean((1, 2, 3)) - 0.6], 1)
        >>> SIA()(model, x, goal, eps=0.1).shape
        torch.Size([1, 1, 4, 4])
    """

    kind: ClassVar[Kind] = "budget"
    access: ClassVar[Access] = "gradients"
    search: ClassVar[Search] = "for transfer"
    precision: ClassVar[Precision] = "bfloat16"
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")

    norm: Norm = Linf()
    """The norm in which ``eps`` is measured."""
    steps: int = 10
    """Number of gradient steps."""
    relative_step: float = 0.1
    """Length of a step as a fraction of ``eps``."""
    decay: float = 1.0
    """Weight of the earlier gradients; each gradient is scaled to L1 norm 1."""
    copies: int = 20
    """Number of copies of each image whose gradients are averaged in a step."""
    blocks: int = 3
    """Number of blocks along each side of an image."""
    loss: str = "ce"
    """Name of the loss in :data:`attacks.losses.LOSSES`."""

    def __post_init__(self) -> None:
        check_parameters(self)

    def __call__(self, model: Model, x: Tensor, goal: Goal, *, eps: float | Tensor, seed: int = 0) -> Tensor:
        """See :class:`attacks.protocols.BudgetAttack`. Images are (N, C, H, W)."""
        check_call(self, eps, seed)
        check_planes(self, x)
        count = 3 * self.blocks**2 + 2 * (self.blocks - 1)

        def change(x: Tensor, ids: Tensor, draw: int) -> Tensor:
            # The decisions of a copy are followed by its noise.
            random = uniform(seed, ids, 2 * draw, (count,))
            noise = uniform(seed, ids, 2 * draw + 1, x.shape[1:]).to(x)
            return change_blocks(x, random, noise, self.blocks)

        return descend_over_copies(self, model, x, goal, eps, seed, change)


def change_blocks(x: Tensor, random: Tensor, noise: Tensor, blocks: int) -> Tensor:
    """Cut images along random straight lines, and change every block in one of seven ways.

    Args:
        x: Images (n, C, H, W).
        random: Uniform numbers in [0, 1), (n, 3 * blocks^2 + 2 * (blocks - 1)): kind, distance and dimming of each
            block, then the lines.
        noise: Uniform numbers in [0, 1), shaped like ``x``.
        blocks: Number of blocks along each side.

    Returns:
        Images shaped like ``x``, differentiable.

    Example:
        >>> x = torch.tensor([[0.0, 0.5], [0.25, 1.0]]).view(1, 1, 2, 2)
        >>> kind = (MIRRORED + 0.5) / 7
        >>> change_blocks(x, torch.tensor([[kind, 0.0, 0.0]]), torch.zeros_like(x), blocks=1)
        tensor([[[[0.5000, 0.0000],
                  [1.0000, 0.2500]]]])
    """
    count, (height, width) = len(random), x.shape[2:]
    of_blocks, lines = torch.split(random, [3 * blocks**2, 2 * (blocks - 1)], dim=1)
    rows, columns = (_cut(places, side) for places, side in zip(lines.chunk(2, dim=1), (height, width), strict=True))
    at_block = rows.strip.unsqueeze(2) * blocks + columns.strip.unsqueeze(1)
    kinds, distances, dimming = (
        part.gather(1, at_block.flatten(1)).view(count, height, width) for part in of_blocks.chunk(3, dim=1)
    )
    kind = (kinds * 7).long()
    down = _moved(rows, kind, distances, (DOWN, UPSIDE_DOWN, TURNED), dim=2)
    across = _moved(columns, kind, distances, (ACROSS, MIRRORED, TURNED), dim=1)
    place = (down * width + across).flatten(1).unsqueeze(1).expand(-1, x.shape[1], -1)
    moved = x.flatten(2).gather(2, place).view_as(x)
    moved = moved * torch.where(kind == DIMMED, dimming, 1.0).unsqueeze(1).to(x)
    noisy: Tensor = moved + (2 * noise - 1) * NOISE * (kind == NOISY).unsqueeze(1)
    return noisy.clamp(0, 1)


def _moved(strips: Strips, kind: Tensor, distances: Tensor, which: tuple[int, int, int], dim: int) -> Tensor:
    """The row or column (n, H, W) from which each position is filled, by the kind of its block.

    Args:
        strips: Strips along this side.
        kind: Kind of each position's block (n, H, W).
        distances: Shift of each position, as a fraction of the block (n, H, W).
        which: The kind that shifts along this side, and the two that mirror it.
        dim: Dimension of the other side.
    """
    offset, start, length = (part.unsqueeze(dim) for part in (strips.offset, strips.start, strips.length))
    moves, *mirrors = which
    mirrored = torch.where((kind == mirrors[0]) | (kind == mirrors[1]), length - 1 - offset, offset)
    rolled = torch.where(kind == moves, (offset + (distances * length).long()) % length, mirrored)
    return start + rolled


def _cut(places: Tensor, side: int) -> Strips:
    """Strips between lines at ``places`` (n, B - 1), fractions of a side."""
    lines = (places * side).long().sort(dim=1).values
    ends = lines.new_zeros(len(lines), 1), lines.new_full((len(lines), 1), side)
    return Strips.of(torch.cat([ends[0], lines, ends[1]], dim=1), side)
