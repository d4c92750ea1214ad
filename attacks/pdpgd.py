"""Primal-dual (proximal) gradient descent: L2, L1, L0."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from attacks.geometry.proximal import firm, soft
from attacks.geometry.rows import column, logistic, unit_of
from attacks.goals import Goal, met
from attacks.losses import margin
from attacks.norms import L1, Linf, Norm
from attacks.protocols import Access, Kind, Model, Search
from attacks.queries.gradients import forward
from attacks.queries.inputs import check_call, check_parameters
from attacks.searches.adam import Adam
from attacks.searches.bisection import pull_back
from attacks.searches.nearest import Nearest
from attacks.searches.track import Survivors


@dataclass(frozen=True, kw_only=True)
class PDPGD:
    """Minimises the margin with Adam, and shrinks every change by a proximal step: the Lagrangian of the search.

    The multiplier, which weighs the margin against the size, rises while an image is not fooled and falls while it is.
    In L2, whose size has a gradient, Adam minimises margin and size together: the paper's PDGD.

    References:
        Matyasko and Chau, PDPGD: primal-dual proximal gradient descent adversarial attack
        <https://arxiv.org/abs/2106.01538>, 2021. Cao et al., Fast image deconvolution using closed-form thresholding
        formulas of Lq (q = 1/2, 2/3) regularization, Journal of Visual Communication and Image Representation, 2013.

    Deviations:
        Not in Linf; in L1 and L0 the proximal step has a closed form, value by value, where the paper iterates. For L0
        the penalised size is the sum of the changes to the power 2/3, which distinguishes small changes from none, as a
        count does, and still shrinks large ones. The proximal step uses Adam's metric with a floor: Adam moves a value
        with almost no gradient as far as any other, and Adam's plain metric would shrink it to nothing in the same
        step, so that it would never be tried. The floor falls, so that the search ends in Adam's metric. From 600 steps
        on there are two searches of half the steps each; in the second, steps are longer and the floor stays constant.
        The last candidates are evaluated too, and a line search is added at the end in L2 and L1. The margin is divided
        by a power of two for each image, so that its gradient there has a given length, as the multiplier takes long to
        make up for large or small logits. Two searches have that time, so that they do so only for extreme ones.

    Example:
        >>> from attacks import Untargeted
        >>> x, goal = torch.tensor([[0.6, 0.5]]), Untargeted(torch.tensor([0]))
        >>> x_adv = PDPGD()(lambda x: x, x, goal)
        >>> bool(L1().measure(x_adv - x) < 0.105)  # the boundary is 0.1 away
        True
    """

    kind: ClassVar[Kind] = "minimum norm"
    access: ClassVar[Access] = "gradients"
    search: ClassVar[Search] = "many steps"
    norms: ClassVar[tuple[str, ...]] = ("l2", "l1", "l0")

    norm: Norm = L1()
    """The norm to minimise."""
    steps: int = 1000
    """Number of gradient steps."""
    step_size: float = 0.2
    """Length of the first step, image units per value; falls to a hundredth exponentially. In the second search, or if
    there is only one, steps are twice as long."""
    dual_step: float = 0.1
    """Change of the multiplier's logarithm in the first step; falls to a tenth."""
    multiplier: float = 100.0
    """Initial weight of the margin, relative to a weight of 1 for the size."""
    floor: float = 0.5
    """Floor of the proximal step's metric, as a fraction of its largest value, at most 1; falls to a hundredth."""
    search_steps: int = 10
    """Number of bisections, at the end, of the line between the image and the point found."""

    def __post_init__(self) -> None:
        check_parameters(self)
        if self.floor > 1:
            raise ValueError(f"expected floor of PDPGD <= 1, got {self.floor}")

    def __call__(
        self, model: Model, x: Tensor, goal: Goal, *, eps: float | Tensor | None = None, seed: int = 0
    ) -> Tensor:
        """See :class:`attacks.protocols.MinNormAttack`; uses no random numbers."""
        check_call(self, eps, seed)
        active = Survivors.of(self, model, x, goal, eps, seed)
        if not len(active):
            return active.found
        best = Nearest(active.x, self.norm, active.eps)
        self.walk(active, best)
        if not self.norm.grain:  # where the norm counts changes, moving back towards the image changes no fewer values
            pull_back(active, best, self.search_steps)
        return active.finish(best)

    def walk(self, active: Survivors, best: Nearest) -> None:
        """Run the one or two searches from the images; nearer points go into ``best``."""
        if self.steps < _ENOUGH:
            self._search(active, best, self.steps, _LONGER * self.step_size, self.floor, 0.01)
        else:
            again = self.steps // 2
            self._search(active, best, self.steps - again, self.step_size, self.floor, 0.01)
            self._search(active, best, again, _LONGER * self.step_size, _FLOOR, 1)

    def _search(self, active: Survivors, best: Nearest, steps: int, length: float, floor: float, fall: float) -> None:
        """One descent from the images: length of the first step, initial floor, and the fraction to which it falls."""
        adam, delta = Adam(active.x), torch.zeros_like(active.x)
        dual = torch.full_like(active.eps, math.log(self.multiplier))
        weight, unit = logistic(dual), torch.ones_like(dual)
        for step in range(steps):
            done = step / steps
            at = active.slope(active.x + delta, margin)
            if not step:
                steepness = self.norm.dual(at.gradient) / _STEEPNESS[self.norm.name]
                unit = unit_of(steepness, beyond=1 if self.steps < _ENOUGH else _FAR)
            # The gradient of the logarithm of 1 + exp(margin / unit), a smooth hinge.
            gradient = at.gradient * column(logistic(at.loss / unit) / unit, delta)
            fooled = at.fooled
            best.offer(active.x + delta, fooled)
            rate = length * 0.01**done
            if shrink := _SHRINK.get(self.norm.name):
                delta = delta - rate * adam.step(gradient)
                # The value of a step, in units of the margin, is what Adam divided it by.
                metric = torch.maximum(adam.scale, column(floor * fall**done * Linf().measure(adam.scale), delta))
                delta = shrink(delta, rate * column((1 - weight) / weight, delta) / metric)
            else:
                away = self.norm.steepest(delta, 1.0)
                delta = delta - rate * adam.step(gradient.lerp(away, column(1 - weight, delta)))
            delta = (active.x + delta).clamp_(0, 1) - active.x
            dual = (dual + self.dual_step * (1 - 0.9 * done) * (1 - 2 * fooled.to(dual))).clamp_(-_FARTHEST, _FARTHEST)
            weight = torch.lerp(weight, logistic(dual), 0.1)
        best.offer(active.x + delta, met(active.goal, forward(active.model, active.x + delta, active.goal)))


_FARTHEST = math.log(1e6)
"""Largest absolute value of the multiplier's logarithm."""
_ENOUGH = 600
"""Smallest number of steps for two searches: with fewer than half of them the multiplier does not settle."""
_LONGER, _FLOOR = 2.0, 0.2
"""Factor by which steps are longer in the second or only search; and the constant floor of the second one."""
_SHRINK = {"l1": soft, "l0": firm}
"""Norm -> its proximal step, value by value: only these two have one in closed form, L0 by means of the power 2/3; the
size in the others has a gradient."""
_STEEPNESS = {"l2": 2.0, "l1": 0.5, "l0": 0.5}
"""Norm -> the dual norm that the margin's gradient at the image is given, up to a factor of two."""
_FAR = 128.0
"""Factor by which a gradient must differ from that length before two searches divide the margin: they have the time to
find the multiplier for any other."""
