"""The terminal summary of a trained classifier."""

from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from advbench.report.wording import describe_score
from advbench.sanitize import display_name


def trained(card: dict[str, Any], folder: Path) -> RenderableType:
    """The summary of a trained classifier: its accuracy, overall and for each class.

    Args:
        card: Card written by `advbench train`.
        folder: Folder of its files.
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
