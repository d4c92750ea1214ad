"""Published attacks on the order of the top classes, as competitors in top-k exclusion."""

import torch
from torch import Tensor

from attacks import L2, Norm, OrderedTopK, TopKExclusion
from attacks.geometry.rows import column
from attacks.goals import Goal, met
from attacks.objectives.ranking import outside
from attacks.protocols import Model
from attacks.queries.gradients import slope
from attacks.searches.adam import Adam
from attacks.searches.bisection import Bisection
from attacks.searches.nearest import Nearest


def constants(gradients: int) -> int:
    """Number of constants to try: the published nine, or fewer if each would get too few of the gradients."""
    return max(2, min(9, gradients // 75))


def random_order(goal: TopKExclusion, num_classes: int, seed: int) -> OrderedTopK:
    """For each image, k random classes outside the old ones, in random order, as in the papers' protocol."""
    draws = torch.rand(len(goal.classes), num_classes, generator=torch.Generator().manual_seed(seed))
    return OrderedTopK(outside(draws, goal.classes).topk(goal.classes.shape[1], dim=1).indices, ids=goal.ids)


def cw_loss(logits: Tensor, order: OrderedTopK) -> Tensor:
    """CW^k: by how much the highest logit that belongs below a target exceeds it, summed over the order.

    Zhang and Wu, Learning ordered top-k adversarial attacks via adversarial distillation, 2020.
    """
    chosen = logits.gather(1, order.targets)
    rest = outside(logits, order.targets).amax(1, keepdim=True)
    followers = torch.cat([chosen, rest], 1).flip(1).cummax(1).values.flip(1)[:, 1:]
    return (followers - chosen).clamp_min(0).sum(1)


def distillation_loss(logits: Tensor, order: OrderedTopK) -> Tensor:
    """Adversarial distillation: cross-entropy to a distribution that decreases along the order of the targets.

    The paper divides the remaining probability by the similarity of class names; here it is divided evenly.
    """
    k, num_classes = order.targets.shape[1], logits.shape[1]
    shares = torch.full_like(logits, 0.1 / max(1, num_classes - k))
    falling = torch.arange(k, 0, -1, dtype=logits.dtype)
    shares.scatter_(1, order.targets, (0.9 * falling / falling.sum()).expand(len(logits), k))
    return -(shares * logits.log_softmax(1)).sum(1)


LOSSES = {"CW^k": cw_loss, "adversarial distillation": distillation_loss}


def penalised(model: Model, x: Tensor, goal: Goal, aim: OrderedTopK, loss: str, gradients: int) -> Tensor:
    """Minimise the squared size plus a constant times the loss with Adam, on images written as hyperbolic tangents.

    Args:
        model: Images in [0, 1] -> logits.
        x: Images (N, ...).
        goal: Definition of success: the order itself, or the exclusion that it implies.
        aim: Order whose loss is minimised.
        loss: Name in :data:`LOSSES`.
        gradients: Number of gradients per image, over all constants.

    Returns:
        Nearest images found that meet the goal (N, ...); the clean one where there is none.
    """
    norm: Norm = L2()
    best, search = Nearest(x, norm), Bisection(x.new_full((len(x),), 1.0), factor=10.0)
    rounds = constants(gradients)
    for _ in range(rounds):
        w = torch.atanh((2 * x - 1) * (1 - 1e-6))
        adam, ever = Adam(w), torch.zeros(len(x), dtype=torch.bool)
        for _ in range(gradients // rounds):
            x_adv = ((w.tanh() + 1) / 2).clamp(0, 1)
            at = slope(model, x_adv, goal, LOSSES[loss], aim=aim)
            fooled = met(goal, at.logits)
            best.offer(x_adv, fooled)
            ever |= fooled
            gradient = 2 * (x_adv - x) + column(search.value, x) * at.gradient
            w = w - 0.01 * adam.step(gradient * (2 * x_adv * (1 - x_adv)))
        search.tell(ever)
    return best.x_adv
