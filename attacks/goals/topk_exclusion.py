"""Top-k exclusion: none of the original top k classes stays in the top k."""

import math
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from attacks.goals.protocol import Exclusion
from attacks.goals.shared import BaseGoal, check_logits_of, check_range
from attacks.objectives.ranking import exclusion_margin, outside, ranked_classes
from attacks.queries.plain import whole_number


@dataclass(frozen=True, eq=False)
class TopKExclusion(BaseGoal):
    """None of the original top k classes is in the top k.

    Args:
        classes: The k classes to exclude, int64 (N, k); usually from :meth:`from_logits`.
        ids: Identity of each image; by default its position in the batch.

    Raises:
        ValueError: If the classes are not a matrix of integers.

    Example:
        >>> import torch
        >>> goal = TopKExclusion.from_logits(torch.tensor([[5.0, 4.0, 3.0, 1.0]]), k=2)
        >>> goal.classes, goal.margin(torch.tensor([[1.0, 0.0, 3.0, 2.0]]))
        (tensor([[0, 1]]), tensor([-1.]))
    """

    name: ClassVar[str] = "topk-exclusion"
    overturns: ClassVar[bool] = True

    classes: Tensor

    def __post_init__(self) -> None:
        self.check_rows("classes", self.classes, ndim=2)

    @classmethod
    def from_logits(cls, logits: Tensor, k: int, ids: Tensor | None = None) -> Self:
        """The goal that excludes the top k classes of ``logits`` (N, C)."""
        check_logits_of(logits)
        k = whole_number("k", k, least=-math.inf)
        if not 1 <= k <= logits.shape[1] // 2:
            raise ValueError(f"expected 1 <= k <= {logits.shape[1] // 2} (half of the classes), got {k}")
        return cls(
            ranked_classes(logits.detach(), k),
            ids=torch.arange(len(logits), device=logits.device) if ids is None else ids,
        )

    def margin(self, logits: Tensor) -> Tensor:
        """Largest logit inside the old set minus the k-th largest outside it."""
        return exclusion_margin(logits, self.classes, self.classes.shape[1])

    def cross_entropy(self, logits: Tensor) -> Tensor:
        """Log-probability of the old set minus the mean log-probability of the k best classes outside it."""
        log_p = logits.log_softmax(1)
        others = outside(log_p, self.classes).topk(self.classes.shape[1], dim=1).values
        return log_p.gather(1, self.classes).logsumexp(1) - others.mean(1)

    def check(self, num_classes: int) -> None:
        """Raise ``ValueError`` unless every class exists and k others are left."""
        check_range("classes", self.classes, num_classes)
        if (k := self.classes.shape[1]) > num_classes // 2:
            raise ValueError(f"expected k <= {num_classes // 2} (half of {num_classes} classes), got {k}")

    @property
    def exclusion(self) -> Exclusion:
        """The old set, excluded from as many top ranks as it has classes."""
        return Exclusion(self.classes, self.classes.shape[1])
