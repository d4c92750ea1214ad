"""Goals for multi-label networks, which decide for each label separately whether it applies.

Label i is on where its logit is above its threshold, 0 by default, that is, where its sigmoid exceeds one half. A logit
that equals its threshold is on neither side, so that a tie meets no goal, as for all other goals.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Self

import torch
from torch import Tensor
from torch.nn import functional

from attacks.goals.protocol import ALL_LOGITS, Goal
from attacks.goals.shared import BaseGoal, check_logits_of, check_range, check_tensor
from attacks.objectives.confidence import log_sigmoid

Thresholds = float | Sequence[float]
"""The logit above which a label is on: one for all labels, or one for each."""


@dataclass(frozen=True, eq=False)
class SignedGoal(BaseGoal):
    """What goals for several labels share: thresholds, and how far each label is above its own.

    Example:
        >>> goal = SignedGoal(thresholds=[0.0, 1.5])
        >>> goal.above(torch.tensor([[2.0, 1.0]]))
        tensor([[ 2.0000, -0.5000]])
    """

    contested: ClassVar[int] = ALL_LOGITS
    """Labels do not compete, so a ratio of differences between their logits is meaningless: `dlr` is the margin."""

    thresholds: Thresholds = field(default=0.0, kw_only=True)
    """The logit above which a label is on: one for all labels, or one for each (C)."""

    def __post_init__(self) -> None:
        try:
            given = torch.as_tensor(self.thresholds, dtype=torch.float64)
        except (TypeError, ValueError, RuntimeError):  # a text, None, rows of different lengths
            given = torch.empty(0)
        if given.ndim > 1 or not bool(given.isfinite().all()) or not given.numel():
            raise ValueError(f"expected thresholds as a finite number or one for each label, got {self.thresholds}")
        # Stored as numbers: a goal's tensors must have one row per image.
        object.__setattr__(self, "thresholds", float(given) if not given.ndim else tuple(given.tolist()))

    def above(self, logits: Tensor) -> Tensor:
        """How far each label is above its threshold: logits (N, C) -> (N, C), negative where it is off."""
        return logits - torch.as_tensor(self.thresholds, dtype=logits.dtype, device=logits.device)

    def check(self, num_classes: int) -> None:
        """Raise ``ValueError`` unless there is one threshold for all labels, or one for each."""
        if not isinstance(self.thresholds, float) and len(self.thresholds) != num_classes:
            raise ValueError(f"expected {num_classes} thresholds, one for each label, got {len(self.thresholds)}")


@dataclass(frozen=True, eq=False)
class _OneLabel(SignedGoal):
    """A goal for a single label."""

    labels: Tensor
    """The label of each image, int64 (N,)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_rows("labels", self.labels, ndim=1)

    def of_the_label(self, logits: Tensor) -> Tensor:
        """How far the label is above its threshold (N,)."""
        return self.above(logits).gather(1, self.labels.unsqueeze(1)).squeeze(1)

    def has_it(self, labels: Tensor) -> Tensor:
        """Whether the label is among those of each image, bool (N, C) -> bool (N,)."""
        return labels.gather(1, self.labels.unsqueeze(1)).squeeze(1)

    def check(self, num_classes: int) -> None:
        """Raise ``ValueError`` unless the labels and thresholds fit the network."""
        super().check(num_classes)
        check_range("labels", self.labels, num_classes)


@dataclass(frozen=True, eq=False)
class LabelOff(_OneLabel):
    """The label is off, whatever happens to the others.

    Args:
        labels: The label of each image that should disappear, int64 (N,).
        thresholds: The logit above which a label is on: one for all labels, or one for each (C).
        ids: Identity of each image; by default its position in the batch.

    Raises:
        ValueError: If the labels are not a vector of integers, or the thresholds are not finite numbers.

    Example:
        >>> LabelOff(torch.tensor([1])).margin(torch.tensor([[-3.0, 2.0, 1.0]]))
        tensor([2.])
    """

    def granted(self, classes: Tensor) -> Tensor:
        """Where the image does not have the label, bool (N,)."""
        return ~self.has_it(classes)

    def margin(self, logits: Tensor) -> Tensor:
        """Logit of the label minus its threshold."""
        return self.of_the_label(logits)

    def cross_entropy(self, logits: Tensor) -> Tensor:
        """Log-probability that the label is on."""
        return log_sigmoid(self.of_the_label(logits))


@dataclass(frozen=True, eq=False)
class LabelOn(_OneLabel):
    """The label is on, whatever happens to the others.

    Args:
        labels: The label of each image that should appear, int64 (N,).
        thresholds: The logit above which a label is on: one for all labels, or one for each (C).
        ids: Identity of each image; by default its position in the batch.

    Raises:
        ValueError: If the labels are not a vector of integers, or the thresholds are not finite numbers.

    Example:
        >>> LabelOn(torch.tensor([0]), thresholds=1.0).margin(torch.tensor([[-3.0, 2.0, 1.0]]))
        tensor([4.])
    """

    def granted(self, classes: Tensor) -> Tensor:
        """Where the image has the label, bool (N,)."""
        return self.has_it(classes)

    def margin(self, logits: Tensor) -> Tensor:
        """Threshold of the label minus its logit."""
        return -self.of_the_label(logits)

    def cross_entropy(self, logits: Tensor) -> Tensor:
        """Minus the log-probability that the label is on."""
        return -functional.logsigmoid(self.of_the_label(logits))


