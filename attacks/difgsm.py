"""Diverse-input FGSM: gradients at resized images."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from attacks.geometry.warp import Resizing
from attacks.goals import Goal, met
from attacks.losses import LOSSES
from attacks.norms import Linf, Norm
from attacks.protocols import Access, Kind, Model, Precision, Search
from attacks.queries.gradients import Slope, form_for, forward, slope
from attacks.queries.inputs import check_call, check_parameters, check_planes
from attacks.searches.draws import uniform
from attacks.searches.momentum import begin, descend


@dataclass(frozen=True, kw_only=True)
class DIFGSM:
    """Takes momentum steps along gradients at randomly shrunk images, placed at random on a black background.

    References:
        Xie et al., Improving transferability of adversarial examples with input diversity
        <https://arxiv.org/abs/1803.06978>, 2019: M-DI2-FGSM.

    Deviations:
        Any goal. Each image draws its own size and position, and the input keeps its number of pixels (the paper's
        grows from 299 to 330, which a model must allow). The first gradient is that of the unchanged image, so that one
        pass also shows which images are fooled already. In L2 no part of a step is spent on values that would leave [0,
        1].

    Example:
        >>> import torch
        >>> from attacks import Untargeted
        >>> x, goal = torch.full((1, 1, 4, 4), 0.5), Untargeted(torch.tensor([0]))
        >>> model = lambda x: torch.stack([x.amax((1, 2, 3)), 2 * x.mean((1, 2, 3)) - 0.6], 1)
        >>> DIFGSM()(model, x, goal, eps=0.1).shape
        torch.Size([1, 1, 4, 4])
    """

    kind: ClassVar[Kind] = "budget"
    access: ClassVar[Access] = "gradients"
    search: ClassVar[Search] = "for transfer"
    precision: ClassVar[Precision] = "bfloat16"
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")

    norm: Norm = Linf()
    """The norm in which ``eps`` is measured."""
    steps: int = 10
    """Number of gradient steps."""
    relative_step: float = 0.1
    """Length of a step as a fraction of ``eps``."""
    decay: float = 1.0
    """Weight of the earlier gradients; each gradient is scaled to L1 norm 1."""
    probability: float = 0.5
    """Probability of resizing an image in a step, at most 1."""
    smallest: float = 0.9
    """Smallest side of a resized image as a fraction of the original side, at most 1."""
    loss: str = "ce"
    """Name of the loss in :data:`attacks.losses.LOSSES`."""
    early_stop: bool = False
    """Whether an image is done at the first step that fools this model; see :class:`attacks.mifgsm.MIFGSM`."""

    def __post_init__(self) -> None:
        check_parameters(self)
        for name in ("probability", "smallest"):
            if (value := getattr(self, name)) > 1:
                raise ValueError(f"expected {name} of DIFGSM <= 1, got {value}")

    def __call__(self, model: Model, x: Tensor, goal: Goal, *, eps: float | Tensor, seed: int = 0) -> Tensor:
        """See :class:`attacks.protocols.BudgetAttack`. Images are (N, C, H, W)."""
        check_call(self, eps, seed)
        check_planes(self, x)
        active, gradient = begin(self, model, x, goal, eps)

        def look(x_adv: Tensor, step: int) -> Slope:
            resized, change = self._changes(x_adv, uniform(seed, active.goal.ids, step, (4,)).to(x_adv))
            shown = x_adv.index_copy(0, resized, change.apply(x_adv[resized]))
            at = slope(form_for(model, self.precision), shown, active.goal, LOSSES[self.loss])
            gradient = at.gradient.index_copy(0, resized, change.adjoint(at.gradient[resized]))
            if not self.early_stop:
                return at._replace(gradient=gradient)
            logits = forward(model, x_adv, active.goal)
            return at._replace(logits=logits, gradient=gradient, fooled=met(active.goal, logits))

        return descend(self, active, gradient, look, early_stop=self.early_stop)

    def _changes(self, x: Tensor, random: Tensor) -> tuple[Tensor, Resizing]:
        """Which images are shrunk and moved, and how, as decided by ``random`` (n, 4) in [0, 1)."""
        resized = (random[:, 0] < self.probability).nonzero().squeeze(1)
        scale = self.smallest + (1 - self.smallest) * random[resized, 1]
        shift = (random[resized, 2:] - 0.5) * (1 - scale).unsqueeze(1)
        return resized, Resizing.of(x, scale, shift)
