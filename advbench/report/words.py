"""How sizes, costs and verdicts are put into words, for the terminal and for pictures alike."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from advbench.names import display_name
from advbench.records import LEFT_OUT

if TYPE_CHECKING:
    from advbench.outcome import Outcome

_NAMES = {"linf": "Linf", "l2": "L2", "l1": "L1", "l0": "L0"}


def describe_eps(norm: str, eps: float, like: float | None = None) -> str:
    """An eps or a distance with the unit people use: 255ths for Linf, unless it is a short decimal number.

    Example:
        >>> describe_eps("linf", 2 / 255), describe_eps("linf", 0.3), describe_eps("l2", 0.5), describe_eps("l0", 12)
        ('2/255', '0.3', '0.5', '12 values')

    Args:
        norm: In which it is measured.
        eps: The number.
        like: Another number, in whose unit it is to be told.
    """
    if norm == "linf":
        return f"{eps:.3g}" if is_decimal(eps if like is None else like) else f"{eps * 255:.4g}/255"
    return f"{eps:.0f} values" if norm == "l0" else f"{eps:.4g}"


def is_decimal(eps: float) -> bool:
    """Whether people write an Linf eps as a decimal number: it has at most two digits behind the point.

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
    return f"{_NAMES[norm]} {describe_eps(norm, size)}"


def describe_norm(norm: str, eps: float | None) -> str:
    """A norm with its bound.

    Example:
        >>> describe_norm("linf", 2 / 255), describe_norm("l2", None)
        ('Linf ≤ 2/255', 'L2, no bound')
    """
    return f"{_NAMES[norm]}, no bound" if eps is None else f"{_NAMES[norm]} ≤ {describe_eps(norm, eps)}"


def describe_score(score: Mapping[str, Any]) -> str:
    """An accuracy with its interval and the number of images.

    Args:
        score: With `accuracy`, `low`, `high` and `n`.

    Example:
        >>> describe_score({"accuracy": 0.99, "low": 0.98, "high": 0.995, "n": 1000})
        '99.0 % (98.0 to 99.5, n = 1,000)'
    """
    accuracy, low, high = (100 * score[key] for key in ("accuracy", "low", "high"))
    return f"{accuracy:.1f} % ({low:.1f} to {high:.1f}, n = {score['n']:,})"


def describe_result(outcome: "Outcome") -> list[str]:
    """Verdict, size and cost of an attacked picture, a line each."""
    record = outcome.record
    said = "of that class already" if record.status == LEFT_OUT else "met" if record.met else "not met"
    lines = [f"goal {display_name(record.goal, limit=40)}: {said}"]
    sizes = [(norm, size) for norm in ("linf", "l2", "l1", "l0") if (size := getattr(record, norm)) is not None]
    if sizes:
        texts = [describe_size(norm, size) for norm, size in sizes]
        lines += ["   ".join(texts[:2]), "   ".join(texts[2:])]
        lines += [f"8-bit PNG: {_describe_8bit(outcome)}"] if record.met else []
    if record.forwards is not None:
        lines.append(f"{record.forwards:.0f} forward, {record.backwards:.0f} backward passes, {record.seconds:.1f} s")
    return lines


def _describe_8bit(outcome: "Outcome") -> str:
    # Rounded to whole grey levels, a picture is usually further away than the floats are.
    if outcome.met_8bit and outcome.size_8bit is not None:
        return f"goal met at {describe_size(outcome.record.norm, outcome.size_8bit)}"
    return "goal not met"
