"""A limit on the cost of an attack."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from attacks.geometry.ball import keeps_to, radii
from attacks.geometry.rows import column, flat
from attacks.goals import Goal, met
from attacks.protocols import Attack, AttackError, Model
from attacks.queries.answers import ask
from attacks.queries.classified import MadeOfOne
from attacks.queries.gradients import asked_backwards, asked_ids, booked_on, quick_form
from attacks.queries.inputs import check_arguments, check_call, check_logits
from attacks.queries.places import Places
from attacks.queries.plain import whole_number
from attacks.searches.starts import needs_start


@dataclass(frozen=True)
class Capped(MadeOfOne):
    """An attack that may spend at most ``max_passes`` passes on each image; see :func:`capped`.

    Example:
        >>> from attacks import PGD
        >>> Capped(PGD(), 100).kind
        'budget'
    """

    attack: Attack
    """The attack, of either kind."""
    max_passes: int
    """Forward and backward passes on each image."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "max_passes", whole_number("max_passes", self.max_passes))

    def __call__(
        self, model: Model, x: Tensor, goal: Goal, *, eps: float | Tensor | None = None, seed: int = 0
    ) -> Tensor:
        """See :class:`attacks.protocols.BudgetAttack` and :class:`attacks.protocols.MinNormAttack`.

        Raises:
            AttackError: For images that were cut off before anything was known about them, or, for an attack that needs
                a start, before one was found.
        """
        check_call(self, eps, seed)
        check_arguments(model, x, goal, self.norm, eps)
        purse = _Purse(self, model, x.detach(), goal, eps)
        errors: dict[int, str] = {}
        try:
            x_adv = self.attack(purse, x, goal, eps=eps, seed=seed)  # type: ignore[arg-type]
        except _SpentError:
            x_adv = purse.best
        except AttackError as error:  # about an image that was cut off, it says only that
            x_adv = error.x_adv
            errors = {row: why for row, why in error.errors.items() if not purse.cut[row]}
        errors |= purse.lost()
        x_adv = torch.where(column(purse.cut, x_adv), purse.best, x_adv.detach())
        if errors:
            raise AttackError(x_adv, errors)
        return x_adv


def capped(attack: Attack, max_passes: int) -> Capped:
    """Cut an attack off on each image after ``max_passes`` passes, and return the best candidate seen by then.

    The best is the candidate within the budget with the lowest margin, or for a minimum-norm attack the nearest one
    that met the goal. For an image on which the attack finished earlier, what the attack returned is kept.

    Args:
        attack: An attack of either kind, from this library or any other. The ids of the images must all be different.
        max_passes: Forward and backward passes on each image, at least 1. Several gradients from one forward pass are
            counted separately.

    Raises:
        ValueError: If ``max_passes`` is not a whole number of at least 1.

    Example:
        >>> from attacks import PGD, Untargeted
        >>> x, goal = torch.tensor([[0.6, 0.5]]), Untargeted(torch.tensor([0]))
        >>> asked = []
        >>> x_adv = capped(PGD(random_start=False), 11)(lambda x: asked.append(1) or x, x, goal, eps=0.01)
        >>> len(asked), bool(goal.margin(x_adv) < goal.margin(x))
        (6, True)
    """
    return Capped(attack, max_passes)


def spent(model: Model, ids: Tensor) -> bool:
    """Whether a model no longer answers about any of the images with these ids, because their passes are used up.

    An attack on many images at once need not check: it gets the last answer again until it has finished with the
    others. An attack that continues until the model's answer changes should stop.

    Example:
        >>> spent(lambda x: x, torch.tensor([0]))
        False
    """
    asked: object = model
    while asked is not None and not isinstance(asked, _Purse | _Paying):
        asked = getattr(asked, "wrapped", None)
    return isinstance(asked, _Purse | _Paying) and asked.refuses(ids)


def behind_limit(model: Model) -> Model:
    """The model behind a limit on passes, for probing that belongs to no image; other models are returned unchanged.

    Example:
        >>> model = lambda x: x
        >>> behind_limit(model) is model
        True
    """
    return model.wrapped if isinstance(model, _Purse) else model


def limited(model: Model, other: Model) -> Model:
    """Put a model derived from a limited one behind the same limit.

    The limit wraps the whole: if it were inside, answers about images that are cut off would be missing in the middle
    of a pass over others, and rows could no longer be matched to images.

    Args:
        model: A model, with or without a limit.
        other: A model built from ``behind_limit(model)``.

    Example:
        >>> model, other = lambda x: x, lambda x: 2 * x
        >>> limited(model, other) is other
        True
    """
    return _Paying(model, other) if isinstance(model, _Purse) else other


class _Paying:
    """A model whose passes are charged to the purse of another."""

    def __init__(self, purse: "_Purse", model: Model) -> None:
        self._purse, self._model = purse, model

    def __call__(self, x: Tensor, /) -> Tensor:
        """Logits, or the last ones again, as the other model gives them."""
        return self._purse.answer(self._model, x)

    def refuses(self, ids: Tensor) -> bool:
        """Whether the attack is cut off on all of these images."""
        return self._purse.refuses(ids)

    @property
    def wrapped(self) -> Model:
        """The underlying model."""
        return self._model


_ENDLESS = 2**53
"""More passes than any attack takes; Python's larger integers do not fit into tensors."""


class _SpentError(BaseException):
    """All passes are spent. Not an ``Exception``, so that no attack mistakes it for a model error and continues."""


