"""Square attack: random search over square patches."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from attacks.goals import Goal
from attacks.losses import LOSSES, Loss, margin
from attacks.norms import Linf, Norm
from attacks.protocols import Access, Kind, Model, Search
from attacks.queries.inputs import check_call, check_parameters
from attacks.searches.draws import uniform
from attacks.searches.random_search import random_search
from attacks.searches.track import Survivors


@dataclass(frozen=True, kw_only=True)
class Square:
    """Changes one random square at a time and keeps changes that lower the loss; squares shrink. Needs no gradient.

    In Linf every value of the square moves to the same end of its range; in L2 the square receives a smooth bump, paid
    for by removing the perturbation of another square.

    References:
        Andriushchenko et al., Square attack: a query-efficient black-box adversarial attack via random search
        <https://arxiv.org/abs/1912.00049>, 2020.

    Deviations:
        Each image draws its own squares. A square that would change nothing is drawn with the opposite sign. The
        schedule of sizes is stretched to ``steps``, as in AutoAttack. Images without rows or channels count as having
        one; where an image is not high enough for a square the patch is a rectangle of the same area. The margin is the
        default loss for every goal; the paper uses ``loss="ce"`` for targeted ones.

    Example:
        >>> from attacks import Untargeted
        >>> x, goal = torch.tensor([[0.6, 0.5]]), Untargeted(torch.tensor([0]))
        >>> x_adv = Square(steps=20)(lambda x: x, x, goal, eps=0.0625)
        >>> bool(goal.margin(x_adv) < 0)
        True
    """

    kind: ClassVar[Kind] = "budget"
    access: ClassVar[Access] = "scores"
    search: ClassVar[Search] = "many steps"
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")

    norm: Norm = Linf()
    """The norm in which ``eps`` is measured."""
    steps: int = 5000
    """Number of queries, not counting the one for the clean image."""
    initial_fraction: float = 0.8
    """Fraction of the image's area that the first squares cover, at most 1."""
    loss: str = "margin"
    """Name of the loss in :data:`attacks.losses.LOSSES`."""

    def __post_init__(self) -> None:
        check_parameters(self)
        if self.initial_fraction > 1:
            raise ValueError(f"expected initial_fraction of Square <= 1, got {self.initial_fraction}")

    def __call__(self, model: Model, x: Tensor, goal: Goal, *, eps: float | Tensor, seed: int = 0) -> Tensor:
        """See :class:`attacks.protocols.BudgetAttack`."""
        check_call(self, eps, seed)
        if x.ndim > 4:
            raise ValueError(f"expected images (N, C, H, W), (N, H, W) or (N, D) for Square, got {tuple(x.shape)}")
        active = Survivors.of(self, model, x, goal, eps, seed)
        start = scatter(active, seed)
        shares = schedule(self.steps, self.initial_fraction)
        return active.finish(search(active, start, shares, seed, LOSSES[self.loss]))


def scatter(active: Survivors, seed: int) -> Tensor:
    """Starting points of the search (n, ...): stripes for Linf, tiles for L2, using the whole budget.

    Example:
        >>> from attacks import Untargeted
        >>> x = torch.tensor([[0.5, 0.25]])
        >>> active = Survivors(lambda x: x, x, Untargeted(torch.tensor([0])), Linf(), eps=0.125)
        >>> (scatter(active, seed=0) - x).abs()
        tensor([[0.1250, 0.1250]])
    """
    start, _ = _MOVES[active.norm.name]
    budget, draw = active.eps.view(-1, 1, 1, 1), _Draw(seed, active.goal.ids, 0)
    return start(active.norm, _planes(active.x), budget, draw).clamp_(0, 1).view_as(active.x)


def schedule(steps: int, initial_fraction: float) -> list[float]:
    """Fraction of the image that each square covers: halved at fixed parts of the search.

    Args:
        steps: Number of queries, including the one for the start.
        initial_fraction: The initial fraction.

    Example:
        >>> schedule(4, 0.8)
        [0.0125, 0.00625, 0.003125]
    """
    halvings = [sum(step / steps > part for part in _HALVINGS) for step in range(1, steps)]
    return [initial_fraction * 0.5**halved for halved in halvings]


