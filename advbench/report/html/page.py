"""The report of a run as one HTML page: verdict, numbers, curves, pictures, and how to reproduce them. No torch."""

import shlex
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from advbench.analysis.curves import flips
from advbench.analysis.metrics import NOISE, WORST_CASE, Cell
from advbench.analysis.threats import ThreatResults
from advbench.analysis.verdict import Verdict
from advbench.catalog import CORRUPTION
from advbench.config.budgets import describe_norm
from advbench.config.suite_files import suite_names
from advbench.records.flag import CHECKS, for_people
from advbench.records.manifest import describe_misfits
from advbench.records.record import UNKNOWN
from advbench.report.both_sides import sides_of
from advbench.report.columns import COLUMNS, describe_bound, describe_place, describe_threat, legend, tables
from advbench.report.corruptions.tables import CAPTION, heat_maps
from advbench.report.exchange.facts import attacks_of, conditions, in_words
from advbench.report.html.document import data_uri, render
from advbench.report.html.figures import DOUBT, Doubts, Figure, curves, histogram
from advbench.report.html.gallery import KINDS, gallery
from advbench.report.html.profile import profile_parts
from advbench.report.labels.tables import CAPTION as LABELS_CAPTION
from advbench.report.labels.tables import LABEL_COLUMNS, label_rows
from advbench.report.marks import MARKS
from advbench.report.profile.lines import LEGEND as PROFILE_LEGEND
from advbench.report.profile.rankings import ORDER_CAPTION, TAU_CAPTION, ranking_pages
from advbench.report.transfer.tables import CAPTION as TRANSFER
from advbench.report.transfer.tables import transfer_tables
from advbench.sanitize import count_of

if TYPE_CHECKING:
    from advbench.records.stored_run import StoredRun

_MOST_CLASSES = 12
_MOST_PAIRS = 12


class Flip(NamedTuple):
    """The number of images of one class that were classified as another."""

    source: str
    """The class that the images should have."""
    target: str
    """The class that they were classified as."""
    images: int
    """Number of such images."""
    share: float
    """Number relative to the most frequent flip, 0 to 1."""


class Flips(NamedTuple):
    """The flips of one threat."""

    title: str
    """Attacks and eps in words."""
    targets: list[str]
    """Headings of the matrix; empty if there are too many classes for one."""
    matrix: list[tuple[str, list[Flip]]]
    """Rows of the matrix, one for each class; empty if there are too many classes."""
    pairs: list[Flip]
    """The most frequent flips, in place of a matrix."""


class Part(NamedTuple):
    """All that the page says about one threat."""

    title: str
    """The threat in words."""
    clean: str
    """Clean accuracy in words."""
    estimates: tuple[str, ...]
    """Sentences on robust accuracies that are estimated."""
    levels: list[list[dict[str, Any]]]
    """Rows of the table, one list for each eps."""
    figures: list[tuple[str, str, str]]
    """Address, alternative text and caption of each figure."""
    flips: Flips | None
    """The classes that the images flipped to."""


def as_page(verdict: Verdict, run: "StoredRun") -> str:
    """The report of a run.

    Args:
        verdict: Verdict on the run.
        run: The stored run, for its pictures and its manifest.

    Returns:
        HTML; it loads nothing, runs no script, and turns dark where the reader's system is dark.
    """
    analysis = verdict.analysis
    pictures = gallery(run, analysis.classes)
    shown = {kind: [picture for picture in pictures if picture.kind == kind] for kind in KINDS}
    return render(
        "run.html",
        suite=run.suite,
        facts=_facts(verdict, run),
        misfits=describe_misfits(analysis.misfits),
        state=MARKS[verdict.exit_code].state,
        verdict=verdict,
        word=verdict.headline.partition(":")[0],
        rest=verdict.headline.partition(": ")[2],
        gates=[(result, describe_place(result.threat, result.eps)) for result in verdict.results],
        worst=_worst(verdict),
        profiles=profile_parts(analysis.profiles),
        profile_legend=PROFILE_LEGEND,
        rankings=ranking_pages(analysis.rankings),
        ranking_captions=(ORDER_CAPTION, TAU_CAPTION),
        doubt=DOUBT,
        flags=for_people(analysis.flags),
        checks=CHECKS,
        doubts=any(cell.flags for cell in analysis.cells),
        both_sides=any(cell.proved is not None for cell in analysis.cells),
        parts=[_part(verdict, evidence) for evidence in analysis.evidence],
        crossings=transfer_tables(analysis.transfer),
        transfer_caption=TRANSFER,
        heat_maps=heat_maps(analysis.corruptions),
        heat_caption=CAPTION,
        label_tables=label_rows(analysis.label_tables),
        label_columns=LABEL_COLUMNS,
        label_caption=LABELS_CAPTION,
        gallery=[(KINDS[kind], own) for kind, own in shown.items() if own],
        columns=[COLUMNS[i] for i in _shown(verdict)],
        legend=legend(analysis.cells),
        made=conditions(run),
        attacks=attacks_of(verdict),
        errors=_errors(verdict),
        folder=shlex.quote(str(run.folder)),
        again=run.suite.name if run.suite.name in suite_names() else f"{run.suite.name}.toml",
    )


def _worst(verdict: Verdict) -> list[tuple[str, list[dict[str, Any]]]]:
    """The worst cases, grouped under the names of model, data set and goal."""
    cells = (cell for cell in verdict.analysis.cells if cell.attack == WORST_CASE)
    groups = groupby(cells, key=lambda cell: describe_threat(cell.threat._replace(norm="")))
    return [
        (name, [_row(cell) | {"place": describe_norm(cell.threat.norm, cell.eps)} for cell in group])
        for name, group in groups
    ]