class _Purse:
    """A model that answers about an image until that image's passes are spent, and remembers the best candidates."""

    def __init__(self, limit: Capped, model: Model, x: Tensor, goal: Goal, eps: float | Tensor | None) -> None:
        self._limit, self._model, self._x, self._goal = limit, model, x, goal
        self._eps = radii(eps, x)
        self._most = min(limit.max_passes, _ENDLESS)
        self._places = Places(goal.ids)
        self._spent = torch.zeros(len(x), device=x.device)
        self._lowest = torch.full((len(x),), torch.inf, dtype=x.dtype, device=x.device)
        self._finished = torch.zeros(len(x), dtype=torch.bool, device=x.device)  # nothing better can be found
        self._last = x.new_zeros(len(x), 0)
        self.best = x.clone()
        self.cut = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        self.known = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        self._began = torch.full((len(x),), not needs_start(limit.attack), device=x.device)

    def __call__(self, x: Tensor, /) -> Tensor:
        """Logits; for images whose passes are spent, the last ones again, without a gradient."""
        return self.answer(self._model, x)

    @property
    def wrapped(self) -> Model:
        """The underlying model."""
        return self._model

    @property
    def quick_form(self) -> Model | None:
        """The model's faster form, if it has one: it costs as much, and a success on it alone is not accepted."""
        form = quick_form(self._model)
        return None if form is None else partial(self.answer, form, sure=False)

    def refuses(self, ids: Tensor) -> bool:
        """Whether the attack is cut off on all of these images."""
        return bool(self.cut[self._places.of(ids)].all())

    def lost(self) -> dict[int, str]:
        """Row of each image that was cut off before anything was known about it -> why."""
        reached = f"its limit of {self._limit.max_passes} passes was reached"
        lost = (self.cut & ~self._began).nonzero().flatten().tolist()
        unknown = (self.cut & ~self.known).nonzero().flatten().tolist()
        return dict.fromkeys(lost, f"no start was found before {reached}") | dict.fromkeys(
            unknown, f"nothing was known about it when {reached}"
        )

    def answer(self, model: Model, x: Tensor, *, sure: bool = True) -> Tensor:
        """Logits of a form of the model, charged to the images; see the call."""
        rows = self._rows(x)
        price = 1 + asked_backwards() if torch.is_grad_enabled() and x.requires_grad else 1
        if rows is None:  # the rows cannot be matched to images, so all images pay alike
            self._spent += price * len(x) / len(self._x)
            if bool((self._spent > self._most).any()):
                self.cut[:] = True
                raise _SpentError
            return ask(model, x)
        self._spent.index_add_(0, rows, torch.full_like(rows, price, dtype=self._spent.dtype))
        # An image that is cut off stays cut off: the cheaper queries it still has passes for might depend on the
        # others.
        over = (self._spent > self._most)[rows] | self.cut[rows]
        if not bool(over.any()):
            return self._ask(model, x, rows, sure=sure)
        self._spent.index_add_(0, rows[over], torch.full_like(rows[over], -price, dtype=self._spent.dtype))
        self.cut[rows[over]] = True
        return self._answer_some(model, x, rows, over, sure=sure)

    def _answer_some(self, model: Model, x: Tensor, rows: Tensor, over: Tensor, *, sure: bool) -> Tensor:
        """The answer where some or all images are over their limit."""
        # Others may come later: an attack need not query all images in every pass.
        if not self._last.shape[1] or bool((self.cut | self._finished).all()):
            self.cut[:] = True
            raise _SpentError
        open_ = (~over).nonzero().squeeze(1)
        logits = self._last[rows] + 0 * flat(x).sum(1, keepdim=True).to(self._last)
        if not len(open_):
            return logits
        fresh = self._ask(model, x[open_], rows[open_], sure=sure)
        return logits.to(fresh).index_copy(0, open_, fresh)

    def _rows(self, x: Tensor) -> Tensor | None:
        ids = asked_ids()
        if ids is not None and len(ids) == len(x):
            return self._places.of(ids)
        return torch.arange(len(x), device=x.device) if len(x) == len(self._x) else None

    def _ask(self, model: Model, x: Tensor, rows: Tensor, *, sure: bool) -> Tensor:
        with booked_on(self._goal.ids[rows], asked_backwards()):
            logits = ask(model, x)
        goal = self._goal.select(rows)
        if not self._last.shape[1]:  # the first answer shows how many classes there are, and whether they are classes
            check_logits(logits, goal)
            self._last = logits.new_zeros(len(self._x), logits.shape[1])
        self._last[rows] = logits.detach()
        self._keep(rows, x.detach(), logits.detach(), goal, sure=sure)
        return logits

    def _keep(self, rows: Tensor, x: Tensor, logits: Tensor, goal: Goal, *, sure: bool) -> None:
        """Keep the best candidates; there may be several per image."""
        budget = self._limit.kind == "budget"
        size, fooled = self._limit.norm.measure(x - self._x[rows]), met(goal, logits)
        value = goal.margin(logits).to(size) if budget else size.where(fooled, torch.inf)
        if not sure:  # it may tell how near an image is to the boundary, but not that it is beyond it
            value = value.clamp_min(0) if budget else torch.full_like(size, torch.inf)
        inside = keeps_to(size, self._eps[rows]) & ((x >= 0) & (x <= 1)).flatten(1).all(1)
        value = value.where(inside, torch.inf).nan_to_num(nan=torch.inf, posinf=torch.inf)
        lowest = self._lowest.scatter_reduce(0, rows, value, "amin")
        better = (value < self._lowest[rows]) & (value == lowest[rows])
        self.best[rows[better]], self._lowest = x[better], lowest
        self._finished[rows[fooled & inside & sure & (budget or value == 0)]] = True
        self.known[rows] = True
        self._began[rows[fooled & sure]] = True
