"""Single pictures, universal perturbations and patches on a terminal."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from advbench.analysis.statistics import Proportion
from advbench.config.budgets import NORMS, describe_eps, describe_norm
from advbench.pictures.wording import describe_result
from advbench.records.record import LEFT_OUT, OK, UNKNOWN
from advbench.sanitize import count_of, display_name

if TYPE_CHECKING:
    from advbench.pictures.outcome import PictureResult
    from advbench.pictures.universal.measure import Measured
    from advbench.pictures.universal.patch_measure import PatchMeasured


_LABELS = 10
"""Number of labels to show even if none applies."""


def attacked(outcome: "PictureResult") -> RenderableType:
    """The output for one attacked picture: classes before and after, size, cost, files."""
    record = outcome.record
    table = _labels(outcome) if record.clean_labels is not None else _classes(outcome)
    made = f"{record.attack} on {record.surrogate}" if record.surrogate else record.attack
    heading = f"{display_name(outcome.path)} · {record.model} · {made} · {describe_norm(record.norm, record.eps)}"
    folder = next(iter(outcome.files.values())).parent
    lines = [*describe_result(outcome), f"files in {display_name(folder, limit=200)}: {', '.join(outcome.files)}"]
    rivals = [_rivals(outcome)] if outcome.rivals else []
    return Group(Text(heading, style="bold"), table, *rivals, *(Text(line) for line in lines), Text())


def _labels(outcome: "PictureResult") -> Table:
    """Every label that applies before or after, and others as space permits, with their probabilities."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("label", "before", "", "after", ""):
        table.add_column(heading, justify="left" if heading == "label" else "right")
    after = {guess.class_index: guess for guess in outcome.after}
    pairs = [(before, after[before.class_index]) for before in outcome.before]
    for place, (old, new) in enumerate(pairs):
        if place < _LABELS or old.on or new.on:
            words = [text for guess in (old, new) for text in (f"{guess.confidence:.1%}", "on" if guess.on else "off")]
            style = "dark_orange3" if old.on != new.on else "blue" if old.on else ""
            table.add_row(Text(display_name(old.name, limit=34)), *words, style=style)
    return table


def _classes(outcome: "PictureResult") -> Table:
    """The top classes before and after."""
    record = outcome.record
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading, justify in (("", "right"), ("before", "left"), ("", "right"), ("after", "left"), ("", "right")):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    old = {guess.class_index for guess in outcome.before[: len(record.clean_topk or ())]}
    for place, (before, after) in enumerate(zip(outcome.before, outcome.after, strict=True), start=1):
        style = "blue" if after.class_index in old else "dark_orange3"
        table.add_row(
            str(place),
            Text(display_name(before.name, limit=34), style="blue"),
            f"{before.confidence:.1%}",
            Text(display_name(after.name, limit=34), style=style),
            f"{after.confidence:.1%}",
        )
    return table


def _rivals(outcome: "PictureResult") -> Table:
    """The perturbation sizes of several attacks on one picture, in every norm; the winner is bold."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("attack")
    for norm in NORMS:
        table.add_column(norm.capitalize(), justify="right")
    table.add_column("passes", justify="right")
    table.add_column("seconds", justify="right")
    for record in outcome.rivals:
        sizes = [getattr(record, norm) for norm in NORMS]
        found = ["failed" if record.status == UNKNOWN else "not met", "", "", ""]
        if record.met and None not in sizes:
            found = [describe_eps(norm, size) for norm, size in zip(NORMS, sizes, strict=True)]
        spent = ["", ""]
        if record.forwards is not None and record.backwards is not None:
            spent = [f"{record.forwards + record.backwards:.0f}", f"{record.seconds:.1f}"]
        won = record.attack == outcome.record.attack and bool(record.met)
        table.add_row(record.attack, *found, *spent, style="bold" if won else "")
    return table


def table_of(outcomes: "Sequence[PictureResult]") -> Table:
    """One table for many attacked pictures; the row of a failed one says why."""
    failures = any(outcome.record.status != OK for outcome in outcomes)
    sizes = any(outcome.read_back for outcome in outcomes)  # else all were attacked at the size of the model's input
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in (
        "picture",
        *(["pixels"] if sizes else []),
        "first before",
        "first after",
        "goal",
        "change",
        "seconds",
    ):
        table.add_column(heading, justify="right" if heading in ("change", "seconds") else "left")
    if failures:
        table.add_column("why not", overflow="fold")
    for outcome in outcomes:
        name, size, *rest = _row(outcome)
        why = [Text(_why(outcome), style="red")] if failures else []
        table.add_row(name, *([size] if sizes else []), *rest, *why)
    return table


def _row(outcome: "PictureResult") -> list[RenderableType]:
    record, name = outcome.record, Text(display_name(outcome.path.name, limit=24))
    if record.status != OK:
        return [name, "", "", "", "left out" if record.status == LEFT_OUT else "failed", "", ""]
    size = getattr(record, record.norm)
    first = [Text(display_name(guesses[0].name, limit=18)) for guesses in (outcome.before, outcome.after)]
    return [
        name,
        "{} x {}".format(*outcome.read_back.size) if outcome.read_back else "",
        *first,
        "met" if record.met else "not met",
        "" if size is None else describe_eps(record.norm, size),
        "" if record.seconds is None else f"{record.seconds:.1f}",
    ]


def _why(outcome: "PictureResult") -> str:
    """Why a picture's outcome is unknown, without its path, which is in the same row; empty if all is well."""
    error = outcome.record.error or ""
    return display_name(error.partition("': ")[2] or error, limit=200)


