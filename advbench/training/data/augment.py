"""Random variants of training images."""

import torch
from torch import Tensor


def augmented(x: Tensor, how: str, generator: torch.Generator) -> Tensor:
    """Shift images at random, and optionally mirror them.

    Args:
        x: Images (N, C, H, W), of any dtype.
        how: "none"; "shift": up to an eighth of the side in each direction, filled with black; or "flip": the same,
            with half of them mirrored.
        generator: Random generator for all draws.

    Returns:
        Images of the same shape and dtype.

    Example:
        >>> x = torch.ones(1, 1, 8, 8)
        >>> augmented(x, "shift", torch.Generator().manual_seed(3)).shape
        torch.Size([1, 1, 8, 8])
    """
    if how == "none":
        return x
    n, _, height, width = x.shape
    if how == "flip":
        mirrored = torch.rand(n, generator=generator) < 0.5
        x = torch.where(mirrored.view(-1, 1, 1, 1).to(x.device), x.flip(3), x)
    reach = height // 8
    padded = torch.nn.functional.pad(x, (reach, reach, reach, reach))
    down, right = torch.randint(0, 2 * reach + 1, (2, n), generator=generator).to(x.device)
    rows = (down.view(-1, 1) + torch.arange(height, device=x.device)).view(n, 1, height, 1)
    columns = (right.view(-1, 1) + torch.arange(width, device=x.device)).view(n, 1, 1, width)
    image = torch.arange(n, device=x.device).view(n, 1, 1, 1)
    plane = torch.arange(x.shape[1], device=x.device).view(1, -1, 1, 1)
    return padded[image, plane, rows, columns]
