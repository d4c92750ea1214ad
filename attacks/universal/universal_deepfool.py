"""The original universal perturbation: the sum of DeepFool's steps for one image after another."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from attacks.deepfool import DeepFool
from attacks.norms import Linf, Norm
from attacks.protocols import Model
from attacks.queries.inputs import check_eps, check_parameters, check_size
from attacks.universal.clean import Clean, CleanLogits
from attacks.universal.fooling import Loader, MakeGoal, fooled, unpacked, untargeted
from attacks.universal.perturbation import Perturbation


@dataclass(frozen=True, kw_only=True)
class UniversalDeepFool:
    """Goes through the images, adds the smallest step that fools each one not fooled yet, and projects.

    Included for reference; :class:`attacks.UniversalPerturbation` fools more images in less time.

    References:
        Moosavi-Dezfooli et al., Universal adversarial perturbations <https://arxiv.org/abs/1610.08401>, 2017.

    Deviations:
        Any goal. The order of the images is the loader's.

    Example:
        >>> x = torch.tensor([[0.6, 0.5], [0.7, 0.5]])
        >>> found = UniversalDeepFool(eps=0.15).fit(lambda x: x, [x])
        >>> found.apply(x).argmax(1)
        tensor([1, 1])
    """

    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")

    norm: Norm = Linf()
    """The norm in which ``eps`` is measured."""
    eps: float = 10 / 255
    """Largest allowed size, image units."""
    goal: MakeGoal = untargeted
    """Clean logits (N, C) and, by keyword, ids (N,) -> goal."""
    passes: int = 10
    """Largest number of passes through the images."""
    enough: float = 0.8
    """Fraction of fooled images after which no further pass is made."""
    steps: int = 50
    """Largest number of DeepFool steps on each image."""
    candidates: int = 10
    """Number of boundaries that DeepFool considers."""
    overshoot: float = 0.02
    """Fraction by which a step of DeepFool is longer than it needs to be."""

    def __post_init__(self) -> None:
        check_eps(self.norm, self.eps)
        check_parameters(self)

    def fit(self, model: Model, loader: Loader) -> Perturbation:
        """Fit to images; see :meth:`attacks.UniversalPerturbation.fit`. Uses no random numbers."""
        clean, delta = CleanLogits(model), torch.empty(0)
        for _ in range(self.passes):
            for batch in loader:
                x, _labels = unpacked(batch)
                delta = delta if len(delta) else torch.zeros_like(x[:1])
                check_size(x, delta)
                delta = self._add(model, x, clean(x), delta)
            if not len(delta):
                raise ValueError("expected a loader with batches of images, got none")
            found = fooled(model, loader, self._perturbation(delta).apply, self.goal)
            if found.met >= self.enough * (found.images - found.pointless):
                break
        return self._perturbation(delta)

    def _perturbation(self, delta: Tensor) -> Perturbation:
        return Perturbation(delta=delta[0], norm=self.norm, eps=self.eps)

    def _add(self, model: Model, x: Tensor, asked: Clean, delta: Tensor) -> Tensor:
        """The perturbation (1, ...) after the images of a batch, one after another."""
        attack = DeepFool(norm=self.norm, steps=self.steps, candidates=self.candidates, overshoot=self.overshoot)
        wanted = self.goal(asked.logits, ids=asked.ids)
        wanted.check(asked.logits.shape[1])
        for row in range(len(x)):
            goal = wanted.select(torch.tensor([row], device=x.device))
            moved = (x[row : row + 1] + delta).clamp(0, 1)
            delta = self.norm.project(delta + attack(model, moved, goal) - moved, self.eps)
        return delta
