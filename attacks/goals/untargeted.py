"""Untargeted: the label is no longer the top class."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from attacks.goals.protocol import Exclusion
from attacks.goals.shared import BaseGoal, check_range
from attacks.objectives.confidence import log_probability
from attacks.objectives.ranking import exclusion_margin


@dataclass(frozen=True, eq=False)
class Untargeted(BaseGoal):
    """The label is no longer the top class.

    Args:
        labels: True (or first predicted) classes, int64 (N,).
        ids: Identity of each image; by default its position in the batch.

    Raises:
        ValueError: If the labels are not a vector of integers.

    Example:
        >>> import torch
        >>> Untargeted(torch.tensor([2])).margin(torch.tensor([[0.0, 1.0, 4.0]]))
        tensor([3.])
    """

    name: ClassVar[str] = "untargeted"
    overturns: ClassVar[bool] = True
    contested: ClassVar[int] = 2

    labels: Tensor

    def __post_init__(self) -> None:
        self.check_rows("labels", self.labels, ndim=1)

    def margin(self, logits: Tensor) -> Tensor:
        """Logit of the label minus the largest of the other logits."""
        return exclusion_margin(logits, self.labels.unsqueeze(1), 1)

    def cross_entropy(self, logits: Tensor) -> Tensor:
        """Log-probability of the label."""
        return log_probability(logits, self.labels)

    def check(self, num_classes: int) -> None:
        """Raise ``ValueError`` unless every label is a class."""
        check_range("labels", self.labels, num_classes)

    @property
    def exclusion(self) -> Exclusion:
        """The label, excluded from the top rank."""
        return Exclusion(self.labels.unsqueeze(1), 1)
