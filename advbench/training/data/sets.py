"""Training and test sets: from torchvision's folders, IDX files, npz files and image folders, as 8-bit tensors."""

import io
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from advbench.catalog.zoo import DATA, ZooData
from advbench.datasets.composed import composed
from advbench.datasets.idx import read_idx
from advbench.datasets.images.cache import KeptPictures
from advbench.errors import UserError

Split = Literal["train", "test"]
SPLITS: tuple[Split, Split] = ("train", "test")
"""Names of the two splits of a data set."""

COMPOSED: dict[Split, int] = {"train": 30_000, "test": 4_000}
"""Number of images to compose for each split."""
_PIXELS = 2**20
"""Number of pixels per channel in a part of :func:`in_parts`: enough to keep a processor busy."""


class Images(NamedTuple):
    """A labelled set of images."""

    x: Tensor | KeptPictures
    """8-bit images of shape (N, C, H, W), uint8, in memory or on disk; or features, float32."""
    y: Tensor
    """Labels of shape (N,), int64; or, for images with several labels, (N, labels), float32 of 0 and 1."""
    source: str = ""
    """Name of the file or reader that they came from."""


def units(x: Tensor) -> Tensor:
    """Scale 8-bit images to [0, 1]; features are unchanged.

    Example:
        >>> units(torch.tensor([255, 51], dtype=torch.uint8))
        tensor([1.0000, 0.2000])
    """
    return x if x.is_floating_point() else x.float() / 255


