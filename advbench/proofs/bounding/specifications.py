"""What has to be proved for each goal, as lower bounds on differences of two logits.

Each goal's margin is the maximum over rows of the k-th smallest value over columns of a table of differences. That is
non-decreasing in each difference, so lower bounds on the differences give a lower bound on the margin.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from attacks.goals import Goal, LabelOutOfTopK, OrderedTopK, Targeted, TopKExclusion, Untargeted


@dataclass(frozen=True)
class Specification:
    """The differences that decide a goal for one image.

    Attributes:
        above: Classes whose logit counts positively, int64 (K,).
        below: Classes whose logit counts negatively, int64 (K,).
        columns: Columns of the table; its rows are K / columns.
        k: Rank of the value of a row that counts, from the smallest.

    Example:
        >>> found = specification(Untargeted(torch.tensor([1])), classes=3)
        >>> found.above, found.below, found.margin(torch.tensor([0.5, -0.25]))
        (tensor([1, 1]), tensor([0, 2]), tensor(-0.2500))
    """

    above: Tensor
    below: Tensor
    columns: int
    k: int

    @property
    def all_must_hold(self) -> bool:
        """Whether the margin is that of the worst difference."""
        return self.k == 1 and self.columns == len(self.above)

    def coefficients(self, classes: int) -> Tensor:
        """The differences as functions of the logits, float64 (K, classes)."""
        eye = torch.eye(classes, dtype=torch.float64, device=self.above.device)
        return eye[self.above] - eye[self.below]

    def margin(self, differences: Tensor) -> Tensor:
        """The margin, or a bound on it, scalar, from the differences, or bounds on them, (K,)."""
        return differences.view(-1, self.columns).kthvalue(self.k, dim=1).values.max()


def specification(goal: Goal, classes: int) -> Specification:
    """The differences that have to be bounded for a goal of one image.

    Args:
        goal: A goal of this library, for one image.
        classes: Number of classes.

    Raises:
        ValueError: The goal is not one of this library.
    """
    if isinstance(goal, Untargeted):
        return _exclusion(goal.labels[:, None], 1, classes)
    if isinstance(goal, LabelOutOfTopK):
        return _exclusion(goal.labels[:, None], goal.k, classes)
    if isinstance(goal, TopKExclusion):
        return _exclusion(goal.classes, goal.classes.shape[1], classes)
    if isinstance(goal, Targeted):
        return _order(goal.targets[:, None], classes)
    if isinstance(goal, OrderedTopK):
        return _order(goal.targets, classes)
    raise ValueError(f"expected one of the five goals of this library, got {type(goal).__name__}")


def _others(inside: Tensor, classes: int) -> Tensor:
    kept = torch.ones(classes, dtype=torch.bool, device=inside.device)
    kept[inside] = False
    return kept.nonzero().squeeze(1)


def _exclusion(inside: Tensor, k: int, classes: int) -> Specification:
    """Each class of a set against every class outside it: k of these must rise above the whole set."""
    rows = torch.tensor(sorted(set(inside[0].tolist())), device=inside.device)
    others = _others(rows, classes)
    above, below = torch.cartesian_prod(rows, others).unbind(1)
    return Specification(above, below, len(others), k)


def _order(targets: Tensor, classes: int) -> Specification:
    """Each target against the previous one, and the rest against the last: one that is above it is enough."""
    row = targets[0]
    others = _others(row, classes)
    above = torch.cat([row[1:], others])
    below = torch.cat([row[:-1], row[-1:].expand(len(others))])
    return Specification(above, below, 1, 1)
