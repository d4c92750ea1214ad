"""A limit on what an attack may cost."""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from attacks.ball import keeps_to
from attacks.goals import Goal, met
from attacks.gradients import asked_ids, booked_on, quick_form
from attacks.inputs import check_arguments, check_call, check_logits
from attacks.norms import Norm, column
from attacks.protocols import Attack, AttackError, Kind, Model


@dataclass(frozen=True)
class Capped:
    """An attack that may spend so many passes on each image; see :func:`capped`.

    Example:
        >>> from attacks import PGD
        >>> Capped(PGD(), 100).kind
        'budget'
    """

    attack: Attack
    """Of either kind."""
    passes: int
    """Forward and backward passes on each image."""
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1", "l0")

    def __post_init__(self) -> None:
        if self.passes < 1:
            raise ValueError(f"expected passes >= 1, got {self.passes}")

    @property
    def kind(self) -> Kind:
        """That of its attack."""
        return self.attack.kind

    @property
    def norm(self) -> Norm:
        """That of its attack."""
        return self.attack.norm

    def __call__(
        self, model: Model, x: Tensor, goal: Goal, *, eps: float | Tensor | None = None, seed: int = 0
    ) -> Tensor:
        """See :class:`attacks.protocols.BudgetAttack` and :class:`attacks.protocols.MinNormAttack`.

        Raises:
            AttackError: For images that were cut off before anything was known about them.
        """
        check_call(self, eps, seed)
        check_arguments(x, goal, self.norm, eps)
        purse = _Purse(self, model, x.detach(), goal, eps)
        errors: dict[int, str] = {}
        try:
            x_adv = self.attack(purse, x, goal, eps=eps, seed=seed)  # type: ignore[arg-type]
        except _SpentError:
            x_adv = purse.best
        except AttackError as error:
            x_adv, errors = error.x_adv, error.errors
        lost = (purse.cut & ~purse.known).nonzero().squeeze(1).tolist()
        errors |= dict.fromkeys(lost, f"nothing was known about it when its budget of passes ({self.passes}) was spent")
        x_adv = torch.where(column(purse.cut, x_adv), purse.best, x_adv.detach())
        if errors:
            raise AttackError(x_adv, errors)
        return x_adv


def capped(attack: Attack, passes: int) -> Capped:
    """The attack, cut off on each image after so many forward and backward passes, with the best it had seen.

    The best is the candidate within the budget with the lowest margin, or for a minimum-norm attack the nearest one
    that met the goal. An image on which the attack finished earlier has what the attack returned for it.

    Args:
        attack: Of either kind, of this library or any other. The ids of the images are all different.
        passes: At least 1. An attack that takes several gradients of one forward pass may exceed it by these.

    Raises:
        ValueError: If ``passes`` is below 1.

    Example:
        >>> from attacks import PGD, Untargeted
        >>> x, goal = torch.tensor([[0.6, 0.5]]), Untargeted(torch.tensor([0]))
        >>> asked = []
        >>> x_adv = capped(PGD(random_start=False), 11)(lambda x: asked.append(1) or x, x, goal, eps=0.01)
        >>> len(asked), bool(goal.margin(x_adv) < goal.margin(x))
        (6, True)
    """
    return Capped(attack, passes)


class _SpentError(BaseException):
    """All is spent. No ``Exception``, so that no attack takes it for an error of the model that it can live with."""


class _Purse:
    """A model that answers about an image until that image's passes are spent, and remembers the best candidates."""

    def __init__(self, limit: Capped, model: Model, x: Tensor, goal: Goal, eps: float | Tensor | None) -> None:
        self._limit, self._model, self._x, self._goal = limit, model, x, goal
        eps = torch.inf if eps is None else eps
        self._eps = torch.as_tensor(eps, dtype=x.dtype, device=x.device).expand(len(x))
        self._sorted, self._order = goal.ids.sort()
        self._spent = torch.zeros(len(x), device=x.device)
        self._lowest = torch.full((len(x),), torch.inf, dtype=x.dtype, device=x.device)
        self._last = x.new_zeros(len(x), 0)
        self.best = x.clone()
        self.cut = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        self.known = torch.zeros(len(x), dtype=torch.bool, device=x.device)

    def __call__(self, x: Tensor, /) -> Tensor:
        """Logits; of images that may not be asked about any more, those of the last time, without a gradient."""
        return self._answer(self._model, x)

    @property
    def quick_form(self) -> Model | None:
        """The model's faster form, if it has one: it costs as much, and no success is taken from its word."""
        form = quick_form(self._model)
        return None if form is None else partial(self._answer, form, sure=False)

    def _answer(self, model: Model, x: Tensor, *, sure: bool = True) -> Tensor:
        ask = partial(self._ask, model, sure=sure)
        rows = self._rows(x)
        price = 2 if torch.is_grad_enabled() and x.requires_grad else 1
        if rows is None:  # nobody knows whose rows these are: all images pay alike
            self._refuse(self._spent + price * len(x) / len(self._x) > self._limit.passes)
            self._spent += price * len(x) / len(self._x)
            return model(x)
        self._spent.index_add_(0, rows, torch.full_like(rows, price, dtype=self._spent.dtype))
        over = self._spent[rows] > self._limit.passes
        if not bool(over.any()):
            return ask(x, rows)
        self._spent[rows[over]] -= price
        self.cut[rows[over]] = True
        self._refuse(over)
        open_ = (~over).nonzero().squeeze(1)
        logits = ask(x[open_], rows[open_])
        return self._last[rows].to(logits).index_copy(0, open_, logits)

    def _refuse(self, over: Tensor) -> None:
        if bool(over.all()):
            self.cut |= self._spent + 1 >= self._limit.passes
            raise _SpentError

    def _rows(self, x: Tensor) -> Tensor | None:
        ids = asked_ids()
        if ids is not None and len(ids) == len(x):
            return self._order[torch.searchsorted(self._sorted, ids)]
        return torch.arange(len(x), device=x.device) if len(x) == len(self._x) else None

    def _ask(self, model: Model, x: Tensor, rows: Tensor, *, sure: bool) -> Tensor:
        with booked_on(self._goal.ids[rows]):
            logits = model(x)
        goal = self._goal.select(rows)
        if not self._last.shape[1]:  # the first answer says how many classes there are, and whether they are classes
            check_logits(logits, goal)
            self._last = logits.new_zeros(len(self._x), logits.shape[1])
        said, point = logits.detach(), x.detach()
        self._last[rows] = said
        size = self._limit.norm.measure(point - self._x[rows])
        value = goal.margin(said) if self._limit.kind == "budget" else size.where(met(goal, said), torch.inf)
        if not sure:  # it may say how near an image is to the boundary, not that it is beyond
            value = value.clamp_min(0) if self._limit.kind == "budget" else torch.full_like(size, torch.inf)
        inside = keeps_to(size, self._eps[rows]) & ((point >= 0) & (point <= 1)).flatten(1).all(1)
        better = inside & (value < self._lowest[rows])
        self.best[rows[better]], self._lowest[rows[better]] = point[better], value[better].to(self._lowest)
        self.known[rows] = True
        return logits
