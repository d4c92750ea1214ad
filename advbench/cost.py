"""What an attack on a model will cost, from counting operations instead of timing: the same on every machine."""

import itertools
import json
from contextlib import suppress
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from advbench.catalog import ATTACKS
from advbench.errors import UserError
from advbench.meter import Meter
from advbench.models.classifier import Classifier
from advbench.workbench import make_attack
from attacks import Attack, OrderedTopK, Targeted, Untargeted
from attacks.derivatives import has_gradient
from attacks.folding import EXACT, FORMS
from attacks.goals import Goal

TARGET_SECONDS = 20
"""Expected time of a unit of work on one core of `SPEED`: so much is lost at most when a run is killed."""
LONGER_SECONDS = 120
"""Expected time of a unit of work at most, where fewer images together would cost more each."""
SPEED = 2e10
"""Floating-point operations a second, of one core of an ordinary machine on ordinary layers."""
PASS_SECONDS = 2e-5
"""What a pass costs for each image beside the model's operations."""
LARGEST_BATCH = 250
"""Images in one unit at most."""
MEMORY = 2**30
"""Bytes that one batch may keep for its gradients."""
MANY = 5_000
"""Passes after which counting stops."""
_FAR = 0.1
"""Mean change of a value beyond which an image is another one."""
UNTRIED = 100
"""Passes of each kind that a plugin's attack is taken to need."""


class Footprint(NamedTuple):
    """What one image costs a model."""

    flops: float
    """Operations of a forward pass."""
    kept: int
    """Bytes that a forward pass keeps for the gradient."""
    weights: int
    """Bytes of the weights."""


def footprint(model: Classifier, image: Tensor) -> Footprint:
    """Count what one image costs.

    Args:
        model: The classifier.
        image: One image (C, H, W).

    Example:
        >>> from torch import nn
        >>> model = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(12, 5)), num_classes=5)
        >>> footprint(model, torch.zeros(3, 2, 2)).flops
        120.0
    """
    kept = 0

    def count(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += tensor.nbytes if not isinstance(tensor, torch.nn.Parameter) else 0
        return tensor

    x = image.unsqueeze(0).clone()
    x.requires_grad_(has_gradient(model, x))
    with _Operations() as operations, saved_tensors_hooks(count, lambda tensor: tensor):  # type: ignore[no-untyped-call]
        model(x)
    weights = sum(parameter.nbytes for parameter in model.parameters())
    return Footprint(operations.total, kept, weights)


class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts floating-point operations by torch's own formulas."""

    total = 0.0

    def count(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Do an operation, and count it."""
        out = func(*args, **(kwargs or {}))
        if formula := flop_registry.get(func._overloadpacket):
            self.total += formula(*args, **(kwargs or {}), out_val=out)
        return out


# Named so inside of the class, it would be wrapped, and torch's compiler imported for that: most of a plan's time.
_Operations.__torch_dispatch__ = _Operations.count  # type: ignore[method-assign, assignment]


class Passes(NamedTuple):
    """Passes of an attack on an image that withstands."""

    forwards: float
    """Forward passes."""
    backwards: float
    """Backward passes."""
    bears: str = FORMS[0]
    """The most changed of :data:`attacks.folding.FORMS` in which it takes gradients."""

    @property
    def total(self) -> float:
        """In forward passes: a backward pass costs two."""
        return self.forwards + 2 * self.backwards


@cache
def count_passes(attack: str, norm: str, params: str, goal: str) -> Passes:
    """Run an attack on a tiny model that it cannot fool, and count; one that a plugin brings is only guessed.

    Args:
        attack: Registry name.
        norm: Of the attack.
        params: Its parameters, as JSON.
        goal: Kind of a goal that it takes.

    Example:
        >>> count_passes("pgd", "linf", '{"steps": 7}', "untargeted")
        Passes(forwards=8.0, backwards=7.0, bears='bfloat16')
    """
    if not ATTACKS[attack].target.startswith("attacks."):
        # Whoever hangs or kills its process does so in a unit of its own, not here.
        return Passes(UNTRIED, UNTRIED, FORMS[-1])
    with suppress(UserError):  # whether it can be made shows itself when it is run
        return passes_of(make_attack(attack, norm, json.loads(params)), goal)
    return Passes(1, 0)


def passes_of(attack: Attack, goal: str, *, most: int = MANY) -> Passes:
    """Run an attack on a tiny model that it cannot fool, and count; if it takes no gradient, also on one that it can.

    Args:
        attack: Of either kind.
        goal: Kind of a goal that it takes.
        most: Passes after which counting stops.

    Example:
        >>> from attacks import PGD
        >>> passes_of(PGD(steps=7), "untargeted")
        Passes(forwards=8.0, backwards=7.0, bears='bfloat16')
    """
    x = torch.linspace(0.4, 0.6, 3 * 16 * 16).view(1, 3, 16, 16)
    goals: dict[str, Goal] = {
        "targeted": Targeted(torch.tensor([4])),
        "ordered-topk": OrderedTopK(torch.tensor([[4, 3]])),
    }
    eps = None if attack.kind == "minimum norm" else 1.0 if attack.norm.name == "l0" else 1e-3

    def counted(unmoved: _Unmoved) -> Passes:
        left = itertools.repeat(None, most)
        metered = Meter(unmoved, torch.zeros(1, dtype=torch.int64), lambda: next(left))
        with suppress(Exception):  # it is counted as far as it gets; whether it works shows itself when it is run
            attack(metered, x, goals.get(goal, Untargeted(torch.tensor([0]))), eps=eps)  # type: ignore[arg-type]
        return Passes(max(1.0, float(metered.forwards)), float(metered.backwards), unmoved.bears)

    passes = counted(_Unmoved())
    # What goes by labels alone has hardly begun before it has found an image, however far, that fools the model.
    return passes if passes.backwards or passes.forwards >= most else max(passes, counted(_Unmoved(near=x)))


class _Unmoved:
    """A model that no change of an image moves from its opinion; it notes which faster form it was asked for.

    Args:
        near: Only images like this one have that opinion, all others the opposite; None: all have it.
    """

    bears = FORMS[0]

    def __init__(self, near: Tensor | None = None) -> None:
        self._near = near

    @property
    def quick_form(self) -> None:
        self.bears = FORMS[-1]

    @property
    def exact_form(self) -> None:
        self.bears = max(self.bears, EXACT, key=FORMS.index)

    def __call__(self, x: Tensor, /) -> Tensor:
        slopes = torch.linspace(-1e-6, 1e-6, x[0].numel() * 5).view(-1, 5)
        opinion = torch.tensor([50.0, 40.0, 30.0, 20.0, 10.0]).expand(len(x), 5)
        if self._near is not None:
            far = (x - self._near).flatten(1).abs().mean(1, keepdim=True) > _FAR
            opinion = torch.where(far, opinion.flip(1), opinion)
        return x.flatten(1) @ slopes + opinion
