"""The output files of a training: learning curves, a machine-readable card and a README."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from advbench.records.storage.atomic import write_atomic
from advbench.report.wording import describe_score
from advbench.training.fit import Epoch

_TRAIN, _TEST, _GUARD = "#4878a8", "#d9622b", "#777777"


def write_curves(folder: Path, title: str, history: Sequence[Epoch]) -> None:
    """Write the learning curves as `curves.csv` and `curves.png`: where test and train diverge, the network overfits.

    Args:
        folder: Folder for the files.
        title: Name of the model.
        history: Rows of the learning curves, one for each epoch.

    Raises:
        UserError: They cannot be written.
    """
    text = io.StringIO(newline="")
    csv.writer(text).writerows([Epoch._fields, *history])
    write_atomic(folder / "curves.csv", text.getvalue().encode())
    write_atomic(folder / "curves.png", _draw(title, history))


def _draw(title: str, history: Sequence[Epoch]) -> bytes:
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    figure = Figure(figsize=(9, 3.8), dpi=100, layout="constrained")
    left, right = figure.subplots(1, 2)
    epochs = [row.epoch for row in history]
    for axes, what in ((left, "loss"), (right, "accuracy")):
        for half, colour in (("train", _TRAIN), ("test", _TEST)):
            values = [getattr(row, f"{half}_{what}") for row in history]
            axes.plot(epochs, values, color=colour, marker="o", markersize=3, label=half)
        axes.set_xlabel("epoch")
        axes.set_ylabel("cross-entropy" if what == "loss" else what)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.3)
    guarded = [(row.epoch, row.guard_accuracy) for row in history if row.guard_accuracy is not None]
    if guarded:
        right.plot(*zip(*guarded, strict=True), color=_GUARD, linestyle="--", label="train, under PGD of 10 steps")
    right.yaxis.set_major_formatter(PercentFormatter(1.0))
    right.legend(frameon=False)
    figure.suptitle(title)
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def write_card(folder: Path, card: dict[str, Any]) -> None:
    """Write the model card as `<name>.json` for programs and as `README.md` for people.

    Args:
        folder: Folder for the files.
        card: Card from :func:`advbench.training.run.train`.

    Raises:
        UserError: They cannot be written.
    """
    write_atomic(folder / f"{card['name']}.json", (json.dumps(card, indent=1) + "\n").encode())
    write_atomic(folder / "README.md", _page(card).encode())


def _page(card: dict[str, Any]) -> str:
    epochs = f"{len(card['epochs'])} epochs, " if card["epochs"] else ""
    lines = [
        f"# {card['name']}",
        "",
        f"A classifier for {card['data']} with {card['parameters']:,} parameters, trained by `{card['command']}`.",
        "",
        "| | |",
        "|---|---|",
        f"| test accuracy | {describe_score(card['clean'])} |",
        f"| under attack | {_under_attack(card['robust'])} |",
        f"| trained for | {epochs}{card['seconds']:,.0f} seconds of CPU time |",
        f"| on | {card['images']['train']:,} images from {card['images']['train_source']} |",
        f"| tested on | {card['images']['test']:,} images from {card['images']['test_source']} |",
        f"| seed | {card['seed']} |",
        f"| weights | `{card['weights_file']}`, sha256 `{card['weights_sha256'] or 'not shipped'}` |",
        f"| licence | {card['licence']}; of the images: {card['images']['licence']} |",
        "",
        "The accuracies are those of the weights in the file. Intervals are 95 % Wilson intervals.",
        "",
        "| class | precision | recall | F1 | images |",
        "|---|---|---|---|---|",
        *(
            f"| {name} | {row['precision']:.3f} | {row['recall']:.3f} | {row['f1-score']:.3f} | {row['support']:.0f} |"
            for name, row in card["classes"].items()
        ),
        "",
        *(_confusion(card) if card["confusion"] else [_SEVERAL, ""]),
        *(["![Learning curves](curves.png)", ""] if card["epochs"] else []),
    ]
    return "\n".join(lines)


_SEVERAL = "An image may have several of these labels, or none. It counts as correct if all of them are right."


def _confusion(card: dict[str, Any]) -> list[str]:
    return [
        "Confusion matrix, a row for each true class:",
        "",
        f"| | {' | '.join(name for name in card['classes'] if name != 'macro avg')} |",
        f"|---|{'---|' * len(card['confusion'])}",
        *(
            f"| {name} | {' | '.join(map(str, counts))} |"
            for name, counts in zip(card["classes"], card["confusion"], strict=False)
        ),
        "",
    ]


def _under_attack(robust: dict[str, Any] | None) -> str:
    if robust is None:
        return "not measured"
    return f"{describe_score(robust)}, within {robust['norm']} {robust['eps']}: {robust['attack']}"
