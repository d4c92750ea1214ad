"""Images in the package, for attacks on single pictures that need one to start from."""

from collections.abc import Sequence
from contextlib import suppress

import torch
from torch import Tensor

from advbench.catalog import DATASETS, MODELS
from advbench.catalog.cards import DatasetCard
from advbench.datasets import load_dataset
from advbench.errors import UserError
from advbench.models.classifier import Classifier
from advbench.planning.resources import spread


def carried_starts(model: Classifier, name: str) -> list[Tensor]:
    """Images from which an attack on a model may start, whatever pictures are attacked.

    They show what the model was trained on, if that is known and there are samples of it; else they are samples with
    as many classes; else photographs.

    Args:
        model: Model that takes the images.
        name: Name of the model, as on the command line.

    Returns:
        Images (C, H, W), on the device of the model; none where they cannot be read.

    Example:
        >>> from torch import nn
        >>> model = Classifier(nn.Flatten(), num_classes=100, input_size=8)
        >>> len(carried_starts(model, "mine.py:net")), carried_starts(model, "mine.py:net")[0].shape
        (20, torch.Size([3, 8, 8]))
    """
    found: list[Tensor] = []
    device = next(model.buffers()).device
    with suppress(UserError):
        data = load_dataset(_fitting(model, name).name)
        for number in spread(range(len(data))):
            picture = data.read(number)
            found.append((picture if isinstance(picture, Tensor) else model.preprocess(picture)).to(device))
    return found


def of_shape(images: Sequence[Tensor], like: Tensor) -> Tensor | None:
    """Those images (M, C, H, W) that have the shape of some others (N, C, H, W); None if none has.

    Example:
        >>> of_shape([torch.zeros(1, 2, 2), torch.zeros(1, 3, 3)], torch.ones(5, 1, 3, 3)).shape
        torch.Size([1, 1, 3, 3])
    """
    fitting = [image for image in images if image.shape == like.shape[1:]]
    return torch.stack(fitting) if fitting else None


def _fitting(model: Classifier, name: str) -> DatasetCard:
    """The data set whose images are most like those that a model is for."""
    # What a plugin brings may be anybody's, and large; what has to be fetched may not be there.
    own = [card for card in DATASETS.values() if card.loader.startswith("advbench.") and not card.fetched]
    cards = [card for card in own if card.images]
    trained_on = MODELS[name].data if name in MODELS else ""
    same = [card for card in cards if card.data == trained_on]
    alike = [card for card in cards if card.classes == model.num_classes]
    return (same or alike or [DATASETS["imagenet-samples"]])[0]
