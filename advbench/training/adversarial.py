"""Adversarial training: the adversarial images that replace clean ones, and the guard against collapse."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from advbench.training.recipes import Adversarial
from attacks import PGD, Linf, Untargeted
from attacks.goals import met

Logits = Callable[[Tensor], Tensor]
"""Function from images in [0, 1] to logits."""

COLLAPSE = 0.3
"""Maximum gap between the accuracy on the training batches and that under the guard's attack."""
_NEARLY_ALL = 0.99
"""Share of the images above which a predicted class counts as the only one."""


def adversarial_loss(
    logits: Logits, x: Tensor, y: Tensor, how: Adversarial, *, progress: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """The loss of one batch.

    Args:
        logits: Network to train.
        x: Images (N, C, H, W) in [0, 1].
        y: True labels (N,).
        how: Method of adversarial training.
        progress: Completed fraction of the training, for the warm-up.
        generator: Random generator for the starts.

    Returns:
        The loss, and the logits (N, C) of the adversarial images.

    References:
        Fast adversarial training: Wong et al., Fast is better than free <https://arxiv.org/abs/2001.03994>, 2020.
        TRADES: Zhang et al., Theoretically principled trade-off between robustness and accuracy
        <https://arxiv.org/abs/1901.08573>, 2019.

    Deviations:
        With several steps, it is the training of Madry et al., 2018. The step size is 1.25 eps for one step, as in the
        paper, and 2.5 eps / steps for more. TRADES starts at a uniform point of the ball, not at Gaussian noise of
        0.001.
    """
    eps = eps_at(how, progress)
    if how.method == "fast":
        x_adv = _climb(x, eps, how.steps, generator, lambda x_adv: _cross_entropy(logits(x_adv), y))
        found = logits(x_adv)
        return _cross_entropy(found, y), found
    with torch.no_grad():
        reference = logits(x).float().log_softmax(1)
    x_adv = _climb(x, eps, how.steps, generator, lambda x_adv: _divergence(reference, logits(x_adv)))
    clean, found = logits(x), logits(x_adv)
    return _cross_entropy(clean, y) + how.beta * _divergence(clean.float().log_softmax(1), found), found


def eps_at(how: Adversarial, progress: float) -> float:
    """The current eps of the warm-up.

    Args:
        how: Method of adversarial training, with its warm-up.
        progress: Completed fraction of the training.

    Example:
        >>> eps_at(Adversarial(eps=0.3, warmup=0.5), 0.25)
        0.15
    """
    return how.eps * min(1.0, progress / how.warmup) if how.warmup else how.eps


def guard_accuracy(logits: Logits, x: Tensor, y: Tensor, eps: float) -> float:
    """Accuracy under ten steps of PGD, on training images.

    Training with few steps can overfit to them: the network learns to withstand only these steps. Then this accuracy
    falls to nearly 0 within an epoch, while that on the training's own adversarial images rises.

    Args:
        logits: Network in eval mode.
        x: Images (N, C, H, W) in [0, 1].
        y: True labels (N,).
        eps: Maximum Linf change, greater than 0.
    """
    goal = Untargeted(y)
    with torch.no_grad():
        standing = ~met(goal, logits(x))
    if not standing.any():
        return 0.0
    x, goal = x[standing], goal.select(standing)
    x_adv = PGD(norm=Linf(), steps=10, relative_step=0.25)(logits, x, goal, eps=eps)
    with torch.no_grad():
        return (~met(goal, logits(x_adv))).sum().item() / len(y)


def one_answer(logits: Logits, x: Tensor, y: Tensor) -> int | None:
    """The class predicted for nearly all images although their labels vary; None if there is no such class.

    A network that always predicts the same class withstands every attack: adversarial training that is too hard for it
    ends there, and :func:`guard_accuracy` is then as high as the share of that class.

    Args:
        logits: Network in eval mode.
        x: Images (N, C, H, W) in [0, 1].
        y: True labels (N,).

    Example:
        >>> x = torch.rand(4, 1, 2, 2)
        >>> one_answer(lambda x: torch.tensor([[0.0, 1.0]]).expand(len(x), 2), x, torch.tensor([0, 1, 1, 1]))
        1
    """
    with torch.no_grad():
        found = logits(x).argmax(1)
    answer = found.mode().values
    given, right = ((labels == answer).float().mean().item() for labels in (found, y))
    return int(answer) if given >= _NEARLY_ALL > right else None


def _climb(x: Tensor, eps: float, steps: int, generator: torch.Generator, loss: Callable[[Tensor], Tensor]) -> Tensor:
    """Raise the loss within eps and [0, 1] by signed gradient steps from a random start."""
    norm = Linf()
    step = 1.25 * eps if steps == 1 else 2.5 * eps / steps
    start = torch.rand(x.shape, generator=generator).to(x.device) * (2 * eps) - eps
    x_adv = (x + start).clamp_(0, 1)
    for _ in range(steps):
        x_adv.requires_grad_()
        (gradient,) = torch.autograd.grad(loss(x_adv), x_adv)
        moved = x_adv.detach() + norm.steepest(gradient, step)
        x_adv = (x + norm.project(moved - x, eps)).clamp_(0, 1)
    return x_adv


def _cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    return nn.functional.cross_entropy(logits.float(), y)


def _divergence(reference: Tensor, logits: Tensor) -> Tensor:
    """Mean Kullback-Leibler divergence of the logits from log-probabilities, over the batch."""
    found = logits.float().log_softmax(1)
    return nn.functional.kl_div(found, reference, reduction="batchmean", log_target=True)