def universal(measured: "Measured") -> RenderableType:
    """The output for a universal perturbation: both fooling rates, and the classes it pushes pictures into."""
    counts, perturbation = measured.counts, measured.perturbation
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(f"of {count_of(counts.images, 'picture')}")
    table.add_column("share")
    table.add_column("95 % interval")
    rows = [("changed class", Proportion(counts.changed, counts.images))]
    if counts.met != counts.changed:
        rows.append(("goal met", Proportion(counts.met, counts.images - counts.pointless)))
    if counts.labelled:
        rows.append(("misclassified", Proportion(counts.wrong, counts.labelled)))
        rows.append(("misclassified when clean", Proportion(counts.labelled - counts.right, counts.labelled)))
    for name, share in rows:
        table.add_row(name, f"{share.percent} ({share.counts})", share.interval)
    named = (f"{display_name(name, limit=30)} {count / counts.images:.1%}" for name, count in measured.classes[:3])
    lines = [f"most often taken for {', '.join(named)}"]
    if counts.pointless:
        left_out = count_of(counts.pointless, "picture")
        lines.append(f"goal met: {left_out} left out, of the target class already")
    if read := perturbation.card.get("read"):
        lines.append(f"read as an {display_name(str(read), limit=90)}")
    if measured.folder:
        lines.append(f"perturbation, picture and panel in {display_name(measured.folder, limit=200)}")
    bound = describe_norm(perturbation.norm.name, perturbation.eps)
    made_for = display_name(str(perturbation.card.get("model", "unknown")))
    return Group(
        Text(f"universal perturbation · made for {made_for} · {bound}", style="bold"), table, *map(Text, lines)
    )


def patch(measured: "PatchMeasured") -> RenderableType:
    """The output for a patch: its fooling rate, that of random colours, and the classes it pushes pictures into."""
    counts, sticker = measured.counts, measured.sticker
    each = counts.images // max(measured.pictures, 1)
    where = count_of(measured.pictures, "picture")
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(f"on {where}, {each} {'places' if each > 1 else 'place'} each")
    table.add_column("share")
    table.add_column("95 % interval")
    for name, some in (("goal met", counts), ("with random colours", measured.noise)):
        met, share = Proportion(some.met, some.images - some.pointless), measured.met(some)
        table.add_row(name, f"{met.percent} ({met.counts})", share.interval)
    named = (f"{display_name(name, limit=30)} {count / counts.images:.1%}" for name, count in measured.classes[:3])
    lines = [f"most often taken for {', '.join(named)}"]
    if counts.pointless:
        left_out = count_of(counts.pointless, "place")
        lines.append(f"left out: {left_out} on pictures that were of the target class already")
    if measured.folder:
        lines.append(f"files in {display_name(measured.folder, limit=200)}")
    made_for = display_name(str(sticker.card.get("model", "unknown")))
    goal = display_name(str(sticker.card.get("goal", "unknown")), limit=40)
    told = f"{sticker.placing.shape} patch, {100 * sticker.placing.share:.3g} % of the picture"
    return Group(Text(f"{told} · made for {made_for} · {goal}", style="bold"), table, *map(Text, lines))
