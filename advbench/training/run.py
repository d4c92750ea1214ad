"""Turn a recipe into a folder with weights, curves and cards: the work of `advbench train`."""

import time
from dataclasses import asdict, replace
from typing import Any

from torch import nn

from advbench.catalog.zoo import ZOO, ZooData
from advbench.config.folders import refuse_in_data
from advbench.datasets.trained_on import file_beside, ids_of_pixels
from advbench.models.files.contents import Contents, packed
from advbench.models.files.weights import load_into, read_state_dict, sha256_of
from advbench.models.networks import architectures
from advbench.models.sources.zoo import architecture, wrap
from advbench.records.storage.atomic import folder_for_results, write_atomic
from advbench.training.data.folders import load_data
from advbench.training.data.sets import Images, in_parts
from advbench.training.fit import Job, Progress, Trained, fit
from advbench.training.forest import grow
from advbench.training.measure import measured
from advbench.training.recipes import ForestRecipe, TransferRecipe
from advbench.training.results import write_card, write_curves
from advbench.training.task import Made, TrainConfig
from advbench.training.transfer import transfer


def train(config: TrainConfig, progress: Progress = lambda *_: None) -> dict[str, Any]:
    """Train a model, or resume an interrupted training, and evaluate it.

    The folder receives `checkpoint.safetensors` after each epoch, and at the end the weights, the ids of the training
    images, `<name>.json`, `README.md`, and the learning curves as `curves.csv` and `curves.png`. The weights file names
    its network, so that `advbench attack --model FOLDER/<name>.safetensors` needs nothing else.

    Args:
        config: Configuration of `advbench train`.
        progress: Called after every step.

    Returns:
        The card: what was trained, how, and the results.

    Raises:
        UserError: The data are missing, or the checkpoint belongs to another training or cannot be written.
    """
    recipe = config.recipe
    if isinstance(recipe, TransferRecipe):
        refuse_in_data(config.out, [config.data_root])
    with folder_for_results(config.out) as folder:
        made = transfer(config, recipe, progress) if isinstance(recipe, TransferRecipe) else _zoo(config, progress)
        progress(f"{recipe.model}: measuring", 0, 1)
        content = packed(made.model.module, made.contents, half=made.half)
        file = write_atomic(folder / f"{recipe.model}.safetensors", content)
        made.model.weights_sha256 = sha256_of(file)
        # a later run on the model recognises its training images by these ids
        learnt = ids_of_pixels(x for x, _ in in_parts(made.train))
        write_atomic(file_beside(file), "".join(f"{name}\n" for name in learnt).encode())
        card = _card(config, made)
        if made.trained.history:
            write_curves(folder, recipe.model, made.trained.history)
        write_card(folder, card)
    return card


def _zoo(config: TrainConfig, progress: Progress) -> Made:
    """Train a model of the zoo."""
    recipe, row = config.recipe, ZOO[config.recipe.model]
    data, train_set, test_set = load_data(row.data, config.data_root, config.seed, instead=config.data)
    if isinstance(recipe, ForestRecipe):
        trained = _grown(config, recipe, data, train_set, progress)
    else:
        start = config.weights and read_state_dict(config.weights)
        recipe = replace(recipe, start_sha256=sha256_of(config.weights) if config.weights else "")
        job = Job(
            recipe=recipe,
            train=train_set,
            test=test_set,
            mean=data.mean,
            std=data.std,
            seed=config.seed,
            device=config.device,
            checkpoint=config.out / "checkpoint.safetensors",
        )

        def build() -> nn.Module:
            module = architecture(row.architecture, dropout=job.recipe.dropout)
            if start and config.weights:
                load_into(module, start, config.weights, row.name)
            return module

        trained = fit(job, build, progress)
    return Made(
        model=wrap(_rounded(trained.module), row.name, data).to(config.device),
        trained=trained,
        recipe=recipe,
        data=data,
        train=train_set,
        test=test_set,
        contents=Contents(model=row.name, classes=data.classes),
        half=True,
        licence="Apache-2.0",
    )


def _grown(config: TrainConfig, recipe: ForestRecipe, data: ZooData, train_set: Images, progress: Progress) -> Trained:
    progress(f"{recipe.model}: growing trees", 0, 1)
    started = time.process_time()
    forest = grow(recipe, architectures.gray_forest(), train_set, data.mean[0], data.std[0], config.seed)
    return Trained(forest, [], time.process_time() - started)


def _rounded(module: nn.Module) -> nn.Module:
    """The network with its weights rounded to half precision, as stored in the file."""
    for value in (*module.parameters(), *module.buffers()):
        if value.is_floating_point():
            value.data = value.data.half().float()
    return module


def _size(module: nn.Module) -> int:
    """Number of learnt values: the parameters, or the contents of a forest."""
    return sum(value.numel() for value in module.parameters()) or sum(value.numel() for value in module.buffers())


def _card(config: TrainConfig, made: Made) -> dict[str, Any]:
    recipe, data = made.recipe, made.data
    gradients = not isinstance(recipe, ForestRecipe)
    return {
        "name": recipe.model,
        "data": data.title,
        "architecture": ZOO[recipe.model].architecture if recipe.model in ZOO else made.contents.model,
        "parameters": _size(made.model.module),
        "command": config.command,
        "seed": config.seed,
        "training": asdict(recipe),
        "seconds": made.trained.seconds,
        "images": {
            "train": len(made.train.y),
            "train_source": made.train.source,
            "test": len(made.test.y),
            "test_source": made.test.source,
            "licence": data.licence,
        },
        **measured(made.model, made.test, data.eps, attacked=config.attacked, gradients=gradients),
        "epochs": [epoch._asdict() for epoch in made.trained.history],
        "weights_file": f"{recipe.model}.safetensors",
        "weights_sha256": made.model.weights_sha256,
        "licence": made.licence,
    }