def search(active: Survivors, x_adv: Tensor, fractions: Sequence[float], seed: int, loss: Loss = margin) -> Tensor:
    """Run the queries of the attack on the active images; those that are fooled leave.

    Args:
        active: The images and their budgets.
        x_adv: Starting points (n, ...); queried first.
        fractions: Fraction of the image that each square covers.
        seed: The seed of all random draws.
        loss: The loss of the goal.

    Returns:
        The points with the lowest loss for the images still active (n, ...).
    """
    _, move = _MOVES[active.norm.name]

    def propose(x_best: Tensor, step: int) -> Tensor:
        clean, present, budget = _planes(active.x), _planes(x_best), active.eps.view(-1, 1, 1, 1)
        draw = _Draw(seed, active.goal.ids, step)
        return move(active.norm, clean, present, budget, fractions[step - 1], draw).view_as(active.x)

    return random_search(active, x_adv, propose, len(fractions), loss)


_HALVINGS = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)


class _Draw(NamedTuple):
    """Identifies the random numbers to use."""

    seed: int
    ids: Tensor
    step: int

    def take(self, like: Tensor, *shape: int) -> Tensor:
        """Uniform numbers in [0, 1), (n, *shape), with the dtype of ``like``."""
        return uniform(self.seed, self.ids, self.step, shape).to(like)


def _planes(x: Tensor) -> Tensor:
    """Images as (n, C, H, W): a vector is one row."""
    return x.reshape(len(x), *[1] * (4 - x.ndim), *x.shape[1:])


def _signs(fraction: Tensor) -> Tensor:
    """Numbers in [0, 1) -> -1 or 1."""
    return 1 - 2 * (fraction < 0.5).to(fraction)


def _sides(fraction: float, height: int, width: int, least: int = 1) -> tuple[int, int]:
    """Height and width of a square that covers a fraction of the image, or of a rectangle if it would be too high."""
    side = max(round(math.sqrt(fraction * height * width)), least)
    if side <= min(height, width):
        return side, side
    area = max(fraction * height * width, least)
    return (height, min(round(area / height), width)) if height < width else (min(round(area / width), height), width)


def _place(corner: Tensor, sides: tuple[int, int], x: Tensor) -> Tensor:
    """Indices, in a flattened plane, of rectangles with a random corner, ``corner`` (n, 2) in [0, 1).

    Returns:
        int64 (n, C, values of the rectangle).
    """
    places = []
    for i, size in enumerate(x.shape[2:]):
        # Rounding makes the edges half as likely as the rest, which saves some queries.
        first = (corner[:, i] * (size - sides[i])).round().long()
        places.append(first.unsqueeze(1) + torch.arange(sides[i], device=x.device))
    rows, columns = places
    return (rows.unsqueeze(2) * x.shape[3] + columns.unsqueeze(1)).view(len(x), 1, -1).expand(-1, x.shape[1], -1)


def _stripes(norm: Norm, x: Tensor, eps: Tensor, draw: _Draw) -> Tensor:
    """Linf, start: vertical stripes of random signs."""
    _, channels, _, width = x.shape
    return x + eps * _signs(draw.take(x, channels, 1, width))


def _square(norm: Norm, x: Tensor, x_best: Tensor, eps: Tensor, fraction: float, draw: _Draw) -> Tensor:
    """Linf, step: a square of one random sign for each channel."""
    _, channels, height, width = x.shape
    random = draw.take(x, 2 + channels)
    place = _place(random[:, :2], _sides(fraction, height, width), x)
    clean, present = (image.flatten(2).gather(2, place) for image in (x, x_best))
    shift = eps.view(-1, 1, 1) * _signs(random[:, 2:]).unsqueeze(2)
    patch = (clean + shift).clamp_(0, 1)
    same = (patch == present).flatten(1).all(1)
    if bool(same.any()):
        patch = torch.where(same.view(-1, 1, 1), (clean - shift).clamp_(0, 1), patch)
    return x_best.flatten(2).scatter(2, place, patch).view_as(x)


