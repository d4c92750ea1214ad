"""Embeddings of images: the activations of the network's last hidden layer."""

from typing import Any

import torch
from torch import Tensor, nn

from advbench.errors import UserError
from advbench.explain.layers import list_layers
from advbench.models.classifier import Classifier


def hidden(model: Classifier, x: Tensor) -> Tensor:
    """The input of the layer that computes the logits; for feature maps, their means.

    Args:
        model: Classifier to explain.
        x: Images (N, C, H, W) in [0, 1].

    Returns:
        (N, units).

    Raises:
        UserError: No linear layer or convolution of the network has an output for each class.

    Example:
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 2))
        >>> hidden(Classifier(net, num_classes=2, input_size=2), torch.rand(3, 3, 2, 2)).shape
        torch.Size([3, 5])
    """
    last = [layer.module for layer in list_layers(model) if layer.shape[0] == model.num_classes]
    last = [module for module in last if isinstance(module, nn.Linear | nn.Conv2d)]
    if not last:
        raise UserError(f"{model.name} has no layer with an output for each class, so its last hidden layer is unknown")
    seen: list[Tensor] = []

    def note(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        seen.append(inputs[0].detach().clone())

    hook = last[-1].register_forward_pre_hook(note)
    try:
        with torch.no_grad():
            for images in torch.split(x, 16):
                model(images)
    finally:
        hook.remove()
    units = torch.cat(seen)
    return units.mean((2, 3)) if units.ndim == 4 else units


def widest(units: Tensor, among: Tensor, count: int = 256) -> tuple[Tensor, str]:
    """The units that differ most among images, for a bar code of drawable size.

    Args:
        units: Activations (N, units).
        among: Activations of the images to compare (M, units), M at least 2.
        count: Maximum number of units.

    Returns:
        Indices of the units in order, and a description for a caption.

    Example:
        >>> chosen, note = widest(torch.zeros(2, 3), torch.tensor([[0.0, 5.0, 1.0], [0.0, 1.0, 3.0]]), count=2)
        >>> chosen.tolist(), note
        ([1, 2], '2 of the 3 units of the last hidden layer, those that differ most')
    """
    chosen = among.std(0).topk(min(count, units.shape[1])).indices.sort().values
    note = f"{len(chosen)} of the {units.shape[1]} units of the last hidden layer"
    return chosen, f"{note}, those that differ most" if len(chosen) < units.shape[1] else note


def principal_axes(units: Tensor, count: int = 2) -> Tensor:
    """The orthonormal directions along which images differ most (principal component analysis).

    Args:
        units: Activations (N, units), N at least 2.
        count: Number of directions.

    Returns:
        (units, count), signed so that the largest entry of each is positive; padded with zeros if there are fewer
        directions.

    Example:
        >>> principal_axes(torch.tensor([[0.0, 3.0], [0.0, -3.0], [1.0, 0.0]]), count=1)
        tensor([[0.],
                [1.]])
    """
    _, sizes, axes = torch.linalg.svd(units - units.mean(0), full_matrices=False)
    kept = axes[:count] * (sizes[:count, None] > 1e-6 * sizes[0])
    largest = kept.gather(1, kept.abs().argmax(1, keepdim=True))
    found = torch.zeros(count, units.shape[1]).to(units)
    found[: len(kept)] = kept * torch.where(largest < 0, -1.0, 1.0)
    return found.T + 0.0  # no -0
