"""The model as seen by Foolbox's attacks: counted, strict, time-limited, and without side effects on its parameters."""

import copy
import time
from typing import Any, NamedTuple

import torch
from torch import Tensor

from attacks.cap import spent
from attacks.foolbox.row import CLASSES, TARGETED, UNTARGETED
from attacks.goals import Goal
from attacks.objectives.ranking import SLACK, scale
from attacks.protocols import Model
from attacks.queries.answers import ask
from attacks.queries.derivatives import ask_with_graph, gradient_of
from attacks.queries.gradients import booked_on

_HAIR = 2 * SLACK
# Twice what attacks.goals.met requires, so that points Foolbox finds at the very boundary pass the check afterwards.


class Bounds(NamedTuple):
    """The range of an image's values."""

    lower: float = 0.0
    """Value of a black pixel."""
    upper: float = 1.0
    """Value of a white pixel."""


class FoolboxModel:
    """A model that takes and returns EagerPy tensors, like Foolbox's own models.

    Args:
        model: Images in [0, 1] -> logits.
        goal: The goal of the images; each call has one row per image.
        dtype: The dtype of the model's images; Foolbox works in float32.
        seconds: Time after which the next call raises ``TimeoutError``.

    Example:
        >>> import eagerpy
        >>> from attacks import Untargeted
        >>> door = FoolboxModel(lambda x: x, Untargeted(torch.tensor([1])), torch.float32, seconds=60.0)
        >>> door(eagerpy.astensor(torch.tensor([[1.0, 1.0]]))).argmax(1).raw  # in doubt for the label
        tensor([1])
    """

    bounds = Bounds()
    data_format = "channels_first"

    goal: Goal
    """The goal of the images."""

    def __init__(self, model: Model, goal: Goal, dtype: torch.dtype, seconds: float) -> None:
        self._model, self.goal, self._dtype = model, goal, dtype
        self._seconds, self._deadline = seconds, time.monotonic() + seconds

    def __call__(self, inputs: Any) -> Any:
        """Images (N, ...) -> logits (N, C), both as EagerPy tensors.

        Raises:
            TimeoutError: If the time is up.
            ArithmeticError: If a logit is not finite; some attacks would loop forever.
            NoGradientError: If a gradient is requested and the model has none.
        """
        x: Tensor = inputs.raw
        if x.requires_grad:
            return type(inputs)(_Differentiable.apply(x, self))
        with torch.no_grad():
            return type(inputs)(self.logits(x))

    def repeated(self, count: int) -> "FoolboxModel":
        """The model for ``count`` copies of its only image, with the same deadline."""
        return self._of(torch.zeros(count, dtype=torch.long, device=self.goal.ids.device))

    def fools(self, x: Tensor, rows: Tensor) -> Tensor:
        """Whether images (m, ...) meet the goals of rows ``rows`` (m,), bool (m,)."""
        other = self._of(rows)
        with torch.no_grad():
            return cleared(other.goal, other.logits(x))

    def logits(self, x: Tensor) -> Tensor:
        """Images (N, ...) -> logits (N, C), float32."""
        if time.monotonic() > self._deadline:
            raise TimeoutError(
                f"no result within {self._seconds:g} seconds; with a cap on passes there is the best until then"
            )
        with booked_on(self.goal.ids):
            asked = ask_with_graph if x.requires_grad else ask
            logits = asked(self._model, x.to(self._dtype)).float()
        if spent(self._model, self.goal.ids):  # some attacks would loop forever
            raise RuntimeError("its passes are spent")
        if not bool(logits.isfinite().all()):
            raise ArithmeticError("the logits are not finite")
        return _strict(self.goal, logits)

    def _of(self, rows: Tensor) -> "FoolboxModel":
        """The model for some of the images, which may repeat."""
        other = copy.copy(self)
        other.goal = self.goal.select(rows)
        return other


class _Differentiable(torch.autograd.Function):
    """Logits that can be differentiated only with respect to the images.

    Foolbox calls ``backward``, which would also add to the gradients of the model's parameters.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, door: FoolboxModel) -> Tensor:
        with torch.enable_grad():
            ctx.x = x.detach().requires_grad_()
            ctx.logits = door.logits(ctx.x)
        logits: Tensor = ctx.logits.detach()
        return logits

    @staticmethod
    def backward(ctx: Any, *wanted: Tensor) -> tuple[Tensor, None]:
        with torch.enable_grad():
            gradient = gradient_of((ctx.logits * wanted[0]).sum(), ctx.x, keep=True)
        # As in attacks.queries.gradients: non-finite gradients give no direction.
        return gradient.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0), None


def compared(goal: Goal) -> tuple[Tensor | None, Tensor | None]:
    """The labels or the targets (N,) with which Foolbox's attacks compare classes; neither for most goals.

    Two goals have a counterpart in Foolbox, and attacks that compare classes themselves support no others. So these are
    named here, as in the table of supported goals.

    Example:
        >>> from attacks import OrderedTopK, Untargeted
        >>> compared(Untargeted(torch.tensor([3]))), compared(OrderedTopK(torch.tensor([[3]])))
        ((tensor([3]), None), (None, None))
    """
    labels = goal.exclusion.classes[:, 0] if goal.name in UNTARGETED and goal.exclusion is not None else None
    targets = goal.order[:, 0] if goal.name in TARGETED and goal.order is not None else None
    return labels, targets


def cleared(goal: Goal, logits: Tensor) -> Tensor:
    """Whether logits (N, C) from a :class:`FoolboxModel` meet the goal: bool (N,)."""
    hair = 0 if goal.name in CLASSES else _hair(logits).squeeze(1)
    return goal.margin(logits) < -hair


def _strict(goal: Goal, logits: Tensor) -> Tensor:
    """The logits with the label slightly raised, or the target slightly lowered.

    Foolbox compares classes in many places; this way all of them agree.
    """
    labels, targets = compared(goal)
    if labels is not None:
        return logits.scatter_add(1, labels.unsqueeze(1), _hair(logits))
    if targets is not None:
        return logits.scatter_add(1, targets.unsqueeze(1), -_hair(logits))
    return logits


def _hair(logits: Tensor) -> Tensor:
    return _HAIR * scale(logits.detach()).unsqueeze(1)
