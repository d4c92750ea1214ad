"""The parts of a run that GitHub Actions shows: the summary of the step and its annotations."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from advbench.analysis.verdict import Verdict
from advbench.errors import UserError
from advbench.report.columns import describe_place

MOST_BYTES = 1024 * 1024 - 4096
"""Largest summary in bytes; above 1 MiB, GitHub drops the whole of it."""
MOST_ANNOTATIONS = 10
"""Most annotations of one kind that GitHub shows for a step; it drops the rest."""

_CUT = "\n\nThe report is longer than GitHub shows; `advbench report` makes the whole of it.\n"


def in_actions(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process runs in a step of GitHub Actions."""
    return environment.get("GITHUB_ACTIONS") == "true"


def shortened(markdown: str) -> str:
    """A report cut down to what GitHub shows: whole lines, less than 1 MiB."""
    content = markdown.encode()
    if len(content) <= MOST_BYTES:
        return markdown
    kept = content[: MOST_BYTES - len(_CUT.encode())].decode(errors="ignore")
    return kept[: kept.rfind("\n")] + _CUT


def write_summary(markdown: str, environment: Mapping[str, str] = os.environ) -> None:
    """Append a report to the summary of the step, if there is one.

    Raises:
        UserError: It cannot be written.
    """
    if name := environment.get("GITHUB_STEP_SUMMARY"):
        try:
            with Path(name).open("a", encoding="utf-8") as file:
                file.write(f"{shortened(markdown)}\n")
        except OSError as error:
            raise UserError(f"cannot write the summary of the step to {name}: {error.strerror}") from error


def annotations(verdict: Verdict) -> Iterator[str]:
    """Workflow commands, one per line: an error for each gate that failed, a warning for each trust flag.

    If there are more than GitHub shows, the last one says how many are left out.
    """
    problems = [("advbench", verdict.headline)] if not verdict.decided else []
    problems += [
        (f"advbench: {result.gate}", f"{describe_place(result.threat, result.eps)}: {result.message}")
        for result in verdict.failures
    ]
    flags = [(f"advbench: trust flag {flag.id}", str(flag)) for flag in verdict.analysis.flags if flag.severity in "EF"]
    for command, found in (("error", problems), ("warning", flags)):
        # Ten of each kind are shown; half of that keeps a step well below the limit of the whole job.
        most = MOST_ANNOTATIONS // 2
        shown = found if len(found) <= most else found[: most - 1]
        for title, message in shown:
            yield f"::{command} title={_property(title)}::{_data(message)}"
        if left := len(found) - len(shown):
            yield f"::{command} title=advbench::{left} more, see the summary"


def _data(text: str) -> str:
    """A message, escaped so that nothing in it ends the command or begins another."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
