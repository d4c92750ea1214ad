"""The formats in which a run is reported, as one table. Nothing is imported before it is needed."""

from typing import TYPE_CHECKING, NamedTuple

from advbench.catalog.registry import resolve

if TYPE_CHECKING:
    from advbench.analysis.verdict import Verdict
    from advbench.records.stored_run import StoredRun


class Format(NamedTuple):
    """One format of the report."""

    target: str
    """"module:attr" of a function `(verdict, run) -> str`."""
    extension: str
    """Extension of a file in this format, without the dot."""
    help: str
    """Description in a few words, for `advbench report --help`."""
    printed: bool = True
    """Whether it is printed if no file is named; otherwise it is written into the folder of the run."""


FORMATS = {
    "text": Format("advbench.report.terminal:as_text", "txt", "for a terminal"),
    "markdown": Format("advbench.report.markdown:run_markdown", "md", "also for GitHub"),
    "html": Format("advbench.report.html.page:as_page", "html", "one page with pictures", printed=False),
    "csv": Format("advbench.report.csv_table:as_csv", "csv", "the numbers"),
    "labels-csv": Format(
        "advbench.report.labels.csv_table:as_csv", "labels.csv", "the rates of each label, of models with several"
    ),
    "json": Format("advbench.report.json_object:as_json", "json", "verdict, flags and numbers"),
    "sarif": Format("advbench.report.exchange.sarif:as_sarif", "sarif", "findings for GitHub and editors"),
    "model-index": Format("advbench.report.exchange.model_index:as_model_index", "yaml", "for a Hugging Face card"),
    "test-report": Format(
        "advbench.report.exchange.clauses:as_test_report", "test.md", "by the clauses of a test report"
    ),
    "junit": Format("advbench.report.junit:run_junit", "xml", "for a CI server"),
}
"""Name, as in `advbench report --format NAME` -> the format."""


def render(name: str, verdict: "Verdict", run: "StoredRun") -> str:
    """The report of a run in one format.

    Args:
        name: One of `FORMATS`.
        verdict: Verdict on the run.
        run: The stored run, for its pictures and its manifest.
    """
    content: str = resolve(FORMATS[name].target)(verdict, run)
    return content


def describe_formats() -> str:
    """All formats in one sentence.

    Example:
        >>> describe_formats().partition(";")[0]
        'text: for a terminal'
    """
    return "; ".join(f"{name}: {form.help}" for name, form in FORMATS.items()) + "."
