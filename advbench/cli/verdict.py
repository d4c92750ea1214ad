"""How `advbench run` and `advbench resume` end: the verdict on the run, its reports, and the exit code."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from advbench.cli.console import console, print_result
from advbench.errors import ExitCode, UserError
from advbench.report.formats import render

if TYPE_CHECKING:
    from advbench.analysis.verdict import Verdict
    from advbench.config.gates import Gates
    from advbench.records.stored_run import StoredRun

ANOTHER_REPORT = "choose another file with --junit-xml"
"""What to do where the JUnit report cannot be written."""


def conclude(  # noqa: PLR0913 - each output of the end of a run, with a default for each
    run: "StoredRun",
    *,
    gates: "Gates",
    baseline_path: Path | None = None,
    as_json: bool = False,
    quiet: bool = False,
    junit_xml: Path | None = None,
    github: bool | None = None,
    tracker: str | None = None,
) -> ExitCode:
    """Evaluate the gates of a run, write the requested reports, and return the exit code.

    Args:
        run: Analysis of the run, finished or not.
        gates: Gates of its suite, or others.
        baseline_path: Path of the file that the gate `max_drop_pp` compares with.
        as_json: Print the verdict as JSON in place of tables.
        quiet: Print no tables.
        junit_xml: Where to write JUnit XML.
        github: Write the step's summary and annotations; None: inside of GitHub Actions.
        tracker: Name of the experiment tracker to hand the run over to, last of all; None: none. If that fails it is a
            warning.

    Returns:
        That of the verdict.

    Raises:
        UserError: A gate lacks its baseline, which is said after all else; or a baseline is missing or of another run,
            or a file cannot be written.
    """
    from advbench.analysis.baseline import read_baseline
    from advbench.analysis.gates import evaluate_what_can_be, no_baseline

    baseline = read_baseline(baseline_path) if baseline_path else None
    verdict = evaluate_what_can_be(run, gates, baseline)
    if junit_xml:
        from advbench.records.storage.atomic import write_atomic

        write_atomic(junit_xml, render("junit", verdict, run).encode(), hint=ANOTHER_REPORT)
    _tell_github(verdict, run, github)
    if as_json:
        print_result(render("json", verdict, run).rstrip("\n"))
    elif not quiet:
        from advbench.report.terminal import summary

        console().print(summary(verdict))
    if tracker:
        _hand_over(tracker, verdict, run, quiet=quiet)
    if verdict.exit_code == ExitCode.USAGE:
        raise no_baseline()
    return verdict.exit_code


def _hand_over(tracker: str, verdict: "Verdict", run: "StoredRun", *, quiet: bool) -> None:
    from advbench.tracking.trackers import track

    try:
        where = track(tracker, verdict, run)
    except UserError as error:
        click.echo(f"warning: {error}", err=True)
    else:
        if not quiet:
            click.echo(f"handed over to {tracker}: {where}", err=True)


def _tell_github(verdict: "Verdict", run: "StoredRun", asked: bool | None) -> None:
    from advbench.report.github import annotations, in_actions, write_summary

    if asked or (asked is None and in_actions()):
        write_summary(render("markdown", verdict, run))
        for line in annotations(verdict):
            click.echo(line, err=True)  # GitHub reads commands from both streams; standard output is the result's
