"""Repeats the measurements on the cards of the zoo, for example after attacks have become stronger.

`python -m advbench.maintenance.remeasure [NAME...]` loads the published weights, measures them on the test set, and
updates the cards in `advbench/models/zoo/`; then `python -m advbench.maintenance.zoo_report` rewrites the table.
"""

import json
from pathlib import Path
from typing import Any

import click

from advbench.catalog.zoo import DATA, FOLDER, ZOO, read_card
from advbench.errors import UserError
from advbench.models import load_model
from advbench.models.networks.forest import Forest
from advbench.records.storage.atomic import write_atomic
from advbench.training.data.sets import load_split
from advbench.training.forest import grown_out
from advbench.training.measure import measured
from advbench.training.recipes import RECIPES, ForestRecipe


def renewed(name: str, card: dict[str, Any], data_root: Path, attacked: int) -> dict[str, Any]:
    """A card with current measurements.

    Args:
        name: One of `advbench.catalog.zoo.ZOO`, with weights in the package.
        card: Current card of the model.
        data_root: Root folder of the data sets.
        attacked: Number of test images to attack; 0 leaves the accuracy under attack unchanged.

    Returns:
        The card with new measurements and everything else unchanged.

    Raises:
        UserError: The test set or the weights are missing, or the card was measured on another test set.
    """
    data = DATA[ZOO[name].data]
    test = load_split(ZOO[name].data, data_root, "test")
    before = (card["images"]["test_source"], card["images"]["test"])
    if (test.source, len(test.y)) != before:
        raise UserError(
            f"{name} was tested on {before[1]:,} images of {before[0]}, and {data_root} has {len(test.y):,} of "
            f"{test.source}",
            hint="name the folder with the card's test set: --data-root FOLDER",
        )
    recipe, model = RECIPES[name], load_model(name)
    found = measured(model, test, data.eps, attacked=attacked, gradients=not isinstance(recipe, ForestRecipe))
    if not attacked:
        del found["robust"]
    if isinstance(recipe, ForestRecipe) and isinstance(model.module, Forest):
        train = load_split(ZOO[name].data, data_root, "train")
        found["grown_out"] = grown_out(recipe, len(model.module.left), train, test, card["seed"])._asdict()
    return {**card, **found, "images": {**card["images"], "licence": data.licence}}


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--data-root", type=click.Path(path_type=Path), default="data", show_default=True, metavar="FOLDER")
@click.option("--attacked", type=click.IntRange(min=0), default=1000, show_default=True, help="Test images to attack.")
def main(names: tuple[str, ...], data_root: Path, attacked: int) -> None:
    """Update the cards of the models NAME, or of all models with weights in the package."""
    for name in names or [name for name in ZOO if read_card(name).get("weights_sha256")]:
        try:
            card = renewed(name, read_card(name), data_root, attacked)
        except UserError as error:
            raise click.ClickException(str(error)) from None
        write_atomic(FOLDER / f"{name}.json", (json.dumps(card, indent=1) + "\n").encode())
        click.echo(f"{name}: clean {card['clean']['accuracy']:.1%}, under attack {card['robust']['accuracy']:.1%}")


if __name__ == "__main__":
    main()
