"""`advbench report DIR`: the results of a run in a chosen format."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

import click

from advbench.cli.console import Command, console, print_result

if TYPE_CHECKING:
    from advbench.analysis.verdict import Verdict
    from advbench.records.stored_run import StoredRun


@click.command(cls=Command)
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "markdown", "html", "csv", "json", "junit"]),
    default="text",
    show_default=True,
    help="text for a terminal; html is one page with pictures; csv has the numbers.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="FILE", help="Default: print it; html: DIR/report.html."
)
@click.option("--baseline", type=click.Path(path_type=Path), metavar="FILE", help="To compare with.")
def report(folder: Path, form: str, out: Path | None, baseline: Path | None) -> None:
    """Report on the run in DIR, finished or not.

    The gates are those of its suite; without --baseline those that compare are left out. The exit code says whether
    the report was made: what a run is worth is the exit code of `advbench run`.
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
    content = _made(form, verdict, run)
    place = out or (folder / "report.html" if form == "html" else None)
    if place is None:
        print_result(content.rstrip("\n"))
        return
    from advbench.records.atomic import write_atomic

    write_atomic(place, content.encode())
    click.echo(f"written: {place}", err=True)


def _made(form: str, verdict: "Verdict", run: "StoredRun") -> str:
    """The report as text."""
    from advbench.analysis.metrics import as_frame
    from advbench.cli.verdict import properties, verdict_json
    from advbench.report.junit import as_junit
    from advbench.report.markdown import as_markdown

    match form:
        case "html":
            from advbench.report.page import as_page

            return as_page(verdict, run)
        case "json":
            return verdict_json(verdict, run) + "\n"
        case "junit":
            return as_junit(verdict, properties(run))
        case "csv":
            from advbench.records.tables import guarded

            table = as_frame(verdict.analysis.cells)
            texts = table.select_dtypes(["object", "string"]).columns
            text: str = table.assign(**{name: table[name].map(guarded, na_action="ignore") for name in texts}).to_csv(
                index=False
            )
            return text
        case "markdown":
            return as_markdown(verdict, f"advbench {run.suite.name}")
    from rich.console import Console

    from advbench.report.terminal import summary

    lines = io.StringIO()
    Console(width=100, highlight=False, file=lines).print(summary(verdict))
    return lines.getvalue()
