"""Files that `advbench train` writes: weights whose header says what network they belong to. No code is run."""

import json
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from advbench.cards import ModelCard
from advbench.catalog import MODELS
from advbench.errors import UserError
from advbench.models.classifier import Classifier
from advbench.models.own import own_file
from advbench.models.transfer import with_new_top
from advbench.models.weights import load_into, read_state_dict, sha256_of
from advbench.registry import resolve

_KEY = "advbench"


class Contents(BaseModel):
    """What network a file of weights belongs to.

    Example:
        >>> Contents(model="resnet50", classes=("cat", "dog"), new_top=True).classes
        ('cat', 'dog')
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    """Name in `advbench models`."""
    classes: Annotated[tuple[str, ...], Field(min_length=1)]
    """Names in the order of the logits."""
    new_top: bool = False
    """Its last layer was replaced by one for these classes."""


def packed(module: nn.Module, contents: Contents, *, half: bool) -> bytes:
    """The weights of a network as a safetensors file.

    Args:
        module: The network.
        contents: What it is.
        half: Whether floats are written in half precision.
    """
    tensors = {
        key: (value.half() if half and value.is_floating_point() else value).contiguous()
        for key, value in module.state_dict().items()
    }
    return save(tensors, {_KEY: contents.model_dump_json()})


def load(card: ModelCard, weights: Path | None = None) -> Classifier:
    """Load a network that `advbench train` wrote.

    Args:
        card: Its name is the file.
        weights: Refused: the file holds its own.

    Raises:
        UserError: The file is damaged, holds weights alone, or belongs to a network that is not known here.
    """
    file = own_file(card, weights)
    contents = _contents(file)
    base: Classifier = resolve(MODELS[contents.model].builder)(MODELS[contents.model])
    width = len(contents.classes)
    if not contents.new_top and width != base.num_classes:
        raise UserError(f"{file} names {width} classes, and {contents.model} tells {base.num_classes} apart")
    module = with_new_top(base, width) if contents.new_top else base.module
    load_into(module, read_state_dict(file), file, contents.model)
    return rewrapped(base, module, contents.classes, name=card.name, digest=sha256_of(file))


def rewrapped(base: Classifier, module: nn.Module, classes: tuple[str, ...], *, name: str, digest: str) -> Classifier:
    """A network as a classifier that takes the same pictures as another one.

    Args:
        base: The other one.
        module: Normalised images to logits.
        classes: Names in the order of the logits.
        name: What it is called.
        digest: sha256 of its weights.
    """
    return Classifier(
        module,
        num_classes=len(classes),
        mean=base.mean,
        std=base.std,
        classes=classes,
        input_size=base.input_size,
        preprocess=base.preprocess,
        name=name,
        weights_sha256=digest,
    )


def _contents(file: Path) -> Contents:
    try:
        with safe_open(file, "pt") as opened:
            header = (opened.metadata() or {}).get(_KEY)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{file} is damaged, cut short or not a safetensors file: {error}") from None
    if header is None:
        raise UserError(
            f"{file} holds weights alone, and does not say what network they belong to",
            hint="name the network: --model NAME --weights FILE",
        )
    try:
        contents = Contents(**json.loads(header))
    except (ValueError, TypeError, ValidationError):
        raise UserError(f"{file} has a header that advbench did not write") from None
    if contents.model not in MODELS:
        raise UserError(f"{file} belongs to a network that is not known here: {contents.model!r}")
    return contents
