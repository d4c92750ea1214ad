"""One attack on one batch: run it under the meter, round its images to 8 bits, let the judge measure."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from advbench.config import GoalSpec
from advbench.errors import UserError
from advbench.judge import Verdicts, check_candidates, judge
from advbench.meter import Meter
from advbench.models.classifier import Classifier
from attacks import (
    Attack,
    AttackError,
    Goal,
    LabelOutOfTopK,
    OrderedTopK,
    Targeted,
    TopKExclusion,
    Untargeted,
    quantize,
)

MakeGoal = Callable[[Tensor, Tensor], Goal]
"""Clean logits (N, C) and image ids (N,) -> the goal of the batch."""


class Evaluation(NamedTuple):
    """What one attack did to one batch; tensors have a row for each image."""

    x_adv: Tensor
    """Candidates (N, ...), as the attack returned them."""
    x_8bit: Tensor
    """The same in 8 bits, rounded so as to stay adversarial."""
    verdicts: Verdicts
    """The judge's measurements."""
    forwards: Tensor
    """Forward passes of the attack on each image (N,); rounding and judging are not counted."""
    backwards: Tensor
    """Backward passes (N,)."""
    answered: Tensor
    """All answers that the attack got from the model about the image were finite, bool (N,)."""
    seconds: float
    """Wall time of the attack, divided by N."""
    errors: dict[int, str]
    """Row of each image on which the attack failed -> why."""


def evaluate(
    model: Classifier,
    attack: Attack,
    x: Tensor,
    goal: Goal,
    *,
    eps: float | None,
    seed: int,
    on_pass: Callable[[], None] = lambda: None,
) -> Evaluation:
    """Attack a batch and measure what came of it.

    Args:
        model: The classifier.
        attack: Any attack, of either kind.
        x: Images (N, C, H, W) in [0, 1].
        goal: What counts as fooled.
        eps: Largest allowed size in the attack's norm; None: no bound.
        seed: Of all random draws.
        on_pass: Called at each forward pass of the attack.

    Raises:
        ValueError: If the attack refuses its arguments or returns something that is no batch of candidates.
    """
    with Meter(model, goal.ids, on_pass) as metered:
        # A copy: what the attack does to its images must not move the point that it is measured from.
        x_adv, errors = _attempt(attack, metered, x.clone(), goal, eps, seed)
    check_candidates(x, x_adv)
    x_adv = x_adv.detach()
    x_8bit = quantize(model, x, x_adv, goal, attack.norm, eps=eps)
    verdicts = judge(model, x, x_adv, goal, attack.norm, eps, x_8bit)
    answered = metered.not_finite == 0
    seconds = metered.seconds / len(x)
    return Evaluation(x_adv, x_8bit, verdicts, metered.forwards, metered.backwards, answered, seconds, errors)


def _attempt(
    attack: Attack, model: Meter, x: Tensor, goal: Goal, eps: float | None, seed: int
) -> tuple[Tensor, dict[int, str]]:
    """The candidates, and why there are none where the attack failed on some of the images."""
    try:
        return attack(model, x, goal, eps=eps, seed=seed), {}  # type: ignore[arg-type]
    except AttackError as error:
        return error.x_adv, error.errors


def goal_maker(spec: GoalSpec, model: Classifier) -> MakeGoal:
    """Bind a goal to a model's classes; what it needs of the clean images it takes from their logits.

    Untargeted and label-out-of-topk start from the class that is first on the clean image.

    Raises:
        UserError: A class that the model does not have, or a k that its classes do not allow.
    """
    wanted = [model.class_index(name) for name in spec.classes]
    largest = model.num_classes // 2 if spec.kind == "topk-exclusion" else model.num_classes - 1
    if max(spec.k, len(wanted)) > largest:
        raise UserError(f"goal '{spec}': k is at most {largest} for the {model.num_classes} classes of {model.name}")
    if len(set(wanted)) < len(wanted):
        raise UserError(f"goal '{spec}' names the same class twice")

    def make(logits: Tensor, ids: Tensor) -> Goal:
        first, targets = logits.argmax(1), torch.tensor(wanted, device=ids.device).expand(len(ids), -1)
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
