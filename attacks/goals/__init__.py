"""Goals: what counts as fooled. The only code that knows untargeted from targeted.

A goal's ``margin`` is positive while the goal is not met and negative once it is, in units of logits and
differentiable almost everywhere. Every attack minimises it, or a loss made from it.

A tie (zero) is not met, whichever of the classes has the lower number: a class counts as driven out only once another
stands strictly above it. Which class is *named* first where several are equal, on the clean image as on the candidate,
is another matter, and settled as ``torch.argmax`` does: :func:`attacks.objectives.ranking.ranked_classes`.

Each goal is a module of its own; what an attack may ask of one is :class:`Goal`.

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
"""Name -> class, of the goals for networks whose classes compete for the first places."""

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
