"""Ways to meet a goal: which classes are to rise above which."""

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from attacks.goals import Goal, LabelOutOfTopK, TopKExclusion, Untargeted
from attacks.objectives.ranking import outside, ranked_classes


@dataclass(frozen=True, eq=False, kw_only=True)
class Overtake:
    """Every class of one set stands above every class of another, which implies the goal this was made for.

    Example:
        >>> aim = Overtake(old=torch.tensor([[0]]), new=torch.tensor([[2]]), ids=torch.tensor([0]))
        >>> aim.margin(torch.tensor([[3.0, 2.0, 1.0]]))
        tensor([2.])
    """

    old: Tensor
    """Classes to fall, int64 (N, m)."""
    new: Tensor
    """Classes to rise, int64 (N, k)."""
    ids: Tensor
    """Identity of each image, int64 (N,)."""

    def margin(self, logits: Tensor) -> Tensor:
        """Largest logit of the old classes minus the smallest of the new."""
        return logits.gather(1, self.old).amax(1) - logits.gather(1, self.new).amin(1)

    def cross_entropy(self, logits: Tensor) -> Tensor:
        """Log-probability of the old classes minus the mean log-probability of the new."""
        log_p = logits.log_softmax(1)
        return log_p.gather(1, self.old).logsumexp(1) - log_p.gather(1, self.new).mean(1)

    def check(self, num_classes: int) -> None:
        """Nothing to check: the classes come from logits."""

    def select(self, index: Tensor) -> Self:
        """The aim for some of the images: a mask, or positions, which may repeat."""
        return replace(self, old=self.old[index], new=self.new[index], ids=self.ids[index])


@dataclass(frozen=True, eq=False)
class Towards:
    """A goal that is met in any of its ways, but approached along one of them.

    Example:
        >>> goal = Untargeted(torch.tensor([0]))
        >>> way = Towards(goal, Overtake(old=torch.tensor([[0]]), new=torch.tensor([[2]]), ids=torch.tensor([0])))
        >>> way.margin(torch.tensor([[3.0, 2.5, 1.0]])), way.margin(torch.tensor([[3.0, 3.5, 1.0]]))
        (tensor([2.]), tensor([-0.5000]))
    """

    goal: Goal
    """What is to be met."""
    aim: Goal
    """A way to meet the goal: an aim that implies it."""

    @property
    def ids(self) -> Tensor:
        """Identity of each image, int64 (N,)."""
        return self.goal.ids

    def margin(self, logits: Tensor) -> Tensor:
        """The aim's margin; the goal's own where the goal is met, even in another way."""
        margin = self.goal.margin(logits)
        return torch.where(margin < 0, margin, self.aim.margin(logits))

    def cross_entropy(self, logits: Tensor) -> Tensor:
        """The aim's cross-entropy."""
        return self.aim.cross_entropy(logits)

    def check(self, num_classes: int) -> None:
        """Raise ``ValueError`` if the goal makes no sense for that number of classes."""
        self.goal.check(num_classes)

    def select(self, index: Tensor) -> Self:
        """The goal and its aim for some of the images: a mask, or positions, which may repeat."""
        return replace(self, goal=self.goal.select(index), aim=self.aim.select(index))


def aims(goal: Goal, logits: Tensor, count: int) -> list[Goal]:
    """``count`` ways to meet a goal, the nearest first.

    To drive a label out of the first k, the k - 1 strongest of the other classes and one more, each in turn, must
    rise above it; k is 1 for an untargeted goal. A goal that itself says which classes are to be first can be met in
    one way. Where there are fewer ways than asked for, they start again from the first.

    Args:
        goal: The goal that is to be met.
        logits: Logits of the images (N, C); they say which classes are near.
        count: How many ways are wanted.

    References:
        Gao et al., Fast and reliable evaluation of adversarial robustness with minimum-margin attack
        <https://arxiv.org/abs/2206.07314>, 2022, for the order.

    Example:
        >>> goal = Untargeted(torch.tensor([0]))
        >>> [aim.new.tolist() for aim in aims(goal, torch.tensor([[9.0, 2.0, 5.0]]), count=3)]
        [[[2]], [[1]], [[2]]]
    """
    old, k = falling(goal)
    if old is None:
        return [goal] * count
    ways = _ways(goal, logits)
    order = ranked_classes(outside(logits, old), logits.shape[1])
    last = [k - 1 + i % ways for i in range(count)]
    news = [torch.cat([order[:, : k - 1], order[:, place : place + 1]], 1) for place in last]
    return [Overtake(old=old, new=new, ids=goal.ids) for new in news]


def distinct_aims(goal: Goal, logits: Tensor, most: int) -> list[Goal]:
    """At most ``most`` ways to meet a goal, as :func:`aims` gives them, none of them twice.

    Example:
        >>> goal = Untargeted(torch.tensor([0]))
        >>> [aim.new.tolist() for aim in distinct_aims(goal, torch.tensor([[9.0, 2.0, 5.0]]), most=9)]
        [[[2]], [[1]]]
    """
    return aims(goal, logits, min(most, _ways(goal, logits)))


def _ways(goal: Goal, logits: Tensor) -> int:
    """How many ways there are to meet a goal."""
    old, k = falling(goal)
    return 1 if old is None else logits.shape[1] - old.shape[1] - (k - 1)


def falling(goal: Goal) -> tuple[Tensor | None, int]:
    """The classes (N, m) that are to fall, and how many must stand above them; None where the goal says which."""
    match goal:
        case Untargeted():
            return goal.labels.unsqueeze(1), 1
        case LabelOutOfTopK():
            return goal.labels.unsqueeze(1), goal.k
        case TopKExclusion():
            return goal.classes, goal.classes.shape[1]
        case _:
            return None, 0
