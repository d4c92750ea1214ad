"""Numbers of any kind - a fraction, a decimal, one of numpy's, a tensor without dimensions - as Python's own."""

from decimal import Decimal
from numbers import Integral, Real
from typing import Any


def plain_number(value: Any) -> Any:
    """A number as an ``int`` or a ``float``, whatever its type; what is not a single number is returned unchanged.

    Torch multiplies tensors by Python's numbers, and refuses fractions; JSON holds no others either.

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


def count_of(what: str, value: Any) -> int:
    """A whole number from 1, of any type, as Python's own.

    Args:
        what: What the message calls it.
        value: A number of any type, or what is none.

    Raises:
        ValueError: ``expected ..., got ...``

    Example:
        >>> import torch
        >>> count_of("steps", torch.tensor(3))
        3
        >>> count_of("steps", 2.5)
        Traceback (most recent call last):
        ValueError: expected steps to be a whole number, got 2.5
    """
    number = plain_number(value)
    if isinstance(number, bool) or not isinstance(number, int):
        raise ValueError(f"expected {what} to be a whole number, got {value!r}")
    if number < 1:
        raise ValueError(f"expected {what} >= 1, got {number}")
    return number
