"""A model wrapper that records an attack's queries: the best candidate for each image, and the course of the search."""

import torch
from torch import Tensor

from advbench.records.record import largest_size
from attacks.goals import Goal
from attacks.norms import Norm
from attacks.protocols import Model
from attacks.queries.answers import ask
from attacks.queries.gradients import asked_ids
from attacks.queries.places import Places

LAST = 10
"""Number of passes at the end of a search during which the best margin should hardly fall any more."""
SHARE = 0.05
"""Largest share of the total fall that may happen in these passes."""


class Recorder:
    """A model that passes on every output, and keeps the best candidate within the budget for each image.

    It offers none of the model's faster forms, so that every output comes from the model itself.

    Args:
        model: Images in [0, 1] -> logits.
        x: Images (N, ...) under attack.
        goal: The goal for all images, with ids that are all different.
        norm: Norm of ``eps``.
        eps: Budget, image units.

    Example:
        >>> from attacks import Linf, PGD, Untargeted
        >>> x, goal = torch.tensor([[0.6, 0.4]]), Untargeted(torch.tensor([0]))
        >>> recorder = Recorder(lambda x: x, x, goal, Linf(), 0.3)
        >>> bool((PGD()(recorder, x, goal, eps=0.3) == recorder.best).all())
        True
    """

    best: Tensor
    """The candidate within the budget with the lowest margin (N, ...); the image itself if there was none."""
    margin: Tensor
    """Margin of that candidate (N,)."""

    def __init__(self, model: Model, x: Tensor, goal: Goal, norm: Norm, eps: float) -> None:
        self._model, self._x, self._goal, self._norm, self._eps = model, x, goal, norm, eps
        self._places = Places(goal.ids)
        self._falls: list[tuple[Tensor, Tensor]] = []
        self.best, self.margin = x.clone(), x.new_full((len(x),), torch.inf)

    def __call__(self, x: Tensor, /) -> Tensor:
        """Logits (N, C)."""
        logits = ask(self._model, x)
        ids = asked_ids()
        if ids is not None and len(ids) == len(x):
            self._keep(self._places.of(ids), x.detach(), logits.detach(), searching=logits.requires_grad)
        return logits

    @property
    def wrapped(self) -> Model:
        """The model itself."""
        return self._model

    def falling(self) -> Tensor:
        """Whether the best margin of each image was still falling at the end of its gradient search, bool (N,)."""
        found = torch.zeros(len(self._x), dtype=torch.bool, device=self._x.device)
        for row in range(len(found)):
            course = [float(margins[row]) for rows, margins in self._falls if bool((rows == row).any())]
            whole = course[0] - course[-1] if len(course) > LAST else 0.0
            found[row] = whole > 0 and course[-LAST - 1] - course[-1] > SHARE * whole
        return found

    def _keep(self, rows: Tensor, x: Tensor, logits: Tensor, *, searching: bool) -> None:
        size = self._norm.measure(x - self._x[rows])
        inside = (size <= largest_size(self._eps)) & ((x >= 0) & (x <= 1)).flatten(1).all(1)
        value = self._goal.select(rows).margin(logits).to(size).where(inside, torch.inf)
        value = value.nan_to_num(nan=torch.inf, posinf=torch.inf)
        lowest = self.margin.scatter_reduce(0, rows, value.to(self.margin), "amin")
        better = (value < self.margin[rows]) & (value == lowest[rows])
        self.best[rows[better]], self.margin = x[better], lowest
        if searching:
            self._falls.append((rows, lowest))
