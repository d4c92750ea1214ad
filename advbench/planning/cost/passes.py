"""The number of passes that an attack takes, counted on a tiny model that it cannot fool."""

import itertools
import json
from contextlib import suppress
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from advbench.catalog import ATTACKS
from advbench.errors import UserError
from advbench.evaluation.attack_factory import make_attack
from advbench.evaluation.meter import Meter
from attacks import AnyLabelFlips, Attack, LabelOff, LabelOn, LabelsEqual, OrderedTopK, Targeted, Untargeted
from attacks.goals import Goal
from attacks.speed.folding import EXACT, FORMS

MANY = 5_000
"""Passes after which counting stops."""
_FAR = 0.1
"""Mean change per value above which an image counts as a different one."""
_MIDDLE = 25.0
"""Threshold of labels, between the model's logits."""
UNTRIED = 100
"""Number of passes of each kind assumed for a plugin's attack."""


class Passes(NamedTuple):
    """Passes of an attack on an image that it cannot fool."""

    forwards: float
    """Number of forward passes."""
    backwards: float
    """Number of backward passes."""
    form: str = FORMS[0]
    """The most aggressive of :data:`attacks.speed.folding.FORMS` in which it computes gradients."""

    @property
    def total(self) -> float:
        """Cost in forward passes: a backward pass counts as two."""
        return self.forwards + 2 * self.backwards


@cache
def count_passes(attack: str, norm: str, params: str, goal: str) -> Passes:
    """Count the passes of an attack on a tiny model that it cannot fool; for a plugin's attack they are guessed.

    Args:
        attack: Registry name of the attack.
        norm: Norm in which it works.
        params: Parameters of the attack, as JSON.
        goal: Kind of a goal that it takes.

    Example:
        >>> count_passes("pgd", "linf", '{"steps": 7}', "untargeted")
        Passes(forwards=8.0, backwards=7.0, form='bfloat16')
    """
    if not ATTACKS[attack].target.startswith("attacks."):
        # A plugin that hangs or kills its process does so in its own unit, not here.
        return Passes(UNTRIED, UNTRIED, FORMS[-1])
    with suppress(UserError):  # errors in its parameters surface when it is run
        return passes_of(make_attack(attack, norm, json.loads(params)), goal)
    return Passes(1, 0)


def passes_of(attack: Attack, goal: str, *, most: int = MANY) -> Passes:
    """Count passes on a tiny model that the attack cannot fool; for gradient-free attacks, also on one that it can.

    Args:
        attack: Attack of either kind.
        goal: Kind of a goal that it takes.
        most: Passes after which counting stops.

    Example:
        >>> from attacks import PGD
        >>> passes_of(PGD(steps=7), "untargeted")
        Passes(forwards=8.0, backwards=7.0, form='bfloat16')
    """
    x = torch.linspace(0.4, 0.6, 3 * 16 * 16).view(1, 3, 16, 16)
    goals: dict[str, Goal] = {
        "targeted": Targeted(torch.tensor([4])),
        "ordered-topk": OrderedTopK(torch.tensor([[4, 3]])),
        "label-off": LabelOff(torch.tensor([0]), thresholds=_MIDDLE),
        "label-on": LabelOn(torch.tensor([4]), thresholds=_MIDDLE),
        "labels-equal": LabelsEqual(torch.tensor([[0, 0, 1, 1, 1]]), thresholds=_MIDDLE),
        "any-label-flips": AnyLabelFlips(torch.tensor([[1, 1, 1, 0, 0]]), thresholds=_MIDDLE),
    }
    eps = None if attack.kind == "minimum norm" else 1.0 if attack.norm.name == "l0" else 1e-3

    def counted(unmoved: _Unmoved) -> Passes:
        left = itertools.repeat(None, most)
        metered = Meter(unmoved, torch.zeros(1, dtype=torch.int64), lambda: next(left))
        with suppress(Exception):  # counted as far as it gets; failures surface when it is run
            attack(metered, x, goals.get(goal, Untargeted(torch.tensor([0]))), eps=eps)  # type: ignore[arg-type]
        return Passes(max(1.0, float(metered.forwards)), float(metered.backwards), unmoved.form)

    passes = counted(_Unmoved())
    # A decision-based attack only gets going once it has found an image, however far away, that fools the model.
    return passes if passes.backwards or passes.forwards >= most else max(passes, counted(_Unmoved(near=x)))


class _Unmoved:
    """A model whose prediction no perturbation changes; it records which faster form was requested.

    Args:
        near: Images close to this one get the prediction, all others the opposite; None: all get it.
    """

    form = FORMS[0]

    def __init__(self, near: Tensor | None = None) -> None:
        self._near = near

    @property
    def quick_form(self) -> None:
        self.form = FORMS[-1]

    @property
    def exact_form(self) -> None:
        self.form = max(self.form, EXACT, key=FORMS.index)

    def __call__(self, x: Tensor, /) -> Tensor:
        slopes = torch.linspace(-1e-6, 1e-6, x[0].numel() * 5).view(-1, 5)
        opinion = torch.tensor([50.0, 40.0, 30.0, 20.0, 10.0]).expand(len(x), 5)
        if self._near is not None:
            far = (x - self._near).flatten(1).abs().mean(1, keepdim=True) > _FAR
            opinion = torch.where(far, opinion.flip(1), opinion)
        return x.flatten(1) @ slopes + opinion
