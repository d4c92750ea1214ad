"""Images as rows of a matrix, and one number per image."""

from collections.abc import Sequence

import torch
from torch import Tensor


def flat(delta: Tensor) -> Tensor:
    """Flatten each image to one row: (N, ...) -> (N, D).

    Example:
        >>> flat(torch.zeros(2, 3, 4, 4)).shape
        torch.Size([2, 48])
    """
    return delta.flatten(1)


def column(value: float | Tensor, like: Tensor) -> Tensor:
    """A number (or boolean) per image, (N,), shaped to broadcast against images ``like`` (N, ...).

    Example:
        >>> column(torch.ones(2), torch.zeros(2, 3, 4, 4)).shape
        torch.Size([2, 1, 1, 1])
    """
    dtype = torch.bool if getattr(value, "dtype", None) is torch.bool else like.dtype
    value = torch.as_tensor(value, dtype=dtype, device=like.device)
    return (value if value.ndim else value.expand(len(like))).view(-1, *[1] * (like.ndim - 1))


def power_of_two(number: Tensor) -> Tensor:
    """The largest power of two that is at most each positive number; division by it is exact.

    Example:
        >>> power_of_two(torch.tensor([1.0, 5.0, 0.3]))
        tensor([1.0000, 4.0000, 0.2500])
    """
    return number / (2 * torch.frexp(number).mantissa)


def unit_of(size: Tensor, beyond: float = 1.0) -> Tensor:
    """The power of two below the size of each image's gradient (N,), by which its margins may be divided.

    It is 1 for a size of zero or infinity, and for one between ``1 / beyond`` and ``beyond``.

    Example:
        >>> unit_of(torch.tensor([5.0, 0.3, 0.0])), unit_of(torch.tensor([5.0, 70.0]), beyond=64)
        (tensor([4.0000, 0.2500, 1.0000]), tensor([ 1., 64.]))
    """
    far = (size > 0) & size.isfinite() & ((size < 1 / beyond) | (size > beyond))
    return torch.where(far, power_of_two(size), 1)


def in_range(gradient: Tensor) -> Tensor:
    """Gradients (N, ...) of which only the direction counts, with sums of squares that neither overflow nor underflow.

    Gradients of an image whose largest value is below 1e-12 or above 1e12, as with logits around 1e30, are divided by
    the power of two below that value; all others stay as they are.

    Example:
        >>> in_range(torch.tensor([[2.0**100, -(2.0**99)], [0.25, 0.0], [0.0, 0.0]]))
        tensor([[ 1.0000, -0.5000],
                [ 0.2500,  0.0000],
                [ 0.0000,  0.0000]])
    """
    largest = flat(gradient).abs().amax(1)
    unit = unit_of(largest, beyond=1e12)
    return gradient if bool((unit == 1).all()) else gradient / column(unit, gradient)


def mean_of(parts: Sequence[Tensor]) -> Tensor:
    """The mean of tensors of one shape, added up one after another.

    The rounding of torch's mean over a stack depends on the number of images.

    Example:
        >>> mean_of([torch.tensor([1.0, 2.0]), torch.tensor([3.0, 2.0])])
        tensor([2., 2.])
    """
    return sum(parts[1:], parts[0]) / len(parts)


def logistic(number: Tensor) -> Tensor:
    """The logistic function, rounded the same way at every position in a batch, unlike torch's sigmoid.

    Example:
        >>> logistic(torch.tensor([0.0, -1000.0]))
        tensor([0.5000, 0.0000])
    """
    return 1 / (1 + (-number).exp())
