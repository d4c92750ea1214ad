"""Top-k exclusion: none of the top k classes stays there."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Self

import torch
from torch import Tensor

from attacks.fmn import follow, straight
from attacks.geometry.quantize import quantize
from attacks.goals import Exclusion, Goal, met
from attacks.losses import Loss
from attacks.norms import L2, Linf, Norm
from attacks.objectives.gaps import soft_maximum
from attacks.objectives.ranking import outside
from attacks.objectives.rivals import Ways
from attacks.protocols import Access, Kind, Model, Precision, Search
from attacks.queries.gradients import forward
from attacks.queries.inputs import check_call, check_parameters
from attacks.searches.nearest import Nearest
from attacks.searches.track import Survivors
from attacks.searches.ways import nearest_ways, price


class _Pace(NamedTuple):
    """Default settings of a descent."""

    step_size: float
    gamma: float
    momentum: float


_PACE = {
    "linf": _Pace(1.5, 0.15, 0.6),
    "l2": _Pace(1.5, 0.15, 0.6),
    "l1": _Pace(3.0, 0.15, 0.6),
    "l0": _Pace(4.0, 0.15, 0.6),
}
_PACE_TO_AN_ORDER = {
    "linf": _Pace(0.08, 0.05, 0.8),
    "l2": _Pace(0.125, 0.05, 0.6),
    "l1": _Pace(0.25, 0.05, 0.7),
    "l0": _Pace(0.25, 0.05, 0.7),
}
"""Shorter steps: a whole ordering of classes is far away, and long steps fail to reach it."""
_PACE_AMONG_MANY = {**_PACE, "linf": _Pace(1.5, 0.35, 0.75)}
"""A radius that follows the boundary faster, for too many classes to choose sets from."""
_WIDE, _EARLY = 3, 0.2
"""In Linf among many classes, the first fifth of the steps raise the mean of three times as many others as must rise:
those nearest at the start are often not the nearest later, but if they alone are raised, they stay ahead."""
_SOON, _ENOUGH = 100, 0.5
"""Such a descent comes within 1 % of the slower pace's result after half of the steps. It ends there, but takes at
least this many steps if allowed."""
_GROWTH = 5.0
"""Total gamma over all steps to an ordering: with many large ones the ball outgrows the descent inside it."""
_CHOICE, _RACE = 0.12, 0.4
"""Fractions of all gradients that may be spent on choosing sets and on races."""
_AGAIN = 0.5
"""Position on its cosine at which a descent continues after the race, which runs a whole one: long steps do not show
which set is nearest."""


@dataclass(frozen=True, kw_only=True)
class TopK:
    """Chooses which classes to raise, then minimises a smooth margin in a ball whose radius follows the boundary.

    Takes any goal. To exclude k classes, k others must rise above all of them, and any others will do. If there are few
    classes and enough steps, the sets that need the smallest perturbation in the linearised model are found first
    (:func:`attacks.searches.ways.nearest_ways`). They race against a descent that raises whichever classes are closest
    to the top k at every step, and the nearest after the first leg is followed to the end. With too many classes for
    that, a descent in Linf begins by raising the mean of more of them than are needed.

    The margin depends on one pair of classes at a time, and that pair changes from step to step. The smooth margin
    takes all of them into account. Once an adversarial image is known, each pair has a multiplier that grows while its
    gap is larger than the others', so that in the end all gaps that matter close together.

    References:
        The radius follows the boundary as in Pintor et al., Fast minimum-norm adversarial attacks through adaptive norm
        constraints <https://arxiv.org/abs/2102.12827>, 2021; exponential multipliers: Kort and Bertsekas, A new penalty
        function method for constrained minimization, 1972. The goal (no class of the old top k among the new top k, in
        any order) has no published attack; ordered targets: Zhang and Wu, Learning ordered top-k adversarial attacks
        via adversarial distillation <https://arxiv.org/abs/1905.10695>, 2020.

    Example:
        >>> from attacks import TopKExclusion
        >>> x = torch.tensor([[0.9, 0.8, 0.5, 0.4]])
        >>> goal = TopKExclusion.from_logits(x, k=2)
        >>> x_adv = TopK()(lambda x: x, x, goal)
        >>> goal.margin(x_adv) < 0, (Linf().measure(x_adv - x) < 0.26).item()  # 0.25 is the least
        (tensor([True]), True)
    """

    kind: ClassVar[Kind] = "minimum norm"
    access: ClassVar[Access] = "gradients"
    search: ClassVar[Search] = "many steps"
    precision: ClassVar[Precision] = "float32"
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1", "l0")

    norm: Norm = Linf()
    """The norm to minimise."""
    steps: int = 200
    """Largest number of gradients per image, including those for choosing classes and for races. Exclusion in Linf with
    too many classes to choose sets from, as on ImageNet, takes half of them, but at least 100 if allowed."""
    gamma: float | None = None
    """Fraction by which the radius changes in the first step; falls to a hundredth along a cosine. None: 0.15; 0.35 in
    Linf with many classes; 0.05, or 5 / steps if that is less, for a goal that sets an order."""
    step_size: float | None = None
    """Length of the first step as a fraction of the perturbation's; falls to 3 % along a cosine. None: 1.5 for Linf and
    L2, 3 for L1 and 4 for L0, where steps follow the gradient and are measured in L2; about a twelfth of that for a
    goal that sets an order."""
    momentum: float | None = None
    """Weight of the earlier gradients in each step. None: 0.6; 0.75 in Linf with many classes; from 0.6 to 0.8, by
    norm, for a goal that sets an order."""
    temperature: float = 0.3
    """Initial temperature of the smooth margin, in standard deviations of the logits; falls to 30 % along a cosine."""
    dual_step: float = 0.1
    """Growth of a multiplier's logarithm for a gap of one temperature."""
    quantized: bool = False
    """Whether to return 8-bit images, found by :func:`attacks.geometry.quantize.quantize` near the smallest
    perturbation."""

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
        ways, steps = self._ways(active)
        walk, *others = [_Walk(self, active, aim) for aim in (*(ways or ()), active.goal)]
        leg = self._leg() if ways else 0
        steps -= leg * len(others)
        for step in range(leg):
            for each in (walk, *others):
                each.step(step / leg)
        if ways:
            walk.take_over(others, ways)
        start = _AGAIN if ways else 0.0
        for step in range(leg, steps):
            walk.step(start + (1 - start) * (step - leg) / (steps - leg))
        walk.finish()
        found = active.finish(walk.best)
        return quantize(model, x, found, goal, self.norm, eps=eps) if self.quantized else found

    def _ways(self, active: Survivors) -> tuple[Ways | None, int]:
        """The ways that race against the goal itself, if any, and the number of gradients left for all of them."""
        # With many classes, a few candidates are no better than what the descent finds by itself.
        if _among_many(active):
            return None, self._enough()
        logits, exclusion = active.logits[active.rows], active.goal.exclusion
        if exclusion is None:
            return None, self.steps
        m, k, num_classes = exclusion.classes.shape[1], exclusion.k, logits.shape[1]
        cost = price(m, k, num_classes)
        sets = math.comb(cost - m, k)
        if sets == 1 or cost > _CHOICE * self.steps or cost + 2 * self._leg() > self.steps:
            return None, self.steps
        count = min(max(1, int(_RACE * self.steps) // self._leg() - 1), sets)
        return nearest_ways(active.model, active.x, active.goal, logits, exclusion, count), self.steps - cost

    def _enough(self) -> int:
        """Number of steps of a descent with many classes."""
        return max(min(self.steps, _SOON), int(_ENOUGH * self.steps)) if self.norm.name == "linf" else self.steps

    def _leg(self) -> int:
        """Number of steps for which the aims race."""
        return max(30, self.steps // 8)


def _among_many(active: Survivors) -> bool:
    """Whether the goal excludes classes, with too many others to choose sets from."""
    exclusion, num_classes = active.goal.exclusion, active.logits.shape[1]
    return exclusion is not None and price(exclusion.classes.shape[1], exclusion.k, num_classes) < num_classes


def _wide_margin(logits: Tensor, exclusion: Exclusion, temperature: Tensor) -> Tensor:
    """The smooth maximum of the classes that must fall, above the mean of more others than must rise: (N,)."""
    others = outside(logits, exclusion.classes)
    count = min(_WIDE * exclusion.k, logits.shape[1] - exclusion.classes.shape[1])
    return soft_maximum(logits.gather(1, exclusion.classes), temperature) - others.topk(count, dim=1).values.mean(1)


class _Walk:
    """One descent for each image of a batch: its position and its state.

    Args:
        attack: The attack whose settings it follows.
        active: The images under attack.
        aim: Objective descended to reach their goal.
    """

    def __init__(self, attack: TopK, active: Survivors, aim: Goal) -> None:
        self._attack, self._active, self._aim = attack, active, aim
        # Sparse steps, the steepest in L1 and L0, would change too few values at a time.
        self._geometry = L2() if attack.norm.sparse else attack.norm
        many = _among_many(active)
        pace = (_PACE_AMONG_MANY if many else _PACE)[attack.norm.name]
        if active.goal.orders:
            pace = _PACE_TO_AN_ORDER[attack.norm.name]
            pace = pace._replace(gamma=min(pace.gamma, _GROWTH / attack.steps))
        self._pace = _Pace(
            attack.step_size or pace.step_size, attack.gamma or pace.gamma, attack.momentum or pace.momentum
        )
        self._early = _EARLY if many and attack.norm.name == "linf" else 0.0
        self.best = Nearest(active.x, attack.norm, active.eps)
        self._x_adv, self._drift = active.x, torch.zeros_like(active.x)
        self._radius = torch.zeros_like(active.eps)
        self._log_weights = torch.zeros_like(aim.gaps(active.logits[active.rows]))
        self._raise = self._log_weights
        # Once a race is over: images that raise whichever classes are closest to the top k at each step, bool (n, 1).
        self._free: Tensor | None = None

    def step(self, done: float) -> None:
        """One gradient step, after a share ``done`` of all steps."""
        pace, active, norm, x_adv = self._pace, self._active, self._attack.norm, self._x_adv
        fall = (1 + math.cos(math.pi * done)) / 2
        at = active.slope(x_adv, self._loss(done, fall), aim=self._aim)
        # After the gradient, which belongs to the weights that the loss used.
        self._reweigh()
        fooled = at.fooled
        self.best.offer(x_adv, fooled)
        reach = straight(norm, norm.measure(x_adv - active.x), at)
        radius = follow(norm, self._radius, reach, pace.gamma * (0.01 + 0.99 * fall), fooled, self.best)
        self._radius = torch.minimum(radius, active.eps)
        # Gradients of length 1; otherwise the few large ones near a kink would determine the direction for many steps.
        self._drift = pace.momentum * self._drift + (1 - pace.momentum) * L2().steepest(at.gradient, 1.0)
        length = self._geometry.measure(x_adv - active.x).maximum(self._least_length()).clamp_min(1e-4)
        move = self._geometry.steepest(-self._drift, pace.step_size * (0.03 + 0.97 * fall) * length)
        self._x_adv = norm.within(active.x, x_adv + move, self._radius)

    def finish(self) -> None:
        """Evaluate the model at the last point."""
        active = self._active
        self.best.offer(self._x_adv, met(active.goal, forward(active.model, self._x_adv, active.goal)))

    def take_over(self, others: Sequence[Self], ways: Ways) -> None:
        """Continue each image from the walk with its nearest adversarial image, or from this one if there is none.

        This walk and the others followed the ``ways``, in their order, and the last walk the goal itself.
        """
        walks = [self, *others]
        winner = torch.stack([walk.best.size for walk in walks], 1).argmin(1)
        rows = torch.arange(len(winner), device=winner.device)
        for name in ("_x_adv", "_drift", "_radius", "_log_weights"):
            setattr(self, name, torch.stack([getattr(walk, name) for walk in walks], 1)[rows, winner])
        free = winner == len(ways)
        self._free = free.unsqueeze(1)
        self._aim = ways.of(rows, winner.masked_fill(free, 0))
        for walk in others:
            self.best.offer(walk.best.x_adv, walk.best.found, walk.best.size)

    def _loss(self, done: float, fall: float) -> Loss:
        """The smooth margin, with a temperature for each image; it records by how much to raise multipliers."""
        wide = done < self._early

        def loss(logits: Tensor, aim: Goal) -> Tensor:
            found, temperature = aim.gaps(logits), self._temperature(logits, fall)
            if self._free is not None:
                found = torch.where(self._free, self._active.goal.gaps(logits), found)
            self._raise = self._attack.dual_step * found.detach() / temperature.unsqueeze(1)
            if wide and aim.exclusion is not None:
                return _wide_margin(logits, aim.exclusion, temperature)
            return soft_maximum(found, temperature, self._log_weights)

        return loss

    def _reweigh(self) -> None:
        """Raise the multipliers of large gaps, lower the others; before the boundary is reached they would mislead."""
        # Exponential multipliers stay positive, so none is lost for good; the floor lets a small one recover in time.
        raised = (self._log_weights + self._raise).log_softmax(1).clamp_min(-12)
        self._log_weights = torch.where(self.best.found.unsqueeze(1), raised, self._log_weights)

    def _temperature(self, logits: Tensor, fall: float) -> Tensor:
        # Computes logits.std(1), whose last bits would depend on the other images in the batch.
        apart = L2().dual(logits.detach() - logits.detach().mean(1, keepdim=True))
        # Equal logits have zero deviation, and a temperature of 0 gives no gradient.
        apart = torch.where(apart > 0, apart / math.sqrt(logits.shape[1] - 1), 1)
        return self._attack.temperature * (0.3 + 0.7 * fall) * apart

    def _least_length(self) -> Tensor:
        """Half the ball's radius as a length, so that the first steps reach the boundary."""
        # In a sparse norm, r values moved by 1 each have size r and an L2 length of sqrt(r); no ball reaches further.
        return (self._radius.sqrt() if self._attack.norm.sparse else self._radius) / 2
