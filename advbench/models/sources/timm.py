"""timm models, by timm's names: `timm/resnet18.a1_in1k`."""

import importlib
import math
from pathlib import Path
from typing import Any, Literal

from PIL import Image
from torch import Tensor, nn

from advbench.catalog.cards import ModelCard
from advbench.catalog.registry import did_you_mean
from advbench.catalog.user_models import TIMM
from advbench.errors import UserError, first_line, not_installed
from advbench.models.classifier import Classifier
from advbench.models.files.weights import load_into, read_state_dict, sha256_of
from advbench.models.labels import imagenet_classes
from advbench.models.preprocess import covering, through
from advbench.models.sources.hub import WEIGHTS, hub_file


def load(card: ModelCard, weights: Path | None = None) -> Classifier:
    """Load a timm model, from the cache of the Hugging Face hub or from the hub itself.

    Args:
        card: Card whose name is `timm/` and a timm name.
        weights: File to use instead of the published weights.

    Raises:
        UserError: timm is not installed, there is no such model, or its weights cannot be obtained or do not fit.
    """
    name, config = _known(card)
    file = weights or _published(card.name, config.hf_hub_id)
    model = _wrap(name, config)
    load_into(model.module, read_state_dict(file), file, card.name)
    model.weights_sha256 = sha256_of(file)
    return model


def build(card: ModelCard) -> Classifier:
    """A timm model with fresh weights.

    Raises:
        UserError: As for :func:`load`.
    """
    return _wrap(*_known(card))


def _known(card: ModelCard) -> tuple[str, Any]:
    """The name of a timm model, and its configuration."""
    try:
        import timm
    except ImportError:
        raise not_installed(card.name, "timm", "timm") from None
    name = card.name.removeprefix(TIMM)
    if not timm.is_model(name.partition(".")[0]):
        raise UserError(f"timm has no model {name!r}", hint=did_you_mean(name, timm.list_models()))
    try:
        config = timm.get_pretrained_cfg(name)
    except RuntimeError:  # a tag that is not in timm's table
        config = None
    if config is None:
        raise UserError(f"timm has no weights {name!r}", hint=f"there are: {', '.join(_tags(name)) or 'none'}")
    if not _has_classes(name, config):
        raise UserError(
            f"{card.name} is not a classifier: it returns features of an image, not class logits",
            hint=f"other weights of the same network: {', '.join(_tags(name, classifiers=True)) or 'none'}\n"
            "or add your own top, and name the function that makes the network: file.py:function",
        )
    return name, config


def _wrap(name: str, config: Any) -> Classifier:
    import timm

    try:
        module: nn.Module = timm.create_model(name, pretrained=False)
    except Exception as error:  # some need a package that timm does not install, and each reports it in its own way
        why = first_line(error, otherwise=type(error).__name__)
        raise UserError(f"timm cannot create {name}: {why}") from error
    preprocess = TimmTransform(config)
    return Classifier(
        module,
        num_classes=config.num_classes,
        mean=preprocess.mean,
        std=preprocess.std,
        classes=imagenet_classes() if config.num_classes == len(imagenet_classes()) else None,
        input_size=preprocess.size,
        preprocess=preprocess,
        name=f"{TIMM}{name}",
    )


class TimmTransform:
    """timm's own evaluation transform without the normalisation, which the classifier does.

    Args:
        config: A pretrained configuration from timm. As in timm by default, its size is the training size, not the
            larger one at which some networks are tested.

    Example:
        >>> import timm
        >>> transform = TimmTransform(timm.get_pretrained_cfg("resnet18.a1_in1k"))
        >>> transform(Image.new("RGB", (300, 400))).shape, transform.size
        (torch.Size([3, 224, 224]), (224, 224))
    """

    def __init__(self, config: Any) -> None:
        data: Any = importlib.import_module("timm.data")
        found = data.resolve_data_config(pretrained_cfg=config.to_dict())
        self._steps = tuple(data.create_transform(**found, is_training=False).transforms[:-1])
        channels, height, width = found["input_size"]
        self.size = (height, width)
        self.mean: tuple[float, ...] = tuple(found["mean"])
        self.std: tuple[float, ...] = tuple(found["std"])
        self._mode: Literal["RGB", "L"] = "L" if channels == 1 else "RGB"
        self._crop_mode = found["crop_mode"]
        self._scaled = tuple(math.floor(side / found["crop_pct"]) for side in self.size)

    def __call__(self, image: Image.Image) -> Tensor:
        """Convert a picture of any size and mode to the input of a classifier: see :meth:`ResizeAndCrop.__call__`."""
        self._check(image)
        return through(self._steps, image, self._mode)

    def _check(self, image: Image.Image) -> None:
        """Refuse a picture that would become too large, or empty."""
        height, width = self._scaled
        if self._crop_mode == "border":
            if round(min(image.size) * min(height / image.height, width / image.width)) < 1:
                raise UserError(
                    f"the picture is too long and thin: {image.width} x {image.height} pixels would shrink to nothing",
                    hint="crop it first",
                )
        elif self._crop_mode != "squash":
            covering(image.size, height if height == width else (height, width))


def _tags(name: str, *, classifiers: bool = False) -> list[str]:
    """The weights in timm for the network with that name, at most ten."""
    import timm

    found = timm.list_pretrained(f"{name.partition('.')[0]}.*")
    return [each for each in found if not classifiers or _has_classes(each, timm.get_pretrained_cfg(each))][:10]


def _has_classes(name: str, config: Any) -> bool:
    """Whether the outputs of a network are class logits.

    Image towers of CLIP and similar models return embeddings, to be compared with those of a text, unless the tower was
    fine-tuned on ImageNet.
    """
    tower = any(family in name for family in _TOWERS) and "_ft_in" not in name
    return bool(config.num_classes > 1) and not tower


_TOWERS = ("clip", "_pe_core_")


def _published(name: str, repository: str | None) -> Path:
    """The safetensors file of the model, downloaded unless it is in the cache."""
    if not repository:
        raise UserError(f"{name} has no weights on the hub", hint="give a file: --weights FILE")
    try:
        return hub_file(repository, [WEIGHTS])
    except Exception as error:  # no network, no such file, no permission: each has its own class
        why = first_line(error, otherwise=type(error).__name__)
        raise UserError(
            f"{name} lacks its weights: they are not in the cache, and cannot be downloaded: {why}",
            hint=f"on a connected machine: hf download {repository} {WEIGHTS}\nor give a file: --weights FILE",
        ) from None
