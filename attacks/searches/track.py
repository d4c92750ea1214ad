"""Bookkeeping, image by image: who is still unfooled, and the nearest image found for each."""

from copy import copy
from typing import Self

import torch
from torch import Tensor

from attacks.geometry.ball import Ball, at_most, radii
from attacks.goals import Goal, met
from attacks.norms import Norm
from attacks.objectives.ranking import fooling
from attacks.protocols import MinNormAttack, Model
from attacks.queries.gradients import exact_form, forward, precise
from attacks.queries.inputs import clean_logits


class Survivors:
    """The images of a batch that are not fooled yet.

    Images leave the batch the moment they are fooled (those that meet the goal unchanged at once), so no pass is
    spent on them any more.

    Args:
        model: Images in [0, 1] -> logits.
        x: Images (N, ...), in [0, 1].
        goal: What counts as fooled.
        norm: In which ``eps`` is measured.
        eps: Largest allowed size, a number or (N,); None: no bound.
        logits: The model's for ``x`` (N, C), where they are known and all has been checked; None: it is asked.

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
    """Images in [0, 1] -> logits."""
    norm: Norm
    """In which the budgets are measured."""
    x: Tensor
    """The survivors' clean images (n, ...)."""
    goal: Goal
    """Their goal."""
    aim: Goal
    """What is descended for its sake: the goal itself, or one that implies it."""
    eps: Tensor
    """Their budgets (n,)."""
    rows: Tensor
    """Their places in the whole batch (n,)."""
    found: Tensor
    """For the whole batch: the fooling image where there is one, else the latest candidate."""
    logits: Tensor
    """The model's for the clean images of the whole batch (N, C)."""
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
        self.model, self.norm = model, norm
        self.x, self.goal, self.aim, self.eps = x, goal, goal, radii(eps, x)
        self.rows = torch.arange(len(x), device=x.device)
        self.found = x.clone()
        self._stay, self._ball = False, None
        self.retire(x, met(goal, self.logits))

    def __len__(self) -> int:
        return len(self.rows)

    def retire(self, x_adv: Tensor, fooled: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """Take out the images that are fooled.

        Args:
            x_adv: Candidates of the survivors (n, ...).
            fooled: Which of them meet the goal, bool (n,).
            *state: More tensors with a row for each survivor.

        Returns:
            ``x_adv`` and ``state``, without the rows of those taken out.
        """
        if self._stay or not bool(fooled.any()):
            return x_adv, *state
        self.found[self.rows[fooled]] = x_adv[fooled]
        active = (~fooled).nonzero().squeeze(1)
        self._keep(active)
        return x_adv[active], *(tensor[active] for tensor in state)

    @property
    def ball(self) -> Ball:
        """Where the survivors' candidates belong."""
        self._ball = self._ball or Ball(self.norm, self.x, self.eps)
        return self._ball

    @property
    def farthest(self) -> Tensor:
        """How far away a candidate may be (n,): no further than ``eps``, and nothing in [0, 1] is further than this."""
        return torch.minimum(self.norm.measure(torch.maximum(self.x, 1 - self.x)), self.eps)

    def widened(self, times: float) -> Self:
        """The same images with budgets so many times as large. Nobody leaves: what is out there is no result yet."""
        wide = copy(self)
        wide.eps, wide._stay, wide._ball = times * self.eps, True, None
        return wide

    def give_up(self, hopeless: Tensor, x_adv: Tensor) -> None:
        """Leave images out of all further work: bool (n,), with the best candidates (n, ...) there are."""
        self.found[self.rows[hopeless]] = x_adv[hopeless]
        self._keep((~hopeless).nonzero().squeeze(1))

    def finish(self, x_adv: Tensor) -> Tensor:
        """Put the last candidates (n, ...) in their places and return the whole batch (N, ...)."""
        self.found[self.rows] = x_adv
        return self.found

    def settle(self, best: "Nearest", attack: MinNormAttack, seed: int = 0) -> Tensor:
        """Put the nearest fooling images in their places and return the whole batch (N, ...).

        Where they were judged by another form of the model, the model itself is asked; it is attacked anew without
        that form where it does not agree.
        """
        if exact_form(self.model) is not None and len(rows := best.found.nonzero().squeeze(1)):
            goal, x_adv = self.goal.select(rows), best.x_adv[rows]
            # What was met with some slack is met without any: that is what the slack is for.
            wrong = ~(goal.margin(forward(self.model, x_adv, goal)) < 0)
            if bool(wrong.any()):
                eps = None if bool(self.eps.isinf().any()) else self.eps[rows[wrong]]
                again = attack(precise(self.model), self.x[rows[wrong]], goal.select(wrong), eps=eps, seed=seed)
                best.x_adv[rows[wrong]] = again
        self.found[self.rows] = best.x_adv
        return self.found

    def _keep(self, active: Tensor) -> None:
        aim = self.aim.select(active) if self.aim is not self.goal else None
        self.x, self.goal = self.x[active], self.goal.select(active)
        self.aim = aim or self.goal
        self.eps, self.rows, self._ball = self.eps[active], self.rows[active], None


class Lowest:
    """The candidate with the lowest margin so far for each image of a batch, the clean image to begin with.

    Args:
        active: The images that are to be fooled.

    Example:
        >>> from attacks import Linf, Untargeted
        >>> x = torch.tensor([[0.9, 0.3], [0.2, 0.8]])
        >>> active = Survivors(lambda x: x, x, Untargeted(torch.tensor([0, 0])), Linf(), eps=0.5)
        >>> best = Lowest(active)
        >>> better = torch.tensor([[0.8, 0.4]])
        >>> rest = best.offer(active, better, logits=better)
        >>> best.margin
        tensor([0.4000,    inf])
    """

    x_adv: Tensor
    """For the whole batch (N, ...)."""
    margin: Tensor
    """Of the goal (N,); infinite where the clean image was fooled."""

    def __init__(self, active: Survivors) -> None:
        self.x_adv = active.found.clone()
        self.margin = active.found.new_full((len(active.found),), torch.inf)
        self.look(active, active.x)

    def of(self, active: Survivors) -> Tensor:
        """The candidates of the active images (n, ...)."""
        return self.x_adv[active.rows]

    def look(self, active: Survivors, x_adv: Tensor) -> None:
        """Ask the model about candidates of the survivors (n, ...), and keep those that are better."""
        if len(active):
            self.offer(active, x_adv, forward(active.model, x_adv, active.goal))

    def offer(self, active: Survivors, x_adv: Tensor, logits: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """Keep the candidates (n, ...) that are better; then do what :meth:`Survivors.retire` does."""
        margin = active.goal.margin(logits)
        better = margin < self.margin[active.rows]
        rows = active.rows[better]
        self.x_adv[rows], self.margin[rows] = x_adv[better], margin[better].to(self.margin)
        return active.retire(x_adv, fooling(margin, logits), *state)


class Nearest:
    """The nearest fooling image found so far for each image of a minimum-norm attack.

    Args:
        x: Clean images (n, ...).
        norm: In which distance is measured.
        eps: Candidates further away than this are not taken; None: no bound.

    Example:
        >>> from attacks import Linf
        >>> best = Nearest(torch.zeros(1, 2), Linf())
        >>> better = best.offer(torch.tensor([[0.3, 0.1]]), torch.tensor([True]))
        >>> better = best.offer(torch.tensor([[0.4, 0.1]]), torch.tensor([True]))
        >>> best.size
        tensor([0.3000])
    """

    x_adv: Tensor
    """The nearest fooling image, or the clean one where none was found."""
    size: Tensor
    """Its distance (n,); infinite where none was found."""
    complete: bool
    """Whether one was found for every image."""

    def __init__(self, x: Tensor, norm: Norm, eps: float | Tensor | None = None) -> None:
        self._x, self._norm = x, norm
        # Only what is nearer than that is taken.
        self._enough = at_most(radii(eps, x))
        self.x_adv = x.clone()
        self.size = x.new_full((len(x),), torch.inf)
        self.complete = not len(x)

    @property
    def found(self) -> Tensor:
        """Where something was found, bool (n,)."""
        return self.size < torch.inf

    def select(self, index: Tensor) -> None:
        """Go on with some of the images only: a mask or positions."""
        self._x, self._enough = self._x[index], self._enough[index]
        self.x_adv, self.size = self.x_adv[index], self.size[index]
        self.complete = bool(self.found.all())

    def offer(self, x_adv: Tensor, fooled: Tensor, size: Tensor | None = None) -> Tensor:
        """Keep those of ``x_adv`` (n, ...) that fool and are nearer than what there was; bool (n,) which.

        Their distance ``size`` (n,) may be given where it is known already.
        """
        size = self._norm.measure(x_adv - self._x) if size is None else size
        better = fooled & (size < self._enough)
        rows = better.nonzero().squeeze(1)
        if len(rows):
            self._keep(rows, x_adv[rows], size[rows])
        return better

    def offer_for(self, rows: Tensor, x_adv: Tensor, fooled: Tensor, size: Tensor | None = None) -> Tensor:
        """The same where there are candidates for some of the images only: those at the places ``rows`` (m,)."""
        size = self._norm.measure(x_adv - self._x[rows]) if size is None else size
        better = fooled & (size < self._enough[rows])
        chosen = better.nonzero().squeeze(1)
        if len(chosen):
            self._keep(rows[chosen], x_adv[chosen], size[chosen])
        return better

    def _keep(self, rows: Tensor, x_adv: Tensor, size: Tensor) -> None:
        """Put better candidates (m, ...) and their distances (m,) in their places (m,)."""
        self.x_adv[rows] = x_adv
        self.size, self._enough = (known.index_copy(0, rows, size) for known in (self.size, self._enough))
        self.complete = self.complete or bool(self.found.all())


def nearby(x: Tensor, x_adv: Tensor, norm: Norm, eps: float | Tensor | None) -> Tensor:
    """Candidates (N, ...), but the clean images where they are further away than ``eps`` (a number, (N,) or None).

    Example:
        >>> from attacks import Linf
        >>> nearby(torch.zeros(2, 1), torch.tensor([[0.3], [0.2]]), Linf(), 0.25)
        tensor([[0.0000],
                [0.2000]])
    """
    nearest = Nearest(x.detach(), norm, eps)
    nearest.offer(x_adv, torch.ones_like(nearest.size, dtype=torch.bool))
    return nearest.x_adv
