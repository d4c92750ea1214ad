"""Transfer learning: a new top for a pretrained network, trained on a folder of pictures."""

from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from advbench.catalog.user_models import model_card
from advbench.catalog.zoo import PHOTOGRAPHS, ZooData
from advbench.models import load_model
from advbench.models.files.contents import Contents, contents_of, rewrapped
from advbench.models.networks.new_top import Transferred, last_layer, unfreeze, with_new_top
from advbench.models.trial import input_of, try_model
from advbench.training.data.folders import load_folder
from advbench.training.data.sets import Images, in_parts, units
from advbench.training.fit import Job, Progress, Trained, fit
from advbench.training.recipes import TransferRecipe
from advbench.training.task import Made, TrainConfig


def transfer(config: TrainConfig, recipe: TransferRecipe, progress: Progress) -> Made:
    """Give a pretrained network a new top, and train it.

    If the old layers stay frozen, the features of each picture are computed once and kept in memory.

    Args:
        config: Configuration of the training; its data root is a folder of pictures.
        recipe: Recipe of the training.
        progress: Called after every step.

    Returns:
        The classifier, with the classes of the folder.

    Raises:
        UserError: The pretrained network cannot be obtained, or the folder or the checkpoint is unusable.
    """
    base = load_model(recipe.base, weights=config.weights)
    last_layer(base)  # fails before any picture is read
    height, width = base.sides(otherwise=1)
    try_model(base, input_of(base, Image.new("RGB", (width, height))))
    recipe = replace(recipe, start_sha256=base.weights_sha256 or "")
    folder = load_folder(config.data_root, base.preprocess, config.seed, progress)
    network = with_new_top(base, len(folder.classes))
    whole = Job(
        recipe=recipe,
        train=folder.train,
        test=folder.test,
        mean=base.mean,
        std=base.std,
        seed=config.seed,
        device=config.device,
        checkpoint=config.out / "checkpoint.safetensors",
    )
    frozen = not recipe.fine_tune and recipe.adversarial is None and recipe.augment == "none"
    trained = (_top_alone if frozen else _all_of_it)(whole, network, progress)
    model = rewrapped(base, trained.module, folder.classes, name=recipe.model, digest="").to(config.device)
    return Made(
        model=model,
        trained=trained,
        recipe=recipe,
        data=ZooData(
            title=folder.title,
            folder=folder.title,
            classes=folder.classes,
            side=max(base.sides(otherwise=0)),
            mean=base.mean,
            std=base.std,
            eps=PHOTOGRAPHS,
            licence="the user's own",
        ),
        train=folder.train,
        test=folder.test,
        contents=Contents(model=_root(recipe.base), classes=folder.classes, new_top=True),
        half=False,
        licence=f"that of {_licensed(recipe.base)}, and that of the pictures",
    )


def _root(base: str) -> str:
    """The original network that a base goes back to: the one in a file of `advbench train`, or the base itself."""
    contents = contents_of(Path(base)) if base.endswith(".safetensors") else None
    return contents.model if contents else base


def _licensed(base: str) -> str:
    licence = model_card(base).licence
    return f"{base}, {licence}" if licence else base


def _all_of_it(job: Job, network: Transferred, progress: Progress) -> Trained:
    """Train the top through the whole network, with the last layers below it."""

    def build() -> Transferred:
        network.top.reset_parameters()
        unfreeze(network.features, job.recipe.fine_tune if isinstance(job.recipe, TransferRecipe) else 0)
        return network

    return fit(job, build, progress)


def _top_alone(job: Job, network: Transferred, progress: Progress) -> Trained:
    """Train the top on the features of the pictures."""
    train, test = (_features(job, network, images, progress) for images in (job.train, job.test))
    top = replace(job, train=train, test=test, mean=(0.0,), std=(1.0,))

    def build() -> nn.Module:
        network.top.reset_parameters()
        return nn.Sequential(nn.Flatten(), network.top)

    trained = fit(top, build, progress)
    return trained._replace(module=network.cpu())


@torch.no_grad()
def _features(job: Job, network: Transferred, images: Images, progress: Progress) -> Images:
    """Features of pictures from the pretrained layers, each stored as an image of one pixel."""
    old = network.features.to(job.device)
    mean, std = (torch.tensor(values, device=job.device).view(1, -1, 1, 1) for values in (job.mean, job.std))
    parts: list[Tensor] = []
    for x, _ in in_parts(images, 64):
        progress(f"features of {images.source}", sum(map(len, parts)), len(images.y))
        parts.append(old((units(x.to(job.device)) - mean) / std).cpu()[..., None, None])
    return images._replace(x=torch.cat(parts))
