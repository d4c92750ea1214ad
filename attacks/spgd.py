"""Sparse-PGD: a budget attack in L0."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from attacks.geometry.rows import column, flat, logistic
from attacks.goals import Goal
from attacks.losses import LOSSES
from attacks.norms import L0, L2, Norm
from attacks.protocols import Access, Kind, Model, Precision, Search
from attacks.queries.inputs import check_call, check_parameters
from attacks.searches.draws import normal, uniform
from attacks.searches.track import Survivors


@dataclass(frozen=True, kw_only=True)
class SPGD:
    """Optimises a perturbation of every value, and a mask that selects which ``eps`` of them are applied.

    The perturbation follows the sign of the gradient. The mask holds a real number for each value: it follows the
    gradient that its sigmoid has, and the ``eps`` largest are applied. A mask that has selected the same values for a
    while is redrawn.

    References:
        Zhong et al., Towards efficient training and evaluation of robust models against l0 bounded adversarial
        perturbations <https://arxiv.org/abs/2405.05075>, ICML 2024.

    Deviations:
        Single values of one channel are masked and counted, as in :class:`attacks.L0`; in the paper, whole pixels with
        all their channels. The margin is the default loss, because it does not saturate; ``loss="ce"`` is the paper's.
        Whether a mask has stalled is decided separately for each image, and stalled steps need not be consecutive; the
        authors' code counts that way as long as any mask of the batch stalls. There a new mask also takes the last step
        of the old one.

    Example:
        >>> from attacks import Untargeted
        >>> x, goal = torch.tensor([[0.6, 0.5, 0.4]]), Untargeted(torch.tensor([0]))
        >>> x_adv = SPGD()(lambda x: x, x, goal, eps=1)
        >>> L0().measure(x_adv - x), bool(goal.margin(x_adv) < 0)
        (tensor([1.]), True)
    """

    kind: ClassVar[Kind] = "budget"
    access: ClassVar[Access] = "gradients"
    search: ClassVar[Search] = "many steps"
    precision: ClassVar[Precision] = "bfloat16"
    norms: ClassVar[tuple[str, ...]] = ("l0",)

    norm: Norm = L0()
    """The norm in which ``eps`` is measured."""
    steps: int = 300
    """Number of gradient steps."""
    step_size: float = 0.25
    """Length of the perturbation's steps, image units per value."""
    mask_step: float = 0.25
    """L2 length of the mask's steps, as a multiple of the square root of the number of values."""
    patience: int = 3
    """Number of steps that select the same values as the previous step, after which an image's mask is redrawn."""
    projected: bool = False
    """Whether only the selected values are updated; if not, the perturbation of all others is too."""
    loss: str = "margin"
    """Name of the loss in :data:`attacks.losses.LOSSES`."""

    def __post_init__(self) -> None:
        check_parameters(self)

    def __call__(self, model: Model, x: Tensor, goal: Goal, *, eps: float | Tensor, seed: int = 0) -> Tensor:
        """See :class:`attacks.protocols.BudgetAttack`."""
        check_call(self, eps, seed)
        active = Survivors.of(self, model, x, goal, eps, seed)
        return active.finish(descend(active, self, seed))


def descend(active: Survivors, attack: SPGD, seed: int) -> Tensor:
    """Run the steps of the attack on the active images; those that are fooled leave.

    Args:
        active: The images, their budgets, and the aim to descend.
        attack: The attack's parameters.
        seed: The seed of all random draws.

    Returns:
        The last points, for the images still active.
    """
    shape, loss = active.x.shape[1:], LOSSES[attack.loss]
    start = 2 * uniform(seed, active.goal.ids, 0, shape).to(active.x) - 1
    delta, mask = _in_box(active.x, start), _drawn(active, seed, 0)
    chosen, unchanged = _largest(active, mask), torch.zeros_like(active.eps)
    for step in range(1, attack.steps + 1):
        if not len(active):
            break
        x_adv = _applied(active.x, delta, chosen)
        at = active.slope(x_adv, loss)
        _, gradient, delta, mask, chosen, unchanged = active.retire(
            x_adv, at.fooled, at.gradient, delta, mask, chosen, unchanged
        )
        soft = logistic(mask)
        uphill = gradient * delta * soft * (1 - soft)
        move = gradient * chosen if attack.projected else gradient
        delta = _in_box(active.x, delta - attack.step_size * move.sign())
        mask = mask - L2().steepest(uphill, attack.mask_step * math.sqrt(flat(mask).shape[1]))
        before, chosen = chosen, _largest(active, mask)
        unchanged = unchanged + flat(chosen == before).all(1)
        if bool((stalled := unchanged >= attack.patience).any()):
            mask = torch.where(column(stalled, mask), _drawn(active, seed, step), mask)
            chosen, unchanged = _largest(active, mask), unchanged * ~stalled
    return _applied(active.x, delta, chosen)


def _drawn(active: Survivors, seed: int, step: int) -> Tensor:
    """A new mask for each of the active images (n, ...)."""
    return normal(seed, active.goal.ids, step + 1, active.x.shape[1:]).to(active.x)


def _largest(active: Survivors, mask: Tensor) -> Tensor:
    """The ``eps`` values of each image whose mask is largest, bool (n, ...)."""
    # Not by the sigmoid, which rounds all large numbers to one.
    least = column(flat(mask).amin(1), mask) if len(mask) else mask
    return active.norm.project(mask - least + 1, active.eps) > 0


def _in_box(x: Tensor, delta: Tensor) -> Tensor:
    """Perturbations (n, ...) clipped to what [0, 1] allows."""
    return (x + delta).clamp_(0, 1) - x


def _applied(x: Tensor, delta: Tensor, chosen: Tensor) -> Tensor:
    """The images (n, ...) with the perturbation of the selected values only."""
    return torch.where(chosen, x + delta, x).clamp_(0, 1)
