"""Attacks that return 8-bit images, as files hold them, for models that round their images internally."""

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
from attacks.queries.plain import safety_margin, whole_number
from attacks.searches.mending import mend

_WHITE = 255
_ROUNDING = 1e-4  # rounding error of float32 values up to 255, with room to spare


@dataclass(frozen=True)
class Stored(MadeOfOne):
    """An attack that returns 8-bit images that meet the goal as stored; see :func:`stored`.

    Example:
        >>> from attacks import TopK
        >>> Stored(TopK()).kind
        'minimum norm'
    """

    attack: Attack
    """The attack, of either kind."""
    kappa: float = 1.0
    """Safety margin of the attack, logits; 0: none."""
    steps: int = 40
    """Number of gradients for each number of grey levels by which an image may be moved after the attack, in Linf."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "steps", whole_number("steps", self.steps))
        object.__setattr__(self, "kappa", safety_margin(self.kappa))

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
        """8-bit images near those that the attack returned."""
        moved = (x_adv != x).flatten(1).any(1)
        last = (bound * _WHITE + _ROUNDING).floor().clamp_max(_WHITE)
        if self.access != "gradients":  # the model has rounded every image it was queried with
            return on_levels(x, x_adv, last if self.norm.per_value else torch.full_like(last, _WHITE))
        if not self.norm.per_value:
            return quantize(model, x, x_adv, goal, self.norm, eps=eps)
        first = last
        if self.kind == "minimum norm":
            # Without the safety margin, fewer levels than the attack used may suffice.
            size = (self.norm.measure(x_adv - x) * _WHITE - _ROUNDING).floor()
            first = torch.where(moved, size, last).clamp_min(1).minimum(last)
        return mend(model, x, x_adv, goal, first, last, steps=self.steps)


def stored(attack: Attack, kappa: float = 1.0) -> Stored:
    """Make an attack return images whose values are multiples of 1/255 and that still meet the goal.

    For models that read files: they round, resize or compress images in integers, which often undoes a perturbation
    found without that. The attack runs on the model's differentiable form, if it has one as ``exact_form``, and aims at
    ``kappa`` logits more than the goal requires. Then the model itself is queried with 8-bit images: in Linf they are
    moved further, one level at a time, until the goal is met (:func:`attacks.searches.mending.mend`); in other norms
    :func:`attacks.quantize` scales up the perturbation. The result of a gradient-free attack is simply rounded, since
    the model it queried has done so all along.

    Args:
        attack: An attack of either kind.
        kappa: Safety margin in logits; see :class:`attacks.Spared`.

    Raises:
        ValueError: If ``kappa`` is negative.

    Example:
        >>> from attacks import TopK, Untargeted, straight_through
        >>> rounded = straight_through(lambda x: (x * 255).round() / 255)
        >>> x, goal = torch.tensor([[102.0, 101.0]]) / 255, Untargeted(torch.tensor([0]))
        >>> x_adv = stored(TopK(), kappa=0.001)(lambda x: 10 * rounded(x), x, goal)
        >>> (x_adv * 255).round()
        tensor([[101., 102.]])
    """
    return Stored(attack, kappa)
