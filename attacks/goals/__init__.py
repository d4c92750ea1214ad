"""Goals: what counts as fooled. The only code that knows untargeted from targeted.

A goal's ``margin`` is positive while the goal is not met and negative once it is, in units of logits and
differentiable almost everywhere. Every attack minimises it, or a loss made from it.

A tie (zero) is not met, whichever of the classes has the lower number: a class counts as driven out only once another
stands strictly above it. Which class is *named* first where several are equal, on the clean image as on the candidate,
is another matter, and settled as ``torch.argmax`` does: :func:`attacks.objectives.ranking.ranked_classes`.
"""

from dataclasses import dataclass, field, fields, replace
from typing import Protocol, Self

import torch
from torch import Tensor
from torch.nn import functional

from attacks.objectives.ranking import exclusion_margin, fooling, order_margin, outside, ranked_classes


class Goal(Protocol):
    """What an attack may ask of a goal; all tensors have one row for each image.

    Example:
        >>> goal = Untargeted(torch.tensor([0, 1]))
        >>> goal.margin(torch.tensor([[3.0, 1.0], [3.0, 1.0]]))
        tensor([ 2., -2.])
    """

    @property
    def ids(self) -> Tensor:
        """Identity of each image, int64 (N,): it decides what the image draws, and its passes are counted by it."""
        ...

    def margin(self, logits: Tensor) -> Tensor:
        """Logits (N, C) -> (N,): positive while the goal is not met, negative once it is."""
        ...

    def cross_entropy(self, logits: Tensor) -> Tensor:
        """Logits (N, C) -> (N,): the log-likelihood form of the goal, lower is closer to it."""
        ...

    def check(self, num_classes: int) -> None:
        """Raise ``ValueError`` if this goal makes no sense for that number of classes."""
        ...

    def select(self, index: Tensor) -> Self:
        """The goal for the rows that ``index`` (a mask or positions) picks; positions may repeat."""
        ...


def met(goal: Goal, logits: Tensor) -> Tensor:
    """Whether an attack may take the goal as met: logits (N, C) -> bool (N,).

    A hair stricter than ``margin < 0``, see :data:`attacks.objectives.ranking.SLACK`.

    Example:
        >>> met(Untargeted(torch.tensor([0])), torch.tensor([[1.0, 1.0 + 1e-7]]))
        tensor([False])
    """
    logits = logits.detach()
    return fooling(goal.margin(logits), logits)


@dataclass(frozen=True, eq=False, kw_only=True)
class _Rows:
    """Tensors with one row for each image, and the images' ids."""

    ids: Tensor = field(default_factory=lambda: torch.arange(0))
    """Identity of each image, int64 (N,); empty: its place in the batch."""

    def select(self, index: Tensor) -> Self:
        """The goal for some of the images: a mask, or positions, which may repeat."""
        tensors = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{name: t[index] for name, t in tensors.items() if isinstance(t, Tensor)})

    def _check_rows(self, what: str, classes: Tensor, ndim: int) -> None:
        """Check the classes of the goal and fill in the ids."""
        if classes.dtype != torch.int64 or classes.ndim != ndim or 0 in classes.shape[1:]:
            got = f"{classes.dtype} with shape {tuple(classes.shape)}"
            raise ValueError(f"expected {what} as an int64 tensor with {ndim} dimension(s), got {got}")
        if not len(self.ids):
            object.__setattr__(self, "ids", torch.arange(len(classes), device=classes.device))
        if self.ids.shape != classes.shape[:1]:
            raise ValueError(f"expected {len(classes)} ids, got shape {tuple(self.ids.shape)}")


@dataclass(frozen=True, eq=False)
class Untargeted(_Rows):
    """The label is no longer the first class.

    Args:
        labels: True (or first predicted) classes, int64 (N,).
        ids: Identity of each image; by default its place in the batch.

    Raises:
        ValueError: If the labels are not a vector of integers.

    Example:
        >>> Untargeted(torch.tensor([2])).margin(torch.tensor([[0.0, 1.0, 4.0]]))
        tensor([3.])
    """

    labels: Tensor

    def __post_init__(self) -> None:
        self._check_rows("labels", self.labels, ndim=1)

    def margin(self, logits: Tensor) -> Tensor:
        """Logit of the label minus the largest of the others."""
        return exclusion_margin(logits, self.labels.unsqueeze(1), 1)

    def cross_entropy(self, logits: Tensor) -> Tensor:
        """Log-probability of the label."""
        return -functional.cross_entropy(logits, self.labels, reduction="none")

    def check(self, num_classes: int) -> None:
        """Raise ``ValueError`` unless every label is a class."""
        _check_range("labels", self.labels, num_classes)


@dataclass(frozen=True, eq=False)
class Targeted(_Rows):
    """The target is the first class.

    Args:
        targets: Wanted classes, int64 (N,).
        ids: Identity of each image; by default its place in the batch.

    Raises:
        ValueError: If the targets are not a vector of integers.

    Example:
        >>> Targeted(torch.tensor([0])).margin(torch.tensor([[0.0, 1.0, 4.0]]))
        tensor([4.])
    """

    targets: Tensor

    def __post_init__(self) -> None:
        self._check_rows("targets", self.targets, ndim=1)

    def margin(self, logits: Tensor) -> Tensor:
        """Largest logit of the others minus the target's."""
        return order_margin(logits, self.targets.unsqueeze(1))

    def cross_entropy(self, logits: Tensor) -> Tensor:
        """Minus the log-probability of the target."""
        return functional.cross_entropy(logits, self.targets, reduction="none")

    def check(self, num_classes: int) -> None:
        """Raise ``ValueError`` unless every target is a class."""
        _check_range("targets", self.targets, num_classes)


