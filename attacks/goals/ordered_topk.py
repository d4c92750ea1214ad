"""Ordered top k: the top k classes are given ones, in a given order."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from attacks.goals.shared import BaseGoal, check_range
from attacks.objectives.ranking import order_margin, outside


@dataclass(frozen=True, eq=False)
class OrderedTopK(BaseGoal):
    """The top k classes are exactly these, in this order.

    Args:
        targets: Wanted classes from the first to the k-th, int64 (N, k), all different within a row.
        ids: Identity of each image; by default its position in the batch.

    Raises:
        ValueError: If the targets are not a matrix of integers, or a row names a class twice.

    Example:
        >>> import torch
        >>> OrderedTopK(torch.tensor([[2, 0]])).margin(torch.tensor([[3.0, 1.0, 4.0]]))
        tensor([-1.])
    """

    name: ClassVar[str] = "ordered-topk"
    orders: ClassVar[bool] = True

    targets: Tensor

    def __post_init__(self) -> None:
        self.check_rows("targets", self.targets, ndim=2)
        ordered = self.targets.sort(dim=1).values
        if bool((ordered[:, 1:] == ordered[:, :-1]).any()):
            raise ValueError("expected different targets in each row, got the same class twice")

    def margin(self, logits: Tensor) -> Tensor:
        """The largest amount by which a class exceeds the one that should precede it."""
        return order_margin(logits, self.targets)

    def cross_entropy(self, logits: Tensor) -> Tensor:
        """Minus the log-likelihood of the order (Plackett-Luce): each target first among those still left."""
        chosen = logits.gather(1, self.targets)
        rest = outside(logits, self.targets).logsumexp(1, keepdim=True)
        remaining = torch.cat([rest, chosen.flip(1)], 1).logcumsumexp(1)[:, 1:].flip(1)
        return (remaining - chosen).sum(1)

    def check(self, num_classes: int) -> None:
        """Raise ``ValueError`` unless every target is a class and another class is left."""
        check_range("targets", self.targets, num_classes)
        if (k := self.targets.shape[1]) > num_classes - 1:
            raise ValueError(f"expected at most {num_classes - 1} targets for {num_classes} classes, got {k}")

    @property
    def order(self) -> Tensor:
        """The targets, (N, k)."""
        return self.targets
