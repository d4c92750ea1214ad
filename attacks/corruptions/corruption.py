"""A common corruption: noise, blur, weather or compression."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from attacks.corruptions import blurs, digital, noises, weather
from attacks.corruptions.colours import luminance
from attacks.corruptions.constants import CORRUPTIONS, SEVERITIES, SMALLEST, VARIANTS, Constants, constants_for
from attacks.corruptions.draws import Draws
from attacks.goals import Goal
from attacks.norms import Linf, Norm
from attacks.protocols import Access, Kind, Model, Search
from attacks.queries.inputs import check_arguments, check_call, check_parameters, check_planes

Change = Callable[[Tensor, Constants, Draws], Tensor]
"""Image (H, W, 3), constants of a severity and random numbers -> corrupted image, not yet clipped."""
CHANGES: dict[str, Change] = {
    name: getattr(module, name)
    for name in CORRUPTIONS
    for module in (noises, blurs, weather, digital)
    if hasattr(module, name)
}
"""Name of a corruption -> the function that applies it."""


@dataclass(frozen=True, kw_only=True)
class Corruption:
    """Changes every image in the same, model-independent way: fog, blur, JPEG and so on.

    A corruption has no budget: its strength is set by its severity. It is a minimum-norm attack in form only, takes no
    ``eps``, and its size in a norm is only measured. Unlike an attack it also changes images that the model
    misclassifies when clean, since accuracy on corrupted images counts those that become correct. Images are rounded to
    256 levels before and after, like picture files. Constants depend on the shorter side of the image: up to 47 pixels
    those of CIFAR-10-C, up to 127 those of Tiny-ImageNet-C, beyond that those of ImageNet-C. Grey images are treated as
    RGB images without colour. JPEG compression and pixelation need the package Pillow.

    References:
        Hendrycks and Dietterich, Benchmarking neural network robustness to common corruptions and perturbations
        <https://arxiv.org/abs/1903.12261>, 2019; in the variant for images of any size of Michaelis et al.,
        Benchmarking robustness in object detection <https://arxiv.org/abs/1907.07484>, 2019.

    Deviations:
        Frost is generated, since we may not redistribute the benchmark's photographs of frost. Images are not saved as
        JPEGs afterwards. At the sizes of CIFAR and Tiny ImageNet, motion blur is that of the variant for any size.

    Example:
        >>> from attacks import Untargeted
        >>> x = torch.full((1, 3, 32, 32), 0.5)
        >>> darker = Corruption("contrast", severity=5)(lambda x: x.mean((2, 3)), x, Untargeted(torch.tensor([0])))
        >>> bool((darker - x).abs().max() < 1 / 255)  # an even image has no contrast to lose
        True
    """

    kind: ClassVar[Kind] = "minimum norm"
    access: ClassVar[Access] = "nothing"
    search: ClassVar[Search] = "blind"
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1", "l0")

    corruption: str = field(kw_only=False)
    """Name of the corruption, one of `attacks.corruptions.CORRUPTIONS`."""
    norm: Norm = Linf()
    """The norm in which the change is measured."""
    severity: int = 3
    """Severity of the corruption, from 1 to 5."""
    constants: str = "auto"
    """Table of its constants: imagenet, tiny or cifar; auto: the one meant for images of that size."""

    def __post_init__(self) -> None:
        check_parameters(self)
        for name, value, known in (
            ("corruption", self.corruption, CORRUPTIONS),
            ("severity", self.severity, SEVERITIES),
            ("constants", self.constants, ("auto", *VARIANTS)),
        ):
            if value not in known:
                raise ValueError(
                    f"expected {name} of Corruption to be one of {', '.join(map(str, known))}, got {value!r}"
                )

    def __call__(
        self, model: Model, x: Tensor, goal: Goal, *, eps: float | Tensor | None = None, seed: int = 0
    ) -> Tensor:
        """See :class:`attacks.protocols.MinNormAttack`. Images are (N, 3, H, W) or (N, 1, H, W), of 28 pixels or more.

        The model is not queried, and ``eps`` must be None.
        """
        check_call(self, eps, seed)
        if eps is not None:
            raise ValueError(f"expected no eps for a corruption, whose strength is its severity, got {eps}")
        check_planes(self, x)
        check_arguments(model, x, goal, self.norm, eps)
        check_corruptible(x)
        return torch.stack([self._one(image, Draws(seed, int(id_))) for image, id_ in zip(x, goal.ids, strict=True)])

    def _one(self, image: Tensor, draws: Draws) -> Tensor:
        """The corrupted version of one image (C, H, W)."""
        before = (image.detach().cpu().double() * 255).round() / 255
        colour = before.expand(3, -1, -1).permute(1, 2, 0)
        constants = constants_for(self.corruption, self.severity, min(colour.shape[:2]), self.constants)
        after = CHANGES[self.corruption](colour, constants, draws).clamp(0, 1)
        if len(image) == 1:
            after = luminance(after).unsqueeze(2)
        # the benchmark truncates to whole levels; the small offset compensates for rounding errors
        return ((after * 255 + 1e-6).floor() / 255).permute(2, 0, 1).to(image)


def check_corruptible(x: Tensor) -> None:
    """Check that images can be corrupted.

    Args:
        x: Images (N, C, H, W).

    Raises:
        ValueError: If they are too small, or neither grey nor coloured.

    Example:
        >>> check_corruptible(torch.rand(1, 1, 8, 8))
        Traceback (most recent call last):
        ValueError: expected images of at least 28 x 28 pixels for a corruption, got 8 x 8
    """
    channels, height, width = x.shape[1:]
    if min(height, width) < SMALLEST:
        raise ValueError(
            f"expected images of at least {SMALLEST} x {SMALLEST} pixels for a corruption, got {height} x {width}"
        )
    if channels not in (1, 3):
        raise ValueError(f"expected images of 1 or 3 channels for a corruption, got {channels}")
