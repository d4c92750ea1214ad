"""The batch of images that attacks work on, and the ids that identify images."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Batch(NamedTuple):
    """Images with their labels and ids; made by `make_batch`, which checks them."""

    x: Tensor
    """Images of shape (N, C, H, W), float32, in [0, 1]."""
    y: Tensor | None
    """Labels of shape (N,), int64; None if they are unknown."""
    ids: Tensor
    """Ids of shape (N,), int64, all different: anything drawn for an image depends on its id, not its position."""


def make_batch(x: Tensor, y: Tensor | None = None, ids: Tensor | None = None) -> Batch:
    """Check images, labels and ids once, so that later code need not.

    Args:
        x: Images of shape (N, C, H, W), float32, in [0, 1].
        y: Labels of shape (N,), int64, not negative, on the device of `x`; None if unknown.
        ids: Ids of shape (N,), int64, all different, on the device of `x`; None for `content_ids(x)`.

    Returns:
        The batch, holding the same tensors.

    Raises:
        ValueError: A shape, dtype, device or value is not as above.

    Example:
        >>> batch = make_batch(torch.zeros(2, 1, 4, 4), torch.tensor([3, 7]))
        >>> batch.x.shape, batch.y, len(batch.ids)
        (torch.Size([2, 1, 4, 4]), tensor([3, 7]), 2)
    """
    _check_images(x)
    if y is not None:
        _check_integers("y", y, x)
        if y.min() < 0:
            raise ValueError(f"expected labels >= 0, got {y.min().item()}")
    if ids is None:
        ids = content_ids(x)
    _check_integers("ids", ids, x)
    if (different := len(set(ids.tolist()))) < len(ids):
        raise ValueError(f"expected ids that are all different, got {different} for {len(ids)} images")
    return Batch(x, y, ids)


def content_ids(x: Tensor, names: Sequence[str] | None = None) -> Tensor:
    """Derive an id for each image from its content, independent of the batch that the image is in.

    An id is the first 63 bits of the sha256 of the image's dtype, shape and bytes, so it equals `int(sample_id(image),
    16) // 2`. If an image repeats an earlier one in `x`, the digest is hashed again for each repeat: the first keeps
    its id, the second has the same id in every batch that contains it twice, and so on.

    Args:
        x: Images of shape (N, ...), of any dtype and on any device.
        names: Their names from `sample_ids` (N), if `x` is only a part of the images that were named: then a repeat has
            the same id whether or not the image that it repeats is also in `x`. None: `x` is all of them.

    Returns:
        Ids of shape (N,), int64, not negative, all different, on the device of `x`.

    Example:
        >>> a, b = torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)
        >>> content_ids(torch.cat([a, b]))[1] == content_ids(b)[0]
        tensor(True)
    """
    ids: dict[int, None] = {}
    latest: dict[bytes, bytes] = {}
    for row, image in enumerate(x.detach().cpu()):
        content = _digest(image)
        digest = latest.get(content, content) if names is None else _hashed(content, _repeats(names[row]))
        while (number := int.from_bytes(digest[:8], "big") >> 1) in ids:
            digest = _hashed(digest, 1)
        ids[number] = None
        latest[content] = digest
    return torch.tensor(list(ids), dtype=torch.int64, device=x.device)


def sample_id(image: Tensor) -> str:
    """Name an image by its content, for records.

    Args:
        image: One image, of any shape and dtype and on any device.

    Returns:
        The first 16 hexadecimal digits of the sha256 of the image's dtype, shape and bytes.

    Example:
        >>> sample_id(torch.zeros(3, 2, 2))
        '263b5fce9e64db68'
    """
    return _digest(image.detach().cpu()).hex()[:16]


def sample_ids(x: Tensor) -> list[str]:
    """Name images by their content, with unique names: see `Numbering`.

    Args:
        x: All images of a data set or of a test (N, ...), of any dtype and on any device.

    Example:
        >>> sample_ids(torch.zeros(2, 3, 2, 2))
        ['263b5fce9e64db68', '263b5fce9e64db68-2']
    """
    return list(map(Numbering(), map(sample_id, x)))


class Numbering:
    """Make repeated names unique: the second occurrence gets the suffix -2, the third -3.

    Everything that is counted or compared image by image uses these names. Otherwise, two equal images, which may have
    different labels, would be treated as one.

    Example:
        >>> list(map(Numbering(), ["ab", "cd", "ab"]))
        ['ab', 'cd', 'ab-2']
    """

    def __init__(self) -> None:
        self._times: Counter[str] = Counter()

    def __call__(self, name: str) -> str:
        """The name, with a number appended if it occurred before."""
        self._times[name] += 1
        return name if self._times[name] == 1 else f"{name}-{self._times[name]}"


def content_of(name: str) -> str:
    """The `sample_id` in a name that may have a number appended.

    Example:
        >>> content_of("263b5fce9e64db68-2")
        '263b5fce9e64db68'
    """
    return name.partition("-")[0]


def _repeats(name: str) -> int:
    """The number of equal images that were named before it."""
    return int(name.partition("-")[2] or 1) - 1


def _hashed(digest: bytes, times: int) -> bytes:
    for _ in range(times):
        digest = hashlib.sha256(digest).digest()
    return digest


def _digest(image: Tensor) -> bytes:
    # The shape is included because 2 x 8 and 4 x 4 pixels may hold the same bytes.
    head = f"{image.dtype} {tuple(image.shape)} ".encode()
    return hashlib.sha256(head + image.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()).digest()


def _check_images(x: Tensor) -> None:
    if not isinstance(x, Tensor):
        raise ValueError(f"expected x to be a tensor, got {type(x).__name__}")
    if x.dtype != torch.float32:
        raise ValueError(f"expected x of type torch.float32, got {x.dtype}")
    if x.ndim != 4 or x.numel() == 0:
        raise ValueError(f"expected x of shape (N, C, H, W), none of them 0, got {tuple(x.shape)}")
    low, high = (bound.item() for bound in x.detach().aminmax())
    # Written so that NaN, for which every comparison is false, is refused too.
    if not (low >= 0 and high <= 1):
        raise ValueError(f"expected x in [0, 1], got values from {low:g} to {high:g}")


def _check_integers(name: str, values: Tensor, x: Tensor) -> None:
    if not isinstance(values, Tensor):
        raise ValueError(f"expected {name} to be a tensor, got {type(values).__name__}")
    if values.dtype != torch.int64 or values.shape != x.shape[:1]:
        got = f"{values.dtype} of shape {tuple(values.shape)}"
        raise ValueError(f"expected {name} of type torch.int64 and shape ({len(x)},), got {got}")
    if values.device != x.device:
        raise ValueError(f"expected {name} on {x.device}, where x is, got {values.device}")
