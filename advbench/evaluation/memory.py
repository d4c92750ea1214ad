"""Memory that one step of an attack frees, kept for the next."""

import torch

_BLOCK = 2**25 - 2**16
"""Bytes, with what surrounds them just below the largest block that counts."""


def keep_memory(device: torch.device) -> None:
    """Make glibc keep freed memory instead of giving it back to the system after every pass through a small network.

    It gives back what is free at the end of its heap as soon as that exceeds twice the largest block that was mapped
    by itself and freed; the next pass then faults it in again, page by page, which takes up to a third of the time of
    an attack. One block of 32 MiB, never touched, raises the limit to 64 MiB for the whole process. Other allocators
    and devices are not affected. It takes some microseconds.

    Args:
        device: Where the images are.

    Example:
        >>> keep_memory(torch.device("cpu"))
    """
    if device.type == "cpu":
        torch.empty(_BLOCK, dtype=torch.uint8)
