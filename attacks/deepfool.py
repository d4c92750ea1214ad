"""DeepFool: steps to the nearest linearised boundary."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from attacks.goals import Goal, met
from attacks.losses import Loss
from attacks.norms import L2, Norm
from attacks.objectives.ranking import SLACK, scale
from attacks.objectives.rivals import distinct_aims
from attacks.protocols import Access, Kind, Model, Search
from attacks.queries.gradients import forward, slopes
from attacks.queries.inputs import check_call, check_parameters
from attacks.searches.nearest import nearby
from attacks.searches.track import Survivors


@dataclass(frozen=True, kw_only=True)
class DeepFool:
    """Steps repeatedly to the nearest boundary of the linearised model, until the goal is met.

    Cheap, but the perturbation is seldom the smallest: the first point beyond the boundary is returned.

    References:
        Moosavi-Dezfooli et al., DeepFool: a simple and accurate method to fool deep neural networks
        <https://arxiv.org/abs/1511.04599>, 2016.

    Deviations:
        The boundaries are those to the ``candidates`` rivals that are nearest at the start, as in the authors' code,
        whose ten classes include the label. For goals other than untargeted they are the boundaries for the ways to
        meet the goal, see :func:`attacks.objectives.rivals.ways_to`. Every step is lengthened, whereas the authors
        lengthen the sum of all steps.

    Example:
        >>> from attacks import Untargeted
        >>> x, goal = torch.tensor([[0.6, 0.5]]), Untargeted(torch.tensor([0]))
        >>> x_adv = DeepFool()(lambda x: x, x, goal)
        >>> bool(L2().measure(x_adv - x) < 0.0725)  # the boundary is 0.0707 away
        True
    """

    kind: ClassVar[Kind] = "minimum norm"
    access: ClassVar[Access] = "gradients"
    search: ClassVar[Search] = "many steps"
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")

    norm: Norm = L2()
    """The norm to minimise."""
    steps: int = 50
    """Largest number of steps; each takes one backward pass per candidate."""
    candidates: int = 10
    """Number of boundaries considered."""
    overshoot: float = 0.02
    """Fraction by which a step is longer than it needs to be."""

    def __post_init__(self) -> None:
        check_parameters(self)

    def __call__(
        self, model: Model, x: Tensor, goal: Goal, *, eps: float | Tensor | None = None, seed: int = 0
    ) -> Tensor:
        """See :class:`attacks.protocols.MinNormAttack`; uses no random numbers."""
        check_call(self, eps, seed)
        active = Survivors.of(self, model, x, goal, eps, seed)
        if not len(active):
            return active.found
        ways, everyone = rivals(active, self.candidates), torch.arange(len(active), device=x.device)
        x_adv, short = cross(active, everyone, active.x, ways, self.norm, self.steps, self.overshoot)
        x_adv[short] = active.x[short]
        return nearby(x, active.finish(x_adv), self.norm, eps)


def rivals(active: Survivors, count: int) -> list[Goal]:
    """The ways to meet the goal of the active images, the nearest first; see `distinct_aims`."""
    return distinct_aims(active.goal, active.logits[active.rows], count)


def cross(
    active: Survivors, rows: Tensor, x: Tensor, ways: Sequence[Goal], norm: Norm, steps: int, overshoot: float
) -> tuple[Tensor, Tensor]:
    """Step from ``x`` across the nearest boundary.

    Args:
        active: The images; none of them is removed.
        rows: Rows of the images that move (m,).
        x: Their starting points (m, ...); none of them is fooled yet.
        ways: Ways to meet the goal, for all images.
        norm: The norm in which distances to boundaries are measured.
        steps: Largest number of steps.
        overshoot: Fraction by which a step is longer than it needs to be.

    Returns:
        The first points that meet the goal, or the last points where none did (m, ...), and the positions of the
        latter.
    """
    x, walking = x.clone(), torch.arange(len(rows), device=x.device)
    for _ in range(steps):
        if not len(walking):
            break
        some = active.goal.select(rows[walking])
        at = slopes(active.model, x[walking], some, _margins(ways, rows[walking]), len(ways))
        steepness = norm.dual(at.gradient.flatten(0, 1)).view_as(at.loss).clamp_min(torch.finfo(x.dtype).tiny)
        depth = beyond(at.loss.clamp_min(0), at.logits, steepness)
        distance, nearest = (depth / steepness).clamp_max(x[0].numel()).min(1)
        chosen = at.gradient[torch.arange(len(walking), device=x.device), nearest]
        x[walking] = (x[walking] + norm.steepest(-chosen, (1 + overshoot) * distance)).clamp_(0, 1)
        # A pass without gradients first, so that none are computed for images already fooled, of which there are many.
        walking = walking[~met(some, forward(active.model, x[walking], some))]
    return x, walking


def beyond(margin: Tensor, logits: Tensor, steepness: Tensor) -> Tensor:
    """How far a margin must fall to lie slightly beyond the boundary, where the goal counts as met.

    Args:
        margin: The margins (n,) or (n, K).
        logits: Logits of the images (n, C).
        steepness: Amount by which a step of size 1 lowers the margin, shaped like it.

    Example:
        >>> beyond(torch.tensor([1.0]), torch.tensor([[3.0, 2.0]]), torch.tensor([1.0])) - 1 > 0
        tensor([True])
    """
    hair = 2 * SLACK * scale(logits).view(-1, *[1] * (margin.ndim - 1))
    return margin + torch.maximum(hair, 1e-6 * steepness)


def _margins(ways: Sequence[Goal], rows: Tensor) -> Loss:
    """The margin of each way for some of the images, as a loss (n, K)."""

    def margins(logits: Tensor, goal: Goal) -> Tensor:
        return torch.stack([way.select(rows).margin(logits) for way in ways], 1)

    return margins
