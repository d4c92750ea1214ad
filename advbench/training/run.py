"""From a recipe to a folder with weights, curves and cards: what stands behind `advbench train`."""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import nn

from advbench.models import architectures
from advbench.models.classifier import Classifier
from advbench.models.weights import sha256_of
from advbench.models.zoo import architecture, wrap
from advbench.store import folder_for_results, write_atomic
from advbench.training.data import SPLITS, Images, load_split
from advbench.training.fit import Job, Progress, Trained, fit
from advbench.training.forest import grow
from advbench.training.measure import confusion, predicted, robustness, score
from advbench.training.recipes import ForestRecipe, Recipe
from advbench.training.results import write_card, write_curves
from advbench.zoo_table import DATA, ZOO


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """All that `advbench train` is asked for."""

    recipe: Recipe | ForestRecipe
    """What to train, and how."""
    command: str
    """As it would be typed again."""
    data_root: Path
    """Folder with the data sets."""
    out: Path
    """Folder for the results."""
    seed: int = 0
    """Of all that is random."""
    device: str = "cpu"
    """Where to compute."""
    attacked: int = 200
    """Test images on which the accuracy under attack is measured; 0: not measured."""


def train(config: TrainConfig, progress: Progress = lambda *_: None) -> dict[str, Any]:
    """Train a model, or go on with a training that was interrupted, and measure it.

    The folder receives `checkpoint.safetensors` after each epoch, and in the end the weights, `<name>.json`,
    `README.md`, and the learning curves as `curves.csv` and `curves.png`.

    Args:
        config: What to do.
        progress: Told of every step.

    Returns:
        The card: what was trained, how, and what was measured.

    Raises:
        UserError: The data are not there, or the checkpoint belongs to another training or cannot be written.
    """
    name = config.recipe.model
    data = ZOO[name].data
    train_set, test_set = (load_split(data, config.data_root, split) for split in SPLITS)
    with folder_for_results(config.out) as folder:
        trained = _trained(config, train_set, test_set, progress)
        progress(f"{name}: measuring", 0, 1)
        file = write_atomic(folder / f"{name}.safetensors", _half(trained.module))
        model = wrap(_rounded(trained.module), name, sha256_of(file)).to(config.device)
        card = _card(config, trained, model, train_set, test_set)
        if trained.history:
            write_curves(folder, name, trained.history)
        write_card(folder, card)
    return card


def _trained(config: TrainConfig, train_set: Images, test_set: Images, progress: Progress) -> Trained:
    recipe, row = config.recipe, ZOO[config.recipe.model]
    mean, std = DATA[row.data].mean, DATA[row.data].std
    if isinstance(recipe, ForestRecipe):
        progress(f"{recipe.model}: growing trees", 0, 1)
        started = time.process_time()
        forest = grow(recipe, architectures.gray_forest(), train_set, mean[0], std[0], config.seed)
        return Trained(forest, [], time.process_time() - started)
    job = Job(
        recipe=recipe,
        train=train_set,
        test=test_set,
        mean=mean,
        std=std,
        seed=config.seed,
        device=config.device,
        checkpoint=config.out / "checkpoint.safetensors",
    )
    return fit(job, lambda: architecture(row.architecture, dropout=recipe.dropout), progress)


def _half(module: nn.Module) -> bytes:
    """The weights as a safetensors file, floats in half precision."""
    return save(
        {key: value.half() if value.is_floating_point() else value for key, value in module.state_dict().items()}
    )


def _rounded(module: nn.Module) -> nn.Module:
    """The network with its weights as the file holds them."""
    for value in (*module.parameters(), *module.buffers()):
        if value.is_floating_point():
            value.data = value.data.half().float()
    return module


def _size(module: nn.Module) -> int:
    """Numbers that were learnt: the parameters, or what a forest holds."""
    return sum(value.numel() for value in module.parameters()) or sum(value.numel() for value in module.buffers())


def _card(config: TrainConfig, trained: Trained, model: Classifier, train: Images, test: Images) -> dict[str, Any]:
    row = ZOO[model.name]
    found = predicted(model, test)
    counts, classes = confusion(test.y, found, model.classes)
    robust = None
    if config.attacked:
        some = Images(test.x[: config.attacked], test.y[: config.attacked])
        gradients = not isinstance(config.recipe, ForestRecipe)
        measured = robustness(model, some, DATA[row.data].eps, gradients=gradients)
        robust = {**measured.score._asdict(), "norm": measured.norm, "eps": measured.eps, "attack": measured.attack}
    return {
        "name": model.name,
        "data": DATA[row.data].title,
        "architecture": row.architecture,
        "parameters": _size(model.module),
        "command": config.command,
        "seed": config.seed,
        "training": asdict(config.recipe),
        "seconds": trained.seconds,
        "images": {
            "train": len(train.y),
            "train_source": train.source,
            "test": len(test.y),
            "test_source": test.source,
        },
        "clean": score(int((found == test.y).sum()), len(test.y))._asdict(),
        "robust": robust,
        "classes": classes,
        "confusion": counts.tolist(),
        "epochs": [epoch._asdict() for epoch in trained.history],
        "weights_file": f"{model.name}.safetensors",
        "weights_sha256": model.weights_sha256,
        "licence": "Apache-2.0",
    }
