"""A run in the order of a test report: who, what, method, conditions, results, uncertainty, limits. No torch.

The order is that of a test report as laboratories write it (ISO/IEC 17025, clause 7.8, tells what belongs in one). What
only the laboratory knows is left to be filled in.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from advbench import __version__
from advbench.analysis.metrics import WORST_CASE
from advbench.analysis.verdict import Verdict
from advbench.report.columns import COLUMNS, describe_place, legend, tables
from advbench.report.exchange.facts import attacks_of, conditions, in_words
from advbench.report.exchange.limits import limits, uncertainty
from advbench.report.exchange.schemes import (
    AI_ACT,
    ARTICLE_15,
    AS_OF,
    NO_CONFORMITY,
    SCHEMES,
    access_of,
    references,
)
from advbench.report.markdown import as_table, escaped, tables_beside
from advbench.sanitize import count_of

if TYPE_CHECKING:
    from advbench.records.stored_run import StoredRun

_BLANK = "_to be filled in_"
_ITEMS = (
    "The results are about these items alone. Digests are of the weights and the program of a model, and of the images "
    "as the model was given them."
)
_JUDGED = (
    "Every image is attacked under each threat and eps below. An attack proposes changed images; what they are worth "
    "is measured afterwards by the judge: a fresh pass of the original model, the size of the change, and whether all "
    "values lie between 0 and 1. An image counts as robust if it is classified correctly and no attack of the same "
    "threat met the goal within eps; in the worst case over all attacks, one is enough to break it."
)
_PROVED = (
    "Where no attack met the goal, it was tried to prove that no perturbation within eps meets it, for values between "
    "0 and 1 and the network in exact arithmetic. An image is proved, open, or, where the search for a proof came upon "
    "a perturbation that the judge confirmed, broken by what tables call the attack proof."
)
_CORRUPTED = (
    "Corruptions change an image without regard to the model, and no eps bounds them. They belong to no threat and to "
    "no worst case: their number is the share of the images that are misclassified."
)
_ASKS = {
    "gradients": "gradients (white box)",
    "scores": "scores (black box)",
    "decisions": "decisions (black box)",
    "nothing": "nothing",
    None: "not stated",
}


def as_test_report(verdict: Verdict, run: "StoredRun") -> str:
    """The test report of a run, as Markdown.

    Args:
        verdict: Verdict on the run.
        run: The stored run, for its identity, its suite and its conditions.
    """
    clauses = (_who, _what, _method, _conditions, _results, _uncertainty, _limits, _support)
    lines = ["# Test report: robustness of image classifiers to adversarial perturbations", ""]
    for number, clause in enumerate(clauses, 1):
        title, *body = clause(verdict, run)
        lines += [f"## {number} {title}", "", *body, ""]
    return "\n".join([*lines, f"End of test report {escaped(run.manifest['run_id'])}.", ""])


def _who(verdict: Verdict, run: "StoredRun") -> Iterator[str]:
    yield "Identification"
    times = [run.manifest.get(name) for name in ("started", "finished")]
    yield from _pairs(
        [
            ("Report", escaped(f"run {run.manifest['run_id']}, suite {run.suite.name}")),
            ("Tested", escaped(" to ".join(in_words(when) for when in times if when is not None) or "not recorded")),
            ("Tested with", escaped(f"advbench {run.manifest.get('advbench', __version__)}")),
            ("Verdict", escaped(verdict.headline)),
            ("Laboratory", _BLANK),
            ("Customer", _BLANK),
            ("Authorised by, on", _BLANK),
        ]
    )


def _what(verdict: Verdict, run: "StoredRun") -> Iterator[str]:
    yield "Items tested"
    known = run.manifest.get("identity") or {}
    digests, sets = known.get("models") or {}, known.get("images") or {}
    notes = run.manifest.get("notes") or {}
    frame = verdict.analysis.frame
    yield _ITEMS
    yield ""
    rows = []
    for (model, data), own in frame.groupby(["model", "dataset"], observed=True, sort=False):
        images = count_of(own["sample_id"].nunique(), "image")
        digest = str(sets.get(f"{model} on {data}", ""))
        rows.append(
            (str(model), str(digests.get(model, "")), "; ".join(notes.get(model, ())), f"{data}, {images}", digest)
        )
    headings = ("model", "digest", "assumed", "data set", "digest of the images")
    yield from _rows(headings, rows)


def _method(verdict: Verdict, run: "StoredRun") -> Iterator[str]:
    yield "Method"
    if verdict.analysis.cells:
        yield _JUDGED
        yield ""
    rows = [(name, params, _ASKS[access_of(name)], _names(references([name]))) for name, params in attacks_of(verdict)]
    yield from _rows(("attack", "parameters", "asks the model for", "known as"), rows)
    yield ""
    if any(cell.proved for cell in verdict.analysis.cells):
        yield _PROVED
        yield ""
    if verdict.analysis.corruptions:
        yield _CORRUPTED
        yield ""
    threats = dict.fromkeys((cell.threat, cell.eps) for cell in verdict.analysis.cells)
    if threats:
        yield "Threats:"
        yield ""
    yield from (f"- {escaped(describe_place(threat, eps))}" for threat, eps in threats)


def _conditions(verdict: Verdict, run: "StoredRun") -> Iterator[str]:
    yield "Conditions"
    found = [(name, escaped(value)) for name, value in conditions(run)]
    known = run.manifest.get("identity") or {}
    code = [("digest of the code", escaped(str(known["code"])))] if "code" in known else []
    yield from _pairs([*found, *code, ("units of work", f"{len(run.plan):,}, of which {len(run.missing):,} not done")])


def _results(verdict: Verdict, run: "StoredRun") -> Iterator[str]:
    yield "Results"
    for result in verdict.results:
        word = "held" if result.passed else "undecided" if result.undecided else "failed"
        where = describe_place(result.threat, result.eps)
        yield f"- gate {escaped(result.gate)} **{word}** · {escaped(where)}: {escaped(result.message)}"
    yield from ("" for _ in verdict.results[:1])
    for table in tables(verdict.analysis.cells):
        yield f"### {escaped(table.title)}"
        yield ""
        yield f"{escaped(table.clean)}"
        yield ""
        yield from as_table(COLUMNS, table.rows, [cell.attack == WORST_CASE for cell in table.cells])
        yield ""
    yield from "\n".join(tables_beside(verdict, "###")).splitlines()
    if verdict.analysis.cells:
        yield f"{legend(verdict.analysis.cells)}."


def _uncertainty(verdict: Verdict, _run: "StoredRun") -> Iterator[str]:
    yield "Uncertainty"
    yield from (f"- {escaped(sentence)}" for sentence in uncertainty(verdict))


def _limits(verdict: Verdict, run: "StoredRun") -> Iterator[str]:
    yield "Limits and deviations"
    yield from (f"- {escaped(sentence)}" for sentence in limits(verdict, run))


def _support(verdict: Verdict, _run: "StoredRun") -> Iterator[str]:
    yield "What the numbers can support"
    yield f"As of {AS_OF}. {NO_CONFORMITY}"
    yield ""
    yield "| number | value | known as |"
    yield "|:--|:--|:--|"
    for cell in verdict.analysis.cells:
        if cell.attack == WORST_CASE:
            same = [c for c in verdict.analysis.cells if (c.threat, c.eps) == (cell.threat, cell.eps)]
            names = _names(references(c.attack for c in same if c.attack != WORST_CASE))
            number = f"robust accuracy, {describe_place(cell.threat, cell.eps)}"
            yield f"| {escaped(number)} | {escaped(str(cell.robust))} | {escaped(names)} |"
    for found in verdict.analysis.corruptions:
        number = f"corruption error, {found.model} on {found.dataset}, mean over corruptions and severities"
        yield f"| {escaped(number)} | {escaped(str(found.mean or 'unknown'))} | - |"
    yield ""
    yield f"{AI_ACT}:"
    yield ""
    there = _kinds(verdict)
    rows = [(s.number, s.paragraph, s.subject, s.can, s.cannot) for s in ARTICLE_15 if s.number in there]
    yield from _rows(("number", "paragraph", "about", "can support", "cannot support"), rows)
    yield ""
    lists = (f"{scheme.name} ({scheme.edition}, {scheme.url})" for scheme in SCHEMES)
    yield f"Lists: {'; '.join(lists)}."


def _kinds(verdict: Verdict) -> set[str]:
    """The kinds of number that the run has."""
    cells = verdict.analysis.cells
    found = {"robust accuracy"} if cells else set()
    found |= {"clean accuracy"} if any(not cell.relative for cell in cells) else set()
    found |= {"proved accuracy"} if any(cell.proved for cell in cells) else set()
    found |= {"median"} if any(cell.median for cell in cells) else set()
    found |= {"corruption error"} if verdict.analysis.corruptions else set()
    return found | ({"noise"} if any(cell.noise for cell in cells) else set())


def _names(found: Iterable[object]) -> str:
    """The identifiers of some references, with commas between; a dash if there are none."""
    return ", ".join(str(getattr(each, "id", each)) for each in found) or "-"


def _pairs(pairs: Iterable[tuple[str, str]]) -> Iterator[str]:
    """A table of names and values, which are Markdown already."""
    yield "| | |"
    yield "|:--|:--|"
    yield from (f"| {name} | {value} |" for name, value in pairs)


def _rows(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """A table of texts from anywhere."""
    yield f"| {' | '.join(headings)} |"
    yield f"|{'|'.join(':--' for _ in headings)}|"
    yield from (f"| {' | '.join(escaped(text) for text in row)} |" for row in rows)
