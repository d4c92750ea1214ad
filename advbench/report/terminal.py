"""Numbers, comparisons and verdicts on a terminal of 100 columns or less."""

import io
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from advbench.analysis.compare import Comparison, Outcomes
from advbench.analysis.metrics import WORST_CASE
from advbench.analysis.run_analysis import RunAnalysis
from advbench.analysis.verdict import Verdict
from advbench.records.flag import for_people
from advbench.records.manifest import describe_misfits
from advbench.records.record import PROOF
from advbench.report.both_sides import Sides, sides_of
from advbench.report.columns import (
    CHANGE_COLUMNS,
    COLUMNS,
    UNLIKE,
    Column,
    Differences,
    describe_place,
    differences,
    legend,
    tables,
)
from advbench.report.corruptions.tables import CAPTION, HeatMap, heat_maps
from advbench.report.labels.tables import CAPTION as LABELS_CAPTION
from advbench.report.labels.tables import LABEL_COLUMNS, label_rows
from advbench.report.marks import MARKS
from advbench.report.profile.lines import COLUMNS as PROFILE_COLUMNS
from advbench.report.profile.lines import LEGEND as PROFILE_LEGEND
from advbench.report.profile.lines import Page, pages
from advbench.report.profile.rankings import ORDER_CAPTION, TAU_CAPTION, RankingPage, ranking_pages
from advbench.report.transfer.tables import CAPTION as TRANSFER
from advbench.report.transfer.tables import TransferTable, transfer_tables
from advbench.sanitize import count_of, display_name

if TYPE_CHECKING:
    from advbench.records.stored_run import StoredRun

_T = TypeVar("_T")

OTHER_IMAGES = (
    "the runs have different images: before and after are shares of all images of each run, the other columns cover "
    "the images that both have"
)
"""Which images the shares of a comparison cover, where the two runs have different ones."""
PAIRED = "paired by image; exact McNemar test, Holm's correction over all numbers (corruptions apart)"
"""What the p-values of a comparison are."""
_HEAT = ("green", "yellow", "red")
"""Colours of shares below a third, below two thirds, and above."""
_ENDLESS = 10_000
"""Width, in columns, that has room for everything."""
_MOST_IMAGES = 8
"""Most changed images that are named for each number."""


