"""Parse, check and format an eps. Does not import torch."""

import math
from collections.abc import Mapping
from typing import Literal

from advbench.catalog.datasets import DATASETS
from advbench.errors import UserError

EXAMPLES = {"linf": "2/255", "l2": "0.5", "l1": "12", "l0": "50"}
"""Norm -> an example of an eps in it, as people write it. A record has a column of the same name for each norm."""
NORMS = tuple(EXAMPLES)
"""Names of the norms."""
DEFAULT_EPS = {"linf": "2/255"}
"""Eps if none is given: an invisible change in Linf; no bound in the other norms."""

Usual = Literal["small", "large"]
"""Budgets that suit the data: small ones, at which ordinary networks differ, and those used in published results."""
_Budgets = dict[str, tuple[float, ...]]
_DIGITS: Mapping[Usual, _Budgets] = {
    "small": {"linf": (0.1,), "l2": (1.0,), "l1": (5.0,), "l0": (10.0,)},
    "large": {"linf": (0.3,), "l2": (2.0,), "l1": (20.0,), "l0": (30.0,)},
}
_CLOTHES: Mapping[Usual, _Budgets] = {
    "small": {"linf": (0.03,), "l2": (0.5,), "l1": (3.0,), "l0": (5.0,)},
    "large": {"linf": (0.1,), "l2": (1.5,), "l1": (10.0,), "l0": (20.0,)},
}
_THUMBNAILS: Mapping[Usual, _Budgets] = {
    "small": {"linf": (2 / 255,), "l2": (0.25,), "l1": (5.0,), "l0": (10.0,)},
    "large": {"linf": (8 / 255,), "l2": (0.5,), "l1": (12.0,), "l0": (30.0,)},
}
_PHOTOGRAPHS: Mapping[Usual, _Budgets] = {
    "small": {"linf": (1 / 255,), "l2": (0.5,), "l1": (50.0,), "l0": (50.0,)},
    "large": {"linf": (4 / 255,), "l2": (3.0,), "l1": (200.0,), "l0": (300.0,)},
}
_USUAL: Mapping[str, Mapping[Usual, _Budgets]] = {
    "MNIST": _DIGITS,
    "KMNIST": _DIGITS,
    "Fashion-MNIST": _CLOTHES,
    "CIFAR-10": _THUMBNAILS,
    "CIFAR-10 grey": _THUMBNAILS,
    "CIFAR-100": _THUMBNAILS,
    "SVHN": _THUMBNAILS,
    "GTSRB": _THUMBNAILS,
}


def usual_budgets(dataset: str, size: Usual) -> _Budgets:
    """The budgets in every norm that suit a data set.

    Args:
        dataset: Name of the data set; an unknown one is taken to hold photographs.
        size: "small" or "large".

    Example:
        >>> usual_budgets("mnist", "large")["linf"], usual_budgets("folder", "small")["l2"]
        ((0.3,), (0.5,))
    """
    shows = DATASETS[dataset].data if dataset in DATASETS else ""
    return _USUAL.get(shows, _PHOTOGRAPHS)[size]


def _number(given: object) -> float:
    """The value of a text or number, or NaN."""
    try:
        if isinstance(given, str):
            top, slash, bottom = given.partition("/")
            return float(top) / (float(bottom) if slash else 1)
        return math.nan if isinstance(given, bool) else float(given)  # type: ignore[arg-type]
    except (ValueError, ZeroDivisionError, TypeError, OverflowError, RuntimeError):  # torch's for several values
        return math.nan


def parse_eps(given: object, norm: str, *, option: str = "--eps") -> float:
    """Parse an eps: `2/255`, `0.5`, `1e-2`, or any kind of number in Python.

    Args:
        given: A decimal number or a fraction as text, or a number: also a `Fraction`, a `Decimal`, a numpy number, or a
            tensor without dimensions.
        norm: Name of its norm; in Linf, more than 1 is out of range.
        option: Name of the option in messages.

    Returns:
        The number, in image units ([0, 1] is black to white; for L0 a count of values).

    Raises:
        UserError: It is not a number, not positive, or of the wrong scale.

    Example:
        >>> from fractions import Fraction
        >>> parse_eps("2/255", "linf") == parse_eps(Fraction(2, 255), "linf") == 2 / 255
        True
        >>> parse_eps("2", "linf")
        Traceback (most recent call last):
        advbench.errors.UserError: --eps 2 is more than the whole range of a pixel, which is 0 to 1
        did you mean --eps 2/255?
    """
    example = f"{option} {EXAMPLES[norm]}"
    eps = _number(given)
    text, slash = str(given) if isinstance(given, str) or math.isnan(eps) else f"{eps:g}", "/" in str(given)
    if not math.isfinite(eps):
        raise UserError(f"{option} '{text}' is not a number", hint=f"write it like {example}")
    if eps <= 0:
        raise UserError(f"{option} {text} is not above zero", hint=f"write it like {example}")
    if norm == "linf" and eps > 1:
        raise UserError(
            f"{option} {text} is more than the whole range of a pixel, which is 0 to 1",
            hint=f"did you mean {option} {text}/255?" if not slash and eps <= 255 else f"write it like {example}",
        )
    if norm == "l0" and eps < 1:
        raise UserError(f"{option} {text} changes no value: l0 counts changed values", hint=f"such as {example}")
    return eps


def describe_eps(norm: str, eps: float, like: float | None = None) -> str:
    """Format an eps or a distance in its usual unit: 255ths for Linf, unless it is a short decimal number.

    Example:
        >>> describe_eps("linf", 2 / 255), describe_eps("linf", 0.3), describe_eps("l2", 0.5), describe_eps("l0", 12)
        ('2/255', '0.3', '0.5', '12 values')

    Args:
        norm: Name of the norm in which it is measured.
        eps: Size, image units.
        like: Another size, whose unit is used.
    """
    if norm == "linf":
        return f"{eps:.3g}" if is_decimal(eps if like is None else like) else f"{eps * 255:.4g}/255"
    return f"{eps:.0f} values" if norm == "l0" else f"{eps:.4g}"


def is_decimal(eps: float) -> bool:
    """Whether an Linf eps is usually written as a decimal number: it has at most two digits after the point.

    Example:
        >>> is_decimal(0.3), is_decimal(8 / 255)
        (True, False)
    """
    return eps > 0 and round(eps, 2) == eps


def describe_size(norm: str, size: float) -> str:
    """A distance with the name of its norm.

    Example:
        >>> describe_size("linf", 1 / 255), describe_size("l2", 0.25)
        ('Linf 1/255', 'L2 0.25')
    """
    return f"{norm.capitalize()} {describe_eps(norm, size)}"


def describe_norm(norm: str, eps: float | None) -> str:
    """A norm with its bound.

    Example:
        >>> describe_norm("linf", 2 / 255), describe_norm("l2", None)
        ('Linf ≤ 2/255', 'L2, no bound')
    """
    return f"{norm.capitalize()}, no bound" if eps is None else f"{norm.capitalize()} ≤ {describe_eps(norm, eps)}"
