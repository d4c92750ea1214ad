"""Shrinking numbers until their sum fits: the core of the projection onto L1 balls, with and without a box."""

import torch
from torch import Tensor


def shrink(size: Tensor, total: Tensor, most: Tensor | None = None) -> Tensor:
    """Subtract the same amount from all numbers of a row, never below 0, so that their sum is at most ``total``.

    With bounds, the remainder of each number is clipped to its bound, so that a number far above it is reduced last.
    The amount is the root of a piecewise linear function, found by Newton's method, or by bisection where that fails,
    separately for each row. On rows of a few thousand numbers this takes a quarter of the time of sorting them.

    References:
        Croce and Hein, Mind the box: l1-APGD for sparse adversarial attacks on image classifiers
        <https://arxiv.org/abs/2103.01208>, 2021; there the root is found by sorting.

    Args:
        size: The numbers (n, d), not negative.
        total: Largest sum of each row (n, 1), not negative; may be infinite.
        most: Bound of each number, not negative (n, d); None: no bounds.

    Returns:
        The numbers (n, d); rows that fit are unchanged except for the bounds.

    Example:
        >>> shrink(torch.tensor([[3.0, 1.0, 0.5]]), torch.tensor([[3.0]]))
        tensor([[2.5000, 0.5000, 0.0000]])
        >>> shrink(torch.tensor([[3.0, 1.0, 0.5]]), torch.tensor([[1.5]]), torch.tensor([[1.0, 1.0, 1.0]]))
        tensor([[1.0000, 0.5000, 0.0000]])
    """
    shrunk = _cut(size, most)
    fits = shrunk.sum(1) <= total.squeeze(1)
    if bool(fits.all()):
        return shrunk
    # Usually only the largest few numbers remain above 0, and they alone determine the amount.
    top, places = size.topk(-(-size.shape[1] // _PART), dim=1, sorted=False)
    amount = _amount(top, total, None if most is None else most.gather(1, places))
    amount[fits] = 0
    more = ((top.amin(1) > amount.squeeze(1)) & ~fits).nonzero().squeeze(1)
    if len(more):
        amount[more] = _amount(size[more], total[more], None if most is None else most[more])
    shrunk = _cut((size - amount).clamp_(min=0), most)
    # Scales away any excess left by rounding.
    return shrunk * (total / shrunk.sum(1, keepdim=True).clamp_min(1e-30)).clamp_max(1)


def _cut(size: Tensor, most: Tensor | None) -> Tensor:
    return size if most is None else torch.minimum(size, most)


def _amount(size: Tensor, total: Tensor, most: Tensor | None) -> Tensor:
    """Amount to subtract from each number (n, 1), for rows that do not fit."""
    high, low = size.amax(1, keepdim=True), torch.zeros_like(total)
    # With a total of 0 nothing remains of any number, and the search below would divide by an error of 0.
    done = total <= 0
    amount = torch.where(done, high, low)
    enough = 4 * torch.finfo(size.dtype).eps * total
    for _ in range(_ROUNDS):
        shrunk = _cut((size - amount).clamp_(min=0), most)
        excess = shrunk.sum(1, keepdim=True) - total
        done = done | (excess.abs() <= enough) | (high <= low)
        if bool(done.all()):
            break
        # The remainder falls monotonically with the amount, so the sign of the excess shows on which side the root is.
        low, high = torch.where(excess > 0, amount, low), torch.where(excess > 0, high, amount)
        # The sum falls by one for each number between its ends, which gives the slope of the current linear piece.
        sloping = shrunk > 0 if most is None else (shrunk > 0) & (shrunk < most)
        newton = amount + excess / sloping.sum(1, keepdim=True)
        # With bounds the sum is not convex, and a Newton step may leave the bracket; bisection never does.
        inside = (newton > low) & (newton < high)
        amount = torch.where(done, amount, torch.where(inside, newton, (low + high) / 2))
    return amount


_PART = 8
"""The largest numbers, one in ``_PART``, are considered first."""
_ROUNDS = 64
