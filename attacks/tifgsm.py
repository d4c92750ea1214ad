"""Translation-invariant FGSM: along smoothed gradients."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from attacks.goals import Goal
from attacks.losses import LOSSES
from attacks.norms import Linf, Norm
from attacks.protocols import Access, Kind, Model, Precision, Search
from attacks.queries.gradients import Slope
from attacks.queries.inputs import check_call, check_parameters, check_planes
from attacks.searches.momentum import begin, descend


@dataclass(frozen=True, kw_only=True)
class TIFGSM:
    """Takes momentum steps along smoothed gradients.

    Smoothing a gradient with a kernel approximates averaging the gradients of shifted images, so that the result
    depends less on which image region this model relies on.

    References:
        Dong et al., Evading defenses to transferable adversarial examples by translation-invariant attacks
        <https://arxiv.org/abs/1904.02884>, 2019: TI-MI-FGSM, with the Gaussian kernel.

    Deviations:
        Any goal. By default the kernel is a third as wide: on photographs of 224 pixels at 16/255, crafted on one of
        two networks, the paper's kernel fooled other networks less often than momentum alone (.51 against .60), and
        this one more often (.65); on the other there was no difference. In L2 no part of a step is spent on values that
        would leave [0, 1].

    Example:
        >>> from attacks import Untargeted
        >>> x, goal = torch.full((1, 1, 4, 4), 0.5), Untargeted(torch.tensor([0]))
        >>> model = lambda x: torch.stack([x.amax((1, 2, 3)), 2 * x.mean((1, 2, 3)) - 0.6], 1)
        >>> TIFGSM()(model, x, goal, eps=0.1).shape
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
    kernel_size: int = 5
    """Side of the kernel, pixels, odd. The paper's 15, for images of 299 pixels, is meant for defended networks."""
    loss: str = "ce"
    """Name of the loss in :data:`attacks.losses.LOSSES`."""
    early_stop: bool = False
    """Whether an image is done at the first step that fools this model; see :class:`attacks.mifgsm.MIFGSM`."""

    def __post_init__(self) -> None:
        check_parameters(self)
        if self.kernel_size % 2 == 0:
            raise ValueError(f"expected kernel_size of TIFGSM to be odd, got {self.kernel_size}")

    def __call__(self, model: Model, x: Tensor, goal: Goal, *, eps: float | Tensor, seed: int = 0) -> Tensor:
        """See :class:`attacks.protocols.BudgetAttack`; uses no random numbers. Images are (N, C, H, W)."""
        check_call(self, eps, seed)
        check_planes(self, x)
        active, gradient = begin(self, model, x, goal, eps)

        def look(x_adv: Tensor, step: int) -> Slope:
            at = active.slope(x_adv, LOSSES[self.loss])
            return at._replace(gradient=smooth(at.gradient, self.kernel_size))

        return descend(self, active, smooth(gradient, self.kernel_size), look, early_stop=self.early_stop)


def smooth(gradient: Tensor, kernel_size: int) -> Tensor:
    """Smooth each channel with a Gaussian kernel cut off at three standard deviations.

    Args:
        gradient: Gradients of images (n, C, H, W).
        kernel_size: Side of the kernel, pixels, odd.

    Returns:
        The smoothed gradients, shaped like ``gradient``.

    Example:
        >>> middle = torch.zeros(1, 1, 3, 3).index_fill(2, torch.tensor([1]), 1.0)
        >>> smooth(middle, 3)[0, 0, :, 1]
        tensor([0.0109, 0.9783, 0.0109])
    """
    half = kernel_size // 2
    place = torch.arange(-half, half + 1, device=gradient.device).to(gradient)
    weight = torch.exp(-((3 * place / max(half, 1)) ** 2) / 2)
    weight = weight / weight.sum()
    planes = gradient.flatten(0, 1).unsqueeze(1)
    planes = functional.conv2d(planes, weight.view(1, 1, -1, 1), padding=(half, 0))
    planes = functional.conv2d(planes, weight.view(1, 1, 1, -1), padding=(0, half))
    return planes.view_as(gradient)
