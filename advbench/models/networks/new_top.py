"""Replace the last layer of a pretrained network."""

from typing import Any

import torch
from torch import Tensor, nn

from advbench.errors import UserError
from advbench.models.classifier import Classifier

PRETRAINED = "features."
"""Prefix of the names of the pretrained weights."""


class Transferred(nn.Module):
    """A network made for other classes, up to its last layer, with a new last layer.

    The old part always stays in eval mode: its batch norms keep their original statistics.

    Args:
        features: Maps images (N, C, H, W) to features (N, width).
        width: Number of features.
        classes: Number of new classes.

    Example:
        >>> Transferred(nn.Flatten(), 12, 3)(torch.zeros(5, 3, 2, 2)).shape
        torch.Size([5, 3])
    """

    def __init__(self, features: nn.Module, width: int, classes: int) -> None:
        super().__init__()
        self.features = features.eval()
        self.top = nn.Linear(width, classes)

    def train(self, mode: bool = True) -> "Transferred":
        """Put the new layer in training mode, or all of it in eval mode."""
        super().train(mode)
        self.features.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, C, H, W) to logits (N, classes)."""
        logits: Tensor = self.top(self.features(x))
        return logits


def with_new_top(model: Classifier, classes: int) -> Transferred:
    """Replace the last layer of a classifier's network, in place.

    Args:
        model: The classifier; none of its parameters are trained unless :func:`unfreeze` selects them.
        classes: Number of new classes.

    Returns:
        Its network with a new last layer, initialised from torch's random state.

    Raises:
        UserError: As for :func:`last_layer`; or the rest of the network does not return features.

    Example:
        >>> old = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(12, 7)), num_classes=7, mean=[0.5] * 3, input_size=2)
        >>> with_new_top(old, 3).top
        Linear(in_features=12, out_features=3, bias=True)
    """
    features, last = model.module, last_layer(model)
    if isinstance(features, Transferred):
        return Transferred(features.features, features.top.in_features, classes)
    features.set_submodule(last, nn.Identity())
    channels = max(len(model.mean), len(model.std))
    with torch.no_grad():
        found: Any = features(torch.zeros(1, channels, *model.sides(otherwise=1)))
    if not isinstance(found, Tensor) or found.ndim != 2:
        got = f"a tensor {tuple(found.shape)}" if isinstance(found, Tensor) else f"a {type(found).__name__}"
        raise UserError(
            f"{model.name} cannot be given a new top: without its last layer it returns {got}, not a row of features",
            hint="name a function that makes the network return only its logits: file.py:function",
        )
    return Transferred(features, found.shape[1], classes)


def last_layer(model: Classifier) -> str:
    """The name of the layer that computes the logits.

    Raises:
        UserError: It cannot be determined: no layer has an output for each class, or the network's input size is
            unknown.

    Example:
        >>> last_layer(Classifier(nn.Sequential(nn.Flatten(), nn.Linear(12, 7)), num_classes=7, input_size=2))
        '1'
    """
    layers: list[tuple[str, nn.Module]] = list(model.module.named_modules())
    tops = [name for name, layer in layers if name and _outputs(layer) == model.num_classes]
    if not tops:
        raise UserError(
            f"{model.name} cannot be given a new top: no layer of it has an output for each of its classes",
            hint="start from another network: `advbench models` lists all models\n"
            "for a TorchScript archive, exported program or ONNX file, name what makes the network: file.py:function",
        )
    if model.input_size is None:
        raise UserError(
            f"{model.name} does not state its input size",
            hint="return advbench.Classifier(..., input_size=...)",
        )
    return tops[-1]


def unfreeze(features: nn.Module, layers: int) -> None:
    """Unfreeze the last layers of a network for training.

    Args:
        features: Network, all of it frozen.
        layers: Number of layers: convolutions and dense layers, each with the biases and norms that follow it.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.BatchNorm1d(2)).requires_grad_(False)
        >>> unfreeze(net, 1)
        >>> [name for name, parameter in net.named_parameters() if parameter.requires_grad]
        ['1.weight', '1.bias', '2.weight', '2.bias']
    """
    parameters = list(features.parameters())
    starts = [index for index, parameter in enumerate(parameters) if parameter.ndim > 1]
    for parameter in parameters[starts[-layers] if layers < len(starts) else 0 :] if layers else ():
        parameter.requires_grad_(True)


def _outputs(layer: nn.Module) -> int | None:
    if isinstance(layer, nn.Linear):
        return layer.out_features
    return layer.out_channels if isinstance(layer, nn.Conv2d) else None
