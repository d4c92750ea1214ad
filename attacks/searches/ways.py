"""The choice of classes to raise: sets that need the smallest perturbation in a linear model."""

import math
from functools import partial

import torch
from torch import Tensor

from attacks.geometry.rows import power_of_two
from attacks.goals import Exclusion, Goal
from attacks.objectives.ranking import outside, ranked_classes
from attacks.objectives.rivals import Ways
from attacks.protocols import Model
from attacks.queries.gradients import slopes

_VALUES = 2**26
"""Largest number of gradient values held at once."""
_ITERATIONS = 300


def price(old: int, k: int, num_classes: int) -> int:
    """Number of gradients per image that :func:`nearest_ways` takes, if ``old`` classes fall and ``k`` rise.

    Example:
        >>> price(old=7, k=7, num_classes=1000)
        21
    """
    return old + min(max(2 * k, 9), num_classes - old)


def nearest_ways(model: Model, x: Tensor, goal: Goal, logits: Tensor, exclusion: Exclusion, count: int) -> Ways:
    """Sets of k classes that can rise above the old ones, nearest in the linearised model first.

    For a linear model, the smallest L2 perturbation that lifts k given classes above all of the old ones is the
    solution of a quadratic programme over the Gram matrix of the logits' gradients. Candidates are the classes with the
    highest logits. The search begins with the best k and, as long as that helps, exchanges the class with the largest
    multiplier for the candidate that reduces the distance most.

    Args:
        model: Images in [0, 1] -> logits.
        x: Images (N, ...).
        goal: The goal for these images.
        logits: The model's logits of the images (N, C).
        exclusion: The goal's exclusion: the classes that must fall, (N, m), and how many others must rise.
        count: Number of sets wanted for each image. If fewer were found, the nearest is repeated.

    Returns:
        ``count`` ways, the nearest first.

    References:
        The quadratic programme is that of Paniagua, Grainger and Wu, QuadAttacK: a quadratic programming approach to
        learning ordered top-k adversarial attacks <https://arxiv.org/abs/2312.11510>, 2023, in the space of images
        instead of features, without an order, and with the classes free.

    Example:
        >>> from attacks import TopKExclusion
        >>> x = torch.tensor([[0.9, 0.5, 0.4]])
        >>> scaled = lambda x: x * torch.tensor([1.0, 1.0, 4.0]) - torch.tensor([0.0, 0.0, 1.3])
        >>> goal = TopKExclusion.from_logits(scaled(x), k=1)
        >>> nearest_ways(scaled, x, goal, scaled(x), goal.exclusion, count=2).new.tolist()
        [[[2], [1]]]
    """
    (old, k), m = exclusion, exclusion.classes.shape[1]
    # The highest logits are closest; each further candidate costs a backward pass.
    candidates = ranked_classes(outside(logits, old), price(m, k, logits.shape[1]) - m)
    classes = torch.cat([old, candidates], 1)
    gram, scale = _gram(model, x, goal, classes)
    sets, distances = _search(gram, logits.gather(1, classes).double() / scale.unsqueeze(1), m, k)
    order = distances.argsort(dim=1, stable=True)[:, :count]
    # A set seen twice gets infinite distance, so that no way is repeated while there are others.
    order = torch.where(distances.gather(1, order).isfinite(), order, order[:, :1])
    chosen = [order[:, min(i, order.shape[1] - 1)].view(-1, 1, 1).expand(-1, 1, k) for i in range(count)]
    return Ways(goal, torch.stack([classes.gather(1, sets.gather(1, pick).squeeze(1)) for pick in chosen], 1))


