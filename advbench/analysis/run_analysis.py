"""The analysis of a run, computed once for every output: evidence, numbers and trust flags. Does not import torch."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pandas as pd

from advbench.analysis.anytime.sample import Looks, looks_of, number_of_intervals, part_of, sampled_cells
from advbench.analysis.checks.attacks import check_evidence, check_rows
from advbench.analysis.checks.suites import check_suite
from advbench.analysis.corruptions.errors import CorruptionResults, corruption_results
from advbench.analysis.labels.rates import LabelTable, label_tables
from advbench.analysis.metrics import Budgets, Cell, cells_of
from advbench.analysis.profile.profiles import Profile, profiles
from advbench.analysis.profile.rankings import Rankings, rankings
from advbench.analysis.threats import ThreatResults, gather
from advbench.analysis.transfer.matrix import TransferMatrix, transfer_matrices
from advbench.analysis.transfer.names import FROM
from advbench.config.budgets import NORMS
from advbench.records.flag import Flag
from advbench.records.manifest import Misfit, misfits_in
from advbench.records.record import COLUMNS, LEFT_OUT, UNKNOWN, Reason
from advbench.records.stored_run import NOT_DONE
from advbench.sanitize import display_name, one_line

if TYPE_CHECKING:
    from advbench.config.suite import Suite
    from advbench.records.stored_run import StoredRun


_LONGEST_FAILURE = 200
"""Largest number of characters in a line about a failed unit."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RunAnalysis:
    """The analysis of a run.

    Example:
        >>> RunAnalysis(frame=pd.DataFrame(columns=COLUMNS)).cells
        ()
    """

    frame: pd.DataFrame
    """Rows of the run, one for each image and attack unit of the plan; those of unfinished units are unknown."""
    manifest: "dict[str, Any] | None" = None
    """Manifest of the run; None for a frame without a run."""
    budgets: "Budgets | None" = None
    """Budgets at which to report minimum-norm attacks, if the run has no others."""
    model_flags: tuple[Flag, ...] = ()
    """Flags raised during the run, when its models were available."""
    missing: int = 0
    """Number of units of the plan without a result."""
    failures: tuple[str, ...] = ()
    """Missing units that failed, each with its error."""
    suite: "Suite | None" = None
    """Suite that was run; None for a frame without a run."""
    looks: Mapping[tuple[str, ...], Looks] = field(default_factory=dict)
    """Threat -> images that the last attack was run on, in a run that stops once it is decided."""

    def __repr__(self) -> str:
        return one_line(self)

    @classmethod
    def of(cls, run: "StoredRun") -> "RunAnalysis":
        """The analysis of a run, finished or not."""
        return cls(
            frame=_with_missing(run),
            manifest=run.manifest,
            budgets=budgets_of(run.suite),
            model_flags=tuple(Flag.from_dict(flag) for flag in run.flags),
            missing=len(run.missing),
            failures=tuple(_failures(run)),
            suite=run.suite,
            looks=looks_of((*run.plan, *run.spared), {*run.missing, *(unit.unit_id for unit in run.spared)}),
        )

    @cached_property
    def evidence(self) -> tuple[ThreatResults, ...]:
        """Results for each image that every attack was run on: all images, unless a part decided the run."""
        open_ = {threat: looks for threat, looks in self.looks.items() if not looks.complete}
        return tuple(part_of(each, open_[each.threat]) if each.threat in open_ else each for each in self._all)

    @cached_property
    def _all(self) -> tuple[ThreatResults, ...]:
        """Results for every image."""
        return tuple(gather(self.frame))

    @cached_property
    def corruptions(self) -> tuple[CorruptionResults, ...]:
        """Errors under corruptions, for each model and data set with corruptions."""
        return corruption_results(self.frame, self.class_counts)

    @cached_property
    def label_tables(self) -> tuple[LabelTable, ...]:
        """Rates of each label, for each multi-label model."""
        return label_tables(self.frame, self.classes)

    @cached_property
    def profiles(self) -> tuple[Profile, ...]:
        """Every threat to each model on one page; empty if the suite requests no profile."""
        wanted = self.suite is not None and self.suite.profile
        # uses all images: one missing from a part would look as if the goal had no meaning for it
        return profiles(self.frame, self._all, self.budgets or {}) if wanted else ()

    @cached_property
    def rankings(self) -> tuple[Rankings, ...]:
        """How the ranking of the models changes between threats, if at least three have profiles."""
        return rankings(self.profiles)

    @cached_property
    def transfer(self) -> tuple[TransferMatrix, ...]:
        """How often candidates made on surrogates fooled each model, for each attack and budget."""
        return transfer_matrices(self.frame)

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """The numbers of the run, each with the trust flags about it."""
        budgets = self.budgets or {}
        share = number_of_intervals(self._all, self.looks, budgets)
        found: list[Cell] = []
        for every, part in zip(self._all, self.evidence, strict=True):
            if every is part or self.suite is None:
                found += cells_of(every, budgets)
            else:
                looks = self.looks[every.threat]
                found += sampled_cells(every, part, looks, budgets, alpha=self.suite.gates.alpha, share=share)
        return tuple(replace(cell, flags=self._doubts(cell)) for cell in found)

    def _doubts(self, cell: Cell) -> str:
        """Ids of the flags of severity E or F about a number: those of its model, and of its attack."""
        where = cell.threat.model, cell.threat.dataset
        # the name may include the surrogate, and the parameters if there are several
        names = None, cell.attack, cell.attack.partition(" (")[0].partition(FROM)[0]
        about = (flag for flag in self.flags if flag.attack in names and flag.severity in "EF")
        return ", ".join(dict.fromkeys(flag.id for flag in about if (flag.model, flag.dataset) == where))

    @cached_property
    def flags(self) -> tuple[Flag, ...]:
        """Every trust flag, the most severe first."""
        found = [
            *self.model_flags,
            *check_rows(self.frame, self.classes),
            *check_evidence(self.evidence, self.class_counts),
            *(check_suite(self.evidence, self.suite) if self.suite is not None else ()),
        ]
        return tuple(sorted(dict.fromkeys(found), key=lambda flag: "EFI".index(flag.severity)))

    @cached_property
    def misfits(self) -> tuple[Misfit, ...]:
        """The models and data sets of the suite that do not fit together, so that nothing was run on them."""
        return misfits_in(self.manifest or {})

    @cached_property
    def classes(self) -> dict[str, list[str]]:
        """Data set -> names of its classes, as far as the run stored them."""
        return dict((self.manifest or {}).get("classes", {}))

    @cached_property
    def class_counts(self) -> dict[str, int]:
        """Data set -> number of its classes."""
        return {dataset: len(names) for dataset, names in self.classes.items()}

    @cached_property
    def unknown(self) -> int:
        """Number of rows with unknown outcome."""
        return int((self.frame["status"] == UNKNOWN).sum())

    @cached_property
    def first_error(self) -> str:
        """Error of the first row with unknown outcome, in one line; empty if there is none."""
        errors = self.frame.loc[self.frame["status"] == UNKNOWN, "error"].dropna()
        return display_name(errors.iloc[0], limit=_LONGEST_FAILURE) if len(errors) else ""

    @cached_property
    def attempted(self) -> int:
        """Number of rows whose goal has a meaning for the image."""
        return int((self.frame["status"] != LEFT_OUT).sum())