@dataclass(frozen=True, eq=False)
class _AllLabels(SignedGoal):
    """A goal for all labels of an image."""

    labels: Tensor
    """Which labels are on, bool or integers 0 and 1 (N, C)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        given = self.labels
        check_tensor("labels", given, "a tensor of bool, or int64 of 0 and 1, (N, C)")
        whole = given.dtype == torch.bool or (given.dtype == torch.int64 and bool(((given == 0) | (given == 1)).all()))
        if given.ndim != 2 or not given.shape[1] or not whole:
            got = f"{given.dtype} with shape {tuple(given.shape)}"
            raise ValueError(f"expected labels as bool, or int64 of 0 and 1, (N, C), a column for each, got {got}")
        object.__setattr__(self, "labels", given.to(torch.int64))
        self.check_rows("labels", self.labels, ndim=2)

    @classmethod
    def from_logits(cls, logits: Tensor, *, thresholds: Thresholds = 0.0, ids: Tensor | None = None) -> Self:
        """The goal for the labels that are on according to these logits (N, C)."""
        check_logits_of(logits)
        on = SignedGoal(thresholds=thresholds).above(logits.detach()) > 0
        return cls(on, thresholds=thresholds, **({} if ids is None else {"ids": ids}))

    def agreeing(self, logits: Tensor) -> Tensor:
        """How far each label is on the side given by ``labels``: (N, C), negative where it is not."""
        above = self.above(logits)
        return torch.where(self.labels == 1, above, -above)

    def check(self, num_classes: int) -> None:
        """Raise ``ValueError`` unless there is a column for each label of the network."""
        super().check(num_classes)
        if (columns := self.labels.shape[1]) != num_classes:
            raise ValueError(f"expected labels of {num_classes} columns, one for each label, got {columns}")


@dataclass(frozen=True, eq=False)
class LabelsEqual(_AllLabels):
    """Exactly these labels are on, and all others off.

    Args:
        labels: Which labels should be on, bool or integers 0 and 1 (N, C).
        thresholds: The logit above which a label is on: one for all labels, or one for each (C).
        ids: Identity of each image; by default its position in the batch.

    Raises:
        ValueError: If the labels are not such a matrix, or the thresholds are not finite numbers.

    Example:
        >>> LabelsEqual(torch.tensor([[0, 1]])).margin(torch.tensor([[3.0, 1.0], ]))
        tensor([3.])
    """

    def granted(self, classes: Tensor) -> Tensor:
        """Where the image has exactly these labels, bool (N,)."""
        return (classes == (self.labels == 1)).all(1)

    def margin(self, logits: Tensor) -> Tensor:
        """The largest amount by which a label is on the wrong side of its threshold."""
        return -self.agreeing(logits).amin(1)

    def cross_entropy(self, logits: Tensor) -> Tensor:
        """Minus the sum of the log-probabilities of these labels."""
        return -functional.logsigmoid(self.agreeing(logits)).sum(1)

    def gaps(self, logits: Tensor) -> Tensor:
        """How far each label is on the wrong side: (N, C)."""
        return -self.agreeing(logits)


@dataclass(frozen=True, eq=False)
class AnyLabelFlips(_AllLabels):
    """At least one label changes: one that was on is off, or the reverse.

    Attacks that compare several ways to meet a goal (DeepFool, FAB, `multi_targeted`, Standard, Thorough) try the
    labels one by one; the others follow whichever logit is nearest to its threshold.

    Args:
        labels: The original labels, true or predicted, bool or integers 0 and 1 (N, C).
        thresholds: The logit above which a label is on: one for all labels, or one for each (C).
        ids: Identity of each image; by default its position in the batch.

    Raises:
        ValueError: If the labels are not such a matrix, or the thresholds are not finite numbers.

    Example:
        >>> AnyLabelFlips(torch.tensor([[1, 0]])).margin(torch.tensor([[3.0, -1.0]]))
        tensor([1.])
        >>> AnyLabelFlips.from_logits(torch.tensor([[3.0, -1.0]])).labels
        tensor([[1, 0]])
    """

    def margin(self, logits: Tensor) -> Tensor:
        """The smallest amount by which a label is still on its original side."""
        return self.agreeing(logits).amin(1)

    def cross_entropy(self, logits: Tensor) -> Tensor:
        """Sum of the log-probabilities of the original labels."""
        return log_sigmoid(self.agreeing(logits)).sum(1)

    def choices(self, logits: Tensor) -> Tensor:
        """The labels, the one nearest to its threshold first, int64 (N, C)."""
        return self.agreeing(logits).argsort(dim=1, stable=True)

    def choice(self, which: Tensor) -> Goal:
        """The goal that the label with this number flips, int64 (N,)."""
        return _Flip(self.labels, which, thresholds=self.thresholds, ids=self.ids)


@dataclass(frozen=True, eq=False)
class _Flip(_AllLabels):
    """A given label of each image changes."""

    which: Tensor
    """The label, int64 (N,)."""

    def margin(self, logits: Tensor) -> Tensor:
        """The amount by which the label is still on its original side."""
        return self.agreeing(logits).gather(1, self.which.unsqueeze(1)).squeeze(1)

    def cross_entropy(self, logits: Tensor) -> Tensor:
        """Log-probability of the label's original state."""
        return log_sigmoid(self.margin(logits))
