"""The cost of one image for a model, from operation counts instead of timings: the same on every machine."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode

from advbench.models.classifier import Classifier
from attacks.queries.derivatives import has_gradient

SPEED = 2e10
"""Floating-point operations per second of one core of an ordinary machine on ordinary layers."""
PASS_SECONDS = 2e-5
"""Overhead of a pass per image, seconds, in addition to the model's operations."""
MEMORY = 2**30
"""Bytes that one batch may occupy."""
COPIES = 12
"""Approximate number of image-sized tensors that an attack and the judge hold at once."""


class Footprint(NamedTuple):
    """The cost of one image for a model."""

    flops: float
    """Floating-point operations of a forward pass."""
    kept: int
    """Bytes that a forward pass keeps for the gradient."""
    weights: int
    """Bytes that the weights occupy."""
    image: int = 0
    """Bytes of the image itself."""

    @property
    def memory(self) -> int:
        """Bytes that an attack needs for each image of its batch."""
        return self.kept + COPIES * self.image


def footprint(model: Classifier, image: Tensor) -> Footprint:
    """Count the cost of one image.

    Args:
        model: Classifier to be measured.
        image: An image (C, H, W).

    Example:
        >>> from torch import nn
        >>> model = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(12, 5)), num_classes=5)
        >>> footprint(model, torch.zeros(3, 2, 2)).flops
        120.0
    """
    kept = 0

    def count(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += tensor.nbytes if not isinstance(tensor, torch.nn.Parameter) else 0
        return tensor

    x = image.unsqueeze(0).clone()
    x.requires_grad_(has_gradient(model, x))
    with _Operations() as operations, saved_tensors_hooks(count, lambda tensor: tensor):  # type: ignore[no-untyped-call]
        model(x)
    weights = sum(parameter.nbytes for parameter in model.parameters())
    return Footprint(operations.total, kept, weights, image.nbytes)


class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts floating-point operations with torch's own formulas."""

    total = 0.0

    def count(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and count it."""
        from torch.utils.flop_counter import flop_registry  # imports triton if installed, which takes a while

        out = func(*args, **(kwargs or {}))
        if formula := flop_registry.get(func._overloadpacket):
            self.total += formula(*args, **(kwargs or {}), out_val=out)
        return out


# Defined under this name inside the class, it would be wrapped by torch's compiler, whose import dominates planning.
_Operations.__torch_dispatch__ = _Operations.count  # type: ignore[method-assign, assignment]