def budgets_of(suite: "Suite") -> "Budgets":
    """The budgets of a suite, at which minimum-norm attacks are reported too."""
    return {(data.label, norm): eps for data in suite.datasets for norm, eps in suite.budgets_on(data).items()}


def _failures(run: "StoredRun") -> Iterator[str]:
    """Yield a line for each unit that failed."""
    for unit in run.plan:
        if (why := run.missing.get(unit.unit_id, NOT_DONE)) != NOT_DONE:
            yield display_name(f"{unit.name} of {unit.model} on {unit.dataset}: {why}", limit=_LONGEST_FAILURE)


def _with_missing(run: "StoredRun") -> pd.DataFrame:
    """The frame of a run, with an unknown row for each image of each unfinished unit, in the order of the plan.

    The order matches the images of two models: at different resolutions they have different ids.
    """
    rows = [
        dict.fromkeys(COLUMNS)
        | {name: getattr(unit, name) for name in ("unit_id", "model", "dataset", "attack", "params", "goal", "norm")}
        | {"eps": unit.eps, "seed": unit.seed, "sample_id": sample, "status": UNKNOWN}
        | {"reason": Reason.NOT_DONE, "error": NOT_DONE}
        for unit in run.plan
        if unit.has_rows and unit.unit_id in run.missing
        for sample in unit.sample_ids
    ]
    frame: pd.DataFrame = run.frame
    if not rows:
        return frame
    texts = dict.fromkeys(frame.select_dtypes("category"), "object")
    lost = pd.DataFrame(rows, columns=list(COLUMNS)).astype("object")
    every: pd.DataFrame = pd.concat([frame.astype(texts).astype("object"), lost], ignore_index=True)
    place = {unit.unit_id: number for number, unit in enumerate(run.plan)}
    every = every.iloc[every["unit_id"].map(place).fillna(-1).to_numpy().argsort(kind="stable")]
    numbers = dict.fromkeys(("eps", *NORMS, "forwards", "backwards", "seconds"), "float64")
    return every.astype(numbers).reset_index(drop=True)
