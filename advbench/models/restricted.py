"""A classifier restricted to some of its classes, as ImageNet-A and ImageNet-R require."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from advbench.models.classifier import Classifier
from attacks.queries.answers import find_logits


def restricted(model: Classifier, among: Sequence[int]) -> Classifier:
    """The classifier with the logits of some of its classes; the network is shared.

    Args:
        model: Classifier with more classes.
        among: Numbers of the classes that remain, ascending.

    Example:
        >>> model = Classifier(nn.Flatten(), num_classes=4, classes=["ant", "bee", "cat", "dog"])
        >>> pair = restricted(model, [1, 3])
        >>> pair.classes, pair(torch.eye(4).reshape(4, 1, 2, 2))[3]
        (('bee', 'dog'), tensor([0., 1.]))
    """
    found = Classifier(
        _Among(model.module, among),
        num_classes=len(among),
        mean=model.mean,
        std=model.std,
        classes=[model.classes[index] for index in among],
        input_size=model.input_size,
        preprocess=model.preprocess,
        name=model.name,
        weights_sha256=model.weights_sha256,
    )
    found.with_thresholds(None if model.thresholds is None else [model.thresholds[index] for index in among])
    found.notes, found.loaded_from = model.notes, model.loaded_from
    found.twin = None if model.twin is None else restricted(model.twin, among)
    return found.to(next(model.buffers()).device)


class _Among(nn.Module):
    """A network without the logits of the other classes."""

    index: Tensor

    def __init__(self, module: nn.Module, among: Sequence[int]) -> None:
        super().__init__()
        self.module = module
        self.register_buffer("index", torch.tensor(among), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map images to logits (N, remaining classes)."""
        logits: Tensor = find_logits(self.module(x), len(x))
        return logits.index_select(1, self.index)
