"""Label out of the top k: an attack on top-k accuracy."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from attacks.goals.protocol import Exclusion
from attacks.goals.shared import BaseGoal, check_range
from attacks.objectives.ranking import exclusion_margin, outside
from attacks.queries.plain import whole_number


@dataclass(frozen=True, eq=False)
class LabelOutOfTopK(BaseGoal):
    """The label is not among the top k classes: an attack on top-k accuracy.

    Args:
        labels: True (or first predicted) classes, int64 (N,).
        k: Number of top classes that count as correct.
        ids: Identity of each image; by default its position in the batch.

    Raises:
        ValueError: If the labels are not a vector of integers, or k is not a whole number of at least 1.

    Example:
        >>> import torch
        >>> LabelOutOfTopK(torch.tensor([0]), k=2).margin(torch.tensor([[3.0, 5.0, 1.0]]))
        tensor([2.])
    """

    name: ClassVar[str] = "label-out-of-topk"

    labels: Tensor
    k: int

    def __post_init__(self) -> None:
        self.check_rows("labels", self.labels, ndim=1)
        object.__setattr__(self, "k", whole_number("k", self.k))

    def margin(self, logits: Tensor) -> Tensor:
        """Logit of the label minus the k-th largest of the other logits."""
        return exclusion_margin(logits, self.labels.unsqueeze(1), self.k)

    def cross_entropy(self, logits: Tensor) -> Tensor:
        """Log-probability of the label minus the mean log-probability of the k best others."""
        log_p = logits.log_softmax(1)
        others = outside(log_p, self.labels.unsqueeze(1)).topk(self.k, dim=1).values
        return log_p.gather(1, self.labels.unsqueeze(1)).squeeze(1) - others.mean(1)

    def check(self, num_classes: int) -> None:
        """Raise ``ValueError`` unless every label is a class and k others exist."""
        check_range("labels", self.labels, num_classes)
        if self.k > num_classes - 1:
            raise ValueError(f"expected k <= {num_classes - 1} for {num_classes} classes, got {self.k}")

    @property
    def exclusion(self) -> Exclusion:
        """The label, excluded from the top k."""
        return Exclusion(self.labels.unsqueeze(1), self.k)
