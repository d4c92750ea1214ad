"""What a training is asked for, and what it makes."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from advbench.catalog.zoo import ZooData
from advbench.models.classifier import Classifier
from advbench.models.contents import Contents
from advbench.training.data import Images
from advbench.training.fit import Trained
from advbench.training.recipes import ForestRecipe, Recipe


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """All that `advbench train` is asked for."""

    recipe: Recipe | ForestRecipe
    """What to train, and how."""
    command: str
    """As it would be typed again."""
    data_root: Path
    """Folder with the data sets, or a folder of pictures with a subfolder for each class."""
    data: str | None = None
    """Key in `advbench.catalog.zoo.DATA` of another data set of the same shape; None: the recipe's own."""
    out: Path
    """Folder for the results."""
    weights: Path | None = None
    """To start from; None: fresh ones, or for `transfer` the published ones."""
    seed: int = 0
    """Of all that is random."""
    device: str = "cpu"
    """Where to compute."""
    attacked: int = 200
    """Test images on which the accuracy under attack is measured; 0: not measured."""


class Made(NamedTuple):
    """A trained classifier, and what it was trained and is to be measured on."""

    model: Classifier
    """The classifier, with the weights as the file will hold them."""
    trained: Trained
    """How it was trained."""
    recipe: Recipe | ForestRecipe
    """By which recipe."""
    data: ZooData
    """What the images are."""
    train: Images
    """Learnt from."""
    test: Images
    """To test on."""
    contents: Contents
    """What the file will say of itself."""
    half: bool
    """Whether the file holds half precision."""
    licence: str
    """Of the weights."""
