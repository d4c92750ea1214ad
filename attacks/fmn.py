"""Fast minimum-norm attack, for every norm."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from attacks.goals import Goal, met
from attacks.losses import margin
from attacks.norms import L2, Linf, Norm
from attacks.protocols import Access, Kind, Model, Precision, Search
from attacks.queries.gradients import Slope, forward
from attacks.queries.inputs import check_call, check_parameters
from attacks.searches.nearest import Nearest
from attacks.searches.track import Survivors


@dataclass(frozen=True, kw_only=True)
class FMN:
    """Minimises the margin inside a ball whose radius follows the decision boundary.

    While an image is not fooled the radius grows: at first to where a linear model would place the boundary, and by a
    factor once an adversarial image is known. While it is fooled the radius shrinks.

    References:
        Pintor et al., Fast minimum-norm adversarial attacks through adaptive norm constraints
        <https://arxiv.org/abs/2102.12827>, 2021.

    Deviations:
        Steps start at 1 for every norm (the paper tunes them to the data set). Until an adversarial image is known the
        radius never shrinks; in the paper it may, and some images are never fooled. It shrinks by its fraction from the
        size of the nearest adversarial image, whereas in the paper it is the smaller of that size and the shrunk
        radius. In L0, too, it grows at first to where a linear model would place the boundary; in the paper by one
        value or its fraction.

    Example:
        >>> from attacks import Untargeted
        >>> x, goal = torch.tensor([[0.6, 0.5]]), Untargeted(torch.tensor([0]))
        >>> x_adv = FMN(norm=Linf())(lambda x: x, x, goal)
        >>> bool(Linf().measure(x_adv - x) < 0.0505)  # the boundary is 0.05 away
        True
    """

    kind: ClassVar[Kind] = "minimum norm"
    access: ClassVar[Access] = "gradients"
    search: ClassVar[Search] = "many steps"
    precision: ClassVar[Precision] = "float32"
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1", "l0")

    norm: Norm = Linf()
    """The norm to minimise."""
    steps: int = 100
    """Number of gradient steps."""
    step_size: float = 1.0
    """L2 length of the first step, image units; falls to a hundredth along a cosine."""
    gamma: float = 0.05
    """Fraction by which the radius changes in the first step; falls to a fiftieth along a cosine."""

    def __post_init__(self) -> None:
        check_parameters(self)

    def __call__(
        self, model: Model, x: Tensor, goal: Goal, *, eps: float | Tensor | None = None, seed: int = 0
    ) -> Tensor:
        """See :class:`attacks.protocols.MinNormAttack`; uses no random numbers."""
        check_call(self, eps, seed)
        active = Survivors.of(self, model, x, goal, eps, seed)
        if not len(active):
            return active.found
        best = Nearest(active.x, self.norm, active.eps)
        self.walk(active, best, active.x, torch.zeros_like(active.eps), torch.full_like(active.eps, self.step_size))
        return active.finish(best)

    def walk(self, active: Survivors, best: Nearest, x_adv: Tensor, radius: Tensor, length: Tensor) -> None:
        """Run the steps from any points; nearer ones go into ``best``.

        Args:
            active: The images under attack; none of them is removed.
            best: The nearest adversarial images so far.
            x_adv: Starting points (n, ...).
            radius: Initial radius of the ball (n,).
            length: L2 length of the first step (n,), image units.
        """
        for step in range(self.steps):
            fall = (1 + math.cos(math.pi * step / self.steps)) / 2
            at = active.slope(x_adv, margin)
            fooled = at.fooled
            size = self.norm.measure(x_adv - active.x)
            best.offer(x_adv, fooled, size)
            reach = None if best.complete else straight(self.norm, size, at)
            radius = follow(self.norm, radius, reach, self.gamma * (0.02 + 0.98 * fall), fooled, best)
            radius = torch.minimum(radius, active.eps)
            move = L2().steepest(at.gradient, length * (0.01 + 0.99 * fall))
            x_adv = self.norm.within(active.x, x_adv - move, radius)
        best.offer(x_adv, met(active.goal, forward(active.model, x_adv, active.goal)))


def straight(norm: Norm, size: Tensor, at: Slope) -> Tensor:
    """Where a linear model would place the boundary: the distance (n,) of points that are ``size`` (n,) away.

    Example:
        >>> at = Slope(torch.zeros(1, 2), torch.tensor([0.5]), torch.tensor([[1.0, -1.0]]), torch.tensor([False]))
        >>> straight(Linf(), torch.tensor([0.25]), at)
        tensor([0.5000])
    """
    depth, steepness = at.loss.abs(), norm.dual(at.gradient)
    # At most 1e12: that is beyond every image, and still finite.
    return size.addcdiv(depth, torch.maximum(steepness, (1e-12 * depth).clamp_min_(torch.finfo(depth.dtype).tiny)))


def follow(norm: Norm, radius: Tensor, reach: Tensor | None, gamma: float, fooled: Tensor, best: Nearest) -> Tensor:
    """The next radius of each image: smaller where it is fooled, larger where it is not.

    Args:
        norm: The norm of the ball.
        radius: The radius now (n,).
        reach: Where a linear model would place the boundary (n,); None if an adversarial image is known for all.
        gamma: Fraction by which the radius changes.
        fooled: Whether the goal is met at the current point, bool (n,).
        best: The nearest adversarial images so far.

    Returns:
        The next radii (n,).
    """
    nearest = torch.minimum(radius, best.size)
    # An image on the boundary itself starts with radius 0, which would never grow.
    smaller, larger = nearest * (1 - gamma), (radius * (1 + gamma)).clamp_min_(1e-6)
    if norm.grain:  # a smaller change of the radius would be lost in rounding
        smaller = norm.round_radius(torch.minimum(smaller, nearest - norm.grain))
        larger = norm.round_radius(torch.maximum(larger, radius + norm.grain))
    if reach is not None:
        larger = torch.where(best.found, larger, torch.maximum(larger, reach))
    return torch.where(fooled, smaller, larger)
