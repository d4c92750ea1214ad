"""Files written by `advbench train`: the description in their header, and loading their weights."""

import json
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from advbench.errors import UserError
from advbench.models.classifier import Classifier
from advbench.models.files.weights import load_into, read_state_dict, sha256_of
from advbench.models.networks.new_top import with_new_top

_KEY = "advbench"


class Contents(BaseModel):
    """Description of the network that a weights file belongs to.

    Example:
        >>> Contents(model="resnet50", classes=("cat", "dog"), new_top=True).classes
        ('cat', 'dog')
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    """The network: a name in `advbench models`, or one of timm's, or `file.py:function`."""
    classes: Annotated[tuple[str, ...], Field(min_length=1)]
    """Names of the classes, in the order of the logits."""
    new_top: bool = False
    """Whether its last layer was replaced by one for these classes."""


def packed(module: nn.Module, contents: Contents, *, half: bool) -> bytes:
    """Serialise the weights of a network as a safetensors file.

    Args:
        module: Network with the weights.
        contents: Description of the network.
        half: Whether to write floats in half precision.
    """
    tensors = {
        key: (value.half() if half and value.is_floating_point() else value).contiguous()
        for key, value in module.state_dict().items()
    }
    return save(tensors, {_KEY: contents.model_dump_json()})


def contents_of(file: Path) -> Contents | None:
    """The description in the header of a safetensors file; None if it holds only weights.

    Raises:
        UserError: The file is damaged, or its header was not written by advbench.
    """
    try:
        with safe_open(file, "pt") as opened:
            header = (opened.metadata() or {}).get(_KEY)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{file} is damaged, cut short or not a safetensors file: {error}") from None
    try:
        return None if header is None else Contents(**json.loads(header))
    except (ValueError, TypeError, ValidationError, RecursionError):
        raise UserError(f"{file} has a header that advbench did not write") from None


def filled(base: Classifier, contents: Contents, file: Path, name: str) -> Classifier:
    """Load the weights of a file into the network that they belong to.

    Args:
        base: Network whose weights are changed, and whose top is replaced if the file has another.
        contents: Description from the header of the file.
        file: File with the weights.
        name: Name of the classifier.

    Raises:
        UserError: The weights do not fit.
    """
    width = len(contents.classes)
    if not contents.new_top and width != base.num_classes:
        raise UserError(f"{file} names {width} classes, but {contents.model} has {base.num_classes}")
    module = with_new_top(base, width) if contents.new_top else base.module
    load_into(module, read_state_dict(file), file, contents.model)
    return rewrapped(base, module, contents.classes, name=name, digest=sha256_of(file))


def rewrapped(base: Classifier, module: nn.Module, classes: tuple[str, ...], *, name: str, digest: str) -> Classifier:
    """Wrap a network as a classifier with the same preprocessing as another.

    Args:
        base: Classifier with that preprocessing.
        module: Maps normalised images to logits.
        classes: Names of the classes, in the order of the logits.
        name: Name of the new classifier.
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
    ).with_thresholds(base.thresholds if len(classes) == base.num_classes else None)
