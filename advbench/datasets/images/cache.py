"""Images that are cached as far as memory allows, and otherwise decoded again on demand."""

from collections.abc import Callable, Hashable, Sequence
from pathlib import Path

import torch
from torch import Tensor

KEEP_BYTES = 128 * 2**20
"""Maximum size in bytes of the cached pictures; the others are read again each time."""


class KeptImages:
    """Images by their keys, up to a limit. 8-bit images take a quarter of the memory, and are restored bit for bit.

    Args:
        limit: Maximum size in bytes of the cached images; later ones are not cached.

    Example:
        >>> kept, image = KeptImages(limit=12), torch.tensor([[[0.0, 0.2, 1.0]]])
        >>> kept.keep("a", image), torch.equal(kept.get("a"), image), kept.get("b") is None
        (None, True, True)
    """

    def __init__(self, limit: int) -> None:
        self._kept: dict[Hashable, Tensor] = {}
        self._left = limit

    def get(self, key: Hashable) -> Tensor | None:
        """The cached image (C, H, W); None if it is not cached."""
        image = self._kept.get(key)
        return image.to(torch.float32) / 255 if image is not None and image.dtype == torch.uint8 else image

    def keep(self, key: Hashable, image: Tensor) -> None:
        """Cache an image (C, H, W), float32 in [0, 1], if there is room for it."""
        if not self._left:
            return
        coded = (image * 255).round().to(torch.uint8)
        decoded = coded.to(torch.float32) / 255
        stored = coded if torch.equal(decoded.view(torch.int32), image.view(torch.int32)) else image
        if stored.nbytes <= self._left:
            self._left -= stored.nbytes
            self._kept[key] = stored
        else:
            self._left = 0  # then exactly the first images are cached, whatever their sizes


class KeptPictures:
    """Pictures on disk as one array of images (N, C, H, W), of which only a limited part is kept in memory.

    Args:
        paths: Paths of the pictures, at least one; ``read`` returns the same shape for all of them.
        read: Path -> image (C, H, W) in [0, 1], whose values are multiples of 1/255.

    Example:
        >>> pictures = KeptPictures([Path("a.png"), Path("b.png")], lambda path: torch.ones(1, 2, 2))
        >>> pictures[torch.tensor([1, 0, 1])].shape, pictures[0].unique()
        (torch.Size([3, 1, 2, 2]), tensor([255], dtype=torch.uint8))
    """

    def __init__(self, paths: Sequence[Path], read: Callable[[Path], Tensor]) -> None:
        self._paths, self._read = tuple(paths), read
        self._kept: dict[int, Tensor] = {}
        self._left = KEEP_BYTES

    def __len__(self) -> int:
        return len(self._paths)

    @property
    def shape(self) -> torch.Size:
        """(N, C, H, W)."""
        return torch.Size([len(self), *self[0].shape])

    def __getitem__(self, index: int | Tensor) -> Tensor:
        """The images with the given numbers, uint8.

        Args:
            index: One number, or several (n,).

        Returns:
            The image (C, H, W), or the images (n, C, H, W).

        Raises:
            PictureError: A picture cannot be read.
        """
        return self._image(index) if isinstance(index, int) else torch.stack([*map(self._image, index.tolist())])

    def _image(self, number: int) -> Tensor:
        if (image := self._kept.get(number)) is None:
            image = (self._read(self._paths[number]) * 255).round().to(torch.uint8)
            if image.nbytes <= self._left:
                self._left -= image.nbytes
                self._kept[number] = image
        return image
