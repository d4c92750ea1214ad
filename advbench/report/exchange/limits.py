"""What the numbers of a run leave open, in sentences: uncertainty, limits, and deviations from the plan. No torch."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from advbench.analysis.anytime.estimate import Estimate
from advbench.analysis.metrics import WORST_CASE
from advbench.analysis.verdict import Verdict
from advbench.records.manifest import describe_misfits
from advbench.report.columns import describe_left_out, describe_threat
from advbench.report.exchange.facts import attacks_of
from advbench.report.exchange.schemes import access_of, references
from advbench.sanitize import count_of

if TYPE_CHECKING:
    from advbench.records.stored_run import StoredRun


def uncertainty(verdict: Verdict) -> Iterator[str]:
    """Sentences on how far the numbers are uncertain, and from what.

    Args:
        verdict: Verdict on the run.
    """
    cells = [cell for cell in verdict.analysis.cells if cell.attack == WORST_CASE]
    yield (
        "Intervals of shares are Wilson's, at 95 %: they cover the choice of the images, as a random sample of those "
        "that the data set stands for. Where the images are no such sample they say nothing beyond these images."
    )
    if any(isinstance(cell.robust, Estimate) for cell in cells):
        yield (
            "Robust accuracies of a run that stopped when it was decided are estimates; their intervals hold for these "
            "images, all together, at whatever number of them it stopped."
        )
    if cells:
        widest = max(cells, key=lambda cell: cell.robust.high - cell.robust.low)
        width = 50 * (widest.robust.high - widest.robust.low)
        of = count_of(widest.robust.n, "image")
        yield f"The widest interval of a worst case is ±{width:.1f} percentage points, of {of}."
        yield (
            "Robust accuracy is an upper bound: a stronger attack can only lower it. The intervals do not cover this, "
            "and it is often the larger uncertainty."
        )
    if any(cell.median for cell in verdict.analysis.cells):
        yield "Intervals of medians are free of distribution, from order statistics, at 95 % or a little more."
    if cells:
        yield _unknown(sum(cell.robust.unknown for cell in cells))


def _unknown(results: int) -> str:
    """What is unknown in the worst cases, in a sentence."""
    if not results:
        return "No result of a worst case is unknown."
    return (
        f"Of {count_of(results, 'result')} in the worst cases nothing is known; they widen the interval and count as "
        "not robust at its lower end."
    )


def limits(verdict: Verdict, run: "StoredRun") -> Iterator[str]:
    """Sentences on what was not tested, on doubts, and on what did not go as planned.

    Args:
        verdict: Verdict on the run.
        run: The stored run, for what is missing.
    """
    cells = verdict.analysis.cells
    tested = ["attacks, goals, norms and sizes"] if cells else []
    tested += ["corruptions"] if verdict.analysis.corruptions else []
    if tested:
        yield f"Only the {' and the '.join(tested)} of clause 3 were tested, and no other kind of change of an image."
    if cells and not any(
        access_of(name) in ("scores", "decisions") for name, _ in attacks_of(verdict) if references([name])
    ):
        yield "No attack of a black box was run: where gradients mislead, these numbers are too high."
    if any(cell.relative for cell in cells):
        yield "Images without labels: correct means classified as when clean, and clean accuracy is not a result."
    if cells and not any(cell.proved for cell in cells):
        yield "Nothing was proved: that no attack broke an image does not say that none can."
    left = {describe_threat(cell.threat): describe_left_out(cell).removeprefix("; ") for cell in cells if cell.left_out}
    yield from (f"{threat}: {sentence}." for threat, sentence in left.items())
    yield from (f"{sentence[:1].upper()}{sentence[1:]}." for sentence in describe_misfits(verdict.analysis.misfits))
    forms = sorted({form for cell in cells for form in cell.form.split(", ")} - {"", "plain"})
    if forms:
        yield f"Attacks took gradients from the form {' and '.join(forms)} of a network; verdicts are its own."
    flags = verdict.analysis.flags
    yield from (f"Trust flag of severity {flag.severity}: {flag}." for flag in flags)
    if not flags:
        yield "No trust flag was raised."
    if verdict.incomplete:
        yield f"Deviation from the plan: {verdict.incomplete}."
    if verdict.left_out:
        yield f"Deviation from the plan: without a baseline the gate {', '.join(verdict.left_out)} was not evaluated."
    if not (verdict.incomplete or verdict.left_out or run.missing):
        yield "There were no deviations from the plan."
