"""The nearest adversarial image found so far, image by image."""

import torch
from torch import Tensor

from attacks.geometry.ball import at_most, radii
from attacks.norms import Norm


class Nearest:
    """The nearest adversarial image found so far for each image of a minimum-norm attack.

    Args:
        x: Clean images (n, ...).
        norm: The norm in which distance is measured.
        eps: Candidates further away than this are ignored; None: no bound.

    Example:
        >>> from attacks import Linf
        >>> best = Nearest(torch.zeros(1, 2), Linf())
        >>> better = best.offer(torch.tensor([[0.3, 0.1]]), torch.tensor([True]))
        >>> better = best.offer(torch.tensor([[0.4, 0.1]]), torch.tensor([True]))
        >>> best.size
        tensor([0.3000])
    """

    x_adv: Tensor
    """The nearest adversarial image, or the clean one where none was found."""
    size: Tensor
    """The distance of that image (n,); infinite where none was found."""
    complete: bool
    """Whether one was found for every image."""

    def __init__(self, x: Tensor, norm: Norm, eps: float | Tensor | None = None) -> None:
        self._x, self._norm = x, norm
        # Only candidates nearer than this are accepted.
        self._enough = at_most(radii(eps, x))
        self.x_adv = x.clone()
        self.size = x.new_full((len(x),), torch.inf)
        self.complete = not len(x)

    @property
    def found(self) -> Tensor:
        """Where something was found, bool (n,)."""
        return self.size < torch.inf

    def select(self, index: Tensor) -> None:
        """Continue with some of the images only: a mask or positions."""
        self._x, self._enough = self._x[index], self._enough[index]
        self.x_adv, self.size = self.x_adv[index], self.size[index]
        self.complete = bool(self.found.all())

    def offer(self, x_adv: Tensor, fooled: Tensor, size: Tensor | None = None) -> Tensor:
        """Keep those of ``x_adv`` (n, ...) that fool and are nearer than the best so far; returns which, bool (n,).

        Their distance ``size`` (n,) may be passed if it is already known.
        """
        size = self._norm.measure(x_adv - self._x) if size is None else size
        better = fooled & (size < self._enough)
        rows = better.nonzero().squeeze(1)
        if len(rows):
            self._keep(rows, x_adv[rows], size[rows])
        return better

    def offer_for(self, rows: Tensor, x_adv: Tensor, fooled: Tensor, size: Tensor | None = None) -> Tensor:
        """Like :meth:`offer`, with candidates for only some of the images, in rows ``rows`` (m,)."""
        size = self._norm.measure(x_adv - self._x[rows]) if size is None else size
        better = fooled & (size < self._enough[rows])
        chosen = better.nonzero().squeeze(1)
        if len(chosen):
            self._keep(rows[chosen], x_adv[chosen], size[chosen])
        return better

    def _keep(self, rows: Tensor, x_adv: Tensor, size: Tensor) -> None:
        """Store better candidates (m, ...) and their distances (m,) in rows ``rows`` (m,)."""
        self.x_adv[rows] = x_adv
        self.size, self._enough = (known.index_copy(0, rows, size) for known in (self.size, self._enough))
        self.complete = self.complete or bool(self.found.all())


def nearby(x: Tensor, x_adv: Tensor, norm: Norm, eps: float | Tensor | None) -> Tensor:
    """Candidates (N, ...), replaced by the clean images where they are further than ``eps`` (a number, (N,) or None).

    Example:
        >>> from attacks import Linf
        >>> nearby(torch.zeros(2, 1), torch.tensor([[0.3], [0.2]]), Linf(), 0.25)
        tensor([[0.0000],
                [0.2000]])
    """
    nearest = Nearest(x.detach(), norm, eps)
    nearest.offer(x_adv, torch.ones_like(nearest.size, dtype=torch.bool))
    return nearest.x_adv
