"""Whether a run passes its suite's gates: one verdict, from which every output and the exit code are derived."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advbench.analysis.anytime.estimate import Estimate
from advbench.analysis.baseline import Baseline
from advbench.analysis.checks.gate import hold_flags, refuse_doubtful
from advbench.analysis.compare import Change, Comparison, compare
from advbench.analysis.corruptions.gate import (
    hold_corruptions,
    refuse_without_attacks,
    refuse_without_corruptions,
)
from advbench.analysis.metrics import WORST_CASE
from advbench.analysis.run_analysis import RunAnalysis
from advbench.analysis.threats import WHOLE_RUN, Threat
from advbench.analysis.verdict import GateResult, Verdict
from advbench.catalog.attacks import CORRUPTION
from advbench.errors import UserError
from advbench.records.stored_run import refuse_part
from advbench.sanitize import count_of

if TYPE_CHECKING:
    from advbench.config.gates import Floor, Gates
    from advbench.config.suite import Suite
    from advbench.records.stored_run import StoredRun
    from advbench.records.unit import Unit


def evaluate(run: "StoredRun", gates: "Gates", baseline: Baseline | None = None) -> Verdict:
    """Evaluate a run against gates.

    Args:
        run: Analysis of the run, finished or not.
        gates: Gates of its suite, or others.
        baseline: Baseline for the gate `max_drop_pp`.

    Raises:
        UserError: A gate needs a baseline, proofs, corruptions or attacks and there are none, the baseline has other
            images or attacks, or a floor is set for something that is not in the run; or a comparison is needed, and
            the run stopped once decided.
    """
    analysis = RunAnalysis.of(run)
    if gates.max_drop_pp is not None and baseline is None:
        raise no_baseline()
    refuse_without_attacks(gates, analysis.frame.empty or bool(analysis.evidence))
    if gates.max_corruption_error is not None:
        refuse_without_corruptions(analysis.frame.empty or bool(analysis.corruptions))
    comparison = None
    if baseline is not None:
        refuse_part(run, "a baseline")
    if baseline is not None and not analysis.frame.empty:
        budgets = analysis.budgets or {}
        now = Baseline.of(analysis.frame, run_id=run.manifest["run_id"], version="", eps=budgets)
        baseline.refuse_others(now, labels=not analysis.missing)
        comparison = None if analysis.missing else compare(_worst_cases(baseline), _worst_cases(now))
    numbers = chain(
        _floors(analysis, gates),
        _proofs(analysis, gates),
        hold_corruptions(analysis.corruptions, gates.max_corruption_error),
        _drops(comparison, gates),
    )
    results = [
        *refuse_doubtful(numbers, analysis.flags),
        *_unknown(analysis, gates),
        *hold_flags(analysis.flags, gates.require_flags_clear),
    ]
    return Verdict(
        analysis=analysis,
        results=tuple(results),
        comparison=comparison,
        incomplete=_incomplete(analysis, gates) or _undecided(results),
    )


def evaluate_what_can_be(run: "StoredRun", gates: "Gates", baseline: Baseline | None = None) -> Verdict:
    """Evaluate a run like :func:`evaluate`, but skip a gate that lacks its baseline, and say so in the verdict.

    Args:
        run: Analysis of the run, finished or not.
        gates: Gates of its suite, or others.
        baseline: Baseline for the gate `max_drop_pp`; None if there is none yet.

    Raises:
        UserError: As :func:`evaluate`.
    """
    if baseline is not None or gates.max_drop_pp is None:
        return evaluate(run, gates, baseline)
    verdict = evaluate(run, gates.model_copy(update={"max_drop_pp": None}))
    return replace(verdict, left_out=("max_drop_pp",))


def no_baseline() -> UserError:
    """The error for a gate that needs a baseline when there is none."""
    return UserError(
        "the gate max_drop_pp needs a baseline",
        hint="give one with --baseline FILE; `advbench baseline write DIR --baseline FILE` creates it",
    )


def refuse_in_advance(units: "Sequence[Unit]", suite: "Suite", gates: "Gates", baseline: Baseline | None) -> None:
    """Raise, before a run, the errors that :func:`evaluate` would raise after it.

    Args:
        units: Units of the plan.
        suite: Suite to be run.
        gates: Gates for its results.
        baseline: Baseline for the comparison.

    Raises:
        UserError: As :func:`evaluate`, except that changed labels are only noticed at the end.
    """
    from advbench.records.storage.shards import as_frame, gathered
    from advbench.records.stored_run import StoredRun

    asked = {unit.attack for unit in units if unit.has_rows}
    refuse_without_attacks(gates, not asked or any(not attack.startswith(CORRUPTION) for attack in asked))
    if gates.min_proved_accuracy is not None or gates.max_open is not None:
        _refuse_without_proofs(any(unit.task == "prove" for unit in units))
    if gates.max_corruption_error is not None:
        refuse_without_corruptions(any(unit.attack.startswith(CORRUPTION) for unit in units))
    if gates.floors or gates.max_drop_pp is not None or baseline is not None:
        missing = {unit.unit_id: "not done yet" for unit in units}
        manifest = {"run_id": "", "suite": suite.model_dump(mode="json")}
        nothing = StoredRun(
            folder=Path(), manifest=manifest, plan=tuple(units), frame=as_frame(gathered([])), flags=[], missing=missing
        )
        evaluate(nothing, gates, baseline)


def _worst_cases(baseline: Baseline) -> list[Any]:
    return [each for each in baseline.outcomes() if each.key.attack == WORST_CASE]


def _incomplete(analysis: RunAnalysis, gates: "Gates") -> str:
    if analysis.missing:
        undone = f"{count_of(analysis.missing, 'unit')} of work not done"
        if failures := analysis.failures:
            return f"{undone}, of which {len(failures)} failed ({failures[0]}); `advbench resume` tries again"
        return f"{undone}; `advbench resume` does the rest"
    few, message = _few_unknown(analysis, gates)
    if not few:
        return f"{message}; the first: {analysis.first_error}" if analysis.first_error else message
    return ""


def _few_unknown(analysis: RunAnalysis, gates: "Gates") -> tuple[bool, str]:
    """Whether no more results are unknown than the gates allow, and that in words."""
    share, most = analysis.unknown / max(analysis.attempted, 1), gates.max_unknown or 0.0
    counts = f"{analysis.unknown} of {analysis.attempted} results are unknown ({share:.1%})"
    return share <= most, f"{counts}, at most {most:.1%} allowed"


def _unknown(analysis: RunAnalysis, gates: "Gates") -> Iterator[GateResult]:
    """Check the share of unknown results, if the suite has a gate for it."""
    if gates.max_unknown is not None and analysis.attempted:
        few, message = _few_unknown(analysis, gates)
        yield GateResult(gate="max_unknown", threat=WHOLE_RUN, eps=None, passed=few, message=message)


def _undecided(results: Sequence[GateResult]) -> str:
    open_ = [result for result in results if result.undecided]
    return f"{count_of(len(open_), 'gate')} undecided by the images so far" if open_ else ""


def _floors(analysis: RunAnalysis, gates: "Gates") -> Iterator[GateResult]:
    """Check the worst case of each threat and eps against every floor that is set for it."""
    worst = [cell for cell in analysis.cells if cell.attack == WORST_CASE]
    for floor in gates.floors:
        if worst and not any(_meant(floor, cell.threat, cell.eps) for cell in worst):
            names = floor.model_dump(exclude_none=True, exclude={"min_robust_accuracy"})
            told = ", ".join(f"{key} {value}" for key, value in names.items())
            raise UserError(
                f"gates.floors: a floor is set for {told}, which is not in the run",
                hint="the table of the report shows what the run contains",
            )
    for cell in worst:
        if (least := least_wanted(gates, cell.threat, cell.eps)) is None:
            continue
        robust, undecided = cell.robust, False
        message = f"robust accuracy {robust}, at least {100 * least:.1f} % required"
        if isinstance(robust, Estimate):
            passed, undecided = robust.low >= least, not robust.decides(least)
        else:
            passed = robust.rate is not None and robust.rate >= least
        yield GateResult(
            gate="min_robust_accuracy",
            threat=cell.threat,
            eps=cell.eps,
            passed=passed,
            message=f"{message}: undecided" if undecided else message,
            undecided=undecided,
        )


def least_wanted(gates: "Gates", threat: Threat, eps: float | None) -> float | None:
    """The robust accuracy that gates require under a threat at an eps; None: none is required.

    Args:
        gates: Gates of a run.
        threat: Model, data set, goal and norm.
        eps: Budget, image units; None: no bound.
    """
    limits = [floor.min_robust_accuracy for floor in gates.floors if _meant(floor, threat, eps)]
    limits += [] if gates.min_robust_accuracy is None else [gates.min_robust_accuracy]
    return max(limits, default=None)


def _proofs(analysis: RunAnalysis, gates: "Gates") -> Iterator[GateResult]:
    """Check the proved and open shares under each threat and eps against the gates."""
    if gates.min_proved_accuracy is None and gates.max_open is None:
        return
    worst = [cell for cell in analysis.cells if cell.attack == WORST_CASE]
    _refuse_without_proofs(not worst or any(cell.proved is not None for cell in worst))
    for cell in worst:
        least, most = gates.min_proved_accuracy, gates.max_open
        if cell.proved is not None and least is not None:
            message = f"proved accuracy {cell.proved}, at least {100 * least:.1f} % required"
            passed = (cell.proved.rate or 0.0) >= least
            yield GateResult(
                gate="min_proved_accuracy", threat=cell.threat, eps=cell.eps, passed=passed, message=message
            )
        if cell.open is not None and most is not None:
            message = f"open {cell.open}, at most {100 * most:.1f} % allowed"
            passed = (cell.open.rate or 0.0) <= most
            yield GateResult(gate="max_open", threat=cell.threat, eps=cell.eps, passed=passed, message=message)


def _refuse_without_proofs(there: bool) -> None:
    if not there:
        raise UserError(
            "the gates min_proved_accuracy and max_open need proofs, and the run has none",
            hint="add prove = {} to the suite, or run it with --prove",
        )


def _meant(floor: "Floor", threat: Threat, eps: float | None) -> bool:
    """Whether a floor applies to a threat at an eps."""
    named = {name: getattr(floor, name) for name in Threat._fields if getattr(floor, name) is not None}
    same = all(getattr(threat, name) == value for name, value in named.items())
    return same and (floor.eps is None or (eps is not None and math.isclose(floor.eps, eps, rel_tol=1e-6)))


def _drops(comparison: Comparison | None, gates: "Gates") -> Iterator[GateResult]:
    """Check every worst case against its baseline: lower by too much, and by more than chance."""
    if comparison is None or gates.max_drop_pp is None:
        return
    for change in comparison.changes:
        passed = not (change.drop_pp > gates.max_drop_pp and change.p_worse < gates.alpha)
        yield GateResult(
            gate="max_drop_pp",
            threat=change.after.threat,
            eps=change.after.key.eps,
            passed=passed,
            message=f"{_describe(change)}; at most {gates.max_drop_pp:g} points lower allowed at p < {gates.alpha:g}",
        )


def _describe(change: Change) -> str:
    drop = change.drop_pp
    way = f"{abs(drop):.1f} points {'lower' if drop > 0 else 'higher'}" if drop else "as before"
    before, after = change.before.share.percent, change.after.share.percent
    return (
        f"robust accuracy {way} (±{change.half_width_pp:.1f}): {before} before, {after} now, "
        f"{count_of(len(change.broken), 'image')} newly broken, {len(change.mended)} newly robust, "
        f"p = {change.p_worse:.2g}"
    )
