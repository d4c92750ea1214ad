"""The recipes of `advbench train`: plain data, one for each model of the zoo. Does not import torch."""

from dataclasses import dataclass, replace
from typing import Literal

from advbench.catalog import DEFAULT_MODEL
from advbench.catalog.registry import Registry


@dataclass(frozen=True, kw_only=True)
class Adversarial:
    """How a network is trained on adversarial images.

    Example:
        >>> Adversarial(eps=0.3).method
        'fast'
    """

    eps: float
    """Maximum Linf perturbation, image units."""
    method: Literal["fast", "trades"] = "fast"
    """`fast`: cross-entropy on adversarial images only; `trades`: clean cross-entropy plus a divergence."""
    steps: int = 1
    """Number of gradient steps per batch; one step is fast adversarial training."""
    warmup: float = 0.0
    """Fraction of the training over which eps grows from 0."""
    beta: float = 6.0
    """Weight of the divergence; `trades` only."""

    def __post_init__(self) -> None:
        if not 0 < self.eps <= 1:
            raise ValueError(f"expected eps in (0, 1], got {self.eps}")
        if self.steps < 1:
            raise ValueError(f"expected steps >= 1, got {self.steps}")
        if not 0 <= self.warmup < 1:
            raise ValueError(f"expected warmup in [0, 1), got {self.warmup}")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that determines a training except the data and the seed.

    The learning rate rises over the first fifth of the training and falls to zero over the rest.
    """

    model: str
    """Name in `advbench models`, or `transfer`."""
    epochs: int
    """Number of passes over the training set."""
    batch_size: int = 128
    """Number of images in a step."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """AdamW, or SGD with Nesterov momentum of 0.9."""
    lr: float = 2e-3
    """Peak learning rate."""
    weight_decay: float = 1e-4
    """Weight decay, as passed to the optimizer."""
    augment: Literal["none", "shift", "flip"] = "none"
    """`shift`: random crops of the image padded by an eighth of its side; `flip`: mirrored too."""
    dropout: bool = True
    """Whether the architecture's dropout is on."""
    adversarial: Adversarial | None = None
    """Method of adversarial training; None: training on clean images."""
    start_sha256: str = ""
    """SHA-256 digest of the initial weights file, known once it is loaded; empty: fresh weights."""


@dataclass(frozen=True, kw_only=True)
class TransferRecipe(Recipe):
    """How a pretrained network gets a new top for the classes of a folder of pictures.

    Pretrained layers are trained at a tenth of the learning rate, if at all.
    """

    base: str = DEFAULT_MODEL
    """The pretrained network: a name in `advbench models`, or a model of the user's own."""
    fine_tune: int = 0
    """Number of its last layers that are also trained."""


@dataclass(frozen=True, kw_only=True)
class ForestRecipe:
    """How a random forest is grown."""

    model: str
    """Name in `advbench models`."""
    share: float = 0.5
    """Fraction of the training images that each tree is grown on, drawn with replacement."""


_LINF_8 = Adversarial(eps=8 / 255)


def _vgg(name: str, epochs: int) -> Recipe:
    """Fewer epochs than the 10 or 20 of the original text, because one takes four minutes on one core."""
    return Recipe(model=name, epochs=epochs, lr=5e-4, weight_decay=1e-2, augment="flip")


_RECIPES = (
    Recipe(model="mnist_convnet", epochs=6),
    Recipe(
        model="mnist_convnet_robust",
        epochs=10,
        weight_decay=0.0,
        dropout=False,
        adversarial=Adversarial(eps=0.3, steps=5, warmup=0.3),
    ),
    Recipe(model="lenet", epochs=8),
    Recipe(model="lenet_scrambled", epochs=8),
    Recipe(model="mlp_mnist", epochs=10, weight_decay=1e-2),
    Recipe(model="mlp_scrambled", epochs=10, weight_decay=1e-2),
    Recipe(model="eight_digits", epochs=8),
    Recipe(model="cifar10_cnn", epochs=3, optimizer="sgd", lr=0.02, weight_decay=5e-4),
    _vgg("cifar10_vgg1", 4),
    _vgg("cifar10_vgg2", 4),
    _vgg("cifar10_vgg3", 4),
    _vgg("cifar10_vgg4", 6),
    Recipe(
        model="cifar10_resnet_robust",
        epochs=7,
        optimizer="sgd",
        lr=0.1,
        weight_decay=5e-4,
        augment="flip",
        adversarial=_LINF_8,
    ),
    Recipe(model="gray_mlp", epochs=12, lr=1e-3, weight_decay=1e-2),
    Recipe(model="gray_cnn", epochs=15, augment="flip", weight_decay=1e-2),
    ForestRecipe(model="gray_forest"),
    Recipe(model="smile_cnn", epochs=12, augment="flip", weight_decay=1e-2),
    Recipe(
        model="smile_cnn_robust",
        epochs=20,
        lr=1e-3,
        augment="flip",
        adversarial=replace(_LINF_8, warmup=0.5),
    ),
    TransferRecipe(model="transfer", epochs=20, batch_size=32, lr=1e-3),
)

RECIPES: Registry[Recipe | ForestRecipe] = Registry(
    "recipe", [(recipe.model, recipe) for recipe in _RECIPES], listed_by="advbench train --help"
)
"""Name of the model -> its recipe; `transfer` builds a model from any other."""
