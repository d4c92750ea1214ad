"""`advbench report DIR`: shows the results of a run in a chosen format."""

from pathlib import Path

import click

from advbench.cli.console import Command, console, print_result
from advbench.report.formats import FORMATS, describe_formats, render


@click.command(cls=Command)
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option(
    "--format",
    "form",
    type=click.Choice(list(FORMATS)),
    default="text",
    show_default=True,
    help=describe_formats(),
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Default: print to standard output; for html, DIR/report.html.",
)
@click.option("--baseline", type=click.Path(path_type=Path), metavar="FILE", help="Baseline file to compare with.")
def report(folder: Path, form: str, out: Path | None, baseline: Path | None) -> None:
    """Report on the run in DIR, finished or not.

    The gates are those of its suite; without --baseline, gates that compare are left out. The exit code only says
    whether the report was written; the exit code of `advbench run` is the verdict.
    """
    from advbench.analysis.baseline import read_baseline
    from advbench.analysis.gates import evaluate_what_can_be
    from advbench.records.stored_run import read_run

    run = read_run(folder)
    before = read_baseline(baseline) if baseline else None
    verdict = evaluate_what_can_be(run, run.suite.gates, before)
    if form == "text" and not out:
        from advbench.report.terminal import summary

        console().print(summary(verdict))
        return
    content, wanted = render(form, verdict, run), FORMATS[form]
    place = out or (None if wanted.printed else folder / f"report.{wanted.extension}")
    if place is None:
        print_result(content.rstrip("\n"))
        return
    from advbench.records.storage.atomic import write_atomic

    write_atomic(place, content.encode())
    click.echo(f"written: {place}", err=True)
