"""`advbench watch DIR`: follows a run from another terminal or another machine."""

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from advbench.cli.console import Command, console, print_result, results
from advbench.errors import ExitCode
from advbench.records.pace import describe_duration, describe_rate
from advbench.records.run_folder import RunFolder
from advbench.sanitize import count_of, display_name

if TYPE_CHECKING:
    from advbench.analysis.course import Course, RobustSoFar, RunWatcher
    from advbench.records.unit import Unit

TERMINAL_SECONDS, LOG_SECONDS = 2.0, 30.0
"""Default seconds between updates, on a terminal and elsewhere."""
SHARE = 5
"""Updates take at most a fifth of the time; otherwise a run with millions of rows would keep a core busy."""
MOST = 20
"""Largest number of lines on robust accuracy."""


def _seconds(ctx: click.Context, param: click.Parameter, value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):  # which a range lets pass
        raise click.BadParameter(f"{value} is not a number of seconds", ctx, param)
    return value


@click.command(cls=Command)
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--once", is_flag=True, help="Print one report and exit.")
@click.option(
    "--interval",
    type=click.FloatRange(0.1, 86400),
    callback=_seconds,
    metavar="SECONDS",
    help="Time between updates. Default: 2 on a terminal, 30 elsewhere.",
)
@click.pass_context
def watch(ctx: click.Context, /, folder: Path, once: bool, interval: float | None) -> None:
    """Watch the run in DIR while it works.

    This works from any machine that can read the folder.

    Shows units done, their rate, the time left, what the workers do, and robust accuracy so far. It only reads, and
    ends with the run. Exit codes: 0, the run is complete; 3, it is not, or not yet with --once.
    """
    from advbench.analysis.course import COMPLETE, RunWatcher

    watcher, live = RunWatcher(folder), results().isatty()
    if once:
        course = watcher.look()
        print_result("\n".join(report(course, folder)))
    else:
        pause = interval or (TERMINAL_SECONDS if live else LOG_SECONDS)
        course = _live(watcher, pause) if live else _logged(watcher, pause)
    ctx.exit(ExitCode.OK if course.status == COMPLETE else ExitCode.INCOMPLETE)


def _looks(watcher: "RunWatcher", pause: float) -> "Iterator[Course]":
    """Read the run at intervals, and once more when it has ended."""
    from advbench.analysis.course import PLANNING, RUNNING, status_of

    while True:
        start = time.monotonic()
        course = watcher.look()
        yield course
        if course.ended:
            return
        wake = time.monotonic() + max(pause, (SHARE - 1) * (time.monotonic() - start))
        while (left := wake - time.monotonic()) > 0:
            time.sleep(min(left, 1.0))
            if status_of(watcher.folder) not in (PLANNING, RUNNING):
                break


def _live(watcher: "RunWatcher", pause: float) -> "Course":
    """Keep a report on the terminal up to date."""
    from rich.live import Live
    from rich.text import Text

    with Live(console=console(), auto_refresh=False, redirect_stdout=False, redirect_stderr=False) as shown:
        for course in _looks(watcher, pause):
            shown.update(Text("\n".join(report(course, watcher.folder.path))), refresh=True)
    return course


def _logged(watcher: "RunWatcher", pause: float) -> "Course":
    """Print a line whenever something changes, and the whole report at the end."""
    before = ""
    for course in _looks(watcher, pause):
        if (line := summary(course)) != before and not course.ended:
            print_result(line)
            results().flush()
        before = line
    print_result("\n".join(report(course, watcher.folder.path)))
    return course


def summary(course: "Course") -> str:
    """The progress of a run, in one line."""
    from advbench.analysis.course import PLANNING, lowest

    if course.status == PLANNING:
        return "planning"
    share = f" ({100 * course.done / course.total:.0f} %)" if course.total else ""
    facts = [f"{course.status}: {course.done} of {course.total} units{share}"]
    if course.failed:
        facts.append(f"{course.failed} failed")
    facts.append(f"{course.unknown} unknown")
    if course.counted and course.elapsed > 0:
        facts.append(describe_rate(course.counted, course.elapsed))
    if course.left is not None:
        facts.append(f"{describe_duration(course.left)} left")
    if (worst := lowest(course)) is not None:
        facts.append(f"lowest robust accuracy so far {worst.robust} ({_threat(worst)})")
    return ", ".join(facts)


def report(course: "Course", folder: Path) -> list[str]:
    """All that is known about a run, as lines.

    Args:
        course: How far it has come.
        folder: Its folder, for the hint how to go on.
    """
    from advbench.analysis.course import COMPLETE

    lines = [summary(course), *(f"note: {each}" for each in course.damaged)]
    lines += [
        f"worker {display_name(busy.worker)}: {_work(busy.unit)}, for {describe_duration(busy.seconds)}"
        for busy in course.workers
    ]
    if course.robust:
        lines.append("robust accuracy so far, in the worst case over the attacks with results:")
        lines += [
            f"  {_threat(each)}: {each.robust}, {count_of(each.attacks, 'attack')}" for each in course.robust[:MOST]
        ]
        if (more := len(course.robust) - MOST) > 0:
            lines.append(f"  and {more} more: advbench report {folder}")
    if course.ended and course.status != COMPLETE:
        lines.append(f"to continue: {RunFolder(folder).resuming}")
    return lines


def _threat(found: "RobustSoFar") -> str:
    bound = "without bound" if found.eps is None else f"eps {found.eps:.4g}"
    model, dataset, goal, norm = map(display_name, found.threat)
    return f"{model} on {dataset}, {goal}, {norm}, {bound}"


def _work(unit: "Unit") -> str:
    what = {"clean": "predictions of clean images", "checks": "trust checks"}.get(unit.name, unit.name)
    bound = "" if unit.eps is None else f" {unit.eps:.4g}"
    how = f", {unit.goal}, {unit.norm}{bound}" if unit.attack else ""
    return display_name(
        f"{what} on {unit.model}, {unit.dataset}{how}, {count_of(len(unit.samples), 'image')}", limit=200
    )
