"""Log-probabilities whose gradients survive confidence."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from attacks.objectives.ranking import outside

CERTAIN = 16.0
"""Logits above which a probability is 1 in float32, and its own gradient is lost to rounding."""
_SURE = 1e-4
"""Distance of a probability from 1 below which rounding shows in the gradient of a softmax."""


def log_sigmoid(score: Tensor) -> Tensor:
    """The logarithm of the logistic function, continued as a straight line above :data:`CERTAIN`.

    Its own slope underflows there, and then nothing says which way it falls. The line has the slope that the curve has
    where it ends, so that the result still rises with the score.

    Args:
        score: Logits of any shape.

    Example:
        >>> score = torch.tensor([0.0, 1e10], requires_grad=True)
        >>> torch.autograd.grad(log_sigmoid(score).sum(), score)[0] > 1e-8
        tensor([True, True])
    """
    end, slope = math.log1p(math.exp(-CERTAIN)), 1 / (1 + math.exp(CERTAIN))
    return torch.where(score > CERTAIN, (score - CERTAIN) * slope - end, functional.logsigmoid(score))


def log_probability(logits: Tensor, classes: Tensor) -> Tensor:
    """The log-probability of one class of each image, with a gradient even where a softmax in float32 gives 1.

    A softmax rounds the distance to 1, and its gradient loses first the class itself and then, from a lead of 100
    logits on, everything. There the probability is computed from the lead over all other classes together, which has a
    gradient of the same direction.

    Args:
        logits: Logits of the images (N, C).
        classes: A class for each image, int64 (N,).

    References:
        Yu and Xu, Efficient loss function by minimizing the detrimental effect of floating-point errors on
        gradient-based attacks, CVPR 2023, for the rounding errors.

    Example:
        >>> log_probability(torch.zeros(1, 4), torch.tensor([0]))
        tensor([-1.3863])
        >>> z = torch.tensor([[3e10, 2e10, 0.0]], requires_grad=True)
        >>> torch.autograd.grad(log_probability(z, torch.tensor([0])).sum(), z)[0].sign()
        tensor([[ 1., -1.,  0.]])
    """
    value = -functional.cross_entropy(logits, classes, reduction="none")
    sure = value.detach() > -_SURE
    if not bool(sure.any()):  # most steps: checking that costs less than the lead
        return value
    own = classes.unsqueeze(1)
    lead = logits.gather(1, own).squeeze(1) - outside(logits, own).logsumexp(1)
    return torch.where(sure, log_sigmoid(lead), value)
