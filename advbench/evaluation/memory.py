"""Memory: keep what one step of an attack frees for the next step, and detect when there is not enough."""

from collections.abc import Callable
from typing import TypeVar

import torch

T = TypeVar("T")
"""Result for a slice of the images."""

_BLOCK = 2**25 - 2**16
"""Size in bytes; with the allocator's header, just below the largest block that counts."""


def keep_memory(device: torch.device) -> None:
    """Make glibc keep freed memory instead of returning it to the system after every pass through a small network.

    glibc returns the free memory at the end of its heap once that exceeds twice the largest block that was mapped
    separately and freed. The next pass then faults it in again, page by page, which takes up to a third of the time of
    an attack. One block of 32 MiB, never touched, raises the limit to 64 MiB for the whole process. Other allocators
    and devices are not affected. The call takes a few microseconds.

    Args:
        device: Where the images are.

    Example:
        >>> keep_memory(torch.device("cpu"))
    """
    if device.type == "cpu":
        torch.empty(_BLOCK, dtype=torch.uint8)


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on the CPU or on a GPU.

    Example:
        >>> out_of_memory(MemoryError()), out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory"))
        (True, True)
        >>> out_of_memory(RuntimeError("expected 3 channels"))
        False
    """
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)


def by_halves(do: Callable[[slice], T], count: int, on_cut: Callable[[int], None]) -> list[T]:
    """Process images together; if memory runs out, process each half separately, and so on.

    Args:
        do: Processes the images of a slice.
        count: Number of images.
        on_cut: Called with the smaller number of images each time they are halved.

    Returns:
        The results, in the order of the images.

    Raises:
        Exception: Whatever `do` raises for reasons other than lack of memory, or for a single image.

    Example:
        >>> def do(part):
        ...     if part.stop - part.start > 2:
        ...         raise MemoryError
        ...     return part.stop - part.start
        >>> by_halves(do, 5, on_cut=lambda size: None)
        [2, 1, 2]
    """
    return _by_halves(do, 0, count, on_cut)


def _by_halves(do: Callable[[slice], T], start: int, end: int, on_cut: Callable[[int], None]) -> list[T]:
    try:
        return [do(slice(start, end))]
    except Exception as error:
        if end - start <= 1 or not out_of_memory(error):
            raise
    # Only here has the exception been released, and with it the tensors of the frames that it passed through.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    middle = (start + end + 1) // 2
    on_cut(middle - start)
    return [*_by_halves(do, start, middle, on_cut), *_by_halves(do, middle, end, on_cut)]
