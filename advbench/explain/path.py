"""Predictions between the clean image and the adversarial one, beyond it, and around both."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from advbench.models.classifier import Classifier
from advbench.sanitize import one_line
from attacks.searches import draws

_BATCH = 16


def straight_line(model: Classifier, x: Tensor, x_adv: Tensor, places: Tensor | Sequence[float]) -> Tensor:
    """Confidences along the straight line through both images; values are kept in [0, 1].

    Args:
        model: Classifier to be explained.
        x: The clean image (1, C, H, W).
        x_adv: The adversarial image (1, C, H, W).
        places: Places on the line (T,): 0 is the clean image, 1 the adversarial one, 2 as far again.

    Returns:
        Softmax probabilities (T, classes).

    Example:
        >>> model = Classifier(torch.nn.Flatten(), num_classes=2, mean=[0.0])
        >>> x = torch.tensor([0.9, 0.1]).view(1, 1, 1, 2)
        >>> straight_line(model, x, x.flip(3), torch.tensor([0.0, 0.5, 1.0])).argmax(1).tolist()[::2]
        [0, 1]
    """
    images = [(x + t * (x_adv - x)).clamp(0, 1) for t in torch.as_tensor(places).tolist()]
    return _log_probabilities(model, torch.cat(images)).exp()


class Plane(NamedTuple):
    """The network's answers on a grid in the plane through the clean and the adversarial image."""

    towards: Tensor
    """Places along the adversarial direction (W,): 0 is the clean image, 1 the adversarial one."""
    aside: Tensor
    """Places along a random direction at right angles to it and as long (H,)."""
    log_probabilities: Tensor
    """Log-probabilities of the classes (H, W, classes)."""

    def __repr__(self) -> str:
        return one_line(self)


def plane(model: Classifier, x: Tensor, x_adv: Tensor, *, points: int = 21, seed: int = 0) -> Plane:
    """The network's answers around both images; values are kept in [0, 1].

    Args:
        model: Classifier to be explained.
        x: The clean image (1, C, H, W).
        x_adv: The adversarial image (1, C, H, W), different from ``x``.
        points: Points of the grid along a side.
        seed: Seed of the random direction.

    Raises:
        ValueError: The two images are the same.
    """
    delta = x_adv - x
    if not delta.any():
        raise ValueError("expected an adversarial image that differs from the clean one, got the same")
    chance = draws.normal(seed, torch.zeros(1, dtype=torch.int64), 0, x.shape[1:]).to(x)
    chance -= (chance * delta).sum() / (delta * delta).sum() * delta
    chance *= delta.norm() / chance.norm()
    towards, aside = torch.linspace(-1, 2, points), torch.linspace(-1.5, 1.5, points)
    answers = []
    for b in aside.tolist():
        row = [(x + a * delta + b * chance).clamp(0, 1) for a in towards.tolist()]
        answers.append(_log_probabilities(model, torch.cat(row)))
    return Plane(towards, aside, torch.stack(answers))


@torch.no_grad()
def _log_probabilities(model: Classifier, images: Tensor) -> Tensor:
    return torch.cat([model(batch) for batch in torch.split(images, _BATCH)]).log_softmax(1)
