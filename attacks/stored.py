"""An attack whose images are those of files: of 8 bits, for a model that itself rounds them on its way."""

from dataclasses import dataclass

import torch
from torch import Tensor

from attacks.geometry.ball import radii
from attacks.geometry.quantize import on_levels, quantize
from attacks.goals import Goal, Spared, met
from attacks.protocols import Attack, AttackError, Model
from attacks.queries.classified import MadeOfOne
from attacks.queries.gradients import exact_form, forward
from attacks.queries.inputs import check_arguments, check_call
from attacks.queries.plain import not_negative, whole_number
from attacks.searches.mending import mend

_WHITE = 255
_ROUNDING = 1e-4  # of float32 values up to 255, with room to spare


@dataclass(frozen=True)
class Stored(MadeOfOne):
    """An attack that returns images of 8 bits which meet the goal as they are; see :func:`stored`.

    Example:
        >>> from attacks import TopK
        >>> Stored(TopK()).kind
        'minimum norm'
    """

    attack: Attack
    """The attack, of either kind."""
    kappa: float = 1.0
    """Logits to spare at which the attack aims; 0: none."""
    steps: int = 40
    """Gradients for each number of grey levels that an image may be moved by after the attack, in Linf."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "steps", whole_number("steps", self.steps))
        object.__setattr__(self, "kappa", not_negative("kappa", self.kappa, "logits"))

    def __call__(
        self, model: Model, x: Tensor, goal: Goal, *, eps: float | Tensor | None = None, seed: int = 0
    ) -> Tensor:
        """See :class:`attacks.protocols.BudgetAttack` and :class:`attacks.protocols.MinNormAttack`.

        Raises:
            AttackError: For images on which the attack failed.
        """
        check_call(self, eps, seed)
        check_arguments(model, x, goal, self.norm, eps)
        x = x.detach()
        best = x.clone()
        rows = (~met(goal, forward(model, x, goal))).nonzero().squeeze(1)
        if not len(rows):
            return best
        some, bound = goal.select(rows), radii(eps, x)[rows]
        budget = None if eps is None else bound
        asked = (exact_form(model) or model) if self.access == "gradients" else model
        aim = Spared(some, self.kappa) if self.kappa else some
        failed = dict[int, str]()
        try:
            x_adv = self.attack(asked, x[rows], aim, eps=budget, seed=seed)  # type: ignore[arg-type]
        except AttackError as error:
            x_adv, failed = error.x_adv, {int(rows[row]): why for row, why in error.errors.items()}
        best[rows] = self._of_levels(model, x[rows], x_adv.detach(), some, budget, bound)
        if failed:
            best[[*failed]] = x[[*failed]]
            raise AttackError(best, failed)
        return best

    def _of_levels(
        self, model: Model, x: Tensor, x_adv: Tensor, goal: Goal, eps: Tensor | None, bound: Tensor
    ) -> Tensor:
        """Images of 8 bits near those that the attack returned."""
        moved = (x_adv != x).flatten(1).any(1)
        last = (bound * _WHITE + _ROUNDING).floor().clamp_max(_WHITE)
        if self.access != "gradients":  # its model has rounded every image that it asked about
            return on_levels(x, x_adv, last if self.norm.per_value else torch.full_like(last, _WHITE))
        if not self.norm.per_value:
            return quantize(model, x, x_adv, goal, self.norm, eps=eps)
        first = last
        if self.kind == "minimum norm":
            # Without the margin to spare fewer levels may do than the attack has taken.
            size = (self.norm.measure(x_adv - x) * _WHITE - _ROUNDING).floor()
            first = torch.where(moved, size, last).clamp_min(1).minimum(last)
        found, _ = mend(model, x, x_adv, goal, first, last, steps=self.steps)
        return found


def stored(attack: Attack, kappa: float = 1.0) -> Stored:
    """The attack, returning images whose values are multiples of 1/255 and which meet the goal as they are.

    For a model that reads files: it rounds its images, resizes or compresses them in whole numbers, and a perturbation
    that was found without that is often undone by it. The attack runs on the model's differentiable form, where it has
    one as ``exact_form``, and aims at ``kappa`` logits more than the goal asks. Then the model itself is asked about
    images of 8 bits: in Linf they are moved on, a level more at a time, until the goal is met
    (:func:`attacks.searches.mending.mend`); in other norms :func:`attacks.quantize` stretches the perturbation. What an
    attack without gradients returns is rounded, since the model that it asks has done so all along.

    Args:
        attack: An attack of either kind.
        kappa: Logits to spare; see :class:`attacks.Spared`.

    Raises:
        ValueError: ``kappa`` is negative.

    Example:
        >>> from attacks import TopK, Untargeted, straight_through
        >>> rounded = straight_through(lambda x: (x * 255).round() / 255)
        >>> x, goal = torch.tensor([[102.0, 101.0]]) / 255, Untargeted(torch.tensor([0]))
        >>> x_adv = stored(TopK(), kappa=0.001)(lambda x: 10 * rounded(x), x, goal)
        >>> (x_adv * 255).round()
        tensor([[101., 102.]])
    """
    return Stored(attack, kappa)
