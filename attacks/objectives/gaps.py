"""Goals as lists of gaps: how far each class is above one that should be above it."""

import torch
from torch import Tensor

from attacks.objectives.ranking import outside


def exclusion_gaps(logits: Tensor, classes: Tensor, k: int) -> Tensor:
    """Gaps between the classes that should fall and the k best of the others.

    Args:
        logits: Logits of the images (N, C).
        classes: Classes to fall, int64 (N, m).
        k: Number of others that must rise above all of them.

    Returns:
        The gaps (N, m * k).

    Example:
        >>> exclusion_gaps(torch.tensor([[5.0, 4.0, 3.0, 1.0]]), torch.tensor([[0, 1]]), k=2)
        tensor([[2., 4., 1., 3.]])
    """
    return gaps_between(logits.gather(1, classes), outside(logits, classes).topk(k, dim=1).values)


def order_gaps(logits: Tensor, targets: Tensor) -> Tensor:
    """Gaps between each class and all that should be above it, when given classes should be the top k in order.

    The margin compares only neighbours in that order. These would not show how a class in the middle has to move, as it
    appears in two gaps with opposite signs.

    Args:
        logits: Logits of the images (N, C).
        targets: The classes that should be the top k, in order, int64 (N, k).

    Returns:
        The gaps (N, P), those between targets first; minus infinity where a target is compared with itself.

    Example:
        >>> order_gaps(torch.tensor([[5.0, 4.0, 3.0]]), torch.tensor([[1, 0]]))
        tensor([[ 1., -inf, -inf, -inf, -inf, -1., -2.]])
    """
    chosen = logits.gather(1, targets)
    first, second = torch.triu_indices(targets.shape[1], targets.shape[1], 1, device=logits.device)
    return torch.cat([chosen[:, second] - chosen[:, first], gaps_between(outside(logits, targets), chosen)], 1)


def gaps_between(upper: Tensor, lower: Tensor) -> Tensor:
    """Amount by which each of the logits ``upper`` (N, m) exceeds each of ``lower`` (N, k): (N, m * k).

    Example:
        >>> gaps_between(torch.tensor([[5.0, 4.0]]), torch.tensor([[3.0]]))
        tensor([[2., 1.]])
    """
    return (upper.unsqueeze(2) - lower.unsqueeze(1)).flatten(1)


def soft_maximum(gaps: Tensor, temperature: Tensor, log_weights: Tensor | float = 0.0) -> Tensor:
    """A smooth maximum of the gaps, to which every gap contributes according to its size and its weight.

    Args:
        gaps: Gaps of the images (N, P).
        temperature: Temperature for each image (N,), in logits. As it falls, the result tends to the largest gap.
        log_weights: Logarithms of the gaps' weights (N, P); 0 for all makes it an upper bound.

    Returns:
        A number for each image (N,).

    Example:
        >>> soft_maximum(torch.tensor([[1.0, 1.0, -9.0]]), torch.tensor([0.1]))
        tensor([1.0693])
    """
    return (gaps / temperature.unsqueeze(1) + log_weights).logsumexp(1) * temperature
