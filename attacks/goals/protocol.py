"""The interface of goals."""

from typing import ClassVar, NamedTuple, Protocol, Self, runtime_checkable

from torch import Tensor

from attacks.objectives.ranking import fooling


class Exclusion(NamedTuple):
    """Classes that a goal keeps out of the top ranks, which any other classes may take.

    Example:
        >>> import torch
        >>> from attacks import LabelOutOfTopK
        >>> LabelOutOfTopK(torch.tensor([4]), k=5).exclusion
        Exclusion(classes=tensor([[4]]), k=5)
    """

    classes: Tensor
    """Classes to fall, int64 (N, m)."""
    k: int
    """Number of top ranks; any k other classes have to rise above all of these."""


ALL_LOGITS = 2**31
"""``contested`` of goals for several labels: these do not compete, and a softmax over them is meaningless."""


@runtime_checkable
class Goal(Protocol):
    """What attacks use of a goal; all tensors have one row per image.

    A new goal derives from :class:`attacks.goals.BaseGoal`, which provides defaults for what it does not define itself.

    Example:
        >>> import torch
        >>> from attacks import Untargeted
        >>> goal = Untargeted(torch.tensor([0, 1]))
        >>> goal.margin(torch.tensor([[3.0, 1.0], [3.0, 1.0]]))
        tensor([ 2., -2.])
    """

    name: ClassVar[str]
    """Name as on the command line; empty for a goal from outside this library."""
    orders: ClassVar[bool]
    """Whether it requires an order of classes. That is far away, and descents with long steps fail to reach it."""
    overturns: ClassVar[bool]
    """Whether all former top classes have to go, so that logits should be as unlike the old ones as possible."""
    contested: ClassVar[int]
    """Number of largest logits that may determine the margin once the goal is near; the difference of logits ratio
    (:func:`attacks.losses.dlr`) uses one more."""

    @property
    def ids(self) -> Tensor:
        """Identity of each image, int64 (N,): it determines the image's random draws and the count of its passes."""
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
        """The goal for the rows selected by ``index`` (a mask or positions); positions may repeat."""
        ...

    @property
    def exclusion(self) -> Exclusion | None:
        """The classes that should fall; None for a goal that determines itself which classes should rise."""
        ...

    @property
    def order(self) -> Tensor | None:
        """The classes wanted at the top, best first, int64 (N, k); None for a goal that accepts any."""
        ...

    def granted(self, classes: Tensor) -> Tensor:
        """Where an image legitimately meets the goal already, so that meeting it is no success, bool (N,).

        Args:
            classes: The class that each image should have, int64 (N,): its label, or else the class predicted when
                clean. For a goal for several labels, the labels that each should have, bool (N, C).
        """
        ...

    def spared(self, way: "Goal") -> "Goal":
        """A goal in the given way that implies this one, with the safety margin that this one requires."""
        ...

    def choices(self, logits: Tensor) -> Tensor | None:
        """For a goal that can be met in W ways: their numbers, smallest margin first, int64 (N, W).

        None if there is one way, or if the exclusion determines the ways.
        """
        ...

    def choice(self, which: Tensor) -> "Goal":
        """The goal that each image meets only in the way with this number, int64 (N,)."""
        ...

    def gaps(self, logits: Tensor) -> Tensor:
        """All differences of logits that must become negative for the goal to be met: (N, C) -> (N, P).

        The largest is the goal's margin; for an order of classes it may exceed that, see
        :func:`attacks.objectives.gaps.order_gaps`. Gaps are minus infinity where there is nothing to overtake.
        """
        ...


def met(goal: Goal, logits: Tensor) -> Tensor:
    """Whether an attack may consider the goal met: logits (N, C) -> bool (N,).

    Slightly stricter than ``margin < 0``, see :data:`attacks.objectives.ranking.SLACK`.

    Example:
        >>> import torch
        >>> from attacks import Untargeted
        >>> met(Untargeted(torch.tensor([0])), torch.tensor([[1.0, 1.0 + 1e-7]]))
        tensor([False])
    """
    logits = logits.detach()
    return fooling(goal.margin(logits), logits)
