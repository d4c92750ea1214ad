"""From the goal that was asked for to the goal of a batch."""

from collections.abc import Callable

import torch
from torch import Tensor

from advbench.config.goals import GoalSpec
from advbench.errors import UserError
from advbench.models.classifier import Classifier
from attacks import Goal, LabelOutOfTopK, OrderedTopK, Targeted, TopKExclusion, Untargeted
from attacks.objectives.pointless import pointless

MakeGoal = Callable[..., Goal]
"""Clean logits (N, C), image ids (N,) and labels (N,), if they are known -> the goal of the batch."""


def goal_maker(spec: GoalSpec, model: Classifier) -> MakeGoal:
    """Bind a goal to a model's classes; what it needs to know of the clean images is read from their logits.

    Untargeted and label-out-of-topk refer to the label, or to the model's top class on the clean image if the label
    is not known.

    Raises:
        UserError: The goal names a class that the model does not have, or a k too large for its number of classes.
    """
    wanted = [model.class_index(name) for name in spec.classes]
    largest = model.num_classes // 2 if spec.kind == "topk-exclusion" else model.num_classes - 1
    if max(spec.k, len(wanted)) > largest:
        raise UserError(
            f"goal '{spec}': k is at most {largest} for the {model.num_classes} classes of {model.name}",
            hint="choose a smaller one, or another goal, such as --goal untargeted",
        )
    if len(set(wanted)) < len(wanted):
        raise UserError(f"goal '{spec}' names the same class twice")

    def make(logits: Tensor, ids: Tensor, labels: Tensor | None = None) -> Goal:
        first = logits.argmax(1) if labels is None else labels
        targets = torch.tensor(wanted, device=ids.device).expand(len(ids), -1)
        match spec.kind:
            case "untargeted":
                return Untargeted(first, ids=ids)
            case "targeted":
                return Targeted(targets[:, 0], ids=ids)
            case "label-out-of-topk":
                return LabelOutOfTopK(first, spec.k, ids=ids)
            case "ordered-topk":
                return OrderedTopK(targets, ids=ids)
        return TopKExclusion.from_logits(logits, spec.k, ids)

    return make


def set_apart(goal: Goal, clean: Tensor, labels: Tensor | None = None) -> Tensor:
    """The images for which a goal has no meaning, because they already are of the class that it wants first.

    Args:
        goal: The goal for N images.
        clean: The model's logits for them (N, C).
        labels: Their true classes (N,). None: the classes that the model predicts, where its logits are finite.

    Returns:
        bool (N,).

    Example:
        >>> goal, clean = Targeted(torch.tensor([1, 1])), torch.tensor([[0.0, 1.0], [2.0, 0.0]])
        >>> set_apart(goal, clean), set_apart(goal, clean, labels=torch.tensor([0, 1]))
        (tensor([ True, False]), tensor([False,  True]))
    """
    if labels is not None:
        return pointless(goal, labels)
    return pointless(goal, clean.argmax(1)) & clean.isfinite().all(1)
