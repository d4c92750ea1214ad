"""Turns the goal that was requested into the goal of a batch."""

from collections.abc import Callable

import torch
from torch import Tensor

from advbench.config.goals import LABEL_FORMS_TEXT, NO_LABEL, GoalSpec
from advbench.errors import UserError
from advbench.models.classifier import Classifier
from attacks import (
    AnyLabelFlips,
    Goal,
    LabelOff,
    LabelOn,
    LabelOutOfTopK,
    LabelsEqual,
    OrderedTopK,
    Targeted,
    TopKExclusion,
    Untargeted,
)
from attacks.goals import SignedGoal

MakeGoal = Callable[..., Goal]
"""Clean logits (N, C), image ids (N,) and labels (N,), if they are known -> the goal of the batch. For a multi-label
model the labels are bool (N, C): which labels each image has."""


def goal_maker(spec: GoalSpec, model: Classifier) -> MakeGoal:
    """Bind a goal to a model's classes; what it needs to know about the clean images is read from their logits.

    Untargeted, label-out-of-topk and any-label-flips refer to the labels, or to the model's prediction for the clean
    image if the labels are not known.

    Raises:
        UserError: The goal names a class that the model does not have, or a k too large for its number of classes; or
            it is a multi-label goal and the model has one class per image, or the reverse.
    """
    _refuse_other_kind(spec, model)
    if model.thresholds is not None:
        return _label_goal_maker(spec, model, model.thresholds)
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


def _refuse_other_kind(spec: GoalSpec, model: Classifier) -> None:
    if spec.several and model.thresholds is None:
        raise UserError(
            f"goal '{spec}' is for several labels, and {model.name} has one class for each image",
            hint="choose another goal, such as untargeted; of a model of your own that has several labels say so, with "
            "thresholds = 0 or --thresholds 0",
        )
    if not spec.several and model.thresholds is not None:
        raise UserError(
            f"goal '{spec}' is for one class of each image, and {model.name} has several labels",
            hint=f"choose {LABEL_FORMS_TEXT}",
        )


def goal_labels(spec: GoalSpec, model: Classifier) -> tuple[int, ...] | None:
    """The labels that a multi-label goal names, ascending; None for any other goal.

    Raises:
        UserError: The model does not have one of them, or it is named twice.

    Example:
        >>> from advbench.config.goals import parse_goal
        >>> model = Classifier(torch.nn.Flatten(), num_classes=3, classes=["cat", "dog", "hat"]).with_thresholds(0.0)
        >>> goal_labels(parse_goal("labels-equal:hat,dog"), model), goal_labels(parse_goal("any-label-flips"), model)
        ((1, 2), ())
    """
    if not spec.several:
        return None
    if spec.kind == "labels-equal" and spec.classes == (NO_LABEL,) and NO_LABEL not in model.classes:
        return ()
    found = [model.class_index(name) for name in spec.classes]
    if len(set(found)) < len(found):
        raise UserError(f"goal '{spec}' names the same label twice")
    return tuple(sorted(found))


def _label_goal_maker(spec: GoalSpec, model: Classifier, thresholds: tuple[float, ...]) -> MakeGoal:
    named = goal_labels(spec, model) or ()
    wanted = torch.zeros(model.num_classes, dtype=torch.bool)
    wanted[torch.tensor(named, dtype=torch.int64)] = True

    def make(logits: Tensor, ids: Tensor, labels: Tensor | None = None) -> Goal:
        device = ids.device
        match spec.kind:
            case "label-off":
                return LabelOff(torch.full((len(ids),), named[0], device=device), thresholds=thresholds, ids=ids)
            case "label-on":
                return LabelOn(torch.full((len(ids),), named[0], device=device), thresholds=thresholds, ids=ids)
            case "labels-equal":
                return LabelsEqual(wanted.to(device).repeat(len(ids), 1), thresholds=thresholds, ids=ids)
        if labels is None:
            return AnyLabelFlips.from_logits(logits, thresholds=thresholds, ids=ids)
        return AnyLabelFlips(labels, thresholds=thresholds, ids=ids)

    return make


def set_apart(goal: Goal, clean: Tensor, labels: Tensor | None = None) -> Tensor:
    """The images for which a goal has no meaning, because they already have the class that it wants first.

    Args:
        goal: The goal for N images.
        clean: The model's logits for them (N, C).
        labels: Their true classes (N,), or which labels they have, bool (N, C). None: the model's predictions, where
            its logits are finite.

    Returns:
        bool (N,).

    Example:
        >>> goal, clean = Targeted(torch.tensor([1, 1])), torch.tensor([[0.0, 1.0], [2.0, 0.0]])
        >>> set_apart(goal, clean), set_apart(goal, clean, labels=torch.tensor([0, 1]))
        (tensor([ True, False]), tensor([False,  True]))
    """
    if labels is not None:
        return goal.granted(labels)
    predicted = goal.above(clean) > 0 if isinstance(goal, SignedGoal) else clean.argmax(1)
    return goal.granted(predicted) & clean.isfinite().all(1)
