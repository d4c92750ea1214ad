"""Publishes trained models: copies weights and cards into the package, and writes the table of claims and results.

`python -m advbench.maintenance.zoo_report [FOLDER]` reads the trained models in FOLDER (`trained`, where `advbench
train` puts them) and writes `advbench/models/zoo/` and `reports/zoo/`. Models that are not in FOLDER keep their card.
"""

import json
from pathlib import Path
from typing import Any

import click

from advbench.catalog.zoo import DATA, FOLDER, ZOO, ZooRow, read_card
from advbench.records.storage.atomic import write_atomic
from advbench.report.wording import describe_score

LARGEST = 5_000_000
"""Largest size of weights that are shipped, bytes."""

_REPORT = Path("reports/zoo")

# The first model's accuracy relates to the second's as claimed.
_RELATIONS = {
    "lenet_scrambled": ("<", "lenet"),
    "mlp_scrambled": ("=", "mlp_mnist"),
    "cifar10_vgg2": (">", "cifar10_vgg1"),
    "cifar10_vgg3": (">", "cifar10_vgg2"),
}
# Required robust accuracy and clean accuracy.
_BARS = {"mnist_convnet_robust": (0.9, 0.0), "cifar10_resnet_robust": (0.3, 0.65)}

# Class, and the precision claimed for it.
_PRECISION = {"smile_cnn": ("smile", 0.98)}

_MISSED = {
    "cifar10_vgg1": "it is trained for 4 epochs on JPEG copies, where the founding text takes 20 on the originals",
    "cifar10_vgg3": "both are trained for 4 epochs, where the founding text takes 10: the deeper one needs them more",
    "cifar10_vgg4": "it is trained for 6 epochs on JPEG copies, where the founding text takes 10 on the originals",
    "gray_forest": "its trees are held to 512 leaves, so that the file stays below 5 MB",
}
"""Model -> known reason why its trained version misses its claim."""


def publish(trained: Path, package: Path = FOLDER) -> list[str]:
    """Copy trained models into the package: each card, and weights that are small enough and may be shipped.

    Args:
        trained: Folder with a subfolder for each trained model, named after its recipe.
        package: Folder of the package to copy to.

    Returns:
        The names of the models that were found.

    Raises:
        UserError: A file cannot be written.
    """
    cards = {name: read_card(name, trained / name) for name in ZOO}
    # A recipe may have been tried on other data than its own.
    found = [name for name, card in cards.items() if card and card["data"] == DATA[ZOO[name].data].title]
    for name in found:
        card = cards[name]
        weights = trained / name / card["weights_file"]
        if weights.stat().st_size <= LARGEST and DATA[ZOO[name].data].shipped:
            write_atomic(package / weights.name, weights.read_bytes())
        else:
            card["weights_sha256"] = None
        write_atomic(package / f"{name}.json", (json.dumps(card, indent=1) + "\n").encode())
    return found


def report(package: Path = FOLDER) -> str:
    """The table of claims and measurements, as Markdown.

    Args:
        package: Folder of the package with the cards.
    """
    cards = {name: read_card(name, package) for name in ZOO}
    lines = [
        "# The zoo: claimed and measured accuracy",
        "",
        "Every classifier that `advbench train` can train, with the accuracy claimed for it, if any. Both measured",
        "accuracies are of the published weights, in half precision, with Wilson's 95 % interval and the number of",
        "images. Under attack, an image counts only if it is classified correctly and no attack changes that; the",
        "judge decides. Seconds are for training alone, on one processor thread. `eight_digits` has several labels per",
        "image, and all of them have to be correct.",
        *_withheld(),
        "Written by `python -m advbench.maintenance.zoo_report`.",
        "",
        "| model | data | weights | claimed | measured | under attack | epochs | seconds | |",
        "|---|---|---|---|---|---|---|---|---|",
        *(_line(row, cards) for row in ZOO.values()),
        "",
        *_attacks(cards),
        *_sources(cards),
    ]
    return "\n".join(lines)


def _line(row: ZooRow, cards: dict[str, dict[str, Any]]) -> str:
    card, claim = cards[row.name], _claim(row)
    if not card:
        cells = [row.name, "", "", claim, "not trained", "", "", "", ""]
    else:
        robust = card["robust"]
        attacked = f"{robust['norm']} {robust['eps']}: {describe_score(robust)}" if robust else ""
        cells = [
            row.name,
            card["data"],
            f"{card['parameters']:,}" + ("" if card["weights_sha256"] else ", not shipped"),
            claim,
            describe_score(card["clean"]),
            attacked,
            str(card["training"].get("epochs", "-")),
            f"{card['seconds']:,.0f}",
            "; ".join(part for part in (verdict(row, cards), _one_answer(card)) if part),
        ]
    return f"| {' | '.join(cells)} |"


