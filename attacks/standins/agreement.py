"""Whether the gradients of a model agree with finite differences."""

import torch
from torch import Tensor

from attacks.standins.probing import Looked
from attacks.standins.traced_pass import Pass

AGREES = 0.7
"""Smallest correlation with finite differences at which a gradient is useful."""
OFF = 3.0
"""Largest factor by which a gradient may be larger or smaller than finite differences."""
ALIKE = 0.95
"""Smallest cosine between a model's custom gradient and the true one at which they count as the same."""


def agreement(looked: Looked, number: int) -> bool:
    """Whether the gradient of a layer's input agrees with differences between inputs for perturbed images.

    Args:
        looked: Observations of the model.
        number: The number of the layer.
    """
    value = looked.values[number]
    if not value.requires_grad:
        return False
    if len(value) != len(looked.own.x):  # it is called image by image, or with several views of each
        return True
    direction = torch.randn(value.shape, generator=torch.Generator().manual_seed(0)).to(value)
    try:
        (gradient,) = torch.autograd.grad((value * direction).sum(), looked.own.x, allow_unused=True, retain_graph=True)
    except RuntimeError:  # the model overwrites what its gradient needs; attacks can query it all the same
        return True
    if gradient is None or not bool(gradient.isfinite().all()):
        return False
    told, seen = [], []
    for move, moved in zip(looked.moves, looked.moved, strict=True):
        told.append((gradient * move).flatten(1).sum(1))
        seen.append(((moved[number] - value).detach() * direction).flatten(1).sum(1))
    return agrees(torch.cat(told), torch.cat(seen))


def agrees(told: Tensor, seen: Tensor) -> bool:
    """Whether the changes predicted by gradients match those observed, both (n,).

    Example:
        >>> told = torch.tensor([1.0, -2.0])
        >>> agrees(told, torch.tensor([1.5, -2.5])), agrees(told, -told)
        (True, False)
    """
    sizes = float(told.norm()), float(seen.norm())
    if max(sizes) == 0:
        return True
    if min(sizes) == 0 or not 1 / OFF < sizes[0] / sizes[1] < OFF:
        return False
    return float((told * seen).sum()) / (sizes[0] * sizes[1]) > AGREES


def falsified(looked: Looked) -> bool:
    """Whether the last layer's gradients differ from those of what it computes, and fit worse.

    Args:
        looked: Observations of the model.
    """
    if looked.truly is None or not looked.truly.outputs or not looked.own.outputs:
        return False
    direction = torch.randn(looked.own.outputs[0].shape, generator=torch.Generator().manual_seed(0))
    own, truly = (_slope_of(seen, direction) for seen in (looked.own, looked.truly))
    if truly is None or (own is not None and _cosine(own, truly) > ALIKE):
        return False
    seen = [
        ((end[0] - looked.own.outputs[0]).detach() * direction.to(end[0])).flatten(1).sum(1)
        for end in looked.ends
        if end and end[0].shape == direction.shape
    ]
    if own is None or len(seen) != len(looked.moves):
        return True
    fits = [
        _cosine(torch.cat([(slope * move).flatten(1).sum(1) for move in looked.moves]), torch.cat(seen))
        for slope in (own, truly)
    ]
    return fits[1] > fits[0]


def _slope_of(seen: Pass, direction: Tensor) -> Tensor | None:
    """The gradient of a direction of the last layer's outputs; None if there is none that is finite and not 0."""
    value = seen.outputs[0]
    if not value.requires_grad or value.shape != direction.shape:
        return None
    try:
        (slope,) = torch.autograd.grad(
            (value * direction.to(value)).sum(), seen.x, allow_unused=True, retain_graph=True
        )
    except RuntimeError:
        return None
    return slope if slope is not None and bool(slope.isfinite().all()) and bool((slope != 0).any()) else None


def _cosine(one: Tensor, other: Tensor) -> float:
    return float((one * other).sum() / (one.norm() * other.norm()).clamp_min(1e-30))
