"""The configuration of a training, and the trained classifier."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from advbench.catalog.zoo import ZooData
from advbench.models.classifier import Classifier
from advbench.models.files.contents import Contents
from advbench.training.data.sets import Images
from advbench.training.fit import Trained
from advbench.training.recipes import ForestRecipe, Recipe


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """All options of `advbench train`."""

    recipe: Recipe | ForestRecipe
    """Recipe of the training."""
    command: str
    """Command line that reproduces the training."""
    data_root: Path
    """Folder with the data sets, or a folder of pictures with a subfolder for each class."""
    data: str | None = None
    """Key in `advbench.catalog.zoo.DATA` of another data set of the same shape; None: the recipe's own."""
    out: Path
    """Folder for the results."""
    weights: Path | None = None
    """Weights file to start from; None: fresh weights, or, for `transfer`, the published ones."""
    seed: int = 0
    """Seed of all random draws."""
    device: str = "cpu"
    """Device to compute on."""
    attacked: int = 200
    """Number of test images on which the accuracy under attack is measured; 0: not measured."""


class Made(NamedTuple):
    """A trained classifier, with its training data and its test data."""

    model: Classifier
    """The classifier, with the weights as they will be stored in the file."""
    trained: Trained
    """Trained network, with its learning curves."""
    recipe: Recipe | ForestRecipe
    """Recipe it was trained by."""
    data: ZooData
    """Data set of the zoo that describes the images."""
    train: Images
    """Training images with labels."""
    test: Images
    """Test images with labels."""
    contents: Contents
    """Description for the header of the file."""
    half: bool
    """Whether the file holds half precision."""
    licence: str
    """Licence of the weights."""