def _claim(row: ZooRow) -> str:
    figure = _percent(row.claimed) if row.claimed else ""
    return "; ".join(part for part in (figure, row.claim) if part) or "-"


def verdict(row: ZooRow, cards: dict[str, dict[str, Any]]) -> str:
    """Describe in a few words whether the claim for a model holds.

    Args:
        row: Row of the model.
        cards: Name -> card of every model; empty if it has not been trained.

    Returns:
        The description; empty if nothing is claimed.
    """
    clean, why = cards[row.name]["clean"], _MISSED.get(row.name, "")
    if out := cards[row.name].get("grown_out"):
        why += f"; grown out, the same forest reaches {describe_score(out)}"
    if row.name in _BARS:
        robust, bar = cards[row.name]["robust"], _BARS[row.name]
        holds = robust is not None and robust["accuracy"] > bar[0] and clean["accuracy"] > bar[1]
    elif row.name in _RELATIONS:
        sign, other = _RELATIONS[row.name]
        if not cards[other]:
            return f"{other} is not trained"
        holds = _related(clean, sign, cards[other]["clean"])
    elif row.claimed:
        holds = clean["high"] >= row.claimed
    else:
        return ""
    if holds and row.name in _PRECISION:
        return _precise(cards[row.name], *_PRECISION[row.name])
    return "reached" if holds else f"missed{f': {why}' if why else ''}"


def _one_answer(card: dict[str, Any]) -> str:
    """Accuracy that a two-class model reaches without looking at the image, as the reference for its figures."""
    seen = {name: card["classes"][name]["support"] for name in card["classes"] if name != "macro avg"}
    if len(seen) != 2:
        return ""
    most = max(seen, key=seen.__getitem__)
    return f"answering `{most}` to every image reaches {_percent(seen[most] / sum(seen.values()))}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _precise(card: dict[str, Any], name: str, wanted: float) -> str:
    """Whether a precision is reached at a threshold of one half, or else the cost of a threshold that reaches it."""
    found = card["classes"][name]["precision"]
    if found >= wanted:
        return "reached"
    there = card["at_precision"][str(wanted)]
    cost = f"recall {there['recall']:.2f} and accuracy {_percent(there['accuracy'])}"
    return f"accuracy reached, with precision {found:.2f}; a threshold for precision {wanted} has {cost}"


def _withheld() -> list[str]:
    names = [data.title for data in DATA.values() if not data.shipped]
    return [f"Weights trained on {', '.join(names)} are not shipped, because the images have no stated licence."]


def _related(mine: dict[str, Any], sign: str, other: dict[str, Any]) -> bool:
    if sign == "=":
        return bool(mine["low"] <= other["high"] and other["low"] <= mine["high"])
    return bool(mine["high"] < other["low"] if sign == "<" else mine["low"] > other["high"])


def _attacks(cards: dict[str, dict[str, Any]]) -> list[str]:
    found = {card["robust"]["attack"] for card in cards.values() if card and card["robust"]}
    return [f"Attacks, from the cards: {'; '.join(sorted(found))}.", ""] if found else []


def _sources(cards: dict[str, dict[str, Any]]) -> list[str]:
    trained = [card for card in cards.values() if card]
    sources = (card["images"][key] for card in trained for key in ("train_source", "test_source"))
    files = sorted({source.removeprefix("composed of ") for source in sources})
    lines = [f"Data read from: {', '.join(f'`{file}`' for file in files)}.", ""] if files else []
    if any("jpeg" in file for file in files):
        lines += [
            "Files named `-jpeg` hold copies compressed as JPEG. Those of CIFAR-10 are noisier than the originals, so",
            "their figures are somewhat lower than those of the original pixels.",
            "",
        ]
    return lines


@click.command()
@click.argument("trained", type=click.Path(path_type=Path), default="trained")
def main(trained: Path) -> None:
    """Publish the trainings in the folder TRAINED and write reports/zoo/README.md."""
    names = publish(trained)
    for name in names:
        if (curves := trained / name / "curves.png").is_file():
            write_atomic(_REPORT / f"{name}.png", curves.read_bytes())
    click.echo(f"published: {', '.join(names) or 'nothing'}")
    click.echo(write_atomic(_REPORT / "README.md", report().encode()))


if __name__ == "__main__":
    main()
