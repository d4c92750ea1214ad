"""The verdict on a run, from which every output and the exit code are derived. Does not import torch."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from advbench.analysis.compare import Comparison
from advbench.analysis.run_analysis import RunAnalysis
from advbench.analysis.threats import Threat
from advbench.errors import ExitCode
from advbench.sanitize import count_of

Gate = Literal[
    "min_robust_accuracy",
    "min_proved_accuracy",
    "max_open",
    "max_corruption_error",
    "max_drop_pp",
    "max_unknown",
    "require_flags_clear",
]
"""Name of a gate."""


@dataclass(frozen=True, kw_only=True)
class GateResult:
    """Result of one gate for one number, for one flag, or for the whole run."""

    gate: Gate
    """Name of the gate."""
    threat: Threat
    """Threat that it concerns; goal and norm are empty for a flag, and all is empty for the whole run."""
    eps: float | None
    """Budget, image units; None: no bound, or not about a threat."""
    passed: bool
    """Whether the run passes this gate."""
    message: str
    """Message with the measured and the required value."""
    undecided: bool = False
    """Whether the images attacked so far leave it undecided, which is not a failure."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Verdict:
    """The verdict on a run."""

    analysis: RunAnalysis
    """Analysis of the run."""
    results: tuple[GateResult, ...]
    """Results of the gates, in the order of the numbers."""
    comparison: Comparison | None
    """Comparison with the baseline; None: there is none."""
    incomplete: str
    """Why the run is incomplete; empty if it is complete."""
    left_out: tuple[Gate, ...] = ()
    """Gates that could not be evaluated without a baseline."""

    @property
    def passed(self) -> bool:
        """Whether the run is complete, has results, and passes every gate."""
        return self.exit_code == ExitCode.OK

    @property
    def decided(self) -> bool:
        """Whether the gates had everything they need, whatever the result."""
        return self.exit_code in (ExitCode.OK, ExitCode.FAILED)

    @cached_property
    def failures(self) -> tuple[GateResult, ...]:
        """Results of the gates that the run fails."""
        return tuple(result for result in self.results if not result.passed and not result.undecided)

    @property
    def held(self) -> int:
        """Number of gate results that the run passes."""
        return sum(result.passed for result in self.results)

    @property
    def undecided(self) -> tuple[GateResult, ...]:
        """Results of the gates that the images attacked so far leave undecided."""
        return tuple(result for result in self.results if result.undecided)

    @property
    def exit_code(self) -> ExitCode:
        """Exit code of `advbench run`; an incomplete run is incomplete, whatever the results of its gates."""
        if self.incomplete:
            return ExitCode.INCOMPLETE
        if not self.analysis.attempted:
            return ExitCode.NOTHING
        if self.failures:
            return ExitCode.FAILED
        return ExitCode.USAGE if self.left_out else ExitCode.OK

    @property
    def headline(self) -> str:
        """The verdict in one line."""
        match self.exit_code:
            case ExitCode.INCOMPLETE:
                return f"INCOMPLETE: {self.incomplete}"
            case ExitCode.NOTHING:
                nothing = self.analysis.frame.empty
                return f"NOTHING RUN: the run {'has no images' if nothing else 'left out all images'}"
            case ExitCode.FAILED:
                return f"FAILED: {len(self.failures)} of {count_of(len(self.results), 'gate')} failed"
            case ExitCode.USAGE:
                return f"NO BASELINE: {', '.join(self.left_out)} needs one, and was skipped"
        return f"PASSED: {count_of(len(self.results), 'gate')} held" if self.results else "DONE: no gates were set"

    def as_dict(self) -> dict[str, Any]:
        """The verdict as plain values, for JSON."""
        from advbench.analysis.metrics import as_dict

        return {
            "verdict": self.headline.partition(":")[0].lower(),
            "exit_code": int(self.exit_code),
            "headline": self.headline,
            "incomplete": self.incomplete or None,
            "left_out": list(self.left_out),
            "gates": [
                {"gate": r.gate, **r.threat._asdict(), "eps": r.eps, "passed": r.passed, "message": r.message}
                | ({"undecided": True} if r.undecided else {})
                for r in self.results
            ],
            "misfits": [misfit._asdict() for misfit in self.analysis.misfits],
            "flags": [flag.as_dict() for flag in self.analysis.flags],
            "cells": [as_dict(cell) for cell in self.analysis.cells],
            "labels": [table.as_dict() for table in self.analysis.label_tables],
            "transfer": [each.as_dict() for each in self.analysis.transfer],
            "corruptions": [each.as_dict() for each in self.analysis.corruptions],
            "profiles": [each.as_dict() for each in self.analysis.profiles],
            "rankings": [each.as_dict() for each in self.analysis.rankings],
        }
