"""How sizes, costs and verdicts are put into words, for the terminal and for pictures alike."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from advbench.outcome import Outcome

_NAMES = {"linf": "Linf", "l2": "L2", "l1": "L1", "l0": "L0"}


def describe_eps(norm: str, eps: float) -> str:
    """An eps or a distance with the unit people use: 255ths for Linf.

    Example:
        >>> describe_eps("linf", 2 / 255), describe_eps("l2", 0.5), describe_eps("l0", 12)
        ('2/255', '0.5', '12 values')
    """
    if norm == "linf":
        return f"{eps * 255:.4g}/255"
    return f"{eps:.0f} values" if norm == "l0" else f"{eps:.4g}"


def describe_norm(norm: str, eps: float | None) -> str:
    """A norm with its bound.

    Example:
        >>> describe_norm("linf", 2 / 255), describe_norm("l2", None)
        ('Linf ≤ 2/255', 'L2, no bound')
    """
    return f"{_NAMES[norm]}, no bound" if eps is None else f"{_NAMES[norm]} ≤ {describe_eps(norm, eps)}"


def describe_result(outcome: "Outcome") -> list[str]:
    """Verdict, size and cost of an attacked picture, a line each."""
    record = outcome.record
    lines = [f"goal {record.goal}: {'met' if record.met else 'not met'}"]
    if record.met and record.linf is not None:
        lines.append(f"Linf {describe_eps('linf', record.linf)}   L2 {record.l2:.4g}")
        lines.append(f"L1 {record.l1:.4g}   L0 {record.l0:.0f} values")
        lines.append(f"8-bit PNG: {'goal met too' if record.survives_8bit else 'goal not met'}")
    if record.forwards is not None:
        lines.append(f"{record.forwards:.0f} forward, {record.backwards:.0f} backward passes, {record.seconds:.1f} s")
    return lines