def print_table(console: Console, title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table; its cells are plain text, never markup. If all names of columns are empty it has no header."""
    table = Table(
        title=title, title_justify="left", box=None, pad_edge=False, header_style="bold", show_header=any(columns)
    )
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)


def summary(verdict: Verdict) -> RenderableType:
    """Verdict, flags, gates and numbers of a run."""
    lines: list[RenderableType] = [Text(verdict.headline, style=MARKS[verdict.exit_code].style)]
    for result in verdict.failures:
        where = describe_place(result.threat, result.eps)
        lines.append(Text.assemble(("  FAIL ", "red"), f"{result.gate} · {where}: {_plain(result.message)}"))
    for result in verdict.undecided:
        where = describe_place(result.threat, result.eps)
        lines.append(Text.assemble(("  open ", "yellow"), f"{result.gate} · {where}: {_plain(result.message)}"))
    if held := verdict.held:
        lines.append(Text.assemble(("  ok   ", "green"), f"{count_of(held, 'gate')} held"))
    return Group(*lines, numbers(verdict.analysis))


def as_text(verdict: Verdict, _run: "StoredRun") -> str:
    """The summary of a run as plain text of 100 columns, for a file.

    Args:
        verdict: Verdict on the run.
    """
    lines = io.StringIO()
    Console(width=100, highlight=False, file=lines).print(summary(verdict))
    return lines.getvalue()


def numbers(analysis: RunAnalysis) -> RenderableType:
    """Flags and numbers of a run, without its gates."""
    lines: list[RenderableType] = [
        Text(f"  flag {flag.severity} {_plain(str(flag))}", style="yellow") for flag in for_people(analysis.flags)
    ]
    lines += [Text(f"  {sentence}", style="dim") for sentence in describe_misfits(analysis.misfits)]
    for page in pages(analysis.profiles):
        lines += ["", *_profile(page)]
    for ranking in ranking_pages(analysis.rankings):
        lines += ["", *_ranking(ranking)]
    for table in tables(analysis.cells):
        lines += ["", Text(table.title, style="bold"), Text(table.clean)]
        lines.append(Grid(COLUMNS, table.rows, [cell.attack == WORST_CASE for cell in table.cells]))
        lines += [_both_sides(sides) for cell in table.cells if (sides := sides_of(cell))]
        lines += [Text(sentence) for sentence in table.estimates]
    if analysis.cells:
        lines += ["", Text(legend(analysis.cells), style="dim")]
    for labels in label_rows(analysis.label_tables):
        lines += ["", Text(labels.title, style="bold"), Text(labels.lead)]
        lines.append(Grid(LABEL_COLUMNS, labels.rows, [False] * len(labels.rows)))
    if analysis.label_tables:
        lines.append(Text(LABELS_CAPTION, style="dim"))
    crossings = transfer_tables(analysis.transfer)
    for crossed in crossings:
        lines += ["", *_crossed(crossed)]
    if crossings:
        lines += ["", Text(f"transfer: {TRANSFER}", style="dim")]
    for heat_map in heat_maps(analysis.corruptions):
        lines += ["", *_heat_map(heat_map)]
    return Group(*lines)


def _profile(page: Page) -> list[RenderableType]:
    """A line for each threat, and success against queries below."""
    lines: list[RenderableType] = [Text(page.title, style="bold"), Text(page.lead)]
    lines.append(Grid(PROFILE_COLUMNS, page.texts, [line.strong for line in page.lines]))
    return [*lines, *(Text(f"  {curve}") for curve in page.curves), Text(PROFILE_LEGEND, style="dim")]


def _ranking(page: RankingPage) -> list[RenderableType]:
    """The places of the models by threat, and how far the threats agree."""
    lines: list[RenderableType] = [Text(page.title, style="bold")]
    for caption, grid in ((ORDER_CAPTION, page.order), (TAU_CAPTION, page.tau)):
        table = Table(box=None, pad_edge=False, header_style="dim")
        for place, heading in enumerate(grid.headings):
            table.add_column(heading, justify="right" if place else "left", overflow="fold")
        for row in grid.rows:
            table.add_row(*map(Text, row))
        lines += [table, Text(caption, style="dim")]
    return lines


def _crossed(crossed: TransferTable) -> list[RenderableType]:
    """Success from surrogates to models, the higher the redder."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for place, heading in enumerate(crossed.headings):
        table.add_column(Text(heading), justify="right" if place else "left", overflow="fold")
    for row in crossed.rows:
        table.add_row(
            Text(row.name), *(Text(cell.text.replace("; ", "\n"), style=_shade(cell.share)) for cell in row.cells)
        )
    return [Text(crossed.title, style="bold"), Text(crossed.lead), table]


def _heat_map(heat_map: HeatMap) -> list[RenderableType]:
    """Errors by corruption and severity, the higher the redder."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for place, heading in enumerate(heat_map.headings):
        table.add_column(heading, justify="right" if place else "left", overflow="fold")
    for row in heat_map.rows:
        cells = [Text(cell.text, style=_shade(cell.share)) for cell in row.cells]
        table.add_row(Text(row.name), *cells, Text(row.mean))
    return [Text(heat_map.title, style="bold"), Text(heat_map.lead), table, Text(CAPTION, style="dim")]


def _shade(share: float) -> str:
    """The colour of a share from 0 to 1."""
    return _HEAT[min(int(3 * share), 2)]


def _both_sides(sides: Sides) -> Text:
    """A bar of three colours, with the numbers beside it."""
    shapes = (("█", "green"), ("▒", "yellow"), ("░", "red"))
    bar = [(sign * count, colour) for (sign, colour), count in zip(shapes, sides.parts(), strict=True)]
    counts = f"proved {sides.proved}, open {sides.open}, fooled {sides.fooled}"
    return Text.assemble(f"{sides.bound} ", *bar, f" {counts}: {sides.sentence}", overflow="fold")


def compared(comparison: Comparison) -> RenderableType:
    """The changes from one run to another, and the images behind them."""
    lines: list[RenderableType] = []
    for table in differences(comparison.changes):
        lines += [Text(table.title, style="bold"), Grid(CHANGE_COLUMNS, table.rows, [False] * len(table.rows))]
        lines += [Text(f"  {line}") for line in changed_images(table)]
        lines.append("")
    lines += [Text(line) for line in (*unmatched(comparison), *remarks(comparison))]
    lines.append(Text(PAIRED, style="dim"))
    return Group(*lines)


def changed_images(table: Differences) -> Iterator[str]:
    """Sentences that name the images behind the numbers of a table, or the first few of many."""
    for change, cells in zip(table.changes, table.rows, strict=True):
        words = (
            ("proved no more", "newly proved") if change.after.key.attack == PROOF else ("newly broken", "newly robust")
        )
        for word, images in zip(words, (change.broken, change.mended), strict=True):
            if images:
                more = f" and {len(images) - _MOST_IMAGES} more" if len(images) > _MOST_IMAGES else ""
                names = " ".join(display_name(image, limit=20) for image in images[:_MOST_IMAGES])
                yield f"{' '.join(filter(None, cells[:2]))}, {word}: {names}{more}"


def unmatched(comparison: Comparison) -> Iterator[str]:
    """Sentences about cells of only one run: one for each threat and eps, with parameters where those differ."""
    sides = {"first": comparison.only_before, "second": comparison.only_after}
    called = [{(cell.threat, cell.key.eps, cell.key.attack) for cell in cells} for cells in sides.values()]
    twins = called[0] & called[1]

    def name(cell: Outcomes) -> str:
        told = cell.key.attack != WORST_CASE and (cell.threat, cell.key.eps, cell.key.attack) in twins
        return display_name(f"{cell.key.attack} {cell.key.params}" if told else cell.key.attack, limit=120)

    for which, cells in sides.items():
        for place, group in groupby(cells, key=lambda cell: describe_place(cell.threat, cell.key.eps)):
            yield f"only in the {which} run: {place}: {', '.join(map(name, group))}"


def remarks(comparison: Comparison) -> Iterator[str]:
    """The meaning of the stars in the tables, if there are any, and the images that shares are of where runs differ."""
    pairs = {(change.before.form, change.after.form) for change in comparison.changes if change.unlike}
    if pairs:
        yield f"{UNLIKE}: {'; '.join(f'{before} → {after}' for before, after in sorted(pairs))}"
    if any({*change.before.samples} != {*change.after.samples} for change in comparison.changes):
        yield OTHER_IMAGES


class Grid(Generic[_T]):
    """A table whose cells are plain text.

    Columns without any text are left out. On a terminal that is too narrow, further ones go one after the other, in
    the order of `Column.dropped`. If what remains is still too wide, cells are continued on the next line: a number
    that is cut off would look like another number.

    Args:
        columns: Columns of the table.
        rows: Rows, with a text for each column.
        strong: Whether each row stands out.
    """

    def __init__(self, columns: Sequence[Column[_T]], rows: Sequence[Sequence[str]], strong: Sequence[bool]) -> None:
        self._columns, self._strong = columns, strong
        self._rows = [[_short(*pair) for pair in zip(columns, row, strict=True)] for row in rows]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield what rich prints."""
        every = range(len(self._columns))
        shown = [i for i in every if self._columns[i].terminal and any(row[i] for row in self._rows)]
        table, endless = self._table(shown), options.update(max_width=_ENDLESS)
        for spare in sorted((i for i in shown if self._columns[i].dropped), key=lambda i: self._columns[i].dropped):
            if table.__rich_measure__(console, endless).minimum <= options.max_width:
                break
            shown.remove(spare)
            table = self._table(shown)
        fits = table.__rich_measure__(console, endless).minimum <= options.max_width
        yield table if fits else self._table(shown, folded=True)

    def _table(self, shown: Sequence[int], *, folded: bool = False) -> Table:
        table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 1, 0, 0))
        for i in shown:
            column = self._columns[i]
            left, heading = column.kind == "name", f"{column.heading} %" if column.kind == "share" else column.heading
            justify: Literal["left", "right"] = "left" if left else "right"
            least = 12 if left else max(map(cell_len, (heading, *(row[i] for row in self._rows))))
            wide = None if folded else least
            table.add_column(heading, justify=justify, no_wrap=not (left or folded), overflow="fold", min_width=wide)
        for row, bold in zip(self._rows, self._strong, strict=True):
            table.add_row(*(Text(row[i]) for i in shown), style="bold" if bold else "")
        return table


def _short(column: Column[_T], text: str) -> str:
    """A shortened text: the heading says percent, and a dash replaces "to"."""
    if column.kind not in ("range", "share"):
        return text
    return re.sub(" to |, ", "-", text.strip("[]").removesuffix(" %"))


def _plain(text: str) -> str:
    return display_name(text, limit=400)
