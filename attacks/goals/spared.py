"""A goal with a safety margin, so that later processing of the image does not undo it."""

from dataclasses import dataclass
from typing import Self

from torch import Tensor

from attacks.goals.protocol import Exclusion, Goal
from attacks.goals.shared import BaseGoal
from attacks.queries.plain import safety_margin


@dataclass(frozen=True, eq=False)
class Spared(BaseGoal):
    """Another goal, met only where its margin is below ``-kappa``.

    An image that only just meets its goal no longer does after rounding to 8 bits, resizing or compression. The judge
    checks the goal itself; this is what an attack should aim at, see :func:`attacks.stored`.

    Args:
        goal: Goal to be met.
        kappa: Safety margin in logits, 0 or more.

    Raises:
        ValueError: If ``kappa`` is negative or not finite.

    References:
        The confidence kappa of Carlini and Wagner, Towards evaluating the robustness of neural networks
        <https://arxiv.org/abs/1608.04644>, 2017.

    Example:
        >>> import torch
        >>> from attacks import Untargeted
        >>> goal = Spared(Untargeted(torch.tensor([0])), kappa=1.0)
        >>> goal.margin(torch.tensor([[3.0, 3.5]])), goal.margin(torch.tensor([[3.0, 4.5]]))
        (tensor([0.5000]), tensor([-0.5000]))
    """

    goal: Goal
    kappa: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "kappa", safety_margin(self.kappa))
        given: object = self.goal
        if not isinstance(given, Goal) or isinstance(given, type):
            raise ValueError(f"expected a goal such as Untargeted(labels), got {type(given).__name__}")
        for name in ("ids", "orders", "overturns", "contested"):
            object.__setattr__(self, name, getattr(self.goal, name))

    def margin(self, logits: Tensor) -> Tensor:
        """The goal's margin plus ``kappa``."""
        return self.goal.margin(logits) + self.kappa

    def gaps(self, logits: Tensor) -> Tensor:
        """The goal's gaps, each plus ``kappa``."""
        return self.goal.gaps(logits) + self.kappa

    def cross_entropy(self, logits: Tensor) -> Tensor:
        """The goal's cross-entropy, unchanged."""
        return self.goal.cross_entropy(logits)

    def check(self, num_classes: int) -> None:
        """Raise ``ValueError`` if the goal makes no sense for that number of classes."""
        self.goal.check(num_classes)

    def select(self, index: Tensor) -> Self:
        """The goal for some of the images: a mask, or positions, which may repeat."""
        return type(self)(self.goal.select(index), self.kappa)

    @property
    def exclusion(self) -> Exclusion | None:
        """The goal's own."""
        return self.goal.exclusion

    @property
    def order(self) -> Tensor | None:
        """The goal's own."""
        return self.goal.order

    def granted(self, classes: Tensor) -> Tensor:
        """The goal's own."""
        return self.goal.granted(classes)

    def spared(self, way: Goal) -> Goal:
        """The way, with the same safety margin."""
        return type(self)(way, self.kappa)

    def choices(self, logits: Tensor) -> Tensor | None:
        """The goal's own."""
        return self.goal.choices(logits)

    def choice(self, which: Tensor) -> Goal:
        """The goal's own choice, with the same safety margin."""
        return type(self)(self.goal.choice(which), self.kappa)