def in_parts(images: Images, most: int = 500, *, first: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
    """Split a set of images into parts, smaller ones for larger images.

    Args:
        images: Images to split.
        most: Maximum number of images in a part.
        first: Number of images after which to stop; None: all of them.

    Yields:
        Images and labels of each part, in memory.

    Example:
        >>> images = Images(torch.zeros(5, 1, 1000, 500), torch.arange(5))
        >>> [y.tolist() for x, y in in_parts(images, first=3)]
        [[0, 1], [2]]
    """
    pixels = images.x.shape[2] * images.x.shape[3]
    size = max(1, min(most, _PIXELS // pixels))
    for index in torch.split(torch.arange(len(images.y))[:first], size):
        yield images.x[index], images.y[index]


def load_split(name: str, root: Path, split: Split) -> Images:
    """Read one split of a data set.

    It is looked for in this order: IDX files (gzipped or not) as published for MNIST, `<name>-<split>.npz`, and the
    files of torchvision's own class; each in the data root, in its folder `<name>`, and where torchvision puts it.

    Args:
        name: Key in `advbench.catalog.zoo.DATA`.
        root: Root folder of the data sets.
        split: "train" or "test".

    Returns:
        All images.

    Raises:
        UserError: It is missing, and the hint has the command to download it; or it is damaged or belongs to another
            set.
    """
    images = find_split(name, root, split)
    if images is None:
        raise UserError(f"data set {name} is not in {root}", hint=_how_to_get(DATA[name], root))
    return images


def find_split(name: str, root: Path, split: Split) -> Images | None:
    """The same as :func:`load_split`, but None if the data is missing."""
    dataset = DATA[name]
    if dataset.composed:
        return _composed(dataset, root, split)
    for read in (_idx, _npz, _torchvision):
        images = read(dataset, root, split)
        if images is not None:
            return images
    return None


def _composed(dataset: ZooData, root: Path, split: Split) -> Images | None:
    """Images composed from those of another data set."""
    parts = find_split(dataset.composed, root, split)
    if parts is None:
        return None
    pixels = parts.x[torch.arange(len(parts.y))].squeeze(1)
    found = composed(pixels.numpy(), parts.y.numpy(), COMPOSED[split], seed=SPLITS.index(split))
    x, y = torch.from_numpy(found.images).unsqueeze(1), torch.from_numpy(found.labels).float()
    return Images(x, y, f"composed from {parts.source}")


def _how_to_get(dataset: ZooData, root: Path) -> str:
    dataset = DATA[dataset.composed] if dataset.composed else dataset
    own = "a folder of pictures with a subfolder for each class works as well"
    if not dataset.torchvision:
        return f"expected {root / dataset.folder}-train.npz and -test.npz with arrays `images` and `labels`; {own}"
    make = f"torchvision.datasets.{dataset.torchvision}({str(root)!r}, download=True)"
    fetch = f'on a connected machine: python -c "import torchvision; {make}"'
    return f"{fetch}; or name another folder: --data-root FOLDER; {own}"


def _folders(dataset: ZooData, root: Path) -> Iterator[Path]:
    yield from (root, root / dataset.folder)
    if dataset.torchvision:
        yield root / dataset.torchvision / "raw"


def _idx(dataset: ZooData, root: Path, split: Split) -> Images | None:
    stem = "train" if split == "train" else "t10k"
    for folder in _folders(dataset, root):
        for ending in (".gz", ""):
            files = [folder / f"{stem}-{what}-ubyte{ending}" for what in ("images-idx3", "labels-idx1")]
            if all(file.is_file() for file in files):
                x, y = map(read_idx, files)
                return _checked(dataset, x, y, files[0].name)
    return None


def _npz(dataset: ZooData, root: Path, split: Split) -> Images | None:
    for folder in _folders(dataset, root):
        for ending in (f"{split}.npz", f"{split}-jpeg.npz"):
            file = folder / f"{dataset.folder}-{ending}"
            if file.is_file():
                x, y = _read(file, _npz_arrays)
                return _checked(dataset, x, y, file.name)
    return None


def _npz_arrays(file: Path) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
        if "images" in arrays:
            return arrays["images"], arrays["labels"]
        blob, offsets = arrays["jpeg"].tobytes(), arrays["offsets"]
        decoded = [
            np.asarray(Image.open(io.BytesIO(blob[start:end]), formats=("JPEG",)))
            for start, end in pairwise(offsets.tolist())
        ]
        return np.stack(decoded), arrays["labels"]


def _torchvision(dataset: ZooData, root: Path, split: Split) -> Images | None:
    if not dataset.torchvision:
        return None
    import torchvision

    try:
        # CIFAR-10 is published as pickles; torchvision unpickles them only if they have the published checksums.
        found = getattr(torchvision.datasets, dataset.torchvision)(str(root), train=split == "train", download=False)
    except RuntimeError:
        return None
    return _checked(dataset, np.asarray(found.data), np.asarray(found.targets), f"torchvision's {dataset.torchvision}")


def _read(file: Path, reader: Callable[[Path], Any]) -> Any:
    try:
        return reader(file)
    except Exception as error:  # damaged bytes make a parser raise nearly anything
        raise UserError(f"data file {file} cannot be read: {error}", hint="fetch it again") from None


def _checked(dataset: ZooData, x: NDArray[Any], y: NDArray[Any], source: str) -> Images:
    """Arrays (N, H, W) or (N, H, W, C) and (N,) as tensors."""
    if x.dtype != np.uint8 or x.ndim not in (3, 4) or y.shape != x.shape[:1] or not len(x):
        got = f"{x.dtype} {x.shape} and {y.dtype} {y.shape}"
        raise UserError(f"{source} does not hold 8-bit images (N, H, W) or (N, H, W, C) and labels, but {got}")
    if x.shape[1:3] != (dataset.side, dataset.side):
        size = f"{x.shape[1]} x {x.shape[2]} pixels instead of {dataset.side} x {dataset.side}"
        raise UserError(f"{source} is not a part of {dataset.title}: its images have {size}")
    if not 0 <= y.min() <= y.max() < len(dataset.classes):
        count = f"labels from {y.min()} to {y.max()}, but there are {len(dataset.classes)} classes"
        raise UserError(f"{source} is not a part of {dataset.title}: it has {count}")
    planes = x[:, None] if x.ndim == 3 else x.transpose(0, 3, 1, 2)
    pixels = torch.from_numpy(np.ascontiguousarray(planes))
    return Images(_grey(pixels) if len(dataset.mean) == 1 else pixels, torch.from_numpy(y.astype(np.int64)), source)


def _grey(x: Tensor) -> Tensor:
    """Grey values of a colour picture, bit for bit the same as Pillow's."""
    if x.shape[1] == 1:
        return x
    weights = torch.tensor([19595, 38470, 7471]).view(1, 3, 1, 1)
    parts = [(chunk.int() * weights).sum(1, keepdim=True) + 0x8000 >> 16 for chunk in torch.split(x, 5000)]
    return torch.cat(parts).to(torch.uint8)
