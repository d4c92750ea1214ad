"""Ranks of sets of classes among the logits, as differentiable margins."""

import math

import torch
from torch import Tensor

SLACK = 1e-5
"""Attacks require a margin below ``-SLACK`` times the :func:`scale` of the logits, so that a later forward pass in
another batch, whose sums are rounded differently, gives the same verdict."""
_RULED_OUT = 1000.0
"""Logits this many times as large as the top one are not genuine outputs of the network."""


def ranked_classes(logits: Tensor, k: int) -> Tensor:
    """The top k classes of each image, best first; all of them if there are fewer.

    Among equal logits the lower class comes first, and NaN before any number, so that the first class is always that of
    ``torch.argmax``. Classes are ranked only here: ``torch.topk`` may return any of several equal ones.

    Args:
        logits: Logits of the images (N, C).
        k: Number of classes, at least 1.

    Returns:
        Classes, int64 (N, min(k, C)).

    Example:
        >>> ranked_classes(torch.tensor([[1.0, 5.0, 5.0, 1.0]]), k=3)
        tensor([[1, 2, 0]])
    """
    if k == 1:
        return logits.argmax(1, keepdim=True)
    return logits.argsort(dim=1, descending=True, stable=True)[:, :k]


def outside(logits: Tensor, classes: Tensor) -> Tensor:
    """Hide some classes of each image behind minus infinity.

    Args:
        logits: Logits of the images (N, C).
        classes: The classes to hide, int64 (N, k).

    Example:
        >>> outside(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[2]]))
        tensor([[1., 2., -inf]])
    """
    return logits.scatter(1, classes, -torch.inf)


def exclusion_margin(logits: Tensor, classes: Tensor, k: int) -> Tensor:
    """Largest logit inside a set of classes minus the k-th largest outside it.

    Args:
        logits: Logits of the images (N, C).
        classes: The set, int64 (N, m).
        k: Number of classes outside the set that must rise above all of it.

    Returns:
        The margins (N,): negative exactly if none of the set is in the top k.

    Example:
        >>> logits = torch.tensor([[5.0, 4.0, 3.0, 1.0]])
        >>> exclusion_margin(logits, torch.tensor([[0, 1]]), k=2)
        tensor([4.])
    """
    known = logits.detach()
    others = outside(known, classes)
    if not logits.requires_grad:
        return known.gather(1, classes).amax(1) - (others.amax(1) if k == 1 else others.topk(k, dim=1).values[:, -1])
    rival = ranked_classes(others, k)[:, -1:]
    if classes.shape[1] > 1:
        classes = classes.gather(1, known.gather(1, classes).argmax(1, keepdim=True))
    # Two logits decide. The gradient of a product costs a fraction of that of indexing both of them.
    sign = torch.zeros_like(known).scatter_(1, classes, 1.0).scatter_(1, rival, -1.0)
    margin = (logits * sign).sum(1)
    if math.isfinite(margin.detach().sum()):
        return margin
    return (logits.gather(1, classes) - logits.gather(1, rival)).squeeze(1)  # zero times infinity is NaN


def order_margin(logits: Tensor, targets: Tensor) -> Tensor:
    """The largest amount by which a class exceeds one that should precede it.

    Args:
        logits: Logits of the images (N, C).
        targets: The classes that should be first, in order, int64 (N, k).

    Returns:
        The margins (N,): negative exactly if the top k classes are the targets, in their order.

    Example:
        >>> order_margin(torch.tensor([[3.0, 1.0, 4.0]]), torch.tensor([[2, 0]]))
        tensor([-1.])
    """
    chosen, others = logits.gather(1, targets), outside(logits, targets)
    followers = torch.cat([chosen[:, 1:], others.amax(1, keepdim=True)], 1)
    return (followers - chosen).amax(1)


def fooling(margin: Tensor, logits: Tensor) -> Tensor:
    """Whether an attack may consider a goal met, given its margins (N,) for these logits (N, C): bool (N,).

    Example:
        >>> fooling(torch.tensor([-0.5, 0.0, 0.5]), torch.rand(3, 4))
        tensor([ True, False, False])
    """
    beyond = margin < 0
    # In most steps no image is beyond zero, and checking that takes half the time of computing the scale.
    return margin < scale(logits).mul_(-SLACK) if bool(beyond.any()) else beyond


def scale(logits: Tensor) -> Tensor:
    """Scale of the logits (N, C) of each image, relative to which rounding errors of differences are judged: (N,).

    This is their largest absolute value, except that huge negative logits, which rule classes out, are limited: next to
    them no difference of the others would count.

    Example:
        >>> scale(torch.tensor([[2.0, -3.0, 0.5], [2.0, 0.5, -1e9]]))
        tensor([   3., 2000.])
    """
    low, high = logits.aminmax(dim=1)
    return torch.maximum(high, -low).minimum(high.abs().mul_(_RULED_OUT))
