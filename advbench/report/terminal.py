"""Tables for a terminal of 100 columns or less."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from advbench.intervals import Proportion
from advbench.names import display_name
from advbench.report.words import describe_norm, describe_result, describe_score

if TYPE_CHECKING:
    from advbench.outcome import Outcome
    from advbench.universal import Measured


def print_table(console: Console, title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table; its cells are taken as plain text, never as markup. Without names of columns it has no head."""
    table = Table(
        title=title, title_justify="left", box=None, pad_edge=False, header_style="bold", show_header=any(columns)
    )
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)


def attacked(outcome: "Outcome") -> RenderableType:
    """What is printed of one attacked picture: classes before and after, size, cost, files."""
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
    heading = (
        f"{display_name(outcome.path)} · {record.model} · {record.attack} · {describe_norm(record.norm, record.eps)}"
    )
    folder = next(iter(outcome.files.values())).parent
    lines = [*describe_result(outcome), f"files in {display_name(folder, limit=200)}: {', '.join(outcome.files)}"]
    return Group(Text(heading, style="bold"), table, *(Text(line) for line in lines), Text())


def trained(card: dict[str, Any], folder: Path) -> RenderableType:
    """What is printed of a trained classifier: accuracy, and how it does on each class.

    Args:
        card: As `advbench train` writes it.
        folder: Where its files are.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("class")
    for heading in ("precision", "recall", "F1", "images"):
        table.add_column(heading, justify="right")
    for name, row in card["classes"].items():
        shares = (f"{row[key]:.3f}" for key in ("precision", "recall", "f1-score"))
        table.add_row(Text(display_name(name, limit=34)), *shares, f"{row['support']:.0f}")
    lines = [f"test accuracy {describe_score(card['clean'])}"]
    if robust := card["robust"]:
        lines.append(f"under attack within {robust['norm']} {robust['eps']}: {describe_score(robust)}")
    heading = f"{card['name']} · {card['data']} · {card['parameters']:,} parameters · seed {card['seed']}"
    where = Text(f"weights, curves and card in {display_name(folder, limit=200)}")
    return Group(Text(heading, style="bold"), table, *map(Text, lines), where)


def universal(measured: "Measured") -> RenderableType:
    """What is printed of a universal perturbation: both fooling rates, and into which classes it drives pictures."""
    counts, perturbation = measured.counts, measured.perturbation
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(f"of {counts.images} pictures")
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
        lines.append(f"goal met: {counts.pointless} pictures left out, which were of the target class already")
    if measured.folder:
        lines.append(f"perturbation, picture and panel in {display_name(measured.folder, limit=200)}")
    bound = describe_norm(perturbation.norm.name, perturbation.eps)
    made_for = display_name(str(perturbation.card.get("model", "unknown")))
    return Group(
        Text(f"universal perturbation · made for {made_for} · {bound}", style="bold"), table, *map(Text, lines)
    )
