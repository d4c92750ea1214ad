"""Trust flags raised only from the rows of a run: signs that an attack, or its measurement, is at fault.

The rules follow N. Carlini et al., On Evaluating Adversarial Robustness, 2019 <https://arxiv.org/abs/1902.06705>,
A. Athalye et al., Obfuscated Gradients Give a False Sense of Security, 2018 <https://arxiv.org/abs/1802.00420>, and
AutoAttack's own checks. The absence of flags proves nothing. Does not import torch.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from advbench.analysis.arrays import Bools
from advbench.analysis.checks.consistency import contradicted
from advbench.analysis.metrics import levels
from advbench.analysis.statistics import Proportion
from advbench.analysis.threats import BROKEN, ROBUST, ThreatResults, Trial, states, within
from advbench.catalog import ATTACKS
from advbench.catalog.cards import Access, AttackCard, Search
from advbench.config.budgets import NORMS, describe_size
from advbench.records.flag import Flag
from advbench.records.record import PROOF, Reason, largest_size
from advbench.sanitize import count_of

TOLERANCE = 0.002
"""Share of the images on which a weaker attack may succeed where a stronger one fails (AutoAttack's rule). A single
image is only worth knowing: with fewer than 500 images it always exceeds this share."""
UNBOUNDED_LINF = 0.5
"""An Linf eps large enough to turn every image grey."""
LOST = 0.1
"""Share of an attack's successes that may be lost when images are saved in 8 bits."""
_ROUNDED = "if saved pictures matter, use those that `advbench attack` writes: it searches for the best rounding"
_WHOLE = 0.001
"""Grey levels by which an eps may differ from a whole number of them."""
IN_ONE_PLACE: Search = "in one place"
"""Search of an attack that changes only one part of the image: others may well break what it misses."""


def check_rows(frame: pd.DataFrame, classes: Mapping[str, Sequence[str]]) -> list[Flag]:
    """Flags from single rows: invalid perturbations (A1), success that predictions deny (A2) or that 8 bits lose (A3).

    Args:
        frame: Rows of a run.
        classes: Data set -> names of its classes; without them, goals that name a class other than by its number are
            not checked.
    """
    found = []
    for names, rows in frame.groupby(["model", "dataset", "attack"], sort=False, observed=True):
        where = dict(zip(("model", "dataset", "attack"), map(str, names), strict=True))
        found += [*_beyond(rows, where), *_denied(rows, where, classes.get(where["dataset"], ()))]
        found += _rounded_away(rows, where)
    return sorted(found, key=lambda flag: flag.id)


def _beyond(rows: pd.DataFrame, where: Mapping[str, str]) -> Iterator[Flag]:
    """A1: candidates exceed eps, leave [0, 1] or are not finite."""
    if count := int(_invalid(rows).sum()):
        yield Flag(
            id="A1", severity="E", **where, value=count / len(rows),
            message=f"{count} of {len(rows)} perturbations exceed eps, leave [0, 1] or are not finite",
            advice="these images are unknown, not robust; fix the attack",
        )  # fmt: skip


def _denied(rows: pd.DataFrame, where: Mapping[str, str], classes: Sequence[str]) -> Iterator[Flag]:
    """A2: a row says that the goal was met, but its recorded predictions say that it was not."""
    if count := int(contradicted(rows, classes).sum()):
        yield Flag(
            id="A2", severity="F", **where, value=count / len(rows),
            message=f"{count} of {len(rows)} successes disagree with the recorded predictions",
            advice="the model may not be deterministic; run `advbench verify`",
        )  # fmt: skip


def _rounded_away(rows: pd.DataFrame, where: Mapping[str, str]) -> Iterator[Flag]:
    """A3: successes within an eps are lost once each value is rounded to one of 256 levels."""
    kept = rows["survives_8bit"] if "survives_8bit" in rows else pd.Series(None, rows.index, object)
    known = (rows["met"].fillna(False).astype(bool) & rows["eps"].notna() & kept.notna()).to_numpy(bool)
    gone = known.copy()
    gone[known] = ~kept[known].astype(bool)
    between = _between_levels(rows[gone])
    if (lost := int(gone.sum())) > max(1, LOST * known.sum()):
        yield Flag(
            id="A3", severity="I", **where, value=lost / int(known.sum()),
            message=f"{lost} of {known.sum()} adversarial images no longer meet the goal within eps when they "
            "are saved in 8 bits",
            advice=f"an eps of {between:.3g}/255 is between grey levels, and rounding exceeds it: "
            f"use {max(1, int(between))}/255" if between else _ROUNDED,
        )  # fmt: skip


def _between_levels(lost: pd.DataFrame) -> float:
    """The Linf eps, in grey levels, at which most of these successes were lost, if it is not a whole number; else 0.

    Changes of 25.5 levels become 26, which exceeds eps, however well they fool the model.
    """
    grey = 255 * lost.loc[(lost["norm"] == "linf").to_numpy(bool), "eps"].to_numpy(float)
    between = grey[np.abs(grey - grey.round()) > _WHOLE]
    if 2 * len(between) <= len(lost):
        return 0.0
    return float(pd.Series(between.round(6)).mode()[0])


def _invalid(rows: pd.DataFrame) -> Bools:
    """Rows that the judge rejected, and rows that claim success outside their eps."""
    # A frame older than the column says nothing about rejected candidates.
    reasons = rows["reason"].astype(object) if "reason" in rows else pd.Series(None, rows.index, object)
    eps = rows["eps"].to_numpy(float, na_value=np.nan)
    exceeding = np.zeros(len(rows), bool)
    for norm in NORMS:
        sizes = rows[norm].to_numpy(float, na_value=np.nan)
        exceeding |= (rows["norm"] == norm).to_numpy(bool) & (sizes > largest_size(eps))
    beyond: Bools = (reasons == Reason.INVALID).to_numpy(bool) | exceeding
    return beyond


def check_evidence(evidence: Sequence[ThreatResults], classes: Mapping[str, int]) -> list[Flag]:
    """Flags from comparing attacks with each other and with proofs: A7 to A11, and P1.

    Args:
        evidence: Results of each threat of a run.
        classes: Data set -> number of its classes; without it, chance level is not checked.
    """
    found = []
    for each in evidence:
        found += [*_iterative(each), *_white_box(each), *_monotone(each), *_proved_and_fooled(each)]
        if each.threat.dataset in classes:
            found += _chance(each, classes[each.threat.dataset])
    return sorted(found, key=lambda flag: (flag.id[0], int(flag.id[1:])))


def _iterative(evidence: ThreatResults) -> Iterator[Flag]:
    """A7: an iterative attack misses images that a single step breaks."""
    for eps in evidence.eps:
        speaking = [trial for trial in evidence.trials if trial.at(eps) is not None and _access(trial) == "gradients"]
        for single in (trial for trial in speaking if _search(trial) == "one step"):
            for iterative in (trial for trial in speaking if _search(trial) == "many steps" and not trial.minimal):
                if count := _missed(evidence, [single], [iterative], eps):
                    yield _flag(
                        "A7", evidence, iterative.label, count,
                        f"misses {count:,} of {_all(evidence)} that {single.label} breaks {_at(evidence, eps)}",
                        "more steps, another step size or another loss; look for masked gradients",
                    )  # fmt: skip


def _white_box(evidence: ThreatResults) -> Iterator[Flag]:
    """A8: gradient-free attacks break images that all gradient-based ones miss.

    A9: random changes break images that all gradient-based attacks miss.
    """
    for eps in levels(evidence):
        speaking = [trial for trial in evidence.trials if trial.at(eps) is not None]
        black = [trial for trial in speaking if _access(trial) not in ("gradients", None)]
        # An attack of unknown kind may be a white-box attack.
        others = [trial for trial in speaking if trial not in black]
        if not any(_access(trial) == "gradients" and _search(trial) != IN_ONE_PLACE for trial in others):
            continue
        for trial in black:
            if not (count := _missed(evidence, [trial], others, eps)):
                continue
            message = f"breaks {count:,} of {_all(evidence)} that all white-box attacks miss {_at(evidence, eps)}"
            if _search(trial) == "blind" and _access(trial) != "nothing":
                yield _flag("A9", evidence, trial.label, count, message, _MASKED)
            else:
                yield _flag("A8", evidence, trial.label, count, message, _MASKED)


def _monotone(evidence: ThreatResults) -> Iterator[Flag]:
    """A10: an attack fails on images at an eps although it broke them at a smaller one."""
    for trial in evidence.trials:
        if _search(trial) in ("blind", "one step") or trial.attack == PROOF or trial.surrogate is not None:
            # noise and candidates made on another model hit by chance, one step overshoots the nearer boundary, and
            # a proof skips fooled images
            continue
        met_before, violations = np.zeros((2, len(evidence.samples)), bool)
        for eps in sorted(eps for eps in trial.levels if eps is not None):
            level = trial.levels[eps]
            violations |= met_before & ~level.met & ~level.unknown & evidence.correct
            met_before |= level.met
        if count := int(violations.sum()):
            yield _flag(
                "A10", evidence, trial.label, count,
                f"fails on {count:,} of {_all(evidence)} at a larger eps than it broke them with",
                "the search is unstable: more steps or restarts; the curves count the success at the smaller eps",
            )  # fmt: skip


def _chance(evidence: ThreatResults, classes: int) -> Iterator[Flag]:
    """A11: accuracy stays above chance even without a meaningful bound."""
    # Single-step, blind and local changes need not succeed, however large they are.
    weak = ("blind", "one step", IN_ONE_PLACE)
    own = [trial for trial in evidence.trials if trial.surrogate is None]
    unbounded = [t for t in own if _unbounded(evidence, t) and _search(t) not in weak]
    if all(_search(trial) is None for trial in unbounded) or evidence.threat.goal != "untargeted":
        return
    state = states(evidence, unbounded, None)
    robust = Proportion(int((state == ROBUST).sum()), len(state))
    if robust.low > 1 / classes:
        names = ", ".join(trial.label for trial in unbounded)
        yield _flag(
            "A11", evidence, None, robust.k,
            f"robust accuracy is {robust} under {names} without a bound, above chance ({1 / classes:.1%})",
            "the attacks do not work on this model: check its gradients and try gradient-free attacks",
        )  # fmt: skip


def _proved_and_fooled(evidence: ThreatResults) -> Iterator[Flag]:
    """P1: an image is proved at an eps, but a perturbation of at most that size meets the goal."""
    both = np.zeros(len(evidence.samples), bool)
    for eps, proofs in evidence.proofs.items():
        for trial in evidence.trials:
            both |= proofs.proved & within(trial.radius, eps)
    if count := int(both.sum()):
        threat = evidence.threat
        yield Flag(
            id="P1", severity="E", model=threat.model, dataset=threat.dataset, value=count / len(both),
            message=f"{count:,} of {_all(evidence)} are both proved and fooled in {threat.norm}",
            advice="one of the two is wrong: run `advbench verify`; if it finds no problem, the proofs are at fault",
        )  # fmt: skip


def _unbounded(evidence: ThreatResults, trial: Trial) -> bool:
    return trial.minimal or (evidence.threat.norm == "linf" and max(e for e in trial.levels if e) >= UNBOUNDED_LINF)


def _card(trial: Trial) -> AttackCard | None:
    """The card of the attack; None if it is not in the catalogue, such as that of a plugin that is not loaded."""
    if trial.attack not in ATTACKS:
        return None
    return ATTACKS[trial.attack]


def _access(trial: Trial) -> Access | None:
    """The access to the judged model that the attack needs; None if unknown."""
    if trial.surrogate is not None:
        return "nothing"
    card = _card(trial)
    return None if card is None else card.access


def _search(trial: Trial) -> Search | None:
    """How the attack searches; None if unknown."""
    if trial.surrogate is not None:
        return "for transfer"
    card = _card(trial)
    return None if card is None else card.search


def _missed(evidence: ThreatResults, weak: Sequence[Trial], strong: Sequence[Trial], eps: float | None) -> int:
    """Number of images that the weak attacks break at an eps and the strong ones do not."""
    return int(((states(evidence, weak, eps) == BROKEN) & (states(evidence, strong, eps) == ROBUST)).sum())


def _all(evidence: ThreatResults) -> str:
    return count_of(len(evidence.samples), "image")


def _at(evidence: ThreatResults, eps: float | None) -> str:
    if eps is None:
        return "without a bound"
    return f"at {describe_size(evidence.threat.norm, eps)}"


def _flag(name: str, evidence: ThreatResults, attack: str | None, count: int, message: str, advice: str) -> Flag:
    few = attack is not None and count <= max(1, TOLERANCE * len(evidence.samples))
    return Flag(
        id=name,
        severity="I" if few else "F",
        model=evidence.threat.model,
        dataset=evidence.threat.dataset,
        attack=attack,
        message=message,
        advice=advice,
        value=count / max(len(evidence.samples), 1),
    )


_MASKED = "gradients are masked, or the white-box attacks are too weak: try BPDA, another loss, or more steps"
