"""Numbers of any kind - a fraction, a decimal, one of numpy's, a tensor without dimensions - as Python's own."""

import math
from decimal import Decimal
from numbers import Integral, Real
from typing import Any


def plain_number(value: Any) -> Any:
    """Convert a number of any type to ``int`` or ``float``; anything but a single number is returned unchanged.

    Torch multiplies tensors by Python's numbers and rejects fractions; JSON holds no others either.

    Args:
        value: Anything. A tensor or an array without dimensions counts as a number, one with a single entry does not.

    Example:
        >>> from fractions import Fraction
        >>> import torch
        >>> plain_number(Fraction(8, 256)), plain_number(torch.tensor(0.5)), plain_number("8/255"), plain_number(True)
        (0.03125, 0.5, '8/255', True)
    """
    if isinstance(value, bool) or type(value) in (int, float):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real | Decimal):
        return float(value)
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        return value.item()
    return value


def whole_number(what: str, value: Any, least: float = 1) -> int:
    """Convert a number that must be whole to an ``int``.

    Args:
        what: What the message calls it.
        value: The number, of any kind.
        least: Smallest value allowed.

    Raises:
        ValueError: ``expected ..., got ...`` if it is not a whole number, or below ``least``.

    Example:
        >>> whole_number("samples", 16)
        16
        >>> whole_number("samples", 1.5)
        Traceback (most recent call last):
        ValueError: expected samples to be a whole number, got 1.5
    """
    number = plain_number(value)
    if isinstance(number, bool) or not isinstance(number, int):
        raise ValueError(f"expected {what} to be a whole number, got {value!r}")
    if number < least:
        raise ValueError(f"expected {what} >= {least}, got {number}")
    return number


def safety_margin(kappa: Any) -> float:
    """Convert ``kappa``, a finite and non-negative number of logits, to a ``float``.

    Raises:
        ValueError: ``expected ..., got ...`` if it is not a number, not finite, or negative.

    Example:
        >>> safety_margin(-1)
        Traceback (most recent call last):
        ValueError: expected kappa >= 0 logits, got -1
    """
    number = plain_number(kappa)
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise ValueError(f"expected kappa to be a number, got {kappa!r}")
    if not 0 <= number < math.inf:
        raise ValueError(f"expected kappa >= 0 logits, got {number}")
    return number