def _shown(verdict: Verdict) -> list[int]:
    """Places of the columns that have a text somewhere in the tables."""
    rows = [row for table in tables(verdict.analysis.cells) for row in table.rows]
    return [i for i in range(len(COLUMNS)) if not rows or any(row[i] for row in rows)]


def _facts(verdict: Verdict, run: "StoredRun") -> str:
    """Size of the run in words."""
    frame = verdict.analysis.frame
    # the same picture has different ids for models that take it in different sizes
    images = frame.groupby(["dataset", "model"], observed=True)["sample_id"].nunique().groupby("dataset").max().sum()
    counts = [
        (frame["model"].nunique(), "model"),
        (frame["dataset"].nunique(), "data set"),
        *_counted(attacks_of(verdict)),
        (int(images), "image"),
    ]
    words = [count_of(count, name) for count, name in counts]
    when = run.manifest.get("finished") or run.manifest.get("started")
    return " · ".join(words + ([in_words(when).partition(",")[0]] if when else []))


def _counted(attacks: Sequence[tuple[str, str]]) -> Iterator[tuple[int, str]]:
    """How many attacks a run has beside noise, and how many corruptions, whatever their severities."""
    corruptions = {name for name, _ in attacks if name.startswith(CORRUPTION)}
    aimed = sum(name != NOISE and name not in corruptions for name, _ in attacks)
    yield from ((count, name) for count, name in ((aimed, "attack"), (len(corruptions), "corruption")) if count)


def _row(cell: Cell) -> dict[str, Any]:
    """One line of a table, with the ends of its bar in percent."""
    robust = cell.robust
    return {
        "cell": cell,
        "strong": cell.attack == WORST_CASE,
        "bound": describe_bound(cell.threat.norm, cell.eps),
        "rate": 100 * (robust.rate or 0),
        "most": 100 * (robust.most or 0),
        "low": 100 * robust.low,
        "high": 100 * robust.high,
        "noise": 100 * (cell.noise.rate or 0) if cell.noise else None,
        "proved": None if cell.proved is None else 100 * (cell.proved.rate or 0),
        "sides": sides_of(cell),
    }


def _part(verdict: Verdict, evidence: ThreatResults) -> Part:
    table = tables([cell for cell in verdict.analysis.cells if cell.threat == evidence.threat])[0]
    shown = _shown(verdict)
    pairs = zip(table.cells, table.rows, strict=True)
    rows = [_row(cell) | {"texts": [texts[i] for i in shown]} for cell, texts in pairs]
    bounds = list(dict.fromkeys(row["bound"] for row in rows))
    return Part(
        title=table.title,
        clean=table.clean,
        estimates=table.estimates,
        levels=[[row for row in rows if row["bound"] == bound] for bound in bounds],
        figures=list(_figures(evidence, {cell.attack: cell.flags for cell in table.cells if cell.flags})),
        flips=_flips(evidence, verdict.analysis.classes.get(evidence.threat.dataset, [])),
    )


def _figures(evidence: ThreatResults, doubts: Doubts) -> Iterator[tuple[str, str, str]]:
    found: list[tuple[Figure | None, str]] = [
        (curves(evidence, doubts), _curves_caption(evidence)),
        (histogram(evidence, doubts), "Sizes of the smallest perturbation found for each correctly classified image."),
    ]
    for figure, caption in found:
        if figure:
            yield data_uri(figure.svg, "image/svg+xml"), figure.alt, caption


def _curves_caption(evidence: ThreatResults) -> str:
    below = " The line below it is what is proved; between the two nothing is known." if evidence.proofs else ""
    return f"Robust accuracy against eps, with the 95 % interval of the worst case.{below}"


def _flips(evidence: ThreatResults, names: list[str]) -> Flips | None:
    """The classes that the images flipped from and to, under all attacks except noise."""
    if evidence.several:  # the rates of each label say it
        return None
    trials = [trial for trial in evidence.trials if trial.attack != NOISE]
    eps = evidence.eps[-1] if evidence.eps else None
    table = flips(evidence, trials, eps)
    if table.empty:
        return None
    sources, targets = (
        [_called(int(index), names) for index in axis.tolist()] for axis in (table.index, table.columns)
    )
    counts = table.to_numpy(int)
    every = [
        [Flip(source, target, int(n), n / counts.max()) for target, n in zip(targets, row, strict=True)]
        for source, row in zip(sources, counts, strict=True)
    ]
    place = describe_place(evidence.threat, eps)
    title = f"{place}, all attacks but noise" if len(trials) != 1 else f"{place}, {trials[0].label}"
    if max(table.shape) > _MOST_CLASSES:
        pairs = sorted((flip for row in every for flip in row), key=lambda flip: -flip.images)[:_MOST_PAIRS]
        return Flips(title, [], [], [flip for flip in pairs if flip.images])
    return Flips(title, targets, list(zip(sources, every, strict=True)), [])


def _called(index: int, names: Sequence[str]) -> str:
    return names[index] if index < len(names) else f"class {index}"


def _errors(verdict: Verdict) -> list[tuple[str, int]]:
    """The errors of the run with their counts, the most frequent first."""
    frame = verdict.analysis.frame
    errors = frame.loc[frame["status"] == UNKNOWN, "error"].dropna().astype(str)
    return [(str(error), int(count)) for error, count in errors.value_counts().head(8).items()]
