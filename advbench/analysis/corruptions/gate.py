"""The gate for errors under corruptions."""

from collections.abc import Iterable, Iterator

from advbench.analysis.corruptions.errors import CorruptionResults
from advbench.analysis.threats import Threat
from advbench.analysis.verdict import GateResult
from advbench.errors import UserError


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
