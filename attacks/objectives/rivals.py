"""Ways to meet a goal: which classes should rise above which."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from attacks.goals import BaseGoal, Goal
from attacks.objectives.gaps import gaps_between
from attacks.objectives.ranking import outside, ranked_classes


@dataclass(frozen=True, eq=False, kw_only=True)
class Overtake(BaseGoal):
    """Every class of one set is above every class of another, which implies the original goal.

    Example:
        >>> aim = Overtake(old=torch.tensor([[0]]), new=torch.tensor([[2]]), ids=torch.tensor([0]))
        >>> aim.margin(torch.tensor([[3.0, 2.0, 1.0]]))
        tensor([2.])
    """

    old: Tensor
    """Classes to fall, int64 (N, m)."""
    new: Tensor
    """Classes to rise, int64 (N, k)."""

    def margin(self, logits: Tensor) -> Tensor:
        """Largest logit of the old classes minus the smallest of the new."""
        return logits.gather(1, self.old).amax(1) - logits.gather(1, self.new).amin(1)

    def cross_entropy(self, logits: Tensor) -> Tensor:
        """Log-probability of the old classes minus the mean log-probability of the new."""
        log_p = logits.log_softmax(1)
        return log_p.gather(1, self.old).logsumexp(1) - log_p.gather(1, self.new).mean(1)

    def check(self, num_classes: int) -> None:
        """Nothing to check: the classes come from logits."""

    def gaps(self, logits: Tensor) -> Tensor:
        """Amount by which each old class exceeds each new one: (N, C) -> (N, m * k)."""
        return gaps_between(logits.gather(1, self.old), logits.gather(1, self.new))


@dataclass(frozen=True, eq=False)
class Towards(BaseGoal):
    """A goal that may be met in any way, but is approached in a particular one.

    Example:
        >>> from attacks import Untargeted
        >>> goal = Untargeted(torch.tensor([0]))
        >>> way = Towards(goal, Overtake(old=torch.tensor([[0]]), new=torch.tensor([[2]]), ids=torch.tensor([0])))
        >>> way.margin(torch.tensor([[3.0, 2.5, 1.0]])), way.margin(torch.tensor([[3.0, 3.5, 1.0]]))
        (tensor([2.]), tensor([-0.5000]))
    """

    goal: Goal
    """The goal to be met."""
    aim: Goal
    """A way to meet the goal: an aim that implies it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "ids", self.goal.ids)
        object.__setattr__(self, "contested", self.aim.contested)

    def margin(self, logits: Tensor) -> Tensor:
        """The aim's margin; the goal's own once the goal is met, even in another way."""
        margin = self.goal.margin(logits)
        return torch.where(margin < 0, margin, self.aim.margin(logits))

    def cross_entropy(self, logits: Tensor) -> Tensor:
        """The aim's cross-entropy."""
        return self.aim.cross_entropy(logits)

    def check(self, num_classes: int) -> None:
        """Raise ``ValueError`` if the goal makes no sense for that number of classes."""
        self.goal.check(num_classes)

    def gaps(self, logits: Tensor) -> Tensor:
        """The aim's gaps."""
        return self.aim.gaps(logits)

    def select(self, index: Tensor) -> Self:
        """The goal and its aim for some of the images: a mask, or positions, which may repeat."""
        return replace(self, goal=self.goal.select(index), aim=self.aim.select(index))


