"""Where sets of classes stand among the logits, as differentiable margins."""

import torch
from torch import Tensor


def outside(logits: Tensor, classes: Tensor) -> Tensor:
    """Hide some classes of each image behind minus infinity.

    Args:
        logits: (N, C).
        classes: Those to hide, int64 (N, k).

    Example:
        >>> outside(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[2]]))
        tensor([[1., 2., -inf]])
    """
    return logits.scatter(1, classes, -torch.inf)


def exclusion_margin(logits: Tensor, classes: Tensor, k: int) -> Tensor:
    """Largest logit inside a set of classes minus the k-th largest outside it.

    Args:
        logits: (N, C).
        classes: The set, int64 (N, m).
        k: How many classes outside the set must rise above all of it.

    Returns:
        (N,): negative exactly if none of the set is among the first k.

    Example:
        >>> logits = torch.tensor([[5.0, 4.0, 3.0, 1.0]])
        >>> exclusion_margin(logits, torch.tensor([[0, 1]]), k=2)
        tensor([4.])
    """
    inside = logits.gather(1, classes)
    # Only the two logits that decide take part in the gradient, which makes it several times as cheap.
    rival = outside(logits.detach(), classes).topk(k, dim=1).indices[:, -1:]
    highest = inside if classes.shape[1] == 1 else inside.max(1, keepdim=True).values
    return (highest - logits.gather(1, rival)).squeeze(1)


def order_margin(logits: Tensor, targets: Tensor) -> Tensor:
    """The largest amount by which a class stands above one that should precede it.

    Args:
        logits: (N, C).
        targets: The classes that should be first, in order, int64 (N, k).

    Returns:
        (N,): negative exactly if the first k classes are the targets, in their order.

    Example:
        >>> order_margin(torch.tensor([[3.0, 1.0, 4.0]]), torch.tensor([[2, 0]]))
        tensor([-1.])
    """
    chosen, others = logits.gather(1, targets), outside(logits, targets)
    followers = torch.cat([chosen[:, 1:], others.amax(1, keepdim=True)], 1)
    return (followers - chosen).amax(1)
