"""Randomness tied to the image: every draw depends only on (seed, image id, draw).

An ordinary generator returns numbers in the order of the calls, so an image's noise would depend on its batch. Here
every number is a hash of where it is used (a counter-based generator, as in Salmon et al., Parallel random numbers: as
easy as 1, 2, 3, 2011; the hash is the finaliser of SplitMix64, Steele et al., 2014), so batches may be split, shuffled
and resumed, and the noise stays the same, on every device.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

GOLDEN = -7046029254386353131
"""2**64 over the golden ratio, 0x9E3779B97F4A7C15, as a signed 64-bit number: its multiples are evenly spread."""
_FIRST = -4658895280553007687  # 0xBF58476D1CE4E5B9
_SECOND = -7723592293110705685  # 0x94D049BB133111EB


def uniform(seed: int, ids: Tensor, draw: int, shape: Sequence[int]) -> Tensor:
    """Uniform numbers in [0, 1), one block of ``shape`` for each image.

    Args:
        seed: The seed of the run; any integer.
        ids: The images' ids, int64 (N,).
        draw: Number of the draw for this image: different draws are independent.
        shape: Shape of one image's block.

    Returns:
        float32 (N, *shape), on the device of ``ids``.

    Example:
        >>> both = uniform(0, torch.tensor([7, 9]), draw=0, shape=(2,))
        >>> alone = uniform(0, torch.tensor([9]), draw=0, shape=(2,))
        >>> bool((both[1] == alone[0]).all())
        True
    """
    key = _mix(_mix(ids + _signed(int(seed) * _FIRST)) + _signed(draw * GOLDEN))
    place = torch.arange(1, math.prod(shape) + 1, device=ids.device)
    bits = _mix(key.unsqueeze(1) + place * GOLDEN)
    fraction = _shift(bits, 40).to(torch.float32).mul_(2.0**-24)
    return fraction.view(len(ids), *shape)


def normal(seed: int, ids: Tensor, draw: int, shape: Sequence[int]) -> Tensor:
    """Standard normal numbers, one block of ``shape`` for each image; see :func:`uniform`.

    Example:
        >>> normal(0, torch.arange(3), draw=1, shape=(4, 4)).shape
        torch.Size([3, 4, 4])
    """
    fraction = uniform(seed, ids, draw, shape)
    # Uses the middle of each of the 2**24 steps: the quantile function is infinite at the ends.
    quantile: Tensor = torch.special.ndtri(fraction.double() + 2.0**-25)
    return quantile.to(torch.float32)


def scaled(number: Tensor, least: float, most: float) -> Tensor:
    """Map uniform numbers in [0, 1) to numbers from ``least`` to ``most``, both positive, with uniform logarithm.

    Example:
        >>> scaled(torch.tensor([0.0, 0.5]), 0.01, 1.0)
        tensor([0.0100, 0.1000])
    """
    # Not by a power, whose last bit depends on a number's position in the batch.
    return least * (number * math.log(most / least)).exp()


def derive(seed: int, index: int) -> int:
    """A seed for the ``index``-th repetition under ``seed``; index 0 is ``seed`` itself.

    Example:
        >>> derive(5, 0), derive(5, 1) == derive(5, 2)
        (5, False)
    """
    if index == 0:
        return seed
    return int(_mix(torch.tensor(_signed(int(seed) * _FIRST + index))))


def _signed(number: int) -> int:
    """The number modulo 2**64, as a signed integer for torch."""
    return (number + 2**63) % 2**64 - 2**63


def _shift(bits: Tensor, places: int) -> Tensor:
    """Shift right, filling with zeros; torch fills with the sign bit."""
    return (bits >> places).bitwise_and_((1 << (64 - places)) - 1)


def _mix(bits: Tensor) -> Tensor:
    """SplitMix64's finaliser, in place: every input bit changes every output bit with probability one half."""
    # Fresh memory for each step would take five times as long as the arithmetic.
    bits.bitwise_xor_(_shift(bits, 30)).mul_(_FIRST)
    bits.bitwise_xor_(_shift(bits, 27)).mul_(_SECOND)
    return bits.bitwise_xor_(_shift(bits, 31))


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's global generators, for models that draw from them, and restore them afterwards.

    Args:
        seed: Seed of all devices.
        device: Device of the images.

    Example:
        >>> with seeded(0, torch.device("cpu")):
        ...     first = torch.rand(2)
        >>> with seeded(0, torch.device("cpu")):
        ...     bool((torch.rand(2) == first).all())
        True
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
