"""Random points within a budget: a search should find everything that they find."""

from math import ceil

import torch
from torch import Tensor

from attacks.goals import Goal
from attacks.norms import Norm
from attacks.protocols import Model
from attacks.queries.gradients import forward
from attacks.searches.draws import GOLDEN, uniform

AT_ONCE = 128
"""Number of points in one pass."""


def hit_by_chance(model: Model, x: Tensor, goal: Goal, norm: Norm, *, eps: float, seed: int, draws: int) -> int:
    """Count the images that at least one of several random points fools; in Linf about half the points are corners.

    Args:
        model: Images in [0, 1] -> logits.
        x: Images (N, ...).
        goal: What counts as fooled, for these images.
        norm: Norm of ``eps``.
        eps: Budget, image units.
        seed: Seed of the draws.
        draws: Number of points for each image.

    Example:
        >>> from attacks import Linf, Untargeted
        >>> x, goal = torch.tensor([[0.55, 0.5], [0.9, 0.1]]), Untargeted(torch.tensor([0, 0]))
        >>> hit_by_chance(lambda x: x, x, goal, Linf(), eps=0.1, seed=0, draws=20)
        1
    """
    left, fooled = torch.arange(len(x), device=x.device), 0
    each = max(1, min(AT_ONCE // max(1, len(x)), ceil(draws / 2)))
    for turn, first in enumerate(range(0, draws, each)):
        if not len(left):
            break
        rows = left.repeat_interleave(min(each, draws - first))
        some = goal.select(rows)
        found = points(norm, x[rows], some.ids, eps=eps, seed=seed + turn, corners=turn % 2 == 1)
        hit = some.margin(forward(model, found, some)) < 0
        left, before = left[~hit.view(len(left), -1).any(1)], len(left)
        fooled += before - len(left)
    return fooled


def points(norm: Norm, x: Tensor, ids: Tensor, *, eps: float, seed: int, corners: bool = False) -> Tensor:
    """Draw a random point for each row: within ``eps`` of an image, or exactly at ``eps`` (for Linf, in every value).

    Args:
        norm: Norm of ``eps``.
        x: Images (N, ...), of which several rows may be the same.
        ids: Their ids (N,).
        eps: Budget, image units.
        seed: Seed of the draws.
        corners: Whether the whole budget is used, as far as the image stays in [0, 1].

    Example:
        >>> from attacks import Linf
        >>> x = torch.full((2, 2), 0.5)
        >>> (points(Linf(), x, torch.tensor([0, 0]), eps=0.25, seed=0, corners=True) - x).abs()
        tensor([[0.2500, 0.2500],
                [0.2500, 0.2500]])
    """
    shape = tuple(x.shape[1:])
    own = ids + GOLDEN * torch.arange(1, len(x) + 1, device=x.device)
    if corners and norm.per_value:
        return (x + eps * (1 - 2 * (uniform(seed, own, 0, shape) < 0.5).to(x))).clamp(0, 1)
    delta = norm.random(shape, x.new_full((len(x),), eps), seed, own, 0).to(x)
    return (x + (on_the_edge(norm, delta, eps) if corners else delta)).clamp(0, 1)


def on_the_edge(norm: Norm, delta: Tensor, eps: float) -> Tensor:
    """Scale perturbations (N, ...) to the size of a budget; for L0, whose sizes are counts, they stay unchanged.

    Example:
        >>> from attacks import L2
        >>> on_the_edge(L2(), torch.tensor([[0.3, 0.4]]), 1.0)
        tensor([[0.6000, 0.8000]])
    """
    sizes = norm.measure(delta).clamp_min(1e-12).view(-1, *[1] * (delta.ndim - 1))
    return delta if norm.grain else delta * (eps / sizes)
