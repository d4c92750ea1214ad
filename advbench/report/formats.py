"""The forms in which a run is reported: one table. Nothing is imported before it is asked for."""

from typing import TYPE_CHECKING, NamedTuple

from advbench.catalog.registry import resolve

if TYPE_CHECKING:
    from advbench.analysis.verdict import Verdict
    from advbench.records.stored_run import StoredRun


class Format(NamedTuple):
    """One form of the report."""

    target: str
    """"module:attr" of a function `(verdict, run) -> str`."""
    extension: str
    """Of a file in this form, without a dot."""
    help: str
    """What it is, in a few words, for `advbench report --help`."""
    printed: bool = True
    """Whether it is printed where no file is named; else it is written into the folder of the run."""


FORMATS = {
    "text": Format("advbench.report.terminal:as_text", "txt", "for a terminal"),
    "markdown": Format("advbench.report.markdown:run_markdown", "md", "also for GitHub"),
    "html": Format("advbench.report.page:as_page", "html", "one page with pictures", printed=False),
    "csv": Format("advbench.report.csv_table:as_csv", "csv", "the numbers"),
    "json": Format("advbench.report.json_object:as_json", "json", "verdict, flags and numbers"),
    "junit": Format("advbench.report.junit:run_junit", "xml", "for a CI server"),
}
"""Name, as in `advbench report --format NAME` -> the form."""


def render(name: str, verdict: "Verdict", run: "StoredRun") -> str:
    """The report of a run in one form.

    Args:
        name: One of `FORMATS`.
        verdict: On the run.
        run: Where its pictures and its manifest are read from.
    """
    content: str = resolve(FORMATS[name].target)(verdict, run)
    return content


def describe_formats() -> str:
    """All forms in one sentence.

    Example:
        >>> describe_formats().partition(";")[0]
        'text: for a terminal'
    """
    return "; ".join(f"{name}: {form.help}" for name, form in FORMATS.items()) + "."
