"""Repeated passes over pictures on disk, in batches, with bounded memory."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from advbench.datasets.images.cache import KeptPictures
from advbench.datasets.images.files import PictureError
from advbench.errors import UserError
from advbench.sanitize import display_name


class PictureStream:
    """A loader of pictures that can be iterated repeatedly, with a limited cache.

    Unreadable pictures are left out, and listed in :attr:`problems` from then on; pictures of different sizes are
    refused.

    Args:
        paths: Paths of the pictures.
        read: Path -> image (C, H, W) in [0, 1], whose values are multiples of 1/255.
        batch_size: Number of images in a batch; the last may have fewer.
        labels: Class of each picture; None: unknown.
        seed: Seed of the order, which differs from pass to pass; None: always the order of ``paths``.
        device: Device for the batches; None: they stay on the CPU.

    Example:
        >>> stream = PictureStream([Path("a.png")] * 3, lambda path: torch.zeros(1, 2, 2), batch_size=2)
        >>> [batch[0].shape for batch in stream]
        [torch.Size([2, 1, 2, 2]), torch.Size([1, 1, 2, 2])]
    """

    def __init__(
        self,
        paths: Sequence[Path],
        read: Callable[[Path], Tensor],
        *,
        batch_size: int,
        labels: Sequence[int] | None = None,
        seed: int | None = None,
        device: torch.device | None = None,
    ) -> None:
        self._paths, self._labels = tuple(paths), labels
        self._batch_size, self._seed, self._epoch, self._device = batch_size, seed, 0, device
        self._pictures = KeptPictures(self._paths, read)
        self._first: tuple[Path, torch.Size] | None = None
        self.problems: dict[Path, PictureError] = {}

    def set_epoch(self, epoch: int) -> None:
        """Set the number of the next pass, which determines the order."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._paths)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        found: list[int] = []
        images: list[Tensor] = []
        for number in self._order():
            if (image := self._image(number)) is None:
                continue
            self._refuse_other_size(image, self._paths[number])
            found.append(number)
            images.append(image)
            if len(images) == self._batch_size:
                yield self._batch(found, images)
                found, images = [], []
        if images:
            yield self._batch(found, images)

    def _refuse_other_size(self, image: Tensor, path: Path) -> None:
        """Refuse pictures of different sizes, which cannot share batches or a perturbation.

        Raises:
            UserError: The size differs from that of the first picture.
        """
        first, size = self._first or (path, image.shape), image.shape
        self._first = first
        if size != first[1]:
            sizes = " and ".join(
                f"{shape[-1]} x {shape[-2]} ('{display_name(name, limit=80)}')" for name, shape in (first, (path, size))
            )
            raise UserError(
                f"pictures have several sizes, such as {sizes} pixels, and the model gets them unscaled",
                hint="give the size to which to scale them: --input-size, or input_size of the model",
            )

    def _order(self) -> list[int]:
        if self._seed is None:
            return list(range(len(self._paths)))
        generator = torch.Generator().manual_seed(self._seed + self._epoch)
        order: list[int] = torch.randperm(len(self._paths), generator=generator).tolist()
        return order

    def _image(self, number: int) -> Tensor | None:
        """The picture in 8 bits; None if it cannot be read."""
        path = self._paths[number]
        if path in self.problems:
            return None
        try:
            return self._pictures[number]
        except PictureError as problem:
            self.problems[path] = problem
            return None

    def _batch(self, numbers: list[int], images: list[Tensor]) -> tuple[Tensor, ...]:
        x = torch.stack(images).to(self._device, torch.float32) / 255
        if self._labels is None:
            return (x,)
        return x, torch.tensor([self._labels[number] for number in numbers], device=self._device)


def files_digest(paths: Sequence[Path]) -> str:
    """Digest of the contents of files, regardless of their names and order; an unreadable file counts as empty.

    Example:
        >>> files_digest([])
        'e3b0c44298fc1c14'
    """
    digest = hashlib.sha256()
    for each in sorted(hashlib.sha256(_content(path)).digest() for path in paths):
        digest.update(each)
    return digest.hexdigest()[:16]


def _content(path: Path) -> bytes:
    """The content of a file; empty for an unreadable one, which is reported as a problem when it is loaded."""
    try:
        return path.read_bytes()
    except OSError:
        return b""
