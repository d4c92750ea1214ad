"""Block shuffle and rotation: on images in turned pieces."""

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
    """Momentum steps along gradients at images that were cut into blocks, which have changed places and are turned.

    What still fools a network once the pieces lie elsewhere does not hang on where this network looks. It is made for
    photographs: a digit in pieces is no digit any more, and there plain momentum fools other networks more often.

    References:
        Wang et al., Boosting adversarial transferability by block shuffle and rotation
        <https://arxiv.org/abs/2308.10299>, 2024.

    Deviations:
        Any goal. Every image and copy draws its own blocks, and every block its own angle. Strips go down the image in
        one copy and across it in the next, where the paper draws which. In L2 nothing of a step is spent on values
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
    """Number of copies of each image whose gradients are averaged in a step; twice as many fool somewhat more."""
    blocks: int = 2
    """Number of strips that a copy is cut into, and of blocks in each strip."""
    rotation: float = 24.0
    """Largest angle by which a block is turned, degrees, either way."""
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
