"""What a goal is to an attack."""

from typing import ClassVar, NamedTuple, Protocol, Self, runtime_checkable

from torch import Tensor

from attacks.objectives.ranking import fooling


class Exclusion(NamedTuple):
    """What a goal keeps out of the first places, if any other classes may take them.

    Example:
        >>> import torch
        >>> from attacks import LabelOutOfTopK
        >>> LabelOutOfTopK(torch.tensor([4]), k=5).exclusion
        Exclusion(classes=tensor([[4]]), k=5)
    """

    classes: Tensor
    """Classes to fall, int64 (N, m)."""
    k: int
    """Number of the first places; that many others, whichever, have to rise above all of the classes."""


ALL_LOGITS = 2**31
"""``contested`` of goals for several labels: those do not compete, and a softmax over them means nothing."""


@runtime_checkable
class Goal(Protocol):
    """What an attack may ask of a goal; all tensors have one row for each image.

    A new goal derives from :class:`attacks.goals.BaseGoal`, which answers whatever it does not answer itself.

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
    """Whether it asks for an order of classes. That is far away, and the long steps of a descent lose the way to it."""
    overturns: ClassVar[bool]
    """Whether it asks that all classes that came first give way, so that the less the logits are like the old ones,
    the better."""
    contested: ClassVar[int]
    """Number of logits, the largest ones, between which the margin may be decided once the goal is near; the
    difference of logits ratio (:func:`attacks.losses.dlr`) looks at one more."""

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

    @property
    def exclusion(self) -> Exclusion | None:
        """The classes that are to fall; None for a goal that says itself which classes are to rise."""
        ...

    @property
    def order(self) -> Tensor | None:
        """The classes wanted in the first places, best first, int64 (N, k); None for a goal that takes any."""
        ...

    def granted(self, classes: Tensor) -> Tensor:
        """Where an image has already what the goal asks for, so that meeting it fools no one, bool (N,).

        Args:
            classes: The class that each image should have, int64 (N,): its label, or else the class predicted when
                clean. For a goal for several labels those that each should have, bool (N, C).
        """
        ...

    def spared(self, way: "Goal") -> "Goal":
        """A goal that implies this one, with as much margin to spare as this one asks for."""
        ...

    def choices(self, logits: Tensor) -> Tensor | None:
        """For a goal that is met in any one of W ways: their numbers, those of the least margin first, int64 (N, W).

        None where there is one way, or where the exclusion says which there are.
        """
        ...

    def choice(self, which: Tensor) -> "Goal":
        """The goal that each image is to meet in the way of this number, int64 (N,), and no other."""
        ...

    def gaps(self, logits: Tensor) -> Tensor:
        """All differences of logits that must become negative for the goal to be met: (N, C) -> (N, P).

        The largest is the goal's margin; but for an order of classes it may exceed that, see
        :func:`attacks.objectives.gaps.order_gaps`. It is minus infinity where there is nothing to overtake.
        """
        ...


def met(goal: Goal, logits: Tensor) -> Tensor:
    """Whether an attack may take the goal as met: logits (N, C) -> bool (N,).

    A hair stricter than ``margin < 0``, see :data:`attacks.objectives.ranking.SLACK`.

    Example:
        >>> import torch
        >>> from attacks import Untargeted
        >>> met(Untargeted(torch.tensor([0])), torch.tensor([[1.0, 1.0 + 1e-7]]))
        tensor([False])
    """
    logits = logits.detach()
    return fooling(goal.margin(logits), logits)
