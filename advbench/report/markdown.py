"""A run, or two runs side by side, as Markdown that GitHub also renders as intended."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from advbench.analysis.compare import Comparison
from advbench.analysis.metrics import WORST_CASE
from advbench.analysis.verdict import Verdict
from advbench.records.flag import for_people
from advbench.records.manifest import describe_misfits
from advbench.report.both_sides import sides_of
from advbench.report.columns import CHANGE_COLUMNS, COLUMNS, Column, describe_place, differences, legend, tables
from advbench.report.corruptions.tables import CAPTION, heat_maps
from advbench.report.labels.tables import CAPTION as LABELS_CAPTION
from advbench.report.labels.tables import LABEL_COLUMNS, label_rows
from advbench.report.marks import MARKS
from advbench.report.profile.lines import COLUMNS as PROFILE_COLUMNS
from advbench.report.profile.lines import LEGEND as PROFILE_LEGEND
from advbench.report.profile.lines import Page, pages
from advbench.report.profile.rankings import ORDER_CAPTION, TAU_CAPTION, RankingPage, ranking_pages
from advbench.report.terminal import PAIRED, changed_images, remarks, unmatched
from advbench.report.transfer.tables import CAPTION as TRANSFER
from advbench.report.transfer.tables import transfer_tables
from advbench.sanitize import count_of, display_name

if TYPE_CHECKING:
    from advbench.records.stored_run import StoredRun

_T = TypeVar("_T")


def escaped(text: str) -> str:
    r"""An untrusted text, escaped so that neither Markdown nor HTML interprets any of it.

    Example:
        >>> escaped("<b>a|b</b>\n`x`")
        '&lt;b&gt;a\\|b&lt;/b&gt;\\\\n\\`x\\`'
    """
    text = display_name(text, limit=1000).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]#|~@$])", r"\\\1", text)


def run_markdown(verdict: Verdict, run: "StoredRun") -> str:
    """The report of a run under the name of its suite.

    Args:
        verdict: Verdict on the run.
        run: The stored run, for the name of its suite.
    """
    return as_markdown(verdict, f"advbench {run.suite.name}")


def as_markdown(verdict: Verdict, title: str) -> str:
    """The report of a run.

    Args:
        verdict: Verdict on the run.
        title: Heading of the report.
    """
    return "\n".join(_lines(verdict, title))


def _lines(verdict: Verdict, title: str) -> Iterator[str]:
    yield f"# {escaped(title)}\n"
    yield f"{MARKS[verdict.exit_code].sign} **{escaped(verdict.headline)}**\n"
    yield from _gates(verdict)
    if verdict.analysis.flags:
        yield "## Trust flags\n"
        for flag in for_people(verdict.analysis.flags):
            yield f"- **{flag.severity}** {escaped(str(flag))}"
        yield ""
    yield from _listed(describe_misfits(verdict.analysis.misfits))
    yield from _profiles(pages(verdict.analysis.profiles))
    yield from _rankings(ranking_pages(verdict.analysis.rankings))
    for table in tables(verdict.analysis.cells):
        yield f"## {escaped(table.title)}\n"
        yield f"{escaped(table.clean)}\n"
        yield from as_table(COLUMNS, table.rows, [cell.attack == WORST_CASE for cell in table.cells])
        yield ""
        bars = list(filter(None, map(sides_of, table.cells)))
        for sides in bars:
            squares = "".join(sign * count for sign, count in zip("🟩🟨🟥", sides.parts(20), strict=True))
            counts = f"proved {sides.proved}, open {sides.open}, fooled {sides.fooled}"
            yield f"- {escaped(sides.bound)} {squares} {counts}: {sides.sentence}"
        yield from (f"- {escaped(sentence)}" for sentence in table.estimates)
        if bars or table.estimates:
            yield ""
    yield from tables_beside(verdict)
    if verdict.analysis.cells:
        yield f"{legend(verdict.analysis.cells)}."


def tables_beside(verdict: Verdict, level: str = "##") -> Iterator[str]:
    """The rates of each label, of models with several, what was made on other models, and errors under corruptions.

    Args:
        verdict: Verdict on the run.
        level: Signs before the headings.
    """
    yield from _label_by_label(verdict, level)
    yield from _grids(verdict, level)


def _label_by_label(verdict: Verdict, level: str) -> Iterator[str]:
    """The rates of each label, of models with several."""
    for labels in label_rows(verdict.analysis.label_tables):
        yield f"{level} {escaped(labels.title)}\n"
        yield f"{escaped(labels.lead)}\n"
        yield from as_table(LABEL_COLUMNS, labels.rows, [False] * len(labels.rows))
        yield ""
    if verdict.analysis.label_tables:
        yield f"{escaped(LABELS_CAPTION)}.\n"


def _gates(verdict: Verdict) -> Iterator[str]:
    """What became of the gates."""
    for result in verdict.failures:
        where = describe_place(result.threat, result.eps)
        yield f"- ❌ {escaped(f'{result.gate} · {where}: {result.message}')}"
    for result in verdict.undecided:
        where = describe_place(result.threat, result.eps)
        yield f"- ❔ {escaped(f'{result.gate} · {where}: {result.message}')}"
    if held := verdict.held:
        yield f"- ✅ {count_of(held, 'gate')} held"
    if verdict.results:
        yield ""


def _profiles(found: Iterable[Page]) -> Iterator[str]:
    for page in found:
        yield f"## {escaped(page.title)}\n"
        yield f"{escaped(page.lead)}\n"
        yield from as_table(PROFILE_COLUMNS, page.texts, [line.strong for line in page.lines])
        yield ""
        yield from _listed(page.curves)
        yield f"{PROFILE_LEGEND}.\n"


def _rankings(found: Iterable[RankingPage]) -> Iterator[str]:
    for page in found:
        yield f"## {escaped(page.title)}\n"
        for caption, grid in ((ORDER_CAPTION, page.order), (TAU_CAPTION, page.tau)):
            yield f"{escaped(caption)}:\n"
            yield f"| {' | '.join(map(escaped, grid.headings))} |"
            yield f"|:--|{'--:|' * (len(grid.headings) - 1)}"
            yield from (f"| {' | '.join(map(escaped, row))} |" for row in grid.rows)
            yield ""


def _grids(verdict: Verdict, level: str) -> Iterator[str]:
    """What was made on other models, and errors under corruptions."""
    for crossed in transfer_tables(verdict.analysis.transfer):
        yield from _grid(
            f"{level} {escaped(crossed.title)}", f"{crossed.lead}. {TRANSFER}.", crossed.headings, crossed.texts
        )
    for heat_map in heat_maps(verdict.analysis.corruptions):
        lead = f"{heat_map.lead}. {CAPTION}, by severity:"
        yield from _grid(f"{level} {escaped(heat_map.title)}", lead, heat_map.headings, heat_map.texts)


def _grid(heading: str, lead: str, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """A section with a table whose first column has names, and all others numbers."""
    yield f"{heading}\n"
    yield f"{escaped(lead)}\n"
    yield f"| {' | '.join(map(escaped, headings))} |"
    yield f"|:--|{'--:|' * (len(headings) - 1)}"
    yield from (f"| {' | '.join(map(escaped, row))} |" for row in rows)
    yield ""


def compared_markdown(comparison: Comparison) -> str:
    """The changes from one run to another."""
    lines = []
    for table in differences(comparison.changes):
        lines += [f"## {escaped(table.title)}\n"]
        lines += [*as_table(CHANGE_COLUMNS, table.rows, [False] * len(table.rows)), ""]
        lines += _listed(changed_images(table))
    lines += _listed((*unmatched(comparison), *remarks(comparison)))
    return "\n".join([*lines, f"{PAIRED[:1].upper()}{PAIRED[1:]}."])


def _listed(sentences: Iterable[str]) -> list[str]:
    """The lines of a list, with a blank line after it; none if there are no sentences."""
    lines = [f"- {escaped(sentence)}" for sentence in sentences]
    return [*lines, ""] if lines else []


def as_table(columns: Sequence[Column[_T]], rows: Sequence[Sequence[str]], strong: Sequence[bool]) -> Iterator[str]:
    """The lines of a table.

    Args:
        columns: Columns, of which those without any text are left out.
        rows: Texts of each row, one for each column.
        strong: Whether each row is set in bold.
    """
    shown = [i for i in range(len(columns)) if any(row[i] for row in rows)]
    yield f"| {' | '.join(columns[i].heading for i in shown)} |"
    yield f"|{'|'.join(':--' if columns[i].kind == 'name' else '--:' for i in shown)}|"
    for row, bold in zip(rows, strong, strict=True):
        cells = [escaped(row[i]) for i in shown]
        yield f"| {' | '.join(f'**{cell}**' if bold and cell else cell for cell in cells)} |"
