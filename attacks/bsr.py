"""Block shuffle and rotation: gradients at cut-up images."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from attacks.geometry.blocks import numbers_for, shuffle_and_rotate
from attacks.goals import Goal
from attacks.norms import Linf, Norm
from attacks.protocols import Access, Kind, Model, Precision, Search
from attacks.queries.inputs import check_call, check_parameters, check_planes
from attacks.searches.draws import uniform
from attacks.searches.momentum import descend_over_copies


@dataclass(frozen=True, kw_only=True)
class BSR:
    """Takes momentum steps along gradients at images cut into blocks that are shuffled and rotated.

    A perturbation that still fools a network once the pieces have moved does not depend on where this network looks.
    The attack is meant for photographs: a digit in pieces is no longer a digit, and there plain momentum fools other
    networks more often.

    References:
        Wang et al., Boosting adversarial transferability by block shuffle and rotation
        <https://arxiv.org/abs/2308.10299>, 2024.

    Deviations:
        Any goal. Every image and copy draws its own blocks, and every block its own angle. Strips run vertically in one
        copy and horizontally in the next, where the paper chooses at random. In L2 no part of a step is spent on values
        that would leave [0, 1].

    Example:
        >>> import torch
        >>> from attacks import Untargeted
        >>> x, goal = torch.full((1, 1, 4, 4), 0.5), Untargeted(torch.tensor([0]))
        >>> model = lambda x: torch.stack([x.amax((1, 2, 3)), 2 * x.mean((1, 2, 3)) - 0.6], 1)
        >>> BSR()(model, x, goal, eps=0.1).shape
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
    copies: int = 10
    """Number of copies of each image whose gradients are averaged in a step; twice as many fool slightly more
    images."""
    blocks: int = 2
    """Number of strips a copy is cut into, and number of blocks in each strip."""
    rotation: float = 24.0
    """Largest angle by which a block is rotated either way, degrees."""
    loss: str = "ce"
    """Name of the loss in :data:`attacks.losses.LOSSES`."""

    def __post_init__(self) -> None:
        check_parameters(self)

    def __call__(self, model: Model, x: Tensor, goal: Goal, *, eps: float | Tensor, seed: int = 0) -> Tensor:
        """See :class:`attacks.protocols.BudgetAttack`. Images are (N, C, H, W)."""
        check_call(self, eps, seed)
        check_planes(self, x)

        def change(x: Tensor, ids: Tensor, draw: int) -> Tensor:
            random = uniform(seed, ids, draw, (numbers_for(self.blocks),))
            if draw % 2:
                return shuffle_and_rotate(x.mT, random, self.blocks, self.rotation).mT
            return shuffle_and_rotate(x, random, self.blocks, self.rotation)

        return descend_over_copies(self, model, x, goal, eps, seed, change)
