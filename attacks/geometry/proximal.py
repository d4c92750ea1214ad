"""Proximal steps, value by value: shrinking changes by a penalty on their size."""

import math

import torch
from torch import Tensor


def soft(delta: Tensor, cost: Tensor) -> Tensor:
    """The z that minimises ``(z - delta)^2 / 2 + cost |z|``.

    Example:
        >>> soft(torch.tensor([0.5, -0.5, 0.25]), torch.tensor(0.25))
        tensor([ 0.2500, -0.2500,  0.0000])
    """
    return delta.sign() * (delta.abs() - cost).clamp_min(0)


def firm(delta: Tensor, cost: Tensor) -> Tensor:
    """The z that minimises ``(z - delta)^2 / 2 + cost |z|^(2/3)``: it drops small values and changes others little.

    References:
        Cao et al., Fast image deconvolution using closed-form thresholding formulas of Lq (q = 1/2, 2/3)
        regularization, Journal of Visual Communication and Image Representation, 2013.

    Args:
        delta: Changes, of any shape.
        cost: Penalty weights, not negative, with a shape that broadcasts against ``delta``.

    Example:
        >>> firm(torch.tensor([1.0, -1.0, 0.5]), torch.tensor(0.25))
        tensor([ 0.8221, -0.8221,  0.0000])
    """
    size, price = delta.abs(), 2 * cost.clamp_min(torch.finfo(cost.dtype).tiny ** 0.25)
    # Uses roots and exponentials: torch's powers and cosh depend on the position in the batch.
    root_of_price = price.sqrt()
    kept = size > 2 / 3 * (3 * price**3).sqrt().sqrt()
    ratio = torch.where(kept, 27 * size.square() / (16 * price * root_of_price), 2.0)
    third = (ratio.acosh() / 3).exp()
    root = 2 / math.sqrt(3) * root_of_price.sqrt() * ((third + 1 / third) / 2).sqrt()
    z = ((root + (2 * size / root - root.square()).clamp_min(0).sqrt()) / 2) ** 3
    return torch.where(kept, delta.sign() * torch.minimum(z, size), 0.0)
