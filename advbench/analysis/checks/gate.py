"""The gate for trust flags, and the numbers that a flag forbids to use."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from advbench.analysis.threats import WHOLE_RUN, Threat
from advbench.analysis.verdict import GateResult
from advbench.records.flag import Flag


def hold_flags(flags: Iterable[Flag], required: bool) -> Iterator[GateResult]:
    """Turn every flag of severity E or F into a failed result; without any, one result says that the gate held.

    Args:
        flags: Trust flags of the run.
        required: Whether there is such a gate.

    Example:
        >>> [result.message for result in hold_flags([], required=True)]
        ['no trust flag of severity E or F']
    """
    found = [flag for flag in flags if flag.severity in "EF"] if required else []
    for flag in found:
        threat = Threat(flag.model, flag.dataset, "", "")
        yield GateResult(gate="require_flags_clear", threat=threat, eps=None, passed=False, message=str(flag))
    if required and not found:
        message = "no trust flag of severity E or F"
        yield GateResult(gate="require_flags_clear", threat=WHOLE_RUN, eps=None, passed=True, message=message)


def refuse_doubtful(results: Iterable[GateResult], flags: Iterable[Flag]) -> Iterator[GateResult]:
    """Turn every result that held into a failed one if a flag forbids to use its number.

    Args:
        results: Results of the gates.
        flags: Trust flags of the run.
    """
    worst = [flag for flag in flags if flag.forbids_numbers]
    for result in results:
        where = (result.threat.model, result.threat.dataset)
        flag = next((flag for flag in worst if (flag.model, flag.dataset) == where), None)
        if flag is None or not result.passed:
            yield result
        else:
            why = f"the number must not be used ({flag.id}: {flag.message})"
            yield replace(result, passed=False, message=f"{why}; {result.message}")
