"""Random points of a budget: what they find, a search should have found."""

import torch
from torch import Tensor

from attacks.goals import Goal
from attacks.norms import Norm
from attacks.protocols import Model
from attacks.queries.gradients import forward
from attacks.searches.draws import uniform


def hit_by_chance(model: Model, x: Tensor, goal: Goal, norm: Norm, *, eps: float, seed: int, draws: int) -> int:
    """How many images one of several random points fools; in Linf every second point is a corner of the budget.

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
    fooled = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    for draw in range(draws):
        rows = (~fooled).nonzero().squeeze(1)
        if not len(rows):
            break
        some = goal.select(rows)
        delta = point(norm, x[rows], some.ids, eps=eps, seed=seed, draw=draw, corner=bool(draw % 2))
        fooled[rows] = some.margin(forward(model, (x[rows] + delta).clamp(0, 1), some)) < 0
    return int(fooled.sum())


def point(norm: Norm, x: Tensor, ids: Tensor, *, eps: float, seed: int, draw: int, corner: bool = False) -> Tensor:
    """A random perturbation of size at most ``eps`` for each image (N, ...), or one of exactly that size.

    Args:
        norm: Norm of ``eps``.
        x: Images (N, ...).
        ids: Their ids (N,).
        eps: Budget, image units.
        seed: Seed of the draws.
        draw: Number of the draw.
        corner: Whether it has the whole size, in Linf in every value.

    Example:
        >>> from attacks import Linf
        >>> point(Linf(), torch.zeros(1, 2), torch.tensor([0]), eps=0.5, seed=0, draw=0, corner=True).abs()
        tensor([[0.5000, 0.5000]])
    """
    shape = tuple(x.shape[1:])
    if corner and norm.per_value:
        return eps * (1 - 2 * (uniform(seed, ids, draw, shape) < 0.5).to(x))
    delta = norm.random(shape, x.new_full((len(x),), eps), seed, ids, draw).to(x)
    if not corner or norm.grain:  # a count of values is whole already
        return delta
    size = norm.measure(delta).clamp_min(1e-12).view(-1, *[1] * (x.ndim - 1))
    return delta * eps / size
