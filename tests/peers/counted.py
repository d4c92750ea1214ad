"""A model that counts its passes."""

from torch import Tensor, nn

from advbench.models.classifier import Classifier


class Counted(nn.Module):
    """A classifier that counts images in forward passes and in backward passes.

    Args:
        model: The classifier to wrap.
    """

    forwards = 0
    backwards = 0

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model, self.num_classes = model, model.num_classes
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, ...) -> logits (N, C)."""
        self.forwards += len(x)
        logits: Tensor = self.model(x)
        if logits.requires_grad:
            logits.register_hook(self._count)
        return logits

    def _count(self, gradient: Tensor) -> None:
        self.backwards += len(gradient)
