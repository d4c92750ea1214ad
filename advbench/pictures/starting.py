"""Images in the package, for attacks on single pictures that need a starting image."""

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

    They come from the data that the model was trained on, if that is known and the package has samples of it; else
    from samples with the same number of classes; else they are photographs.

    Args:
        model: Model that takes the images.
        name: Name of the model, as on the command line.

    Returns:
        Images (C, H, W), on the device of the model; empty if they cannot be read.

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
    """Select the images (M, C, H, W) with the same shape as others (N, C, H, W); None if there are none.

    Example:
        >>> of_shape([torch.zeros(1, 2, 2), torch.zeros(1, 3, 3)], torch.ones(5, 1, 3, 3)).shape
        torch.Size([1, 1, 3, 3])
    """
    fitting = [image for image in images if image.shape == like.shape[1:]]
    return torch.stack(fitting) if fitting else None


def _fitting(model: Classifier, name: str) -> DatasetCard:
    """The data set whose images are closest to those that a model was made for."""
    # A plugin's data may be private, and large; data that has to be downloaded may be missing.
    own = [card for card in DATASETS.values() if card.loader.startswith("advbench.") and not card.fetched]
    cards = [card for card in own if card.images]
    trained_on = MODELS[name].data if name in MODELS else ""
    same = [card for card in cards if card.data == trained_on]
    alike = [card for card in cards if card.classes == model.num_classes]
    return (same or alike or [DATASETS["imagenet-samples"]])[0]
