"""A test that an attack must pass: perturbations are planted, and it has to find them.

After R. Zimmermann et al., Increasing Confidence in Adversarial Robustness Evaluations, 2022
<https://arxiv.org/abs/2206.13991>: the last layer of the network is replaced by a binary classifier that separates a
point on the edge of the budget from a thousand points inside. So a perturbation exists, whatever the defence.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from advbench.evaluation.checks.blind import hit_by_chance, on_the_edge, points
from advbench.intervals import wilson
from advbench.records.flag import Finding
from attacks.goals import Goal, Untargeted
from attacks.norms import Norm
from attacks.protocols import Attack, AttackError, Model
from attacks.queries.derivatives import NoGradientError
from attacks.queries.gradients import forward
from attacks.standins.traced_pass import Pass

COUNT = 8
"""Number of images for which a perturbation is planted."""
LEAST = 4
"""Smallest number of images for which this must be possible; with fewer, the test says nothing."""
INNER, WITHIN = 999, 0.95
"""Number of points inside, and the radius of the ball that they are drawn from, as a share of the budget."""
CHANCE = 200
"""Number of random points that are tried as well: perturbations that they find were too easy."""
ASKED = 0.95
"""Share of the planted perturbations that an attack should find."""
_SMOOTH = 0.1
"""Weight of the ridge penalty, as a share of the mean variance: without it, a unit that is dead for all points inside
decides alone, and no gradient leads there."""
_AT_ONCE = 128


class Planted(NamedTuple):
    """A network with a replaced last layer, whose output changes at one point on the edge of the budget.

    Example:
        >>> Planted(lambda x: x, torch.tensor([1.0, 0.0]), torch.tensor(0.5), plain=True).threshold
        tensor(0.5000)
    """

    model: Model
    """The whole model."""
    weights: Tensor
    """Weights of the layer (F,)."""
    threshold: Tensor
    """Value of the layer above which the second class is predicted."""
    plain: bool
    """Whether layers may be plain tensors."""

    def __call__(self, x: Tensor, /) -> Tensor:
        """Logits (N, 2)."""
        value = _features(self.model, x, plain=self.plain) @ self.weights - self.threshold
        return torch.stack([-value, value], 1)


def check(model: Model, attack: Attack, x: Tensor, goal: Goal, *, eps: float, seed: int) -> Iterator[Finding]:
    """A15: an attack misses too many of the perturbations planted for it.

    Args:
        model: Images in [0, 1] -> logits, with an accessible last layer.
        attack: An attack that works within a budget.
        x: Images (N, ...), of which the first `COUNT` are used.
        goal: The goal of the images, for their ids.
        eps: Budget, image units.
        seed: Seed of all draws.

    Example:
        >>> from attacks import PGD
        >>> weights = torch.rand(10, 3, generator=torch.Generator().manual_seed(0))
        >>> x, goal = torch.rand(4, 10), Untargeted(torch.zeros(4, dtype=torch.long))
        >>> list(check(lambda x: x @ weights, PGD(), x, goal, eps=0.1, seed=0))
        []
    """
    made = found = guessed = 0
    for row in range(min(len(x), COUNT)):
        image, own = x[row : row + 1], Untargeted(torch.zeros_like(goal.ids[:1]), ids=goal.ids[row : row + 1])
        planted = plant(model, image, own, attack.norm, eps=eps, seed=seed)
        if planted is None:
            continue
        made += 1
        found += _finds(planted, attack, image, own, eps=eps, seed=seed)
        guessed += hit_by_chance(planted, image, own, attack.norm, eps=eps, seed=seed + 1, draws=CHANCE)
    if made >= LEAST and wilson(found, made).high < ASKED:
        yield Finding(
            "A15", "F", f"finds {found} of {made} planted perturbations (random points find {guessed})",
            "it is too weak for this model, or gradients are masked: try attacks.Adaptive", found / made,
        )  # fmt: skip


def most_passes(passes: float, count: int) -> float:
    """Most passes that :func:`check` takes over some images; a backward pass counts as two.

    Args:
        passes: Passes of the attack on an image that it cannot fool.
        count: Number of images.

    Example:
        >>> most_passes(100, 16) > 8 * 1000
        True
    """
    return min(count, COUNT) * (INNER + 2 + passes + 1 + CHANCE)


def plant(model: Model, x: Tensor, goal: Goal, norm: Norm, *, eps: float, seed: int) -> Planted | None:
    """Build a last layer that only a point on the edge of the budget fools; None if that is impossible.

    Args:
        model: Images in [0, 1] -> logits.
        x: One image (1, ...).
        goal: A goal with the id of the image.
        norm: Norm of ``eps``.
        eps: Budget, image units.
        seed: Seed of the points.

    Example:
        >>> from attacks import Linf
        >>> goal = Untargeted(torch.tensor([0]))
        >>> planted = plant(lambda x: x @ torch.eye(5), torch.full((1, 5), 0.5), goal, Linf(), eps=0.1, seed=0)
        >>> planted(torch.full((1, 5), 0.5)).argmax(1)
        tensor([0])
    """
    many, ids = x.expand(INNER, *x.shape[1:]), goal.ids.expand(INNER)
    inner = points(norm, many, ids, eps=WITHIN * eps, seed=seed)
    shown = torch.cat([x, inner, edge_of(x, goal, norm, eps=eps, seed=seed)])
    with torch.no_grad():
        for plain in (False, True):
            features = [_features(model, part, plain=plain) for part in torch.split(shown, _AT_ONCE)]
            if all(len(each) for each in features):
                found = _separated(torch.cat(features).cpu().double())
                return None if found is None else Planted(model, found[0].to(x), found[1].to(x), plain)
    return None


def edge_of(x: Tensor, goal: Goal, norm: Norm, *, eps: float, seed: int) -> Tensor:
    """The point on the edge of the budget that is planted for an image (1, ...). Arguments are those of :func:`plant`.

    Example:
        >>> from attacks import Linf
        >>> edge_of(torch.zeros(1, 3), Untargeted(torch.tensor([0])), Linf(), eps=0.5, seed=0).shape
        torch.Size([1, 3])
    """
    delta = norm.random(tuple(x.shape[1:]), x.new_full((1,), eps), seed, goal.ids, INNER).to(x)
    return (x + on_the_edge(norm, delta, eps)).clamp(0, 1)


def _separated(features: Tensor) -> tuple[Tensor, Tensor] | None:
    """Weights and threshold of a layer that separates the last row from all others; None if there is none."""
    centre = features[:-1].mean(0)
    inner, edge = features[:-1] - centre, features[-1] - centre
    kernel = inner @ inner.T
    ridge = _SMOOTH * float(kernel.trace()) / min(kernel.shape[0], inner.shape[1])
    if not ridge > 0:
        return None
    # Fisher's discriminant in its dual form: there may be many more features than points
    known = torch.linalg.solve(kernel + ridge * torch.eye(len(kernel)).to(kernel), inner @ edge)
    weights = edge - inner.T @ known
    highest, reached = float((inner @ weights).max()), float(edge @ weights)
    if not reached > highest + 1e-6 * abs(reached):
        return None
    weights = weights / ((highest + reached) / 2)  # the midpoint is above 0, as the points inside are 0 on average
    return weights, centre @ weights + 1


def _finds(planted: Planted, attack: Attack, x: Tensor, goal: Goal, *, eps: float, seed: int) -> bool:
    try:
        x_adv = attack(planted, x.clone(), goal, eps=eps, seed=seed)
    except (AttackError, NoGradientError, ValueError):
        return False
    return bool(goal.margin(forward(planted, x_adv.detach(), goal)) < 0)


def _features(model: Model, x: Tensor, *, plain: bool) -> Tensor:
    """Inputs of the model's last layer (N, F); empty (0,) if no layer that sees all images is found."""
    with Pass(x, plain=plain) as seen:
        model(x.clone())
    if not seen.inputs or len(seen.inputs[-1]) != len(x):
        return x.new_zeros(0)
    features: Tensor = seen.inputs[-1].flatten(1)
    return features
