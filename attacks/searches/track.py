"""Bookkeeping, image by image: which images are still unfooled."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from typing import Self

import torch
from torch import Tensor

from attacks.geometry.ball import Ball, radii
from attacks.goals import Goal, met
from attacks.losses import Loss
from attacks.norms import Norm
from attacks.protocols import Attack, Model, Precision
from attacks.queries.confined import confined
from attacks.queries.gradients import Slope, exact_form, forward, precise, slope
from attacks.queries.inputs import clean_logits
from attacks.searches.nearest import Nearest

AT_ONCE = 2**20
"""Approximate number of image values per pass when several copies of each image are evaluated."""


class Survivors:
    """The images of a batch that are not fooled yet.

    Images leave the batch as soon as they are fooled (those that meet the goal unchanged leave immediately), so that no
    more passes are spent on them.

    Args:
        model: Images in [0, 1] -> logits.
        x: Images (N, ...), in [0, 1].
        goal: Success criterion for these images.
        norm: The norm in which ``eps`` is measured.
        eps: Largest allowed size, a number or (N,); None: no bound.
        logits: The model's logits of ``x`` (N, C), if known and all arguments have been checked; None: the model is
            queried.

    Raises:
        ValueError: As :func:`attacks.queries.inputs.clean_logits` does.

    Example:
        >>> from attacks import Linf, Untargeted
        >>> x = torch.tensor([[0.9, 0.3], [0.2, 0.8]])
        >>> active = Survivors(lambda x: x, x, Untargeted(torch.tensor([0, 0])), Linf(), eps=0.5)
        >>> active.x, active.rows
        (tensor([[0.9000, 0.3000]]), tensor([0]))
    """

    model: Model
    """Images in [0, 1] -> logits; changes outside a mask of the norm are undone first, see `confined`."""
    norm: Norm
    """The norm in which the budgets are measured."""
    x: Tensor
    """The survivors' clean images (n, ...)."""
    goal: Goal
    """The survivors' goal."""
    aim: Goal
    """The objective descended to meet the goal: the goal itself, or one that implies it."""
    eps: Tensor
    """The survivors' budgets (n,)."""
    rows: Tensor
    """The survivors' rows in the whole batch (n,)."""
    found: Tensor
    """For the whole batch: the adversarial image where there is one, else the latest candidate."""
    fooled: Tensor
    """For the whole batch: whether the image found meets the goal, bool (N,)."""
    logits: Tensor
    """The model's logits of the clean images of the whole batch (N, C)."""
    precision: Precision
    """The precision of the survivors' gradients."""
    together: int
    """Number of copies of each image, side by side, of which all leave with the first that is fooled."""
    _ball: Ball | None

    def __init__(
        self,
        model: Model,
        x: Tensor,
        goal: Goal,
        norm: Norm,
        eps: float | Tensor | None,
        *,
        logits: Tensor | None = None,
    ) -> None:
        self.logits = clean_logits(model, x, goal, norm, eps) if logits is None else logits
        x = x.detach()
        self.model, self.norm, self.precision = confined(model, norm, x, goal.ids), norm, "exact"
        self.x, self.goal, self.aim, self.eps = x, goal, goal, radii(eps, x)
        self.rows = torch.arange(len(x), device=x.device)
        self.found, self.fooled, self._clean = x.clone(), torch.zeros_like(self.rows, dtype=torch.bool), x
        self.together, self._stay, self._ball = 1, False, None
        self._anew: Callable[[Model, Tensor, Goal, float | Tensor | None], Tensor] | None = None
        self.retire(x, met(goal, self.logits))

    @classmethod
    def of(
        cls,
        attack: Attack,
        model: Model,
        x: Tensor,
        goal: Goal,
        eps: float | Tensor | None,
        seed: int,
        *,
        logits: Tensor | None = None,
    ) -> Self:
        """The survivors of an attack, in its norm and with gradients of its declared precision.

        The other arguments are those of its call. An attack that declares no ``precision`` gets exact gradients.
        """
        active = cls(model, x, goal, attack.norm, eps, logits=logits)
        active.precision = getattr(attack, "precision", "exact")
        active._anew = lambda model, x, goal, eps: attack(model, x, goal, eps=eps, seed=seed)  # type: ignore[arg-type]
        return active

    def __len__(self) -> int:
        return len(self.rows)

    def slope(self, x_adv: Tensor, loss: Loss, *, aim: Goal | None = None) -> Slope:
        """Loss and gradient of the survivors' candidates (n, ...); see :func:`attacks.queries.gradients.slope`.

        Args:
            x_adv: Candidates (n, ...).
            loss: Logits (n, C), aim -> (n,).
            aim: The aim of the loss; None: the survivors' own.
        """
        return slope(self.model, x_adv, self.goal, loss, aim=aim or self.aim, precision=self.precision)

    def retire(self, x_adv: Tensor, fooled: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """Remove the images that are fooled.

        Args:
            x_adv: Candidates of the survivors (n, ...).
            fooled: Which of them meet the goal, bool (n,).
            *state: Further tensors with one row per survivor.

        Returns:
            ``x_adv`` and ``state``, without the rows of the images removed.
        """
        stay = self.take_out(x_adv, fooled)
        return (x_adv, *state) if stay is None else (x_adv[stay], *(tensor[stay] for tensor in state))

    def take_out(self, x_adv: Tensor, fooled: Tensor) -> Tensor | None:
        """Like :meth:`retire`, for an attack that keeps its state in a record with a method ``select``.

        Returns:
            Positions, among the survivors so far, of those that stay (m,); None if all do.
        """
        if self._stay or not bool(fooled.any()):
            return None
        self.found[self.rows[fooled]], self.fooled[self.rows[fooled]] = x_adv[fooled], True
        done = fooled.view(-1, self.together).any(1).repeat_interleave(self.together)
        stay = (~done).nonzero().squeeze(1)
        self._keep(stay)
        return stay

    @property
    def ball(self) -> Ball:
        """The set in which the survivors' candidates must lie."""
        self._ball = self._ball or self.norm.ball(self.x, self.eps)
        return self._ball

    @property
    def farthest(self) -> Tensor:
        """Largest distance of a candidate (n,): at most ``eps``, and no further than the farthest point of [0, 1]."""
        return torch.minimum(self.norm.measure(torch.maximum(self.x, 1 - self.x)), self.eps)

    def within(self, eps: Tensor) -> Self:
        """The same images with other budgets (n,). None leaves: candidates beyond their own budgets do not count."""
        other = copy(self)
        other.eps, other._stay, other._ball = eps, True, None
        return other

    @contextmanager
    def only(self, some: Tensor) -> Iterator[Self]:
        """A context with some of the images, bool (n,); images that leave there leave here too."""
        part = self._select(some.nonzero().squeeze(1))
        before = part.rows
        yield part
        left = before[~torch.isin(before, part.rows)]
        self._keep((~torch.isin(self.rows, left)).nonzero().squeeze(1))

    def parts(self, count: int) -> Iterator[Self]:
        """Yield the images in parts whose ``count`` copies fill a batch; images that leave a part leave here too."""
        for rows in torch.split(self.rows, max(1, AT_ONCE // (count * self.x[:1].numel() or 1))):
            with self.only(torch.isin(self.rows, rows)) as part:
                yield part

    def copies(self, count: int) -> Self:
        """``count`` copies of each image, side by side; all of them leave once one is fooled."""
        crowd = self._select(torch.arange(len(self), device=self.rows.device).repeat_interleave(count))
        crowd.logits, crowd.found, crowd.together = self.logits[crowd.rows], crowd.x.clone(), count
        crowd.rows = torch.arange(len(crowd), device=self.rows.device)
        crowd.fooled = torch.zeros_like(crowd.rows, dtype=torch.bool)
        return crowd

    def give_up(self, hopeless: Tensor, x_adv: Tensor) -> None:
        """Exclude ``hopeless`` images, bool (n,), from all further work, with their best candidates (n, ...)."""
        self.found[self.rows[hopeless]] = x_adv[hopeless]
        self._keep((~hopeless).nonzero().squeeze(1))

    def finish(self, last: Tensor | Nearest) -> Tensor:
        """Insert the last candidates (n, ...), or the nearest found, and return the whole batch (N, ...).

        If the nearest were judged by another form of the model, the model itself is queried with them, and an image on
        which it disagrees is attacked again without that form.
        """
        if isinstance(last, Nearest):
            self._confirm(last)
            last = last.x_adv
        self.found[self.rows] = last
        self.found = self.norm.confine(self._clean, self.found)
        return self.found

    def _confirm(self, best: Nearest) -> None:
        if self.precision != "float32" or self._anew is None or exact_form(self.model) is None:
            return
        rows = best.found.nonzero().squeeze(1)
        if not len(rows):
            return
        goal = self.goal.select(rows)
        # A goal met with slack is also met without it: that is the purpose of the slack.
        wrong = ~(goal.margin(forward(self.model, best.x_adv[rows], goal)) < 0)
        if bool(wrong.any()):
            eps = None if bool(self.eps.isinf().any()) else self.eps[rows[wrong]]
            best.x_adv[rows[wrong]] = self._anew(precise(self.model), self.x[rows[wrong]], goal.select(wrong), eps)

    def _keep(self, stay: Tensor) -> None:
        aim = self.aim.select(stay) if self.aim is not self.goal else None
        self.x, self.goal = self.x[stay], self.goal.select(stay)
        self.aim = aim or self.goal
        self.eps, self.rows, self._ball = self.eps[stay], self.rows[stay], None

    def _select(self, index: Tensor) -> Self:
        part = copy(self)
        part._keep(index)
        return part
