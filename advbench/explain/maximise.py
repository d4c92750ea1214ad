"""Pictures that excite a filter or a class most, by gradient ascent."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import leaky_relu

from advbench.errors import UserError
from advbench.explain.canvas import jiggle, paint, start
from advbench.explain.layers import Layer, activations, black_picture
from advbench.models.classifier import Classifier
from advbench.models.twins import BORROW
from advbench.sanitize import one_line
from attacks.queries.derivatives import has_gradient

_RATE = 0.05
"""Step size of Adam in the spectrum."""
_SMALL = 96
"""Side, in pixels, of the pictures for filters."""
_BATCH = 16
"""Number of pictures made together; it bounds the memory."""
_Excitement = Callable[[Tensor, Tensor], Tensor]


class Painted(NamedTuple):
    """Pictures, and how much they excite their targets."""

    images: Tensor
    """Pictures (N, C, H, W), in [0, 1]."""
    excitement: Tensor
    """Mean activation of the filter, or smallest logit of the classes (N,)."""

    def __repr__(self) -> str:
        return one_line(self)


def filter_images(
    model: Classifier, layer: Layer, filters: Sequence[int], *, side: int = 0, steps: int = 64, seed: int = 0
) -> Painted:
    """For each filter the picture that excites it most.

    Args:
        model: Classifier to be explained; its weights stay as they are.
        layer: Layer that gives maps; the network is run no further than there.
        filters: Channels of the layer; the picture for one does not depend on the others.
        side: Height and width of the pictures; 0: 96, or the model's own.
        steps: Number of steps of the ascent.
        seed: Seed of the noise it starts from, and of the shifts and turns.

    Raises:
        UserError: The layer has no such filter, or the model gives no gradient.
        ValueError: There is no filter.
    """
    count = layer.shape[0]
    if not len(filters):
        raise ValueError("expected at least one filter, got none")
    if wrong := [each for each in filters if not 0 <= each < count]:
        raise UserError(f"layer '{layer.name}' has no filter {wrong[0]}", hint=f"it has {count}: 0 to {count - 1}")

    def excitement(images: Tensor, ids: Tensor) -> Tensor:
        maps = activations(model, images, layer)[torch.arange(len(ids)), ids]
        edge = [size // 16 for size in maps.shape[1:]]  # where the network pads, it sees what no picture has
        inside = maps[:, edge[0] : maps.shape[1] - edge[0], edge[1] : maps.shape[2] - edge[1]]
        # The mean of a filter that is linear is decided by the mean colour alone; its positive part by the shapes.
        return leaky_relu(inside, 0.1).flatten(1).mean(1)

    size = (side, side) if side else _small_size(model, layer)
    return _ascend(excitement, model, torch.tensor(list(filters)), size, steps, seed)


def class_images(model: Classifier, targets: Sequence[Sequence[int]], *, steps: int = 128, seed: int = 0) -> Painted:
    """For each class, or several classes at once, the picture that excites them most.

    Args:
        model: Classifier to be explained.
        targets: For each picture the classes whose smallest logit it raises.
        steps: Number of steps of the ascent.
        seed: Seed of the noise it starts from, and of the shifts and turns.

    Raises:
        UserError: The model gives no gradient.
        ValueError: There is no picture, or one without classes, or with such as the model does not have.
    """
    known = set(range(model.num_classes))
    if not len(targets) or not all(isinstance(each, Sequence) and each and known.issuperset(each) for each in targets):
        wanted = f"for each picture a list of classes from 0 to {model.num_classes - 1}, such as [[3], [0, 7]]"
        raise ValueError(f"expected {wanted}, got {targets!r}")

    def excitement(images: Tensor, ids: Tensor) -> Tensor:
        logits = model(images)
        return torch.stack([row[list(targets[i])].amin() for row, i in zip(logits, ids.tolist(), strict=True)])

    if not has_gradient(model, black_picture(model)):
        raise _no_gradient(model)
    return _ascend(excitement, model, torch.arange(len(targets)), _native(black_picture(model)), steps, seed)


def _no_gradient(model: Classifier) -> UserError:
    what = f"{model.name} gives no gradient, so no picture can be painted for its filters or classes"
    return UserError(what, hint=BORROW)


def _native(images: Tensor) -> tuple[int, int]:
    return images.shape[-2], images.shape[-1]


def _small_size(model: Classifier, layer: Layer) -> tuple[int, int]:
    """96 pixels, which are quick and show a filter's pattern, or the model's own size where it takes no other."""
    native = black_picture(model)
    small = native[..., :_SMALL, :_SMALL]
    if small.shape != native.shape:
        try:
            activations(model, small, layer)
        except (RuntimeError, AssertionError, ValueError):  # a transformer's number of patches is fixed
            return _native(native)
    return _native(small)


def _ascend(
    excitement: _Excitement, model: Classifier, ids: Tensor, size: tuple[int, int], steps: int, seed: int
) -> Painted:
    parts = [_ascend_batch(excitement, model, each, size, steps, seed) for each in torch.split(ids, _BATCH)]
    return Painted(torch.cat([part.images for part in parts]), torch.cat([part.excitement for part in parts]))


def _ascend_batch(
    excitement: _Excitement, model: Classifier, ids: Tensor, size: tuple[int, int], steps: int, seed: int
) -> Painted:
    black = black_picture(model)
    spectrum = start(ids, black.shape[1], size, seed).to(black).requires_grad_()
    # A small picture is made of fewer waves, each of which must then rise further.
    optimiser = torch.optim.Adam([spectrum], lr=_RATE * max(1.0, _SMALL / max(size)))
    for step in range(1, steps + 1):
        images = jiggle(paint(spectrum, size), ids, step, seed, shift=0.06, turn=8, zoom=0.08)
        value = excitement(images, ids)
        if not value.requires_grad:
            raise _no_gradient(model)
        optimiser.zero_grad()
        torch.autograd.backward(-value.sum())
        optimiser.step()
    with torch.no_grad():
        images = paint(spectrum, size)
        return Painted(images, excitement(images, ids))