@dataclass(frozen=True, eq=False)
class TopKExclusion(_Rows):
    """None of the k classes that were first is among the first k.

    Args:
        classes: The k classes to drive out, int64 (N, k); usually from :meth:`from_logits`.
        ids: Identity of each image; by default its place in the batch.

    Raises:
        ValueError: If the classes are not a matrix of integers.

    Example:
        >>> goal = TopKExclusion.from_logits(torch.tensor([[5.0, 4.0, 3.0, 1.0]]), k=2)
        >>> goal.classes, goal.margin(torch.tensor([[1.0, 0.0, 3.0, 2.0]]))
        (tensor([[0, 1]]), tensor([-1.]))
    """

    classes: Tensor

    def __post_init__(self) -> None:
        self._check_rows("classes", self.classes, ndim=2)

    @classmethod
    def from_logits(cls, logits: Tensor, k: int, ids: Tensor | None = None) -> Self:
        """The goal that excludes the k classes that are first in ``logits`` (N, C)."""
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
        _check_range("classes", self.classes, num_classes)
        if (k := self.classes.shape[1]) > num_classes // 2:
            raise ValueError(f"expected k <= {num_classes // 2} (half of {num_classes} classes), got {k}")


@dataclass(frozen=True, eq=False)
class LabelOutOfTopK(_Rows):
    """The label is not among the first k: an attack on top-k accuracy.

    Args:
        labels: True (or first predicted) classes, int64 (N,).
        k: How many classes count as right answers.
        ids: Identity of each image; by default its place in the batch.

    Raises:
        ValueError: If the labels are not a vector of integers, or k < 1.

    Example:
        >>> LabelOutOfTopK(torch.tensor([0]), k=2).margin(torch.tensor([[3.0, 5.0, 1.0]]))
        tensor([2.])
    """

    labels: Tensor
    k: int

    def __post_init__(self) -> None:
        self._check_rows("labels", self.labels, ndim=1)
        if self.k < 1:
            raise ValueError(f"expected k >= 1, got {self.k}")

    def margin(self, logits: Tensor) -> Tensor:
        """Logit of the label minus the k-th largest of the others."""
        return exclusion_margin(logits, self.labels.unsqueeze(1), self.k)

    def cross_entropy(self, logits: Tensor) -> Tensor:
        """Log-probability of the label minus the mean log-probability of the k best others."""
        log_p = logits.log_softmax(1)
        others = outside(log_p, self.labels.unsqueeze(1)).topk(self.k, dim=1).values
        return log_p.gather(1, self.labels.unsqueeze(1)).squeeze(1) - others.mean(1)

    def check(self, num_classes: int) -> None:
        """Raise ``ValueError`` unless every label is a class and k others exist."""
        _check_range("labels", self.labels, num_classes)
        if self.k > num_classes - 1:
            raise ValueError(f"expected k <= {num_classes - 1} for {num_classes} classes, got {self.k}")


@dataclass(frozen=True, eq=False)
class OrderedTopK(_Rows):
    """The first k classes are exactly these, in this order.

    Args:
        targets: Wanted classes from the first to the k-th, int64 (N, k), all different in a row.
        ids: Identity of each image; by default its place in the batch.

    Raises:
        ValueError: If the targets are not a matrix of integers, or a row names a class twice.

    Example:
        >>> OrderedTopK(torch.tensor([[2, 0]])).margin(torch.tensor([[3.0, 1.0, 4.0]]))
        tensor([-1.])
    """

    targets: Tensor

    def __post_init__(self) -> None:
        self._check_rows("targets", self.targets, ndim=2)
        ordered = self.targets.sort(dim=1).values
        if bool((ordered[:, 1:] == ordered[:, :-1]).any()):
            raise ValueError("expected different targets in a row, got the same class twice")

    def margin(self, logits: Tensor) -> Tensor:
        """The largest amount by which a class stands above the one that should precede it."""
        return order_margin(logits, self.targets)

    def cross_entropy(self, logits: Tensor) -> Tensor:
        """Minus the log-likelihood of the order (Plackett-Luce): each target first among those still left."""
        chosen = logits.gather(1, self.targets)
        rest = outside(logits, self.targets).logsumexp(1, keepdim=True)
        remaining = torch.cat([rest, chosen.flip(1)], 1).logcumsumexp(1)[:, 1:].flip(1)
        return (remaining - chosen).sum(1)

    def check(self, num_classes: int) -> None:
        """Raise ``ValueError`` unless every target is a class and another class is left."""
        _check_range("targets", self.targets, num_classes)
        if (k := self.targets.shape[1]) > num_classes - 1:
            raise ValueError(f"expected at most {num_classes - 1} targets for {num_classes} classes, got {k}")


def _check_range(what: str, classes: Tensor, num_classes: int) -> None:
    if len(classes) and not (int(classes.min()) >= 0 and int(classes.max()) < num_classes):
        raise ValueError(
            f"expected {what} from 0 to {num_classes - 1}, got {int(classes.min())} to {int(classes.max())}"
        )
