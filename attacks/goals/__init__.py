"""Goals: what counts as fooled. The only code that distinguishes untargeted from targeted.

A goal's ``margin`` is positive while the goal is not met and negative once it is, in units of logits and
differentiable almost everywhere. Every attack minimises it, or a loss derived from it.

A tie (zero) does not meet a goal, whichever of the classes has the lower number: a class counts as pushed out only once
another is strictly above it. Which class is *named* first among several equal ones, on clean images and candidates, is
a separate question, decided as in ``torch.argmax``: :func:`attacks.objectives.ranking.ranked_classes`.

Each goal has its own module; :class:`Goal` is the interface that attacks use.

Example:
    >>> import torch
    >>> logits = torch.tensor([[5.0, 4.0, 3.0, 1.0]])
    >>> {name: GOALS[name](torch.tensor([0])).margin(logits).item() for name in ("untargeted", "targeted")}
    {'untargeted': 1.0, 'targeted': -1.0}
"""

from attacks.goals.label_out_of_topk import LabelOutOfTopK
from attacks.goals.multilabel import AnyLabelFlips, LabelOff, LabelOn, LabelsEqual, SignedGoal
from attacks.goals.ordered_topk import OrderedTopK
from attacks.goals.protocol import Exclusion, Goal, met
from attacks.goals.shared import BaseGoal
from attacks.goals.spared import Spared
from attacks.goals.targeted import Targeted
from attacks.goals.topk_exclusion import TopKExclusion
from attacks.goals.untargeted import Untargeted

GOALS: dict[str, type[BaseGoal]] = {
    each.name: each for each in (Untargeted, Targeted, TopKExclusion, LabelOutOfTopK, OrderedTopK)
}
"""Name -> class, for the goals of networks whose classes compete for the top ranks."""

__all__ = [
    "GOALS",
    "AnyLabelFlips",
    "BaseGoal",
    "Exclusion",
    "Goal",
    "LabelOff",
    "LabelOn",
    "LabelOutOfTopK",
    "LabelsEqual",
    "OrderedTopK",
    "SignedGoal",
    "Spared",
    "Targeted",
    "TopKExclusion",
    "Untargeted",
    "met",
]