def _tiles(norm: Norm, x: Tensor, eps: Tensor, draw: _Draw) -> Tensor:
    """L2, start: five by five tiles, a bump in each."""
    _, channels, height, width = x.shape
    sides = max(height // 5, 1), max(width // 5, 1)
    count = height // sides[0], width // sides[1]
    random = draw.take(x, 1 + channels, *count)
    random = random.repeat_interleave(sides[0], 2).repeat_interleave(sides[1], 3)
    upright, turned = (bump.repeat(count) for bump in _bumps(*sides, x))
    delta = torch.where(random[:, :1] < 0.5, upright, turned) * _signs(random[:, 1:])
    above, before = (height - delta.shape[2]) // 2, (width - delta.shape[3]) // 2
    rest = (before, width - delta.shape[3] - before, above, height - delta.shape[2] - above)
    return _filled(norm, x, functional.pad(delta, rest), eps)


def _bump(norm: Norm, x: Tensor, x_best: Tensor, eps: Tensor, fraction: float, draw: _Draw) -> Tensor:
    """L2, step: a bump in one square, funded by all of another square's perturbation and the unused budget."""
    _, channels, height, width = x.shape
    random = draw.take(x, 5 + channels)
    odd = (side + 1 - side % 2 for side in _sides(fraction, height, width, least=3))
    sides = min(next(odd), height), min(next(odd), width)
    here, there = _place(random[:, :2], sides, x), _place(random[:, 2:4], sides, x)
    delta = (x_best - x).flatten(2)
    unused = (eps.view(-1, 1, 1).square() - norm.measure(delta).view(-1, 1, 1).square()).clamp_min(0)
    old, moved = delta.gather(2, here), delta.scatter(2, here, 0.0)
    freed = _length(old).square() + _length(moved.gather(2, there)).square()
    upright, turned = (bump.flatten() for bump in _bumps(*sides, x))
    bump = torch.where(random[:, 4].view(-1, 1, 1) < 0.5, upright, turned)
    new = bump * _signs(random[:, 5:]).unsqueeze(2) + old / _length(old).clamp_min(1e-12)
    new = new / _length(new).clamp_min(1e-12) * (unused / channels + freed).sqrt()
    return _filled(norm, x, moved.scatter_(2, there, 0.0).scatter_(2, here, new).view_as(x), eps)


def _filled(norm: Norm, x: Tensor, delta: Tensor, eps: Tensor) -> Tensor:
    """``x`` plus the perturbation scaled to length ``eps``, as nearly as [0, 1] allows."""
    for _ in range(3):
        delta = (x + norm.steepest(delta, eps.flatten())).clamp_(0, 1) - x
    return (x + delta).clamp_(0, 1)


def _length(delta: Tensor) -> Tensor:
    """L2 length of each channel: (n, C, values) -> (n, C, 1)."""
    length: Tensor = torch.linalg.vector_norm(delta, dim=2, keepdim=True)
    return length


def _bumps(height: int, width: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """A hill next to a valley, of length 1, (height, width); split along one axis and, in a square, the other."""
    if height < width:
        lying = _bumps(width, height, like)[0].T
        return lying, lying
    hill, valley = _pyramid(height // 2, width, like), _pyramid(height - height // 2, width, like)
    pair = torch.cat([hill, -valley])
    pair = pair / torch.linalg.vector_norm(pair)
    return pair, pair.T if height == width else pair


def _pyramid(height: int, width: int, like: Tensor) -> Tensor:
    """A bump of length 1, falling off from its centre: 1/(d+1)^2 + 1/(d+2)^2 + ... at distance d, to the far edge."""
    rows, columns = ((torch.arange(n, device=like.device) - n // 2).abs() for n in (height, width))
    distance = torch.maximum(rows.unsqueeze(1), columns)
    terms = torch.arange(1, max(height, width) // 2 + 2, device=like.device).to(like).pow(-2)
    hill = terms.flip(0).cumsum(0).flip(0)[distance]
    length: Tensor = torch.linalg.vector_norm(hill)
    return hill / length.clamp_min(1e-12)


_MOVES: dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor]]] = {
    "linf": (_stripes, _square),
    "l2": (_tiles, _bump),
}
"""Norm -> the function that starts, and the function that makes a step."""
