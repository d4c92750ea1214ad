"""A random forest as a network without gradients: its trees and its outputs are tensors."""

import torch
from torch import Tensor, nn


class Forest(nn.Module):
    """Binary trees over the pixels of an image; the mean class frequencies of their leaves decide.

    An image goes left at a node if the node's pixel is at most its threshold. The logits are the logarithms of the mean
    frequencies, a thousandth of which is spread evenly over all classes to keep the logits finite; they have no
    gradient, since nothing changes until a threshold is crossed.

    Args:
        trees: Number of trees.
        leaves: Maximum number of leaves of a tree, at least 2.
        classes: Number of classes.

    References:
        Breiman, Random forests, 2001.

    Example:
        >>> forest = Forest(trees=1, leaves=2, classes=2)
        >>> forest.threshold[0, 0] = 0.5
        >>> forest.left[0, 0] = 1  # and its right child is the node after that
        >>> forest.pixel[0, 1:] = torch.tensor([0, 1])  # which leaves these are
        >>> forest.frequency[0] = torch.eye(2)
        >>> forest(torch.tensor([0.2, 0.8]).view(2, 1, 1, 1)).argmax(1)
        tensor([0, 1])
    """

    pixel: Tensor
    threshold: Tensor
    left: Tensor
    frequency: Tensor

    def __init__(self, *, trees: int, leaves: int, classes: int) -> None:
        super().__init__()
        nodes = 2 * leaves - 1
        # For a leaf, its row in `frequency`.
        self.register_buffer("pixel", torch.zeros(trees, nodes, dtype=torch.int16))
        self.register_buffer("threshold", torch.zeros(trees, nodes))
        # 0, the root, is no node's child, so it marks a leaf.
        self.register_buffer("left", torch.zeros(trees, nodes, dtype=torch.int16))
        self.register_buffer("frequency", torch.zeros(trees, leaves, classes))

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, ...) to logits (N, classes)."""
        pixels, left, pixel = x.flatten(1).detach(), self.left.long(), self.pixel.long()
        trees = torch.arange(len(left), device=x.device)
        node = torch.zeros(len(x), len(left), dtype=torch.long, device=x.device)
        while (child := left[trees, node]).any():
            goes_right = pixels.gather(1, pixel[trees, node]) > self.threshold[trees, node]
            node = torch.where(child > 0, child + goes_right, node)
        mean = self.frequency[trees, pixel[trees, node]].mean(1)
        return (0.999 * mean + 0.001 / mean.shape[1]).log()
