"""Wording of the verdict on one picture, for both the terminal and the panel."""

from typing import TYPE_CHECKING

from advbench.config.budgets import NORMS, describe_eps, describe_size
from advbench.config.masks import mask_in
from advbench.records.record import LEFT_OUT
from advbench.sanitize import display_name

if TYPE_CHECKING:
    from advbench.pictures.outcome import PictureResult, ReadBack


def describe_result(outcome: "PictureResult") -> list[str]:
    """Verdict, size and cost of an attacked picture, one line each."""
    record = outcome.record
    already = "of that class already" if record.goal_labels is None else "so already"
    said = already if record.status == LEFT_OUT else "met" if record.met else "not met"
    lines = [f"goal {display_name(record.goal, limit=40)}: {said}"]
    if mask := mask_in(record.dataset):
        lines.append(f"only {display_name(mask, limit=40)} may change")
    sizes = [(norm, size) for norm in NORMS if (size := getattr(record, norm)) is not None]
    if sizes:
        texts = [describe_size(norm, size) for norm, size in sizes]
        lines += ["   ".join(texts[:2]), "   ".join(texts[2:])]
    if outcome.read_back is not None:
        lines += _describe_file(outcome.read_back)
    elif record.met:
        lines.append(f"8-bit PNG: {_describe_8bit(outcome)}")
    if record.forwards is not None:
        lines.append(f"{record.forwards:.0f} forward, {record.backwards:.0f} backward passes, {record.seconds:.1f} s")
    return lines + _describe_reach(outcome)


def _describe_reach(outcome: "PictureResult") -> list[str]:
    """A line about the proof; empty if none was requested."""
    reach, norm = outcome.reach, outcome.record.norm
    if reach is None:
        return []
    if reach.reason:
        return [display_name(reach.reason, limit=200)]
    if not reach.eps:
        return ["nothing could be proved at any eps"]
    return [f"proved: no change within {describe_size(norm, reach.eps)} can do it ({reach.method})"]


def _describe_file(found: "ReadBack") -> list[str]:
    """One or three lines about the file of an attacked photograph."""
    met = "met" if found.met else "not met"
    lines = [f"{found.file} of {found.size[0]} x {found.size[1]} pixels, opened again: goal {met}"]
    if found.saving:
        apart, alone = (describe_eps("linf", size) for size in (found.linf, found.saving))
        lines.append(f"saved as {found.saved_as}: up to {apart} from the photograph")
        lines.append(f"(the photograph itself, saved so: {alone})")
    return lines


def _describe_8bit(outcome: "PictureResult") -> str:
    # Rounding to whole grey levels usually makes the perturbation larger than that of the floats.
    if outcome.met_8bit and outcome.size_8bit is not None:
        return f"goal met at {describe_size(outcome.record.norm, outcome.size_8bit)}"
    return "goal not met"
