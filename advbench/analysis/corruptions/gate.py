"""The gate for errors under corruptions."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from advbench.analysis.corruptions.errors import CorruptionResults
from advbench.analysis.threats import Threat
from advbench.analysis.verdict import GateResult
from advbench.errors import UserError

if TYPE_CHECKING:
    from advbench.config.gates import Gates

_OF_ATTACKS = ("min_robust_accuracy", "floors", "min_proved_accuracy", "max_open", "max_drop_pp")
"""Gates for numbers that corruptions are no part of."""


def hold_corruptions(found: Iterable[CorruptionResults], most: float | None) -> Iterator[GateResult]:
    """Check the mean error of each model and data set against the gate.

    Args:
        found: Errors under corruptions.
        most: Largest mean error, 0 to 1; None: there is no such gate.
    """
    for each in found if most is not None else ():
        passed = each.mean is not None and most is not None and each.mean.value <= most
        told = "unknown" if each.mean is None else str(each.mean)
        yield GateResult(
            gate="max_corruption_error",
            threat=Threat(each.model, each.dataset, "", ""),
            eps=None,
            passed=passed,
            message=f"mean error under corruptions {told}, at most {100 * (most or 0):.1f} % allowed",
        )


def refuse_without_corruptions(there: bool) -> None:
    """Reject the gate in a run without corruptions.

    Raises:
        UserError: The run has no corruptions.
    """
    if not there:
        raise UserError(
            "the gate max_corruption_error needs corruptions, and the run has none",
            hint='add corruptions = ["all"] to the suite',
        )


def refuse_without_attacks(gates: "Gates", there: bool) -> None:
    """Reject gates for robust or proved accuracy in a run that has only corruptions, where they would check nothing.

    Args:
        gates: Gates of the run.
        there: Whether the run has attacks.

    Raises:
        UserError: It has none, and one of these gates is set.
    """
    named = [] if there else [name for name in _OF_ATTACKS if getattr(gates, name) not in (None, ())]
    if named:
        raise UserError(
            f"the gate {named[0]} is about attacks, and the run has only corruptions",
            hint='add an attack to the suite, such as attacks = ["standard"], or set the gate max_corruption_error',
        )
