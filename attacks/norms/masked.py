"""Any norm, for perturbations restricted to a part of the image."""

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
    """A norm that only allows changes within a mask; pass it as the norm of any attack, with any goal.

    Everything happens in the space of the values that the mask allows: only their gradients count, and random points,
    balls and projections lie in this space. Attacks query the model with candidates whose other values are those of the
    clean image, so that an attack without mask support (Square, HopSkipJump, CW, those of Foolbox) cannot succeed by
    changes outside the mask, and the images returned equal the clean ones there, bit for bit.

    Sizes are measured within the mask. :meth:`confine` shows whether the rest is untouched: advbench's judge rejects a
    candidate that it would change.

    Args:
        norm: The norm of perturbations within the mask.
        mask: What may change: a tensor with the shape of an image or of its last dimensions, so that (H, W) applies to
            all channels of images (N, C, H, W). True or any non-zero number means that the value may change. For a
            separate mask for each image see :func:`attacks.masking.masked_each`.

    Raises:
        ValueError: If the mask is not a tensor, or allows nothing; and later, in an attack, if it does not fit the
            images.

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
    """Where values may change, bool, with the shape of an image or of its last dimensions."""
    digest: str = field(init=False)
    """Hexadecimal digest of the mask."""

    def __post_init__(self) -> None:
        given: object = self.mask
        if not isinstance(given, Tensor) or not given.ndim:
            got = f"shape {tuple(given.shape)}" if isinstance(given, Tensor) else type(given).__name__
            raise ValueError(f"expected a mask as a tensor (H, W) or of the shape of an image, got {got}")
        if self.norm.confines:
            raise ValueError("expected a norm without a mask, got one that has a mask already: multiply the masks")
        with torch.inference_mode(False):  # an inference tensor could not be part of a graph
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
        """Where values may change in an image of this shape, or in a reshaped one, as one row (D,)."""
        size = self.mask.numel()
        if not _fits(tuple(shape), tuple(self.mask.shape)):
            raise ValueError(f"expected a mask for images of shape {tuple(shape)}, got one of {tuple(self.mask.shape)}")
        return self.mask.to(device).flatten().repeat(math.prod(shape) // size)

    def _inside(self, delta: Tensor) -> Tensor:
        """The values that may change: (n, ...) -> (n, m)."""
        return flat(delta)[:, self._allowed(delta.shape[1:], delta.device)]

    def _put(self, inside: Tensor, around: Tensor) -> Tensor:
        """Images (n, ...) with ``inside`` (n, m) put where values may change."""
        whole = self._allowed(around.shape[1:], around.device)
        return flat(around).masked_scatter(whole, inside.to(around.dtype)).view(around.shape)


def _fits(shape: tuple[int, ...], mask: tuple[int, ...]) -> bool:
    """Whether a mask fits images of this shape, some dimensions of which may have been merged."""
    if shape[-len(mask) :] == mask:
        return True
    size = math.prod(mask)
    merged = any(math.prod(shape[-k:]) == size for k in range(1, min(len(mask), len(shape) + 1)))
    return merged or (len(shape) == 1 and len(mask) > 1 and shape[0] % size == 0)
