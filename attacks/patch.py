"""Patch attack: one square or circle of any colours."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from attacks.geometry.outline import outline, placed, side_of
from attacks.goals import Goal, met
from attacks.losses import margin
from attacks.norms import L0, Norm, Patched
from attacks.protocols import Access, Kind, Model, Precision, Search
from attacks.queries.gradients import forward
from attacks.queries.inputs import check_call, check_parameters, check_planes
from attacks.searches.draws import uniform
from attacks.searches.momentum import accumulate
from attacks.searches.track import Survivors


@dataclass(frozen=True, kw_only=True)
class Patch:
    """Optimises a patch of any colours at a random place on each image, and at the next place if it does not fool.

    The perturbation is bounded by a share of the image, not by a norm, so this is a minimum-norm attack in form only:
    the size of a success is the number of values in the patch. Its norm is :class:`attacks.Patched`, which lets a judge
    check that one patch of that share covers every change. With an ``eps`` it changes no more values than that within
    the patch. Each image has its own patch, made for its place; for a patch that works at any place, rotated and
    scaled, on one image or on many, see :class:`attacks.UniversalPatch`.

    References:
        Brown et al., Adversarial patch <https://arxiv.org/abs/1712.09665>, 2017; Karmon et al., LaVAN: localized and
        visible adversarial noise <https://arxiv.org/abs/1801.02608>, 2018, for a patch on one image at one place.

    Deviations:
        Steps have the same length for all values, use momentum as in :class:`attacks.MIFGSM`, and get shorter.

    Example:
        >>> from attacks import Untargeted
        >>> model = lambda x: torch.stack([x.new_full((len(x),), 2.0), x.sum((1, 2, 3))], 1)
        >>> x, goal = torch.zeros(1, 1, 8, 8), Untargeted(torch.tensor([0]))
        >>> x_adv = Patch(share=0.25)(model, x, goal)
        >>> model(x_adv).argmax(1), bool((x_adv > 0).sum() <= 16)
        (tensor([1]), True)
    """

    kind: ClassVar[Kind] = "minimum norm"
    access: ClassVar[Access] = "gradients"
    search: ClassVar[Search] = "in one place"
    precision: ClassVar[Precision] = "bfloat16"
    norms: ClassVar[tuple[str, ...]] = ("l0",)

    norm: Norm = L0()
    """The norm in which ``eps``, if given, is measured; it is turned into a patched norm."""
    share: float = 0.05
    """Largest share of the image the patch may cover, above 0, at most 1; at least one pixel is covered."""
    shape: str = "square"
    """Shape of the patch: square or circle."""
    places: int = 3
    """Largest number of places tried on an image, one after another; each image draws its own."""
    steps: int = 60
    """Number of gradient steps at each place."""
    step_size: float = 0.1
    """Length of the first step, image units; falls to a tenth along a cosine."""
    decay: float = 0.9
    """Weight of earlier gradients in their running sum."""

    def __post_init__(self) -> None:
        check_parameters(self)
        object.__setattr__(self, "norm", Patched(self.norm.inside, self.share, self.shape))

    def __call__(
        self, model: Model, x: Tensor, goal: Goal, *, eps: float | Tensor | None = None, seed: int = 0
    ) -> Tensor:
        """See :class:`attacks.protocols.MinNormAttack`. Images are (N, C, H, W).

        Raises:
            ValueError: As all attacks do, and if the images are too small for the patch.
        """
        check_call(self, eps, seed)
        check_planes(self, x)
        side = side_of(self.shape, self.share, *x.shape[2:])
        active = Survivors.of(self, model, x, goal, eps, seed)
        for place in range(self.places):
            if len(active):
                self._descend(active, side, seed, place)
        return active.finish(active.x)

    def _descend(self, active: Survivors, side: int, seed: int, place: int) -> None:
        """Look for a patch at one place on each image; images that are fooled leave."""
        x, ids = active.x, active.goal.ids
        height, width = x.shape[2:]
        room = torch.tensor([height - side + 1, width - side + 1], device=x.device)
        corners = (uniform(seed, ids, 2 * place, (2,)) * room).long()
        covered = placed(outline(self.shape, side), corners, height, width).unsqueeze(1)
        start = uniform(seed, ids, 2 * place + 1, x.shape[1:]).to(x)
        x_adv, sum_ = self._kept(active, torch.where(covered, start, x)), torch.zeros_like(x)
        for step in range(self.steps):
            at = active.slope(x_adv, margin)
            x_adv, gradient, sum_, covered = active.retire(x_adv, at.fooled, at.gradient, sum_, covered)
            if not len(active):
                return
            sum_ = accumulate(sum_, gradient * covered, self.decay)
            length = self.step_size * (0.1 + 0.9 * (1 + math.cos(math.pi * step / self.steps)) / 2)
            moved = (x_adv - length * sum_.sign()).clamp_(0, 1)
            x_adv = self._kept(active, torch.where(covered, moved, active.x))
        active.retire(x_adv, met(active.goal, forward(active.model, x_adv, active.goal)))

    def _kept(self, active: Survivors, x_adv: Tensor) -> Tensor:
        """Candidates (n, C, H, W) within their budgets, if they have one."""
        return active.ball.nearest(x_adv) if bool(active.eps.isfinite().all()) else x_adv