@dataclass(frozen=True, eq=False)
class Ways:
    """Ways to meet a goal for N images, the nearest first; which classes rise differs from image to image.

    Example:
        >>> from attacks import Untargeted
        >>> ways = Ways(Untargeted(torch.tensor([0, 2])), new=torch.tensor([[[1], [2]], [[0], [1]]]))
        >>> len(ways), ways[1].new.tolist()
        (2, [[2], [1]])
        >>> ways.of(rows=torch.tensor([0, 0, 1]), which=torch.tensor([0, 1, 1])).new.tolist()
        [[1], [2], [1]]
    """

    goal: Goal
    """The goal to be met."""
    new: Tensor
    """Classes to raise in each of W ways, int64 (N, W, k). For a goal with choices, the indices of these, with k = 1.
    If the goal itself determines the classes, all ways are the goal, and k is 0."""

    def __len__(self) -> int:
        return self.new.shape[1]

    def __getitem__(self, place: int) -> Goal:
        return _way(self.goal, self.new[:, place])

    def __iter__(self) -> Iterator[Goal]:
        return (self[place] for place in range(len(self)))

    def select(self, index: Tensor) -> Self:
        """The ways for some of the images: a mask, or positions, which may repeat."""
        return replace(self, goal=self.goal.select(index), new=self.new[index])

    def of(self, rows: Tensor, which: Tensor) -> Goal:
        """One aim for the images in ``rows``, each of which takes way number ``which``; both int64 (m,)."""
        return _way(self.goal.select(rows), self.new[rows, which])


def _way(goal: Goal, new: Tensor) -> Goal:
    """The way in which classes ``new`` (n, k) rise, or, for a goal with choices, those with these indices (n, 1)."""
    if goal.exclusion is not None:
        way = Overtake(old=goal.exclusion.classes, new=new, ids=goal.ids)
        return goal.spared(way)
    return goal.choice(new[:, 0]) if new.shape[1] else goal


def ways_to(goal: Goal, logits: Tensor, count: int) -> Ways:
    """``count`` ways to meet a goal, the nearest first.

    To push a label out of the top k, the k - 1 strongest other classes and one more, each in turn, must rise above it;
    k is 1 for an untargeted goal. A goal with choices is met by each of them. A goal that itself determines the top
    classes can be met in only one way. If there are fewer ways than ``count``, they repeat from the first.

    Args:
        goal: The goal to be met.
        logits: Logits of the images (N, C), which show which classes are near.
        count: Number of ways wanted.

    References:
        Gao et al., Fast and reliable evaluation of adversarial robustness with minimum-margin attack
        <https://arxiv.org/abs/2206.07314>, 2022, for the order.

    Example:
        >>> from attacks import Untargeted
        >>> ways_to(Untargeted(torch.tensor([0])), torch.tensor([[9.0, 2.0, 5.0]]), count=3).new.tolist()
        [[[2], [1], [2]]]
    """
    if goal.exclusion is None:
        choices = goal.choices(logits)
        if choices is None:
            return Ways(goal, torch.empty(len(logits), count, 0, dtype=torch.int64, device=logits.device))
        return Ways(goal, choices[:, [i % choices.shape[1] for i in range(count)]].unsqueeze(2))
    order = ranked_classes(outside(logits, goal.exclusion.classes), logits.shape[1])
    first, last = goal.exclusion.k - 1, _number_of_ways(goal, logits)
    news = [torch.cat([order[:, :first], order[:, (at := first + i % last) : at + 1]], 1) for i in range(count)]
    return Ways(goal, torch.stack(news, 1))


def distinct_aims(goal: Goal, logits: Tensor, most: int) -> list[Goal]:
    """At most ``most`` different ways to meet a goal, as :func:`ways_to` finds them.

    Example:
        >>> from attacks import Untargeted
        >>> goal = Untargeted(torch.tensor([0]))
        >>> [aim.new.tolist() for aim in distinct_aims(goal, torch.tensor([[9.0, 2.0, 5.0]]), most=9)]
        [[[2]], [[1]]]
    """
    return list(ways_to(goal, logits, min(most, _number_of_ways(goal, logits))))


def _number_of_ways(goal: Goal, logits: Tensor) -> int:
    if goal.exclusion is None:
        choices = goal.choices(logits)
        return 1 if choices is None else choices.shape[1]
    classes, k = goal.exclusion
    return logits.shape[1] - classes.shape[1] - (k - 1)
