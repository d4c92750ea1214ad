"""Any norm, for perturbations that must keep to a part of the image."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from attacks.geometry.rows import flat
from attacks.norms.protocol import Norm
from attacks.norms.wrapping import Wrapping


@dataclass(frozen=True, eq=False, repr=False)
class Masked(Wrapping):
    """A norm that changes only what a mask allows: all attacks and goals have it by being given this norm.

    Everything happens in the space of the values that the mask allows: gradients count there alone, random points are
    drawn there, balls and projections lie there. Attacks ask the model about candidates whose other values are those
    of the clean image, so that one which knows nothing of masks (Square, HopSkipJump, CW, those of Foolbox) cannot
    succeed by what it does beside the mask, and what they return equals the clean image there, bit for bit.

    Sizes are those of the part within the mask. Whether the rest is untouched :meth:`confine` tells: the judge of
    advbench refuses a candidate that it would change.

    Args:
        norm: The norm of perturbations within the mask.
        mask: What may change: a tensor of the shape of an image or of its last dimensions, so that (H, W) is for all
            channels of images (N, C, H, W). True, or any number but 0, may change. For a mask of its own for each image
            see :func:`attacks.masking.masked_each`.

    Raises:
        ValueError: If the mask is no tensor, or allows nothing; and, once there are images, if it does not fit them.

    Example:
        >>> from attacks.norms import Linf
        >>> norm = Masked(Linf(), torch.tensor([True, False]))
        >>> norm.step(torch.tensor([[0.5, 0.5]]), torch.tensor([[1.0, 9.0]]), 0.25)
        tensor([[-0.2500,  0.0000]])
        >>> norm, norm.name
        (Masked(Linf(), 1 of 2 values, 6453ebbe), 'linf')
    """

    norm: Norm
    """The norm of perturbations within the mask."""
    mask: Tensor
    """What may change, bool, of the shape of an image or of its last dimensions."""
    digest: str = field(init=False)
    """Hexadecimal digits that change with the mask."""

    def __post_init__(self) -> None:
        given: object = self.mask
        if not isinstance(given, Tensor) or not given.ndim:
            got = f"shape {tuple(given.shape)}" if isinstance(given, Tensor) else type(given).__name__
            raise ValueError(f"expected a mask as a tensor (H, W) or of the shape of an image, got {got}")
        if self.norm.confines:
            raise ValueError("expected a norm without a mask, got one that has a mask already: multiply the masks")
        with torch.inference_mode(False):  # such a tensor could not be part of a graph
            mask = given.detach().bool().clone()
        if not bool(mask.any()):
            raise ValueError("expected a mask that allows at least one value to change, got one that allows none")
        content = f"{tuple(mask.shape)}".encode() + mask.cpu().numpy().tobytes()
        object.__setattr__(self, "mask", mask)
        object.__setattr__(self, "digest", hashlib.sha256(content).hexdigest()[:16])

    def __repr__(self) -> str:
        return f"Masked({self.norm!r}, {int(self.mask.sum())} of {self.mask.numel()} values, {self.digest[:8]})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Masked) and (self.norm, self.digest) == (other.norm, other.digest)

    def __hash__(self) -> int:
        return hash((self.norm, self.digest))

    def confine(self, x: Tensor, x_adv: Tensor) -> Tensor:
        """Candidates with everything outside the mask taken from ``x``."""
        return torch.where(self._allowed(x_adv.shape[1:], x_adv.device).view(x_adv.shape[1:]), x_adv, x)

    def masking(self, norm: Norm) -> Norm:
        """Another norm within the same mask."""
        return Masked(norm, self.mask)

    def measure(self, delta: Tensor) -> Tensor:
        """Size of each row within the mask: (N, ...) -> (N,)."""
        return self.norm.measure(self._inside(delta))

    def dual(self, gradient: Tensor) -> Tensor:
        """Largest inner product of each row with a perturbation of size 1 within the mask."""
        return self.norm.dual(self._inside(gradient))

    def project(self, delta: Tensor, eps: float | Tensor) -> Tensor:
        """The nearest perturbation of size at most ``eps`` within the mask."""
        return self._put(self.norm.project(self._inside(delta), eps), torch.zeros_like(delta))

    def steepest(self, gradient: Tensor, eps: float | Tensor) -> Tensor:
        """The perturbation of size ``eps`` within the mask with the largest inner product with ``gradient``."""
        return self._put(self.norm.steepest(self._inside(gradient), eps), torch.zeros_like(gradient))

    def random(self, shape: Sequence[int], eps: float | Tensor, seed: int, ids: Tensor, draw: int) -> Tensor:
        """A random perturbation of size at most ``eps`` within the mask: (N, *shape)."""
        count = int(self._allowed(torch.Size(shape), ids.device).sum())
        inside = self.norm.random((count,), eps, seed, ids, draw)
        return self._put(inside, inside.new_zeros(len(ids), *shape))

    def to_plane(self, x: Tensor, normal: Tensor, rise: Tensor) -> Tensor:
        """The smallest perturbation within the mask whose inner product with ``normal`` is ``rise`` (n,)."""
        delta = self.norm.to_plane(self._inside(x), self._inside(normal), rise)
        return self._put(delta, torch.zeros_like(x))

    def step(self, x: Tensor, gradient: Tensor, eps: float | Tensor) -> Tensor:
        """The step of size ``eps`` within the mask that lowers a linear loss with this gradient most."""
        return self._put(self.norm.step(self._inside(x), self._inside(gradient), eps), torch.zeros_like(x))

    def within(self, x: Tensor, x_adv: Tensor, eps: float | Tensor) -> Tensor:
        """Bring candidates back into the ball, into [0, 1], and into the mask."""
        return self._put(self.norm.within(self._inside(x), self._inside(x_adv), eps), x)

    def _allowed(self, shape: torch.Size, device: torch.device) -> Tensor:
        """What may change in an image of this shape, or in any reshaping of it, as one row (D,)."""
        size = self.mask.numel()
        if not _fits(tuple(shape), tuple(self.mask.shape)):
            raise ValueError(f"expected a mask for images of shape {tuple(shape)}, got one of {tuple(self.mask.shape)}")
        return self.mask.to(device).flatten().repeat(math.prod(shape) // size)

    def _inside(self, delta: Tensor) -> Tensor:
        """The values that may change: (n, ...) -> (n, m)."""
        return flat(delta)[:, self._allowed(delta.shape[1:], delta.device)]

    def _put(self, inside: Tensor, around: Tensor) -> Tensor:
        """Images (n, ...) with these values (n, m) where they may change."""
        whole = self._allowed(around.shape[1:], around.device)
        return flat(around).masked_scatter(whole, inside.to(around.dtype)).view(around.shape)


def _fits(shape: tuple[int, ...], mask: tuple[int, ...]) -> bool:
    """Whether a mask is for images of this shape, some dimensions of which may have been made one."""
    if shape[-len(mask) :] == mask:
        return True
    size = math.prod(mask)
    merged = any(math.prod(shape[-k:]) == size for k in range(1, min(len(mask), len(shape) + 1)))
    return merged or (len(shape) == 1 and len(mask) > 1 and shape[0] % size == 0)
