"""Targeted: the target is the top class."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn import functional

from attacks.goals.shared import BaseGoal, check_range
from attacks.objectives.ranking import order_margin


@dataclass(frozen=True, eq=False)
class Targeted(BaseGoal):
    """The target is the top class.

    Args:
        targets: Wanted classes, int64 (N,).
        ids: Identity of each image; by default its position in the batch.

    Raises:
        ValueError: If the targets are not a vector of integers.

    Example:
        >>> import torch
        >>> Targeted(torch.tensor([0])).margin(torch.tensor([[0.0, 1.0, 4.0]]))
        tensor([4.])
    """

    name: ClassVar[str] = "targeted"

    targets: Tensor

    def __post_init__(self) -> None:
        self.check_rows("targets", self.targets, ndim=1)

    def margin(self, logits: Tensor) -> Tensor:
        """Largest of the other logits minus the target's."""
        return order_margin(logits, self.targets.unsqueeze(1))

    def cross_entropy(self, logits: Tensor) -> Tensor:
        """Minus the log-probability of the target."""
        return functional.cross_entropy(logits, self.targets, reduction="none")

    def check(self, num_classes: int) -> None:
        """Raise ``ValueError`` unless every target is a class."""
        check_range("targets", self.targets, num_classes)

    @property
    def order(self) -> Tensor:
        """The target, (N, 1)."""
        return self.targets.unsqueeze(1)
