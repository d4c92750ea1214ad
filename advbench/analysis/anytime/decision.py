"""Whether a run that stops once it is decided needs another look at its images. Does not import torch."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from advbench.analysis.anytime.sample import estimate, looks_of, number_of_intervals
from advbench.analysis.gates import least_wanted
from advbench.analysis.metrics import levels
from advbench.analysis.run_analysis import budgets_of
from advbench.analysis.threats import NEEDED, Threat, gather
from advbench.errors import UserError
from advbench.records.stored_run import read_rows

if TYPE_CHECKING:
    from advbench.analysis.anytime.estimate import Estimate
    from advbench.config.gates import Gates
    from advbench.config.suite import Suite
    from advbench.records.run_folder import RunFolder
    from advbench.records.unit import Unit


def refuse_undecidable(suite: "Suite", gates: "Gates", *, baseline: bool = False) -> None:
    """Reject a suite that is to stop once it is decided, but has nothing to decide or needs every image.

    Args:
        suite: Suite to be run; one that runs to its end is never rejected.
        gates: Gates for its results.
        baseline: Whether results are compared with a baseline.

    Raises:
        UserError: It has no required robust accuracy and no width; a model has only one attack; or there are proofs, a
            baseline, or a gate that compares image by image.

    Example:
        >>> from advbench.config.suite import Suite
        >>> suite = Suite(name="x", models="lenet", datasets="mnist", attacks=["fgsm", "standard"], stop="decided")
        >>> refuse_undecidable(suite, suite.gates)
        Traceback (most recent call last):
        advbench.errors.UserError: suite x is to stop once it is decided, and has nothing to decide
        set min_robust_accuracy or floors in its gates, or --fail-under SHARE; or width_pp = 2 in the suite
    """
    if suite.stop != "decided":
        return
    say = f"suite {suite.name} is to stop once it is decided"
    if baseline or gates.max_drop_pp is not None:
        raise UserError(
            f"{say}, and a baseline is compared image by image",
            hint="leave out the baseline and max_drop_pp, or run it to its end",
        )
    if suite.prove is not None or gates.min_proved_accuracy is not None or gates.max_open is not None:
        raise UserError(f"{say}, and proofs need every image", hint="leave them out, or run it to its end")
    if gates.min_robust_accuracy is None and not gates.floors and suite.width_pp is None:
        hint = "set min_robust_accuracy or floors in its gates, or --fail-under SHARE; or width_pp = 2 in the suite"
        raise UserError(f"{say}, and has nothing to decide", hint=hint)
    for model in suite.models:
        own = [spec for spec in suite.attacks if model.attacks is None or spec.name in model.attacks]
        if len(own) < 2:
            raise UserError(
                f"{say}, and has only one attack on {model.label}",
                hint='put a quick attack before it, such as attacks = ["fgsm", "standard"]',
            )


class Undecided:
    """Determines after each look which threats need another one; reads every file once.

    Args:
        folder: Folder of the run.
        units: Units of its plan.
        suite: Suite that is run.
        gates: Gates for its results.
    """

    def __init__(self, folder: "RunFolder", units: Sequence["Unit"], suite: "Suite", gates: "Gates") -> None:
        self._folder, self._suite, self._gates = folder, suite, gates
        self._units = [unit for unit in units if unit.task == "attack"]
        self._tables: dict[int, Any] = {}
        self._missing: set[str] = set()

    def __call__(self, look: int) -> frozenset[Threat]:
        """The threats with a number that the looks so far leave undecided.

        Args:
            look: Number of the last look whose units are done.
        """
        from advbench.records.storage.shards import as_frame, gathered

        for number in range(look + 1):
            if number not in self._tables:
                own = [unit for unit in self._units if unit.look == number]
                table, missing = read_rows(self._folder, own)
                self._tables[number] = table.select([*NEEDED])
                self._missing |= missing.keys()
        frame = as_frame(gathered([self._tables[number] for number in range(look + 1)], NEEDED))
        later = {unit.unit_id for unit in self._units if unit.look > look}
        looks, budgets = looks_of(self._units, self._missing | later), budgets_of(self._suite)
        evidence = gather(frame)
        share = number_of_intervals(evidence, looks, budgets)
        alpha = self._gates.alpha
        return frozenset(
            each.threat
            for each in evidence
            if each.threat in looks and not looks[each.threat].complete
            for eps in levels(each, budgets)
            if self._open(estimate(each, looks[each.threat], eps, alpha=alpha, share=share), each.threat, eps)
        )

    def _open(self, found: "Estimate", threat: Threat, eps: float | None) -> bool:
        """Whether a number needs more images."""
        least, width = least_wanted(self._gates, threat, eps), self._suite.width_pp
        if width is not None and 100 * (found.high - found.low) <= width:
            return False
        return width is not None if least is None else not found.decides(least)
