"""Models of timm by their names there: `timm/resnet18.a1_in1k`."""

from pathlib import Path
from typing import Any

from PIL import Image
from torch import nn

from advbench.cards import ModelCard
from advbench.errors import UserError
from advbench.models.classifier import Classifier
from advbench.models.labels import imagenet_classes
from advbench.models.preprocess import ResizeAndCrop
from advbench.models.weights import load_into, read_state_dict, sha256_of
from advbench.own_models import TIMM
from advbench.registry import near_misses


def load(card: ModelCard, weights: Path | None = None) -> Classifier:
    """Load a model of timm, from the cache of the Hugging Face hub or from the hub itself.

    Args:
        card: Its name is `timm/` and a name of timm's.
        weights: A file to use instead of the published weights.

    Raises:
        UserError: timm is not installed, there is no such model, or its weights cannot be had or do not fit.
    """
    name, config = _known(card)
    file = weights or _published(card.name, config.hf_hub_id)
    model = _wrap(name, config)
    load_into(model.module, read_state_dict(file), file, card.name)
    model.weights_sha256 = sha256_of(file)
    return model


def build(card: ModelCard) -> Classifier:
    """A model of timm with fresh weights.

    Raises:
        UserError: As for :func:`load`.
    """
    return _wrap(*_known(card))


def _known(card: ModelCard) -> tuple[str, Any]:
    """The name of a model that timm has, and its configuration there."""
    try:
        import timm
    except ImportError:
        raise UserError(
            f"{card.name} needs the package timm, which is not installed", hint='pip install "advbench[timm]"'
        ) from None
    name = card.name.removeprefix(TIMM)
    if not timm.is_model(name.partition(".")[0]):
        close = near_misses(name, timm.list_models())
        raise UserError(f"timm has no model {name!r}", hint=f"did you mean {', '.join(close)}?" if close else "")
    config = timm.get_pretrained_cfg(name)
    if config is None:
        raise UserError(f"timm has no weights {name!r}", hint=f"there are: {', '.join(_tags(name)) or 'none'}")
    return name, config


def _wrap(name: str, config: Any) -> Classifier:
    import timm

    module: nn.Module = timm.create_model(name, pretrained=False)
    size = int(config.input_size[1])
    bicubic = config.interpolation == "bicubic"
    return Classifier(
        module,
        num_classes=config.num_classes,
        mean=config.mean,
        std=config.std,
        classes=imagenet_classes() if config.num_classes == len(imagenet_classes()) else None,
        input_size=size,
        preprocess=ResizeAndCrop(
            size=size,
            resize=int(size / config.crop_pct),
            interpolation=Image.Resampling.BICUBIC if bicubic else Image.Resampling.BILINEAR,
        ),
        name=f"{TIMM}{name}",
    )


def _tags(name: str) -> list[str]:
    import timm

    return timm.list_pretrained(f"{name.partition('.')[0]}.*")[:10]


def _published(name: str, repository: str | None) -> Path:
    """The safetensors file of the model, downloaded unless it is in the cache."""
    if not repository:
        raise UserError(f"{name} has no weights on the hub", hint="give a file: --weights FILE")
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(repository, "model.safetensors"))
    except Exception as error:  # no network, no such file, no permission: each has a class of its own
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"{name} lacks its weights: they are not in the cache, and cannot be downloaded: {why}",
            hint=f"on a connected machine: hf download {repository} model.safetensors\nor give a file: --weights FILE",
        ) from None