def _gram(model: Model, x: Tensor, goal: Goal, classes: Tensor) -> tuple[Tensor, Tensor]:
    """Inner products of the gradients of some logits: classes (N, K) -> float64 (N, K, K), and by what (N,) they are.

    Gradients are divided by the power of two below their largest value, which is exact: the squares of gradients of
    1e20 would be infinite.
    """
    size = max(1, _VALUES // (classes.shape[1] * x[0].numel()))
    grams, scales = [], []
    for start in range(0, len(x), size):
        rows = torch.arange(start, min(start + size, len(x)), device=x.device)
        at = slopes(model, x[rows], goal.select(rows), partial(_logits_of, classes[rows]), classes.shape[1])
        largest = at.gradient.flatten(1).abs().amax(1)
        scale = torch.where(largest > 0, power_of_two(largest), 1)
        gradients = at.gradient.flatten(2) / scale.view(-1, 1, 1)
        # One by one: the rounding of batched products may depend on the batch.
        grams += [(gradient @ gradient.T).double() for gradient in gradients]
        scales.append(scale.double())
    return torch.stack(grams), torch.cat(scales)


def _logits_of(classes: Tensor, logits: Tensor, goal: Goal) -> Tensor:
    return logits.gather(1, classes)


def _search(gram: Tensor, values: Tensor, m: int, k: int) -> tuple[Tensor, Tensor]:
    """Sets of rising classes (N, M, k), as indices into ``gram``, and their distances (N, M), infinite if repeated."""
    rows = torch.arange(len(gram), device=gram.device)
    best = torch.arange(m, m + k, device=gram.device).repeat(len(gram), 1)
    distance, weights = _distance(gram, values, m, best.unsqueeze(1))
    nearest, weights = distance[:, 0], weights[:, 0]
    seen, distances = [best.unsqueeze(1)], [distance]
    # A multiplier shows how much the distance would fall if its class did not have to rise. So the class with the
    # largest one is exchanged, and once no exchange helps the set is assumed, without proof, to be the nearest.
    for _ in range(k if gram.shape[1] > m + k else 0):
        rivals = _exchanged(best, weights, gram.shape[1], m)
        distance, theirs = _distance(gram, values, m, rivals)
        seen.append(rivals)
        distances.append(distance)
        first = distance.argmin(1)
        # By more than the iteration's own error; otherwise two equal sets could be exchanged for each other endlessly.
        better = distance[rows, first] < nearest * (1 - 1e-6)
        if not bool(better.any()):
            break
        best = torch.where(better.unsqueeze(1), rivals[rows, first], best)
        weights = torch.where(better.unsqueeze(1), theirs[rows, first], weights)
        nearest = torch.where(better, distance[rows, first], nearest)
    sets = torch.cat(seen, 1).sort(2).values
    repeated = (sets.unsqueeze(2) == sets.unsqueeze(1)).all(3).tril(-1).any(2)
    return sets, torch.cat(distances, 1).masked_fill(repeated, torch.inf)


def _exchanged(rising: Tensor, weights: Tensor, count: int, m: int) -> Tensor:
    """The set (N, k) with its heaviest class exchanged for each of the others, all as indices: (N, R, k)."""
    free = torch.ones(len(rising), count, dtype=torch.bool, device=rising.device)
    free[:, :m] = False
    others = free.scatter(1, rising, False).nonzero()[:, 1].view(len(rising), -1, 1)
    heaviest = weights.argmax(1).view(-1, 1, 1).expand(-1, others.shape[1], 1)
    return rising.unsqueeze(1).expand(-1, others.shape[1], -1).scatter(2, heaviest, others)


def _distance(gram: Tensor, values: Tensor, m: int, sets: Tensor) -> tuple[Tensor, Tensor]:
    """L2 distance at which each set (N, R, k) rises above the first m, (N, R), and multipliers (N, R, k).

    The dual: non-negative weights, of equal sum on both sides, that maximise the weighted gap minus half the squared
    length of the weighted gradient; by accelerated projected gradient steps.
    """
    places = torch.cat([torch.arange(m, device=sets.device).expand(*sets.shape[:2], m), sets], 2)
    sign = torch.ones(places.shape[2], dtype=gram.dtype, device=gram.device)
    sign[m:] = -1
    image = torch.arange(len(sets), device=sets.device).view(-1, 1, 1, 1)
    # With -1 for the rising classes, the length of a weighted sum of gradients of both sides is one quadratic form.
    form = gram[image, places.unsqueeze(3), places.unsqueeze(2)] * sign * sign.unsqueeze(1)
    gap = values.unsqueeze(1).expand(-1, sets.shape[1], -1).gather(2, places) * sign
    # No eigenvalue exceeds the largest row sum of absolute values, so the ascent converges with this step.
    step = 1 / form.abs().sum(3).amax(2, keepdim=True).clamp_min(1e-30)
    weights = ahead = torch.zeros_like(gap)
    pace = 1.0
    for _ in range(_ITERATIONS):
        slope = gap - (form * ahead.unsqueeze(2)).sum(3)
        before, weights = weights, _balanced(ahead + step * slope, m)
        # Nesterov's sequence: the error falls with the square of the number of steps instead of linearly.
        pace, last = (1 + math.sqrt(1 + 4 * pace**2)) / 2, pace
        ahead = weights + (last - 1) / pace * (weights - before)
    # At the optimum the weighted gap equals the squared length of the weighted gradient, which is the distance squared.
    length = (weights * (form * weights.unsqueeze(2)).sum(3)).sum(2)
    return length.clamp_min(0).sqrt(), weights[..., m:]


def _balanced(weights: Tensor, m: int) -> Tensor:
    """The nearest non-negative weights (..., m + k) whose first m have the same sum as the others.

    These are the weights moved towards each other by the same amount and cut off at zero. The difference of the two
    sums is piecewise linear in that amount, with breakpoints at the weights themselves.
    """
    upper, lower = weights[..., :m], weights[..., m:]
    # The amount taken off the upper weights is added to the lower ones: it is the multiplier of the constraint that
    # both sums are equal. Breakpoints are where a weight reaches zero.
    moves = torch.cat([upper, -lower], -1).sort(-1).values

    def excess(move: Tensor) -> Tensor:
        return (upper.unsqueeze(-2) - move).clamp_min(0).sum(-1) - (lower.unsqueeze(-2) + move).clamp_min(0).sum(-1)

    surplus = excess(moves.unsqueeze(-1))
    last = ((surplus >= 0).sum(-1, keepdim=True) - 1).clamp(0, moves.shape[-1] - 2)
    a, b = moves.gather(-1, last), moves.gather(-1, last + 1)
    at_a, at_b = surplus.gather(-1, last), surplus.gather(-1, last + 1)
    # Between two neighbouring breakpoints the difference is linear, and its zero is exact.
    move = a + (b - a) * at_a / (at_a - at_b).clamp_min(1e-300)
    return torch.cat([(upper - move).clamp_min(0), (lower + move).clamp_min(0)], -1)
