"""Models behind a defence that hides their gradient, made attackable: by averaging, and by standing in for it."""

from collections.abc import Callable
from functools import update_wrapper

from torch import Tensor

from attacks.protocols import Model
from attacks.queries.modes import check_callable
from attacks.queries.plain import whole_number
from attacks.searches.draws import derive, seeded
from attacks.standins.ensemble import Average, ensemble

Transform = Callable[[Tensor], Tensor]
"""Images (N, ...) -> what the model is given for them."""


def identity(x: Tensor) -> Tensor:
    """The images themselves.

    Example:
        >>> import torch
        >>> identity(torch.tensor([0.5]))
        tensor([0.5000])
    """
    return x


def expectation(model: Model, samples: int, seed: int = 0, average: Average = "logits") -> Model:
    """A randomised model as an attack should see it: the mean of several passes (EOT).

    One pass of a model that draws random numbers says little about it: its gradient is mostly noise, and a candidate
    that fools it once need not do so again. Every call draws anew, so that an attack cannot fit one set of draws. What
    the model draws for an image depends on the batch it is in, and so does the result: draws belong to the image
    only where they are the attack's own.

    References:
        Athalye et al., Synthesizing robust adversarial examples <https://arxiv.org/abs/1707.07397>, 2018.

    Args:
        model: Images in [0, 1] -> logits, with torch's global generator behind its randomness.
        samples: Passes for each call.
        seed: The seed of the passes. A new wrapper with the same seed repeats them; torch's generator is left
            unchanged.
        average: What of the passes is averaged, as in :func:`attacks.ensemble`. The mean of probabilities says how
            often a candidate will be classified right; the mean of logits is led by the passes that are surest.

    Returns:
        A model whose gradient is that of the mean.

    Raises:
        ValueError: If ``samples`` is no whole number from 1, the model cannot be called, or there is no such average.

    Example:
        >>> import torch
        >>> from attacks import PGD, Untargeted
        >>> noisy = lambda x: x + torch.randn_like(x)
        >>> x, goal = torch.tensor([[0.6, 0.5]]), Untargeted(torch.tensor([0]))
        >>> x_adv = PGD()(expectation(noisy, samples=16), x, goal, eps=0.1)
    """
    samples = whole_number("samples", samples)
    calls, together = 0, ensemble([model] * samples, average)

    def averaged(x: Tensor, /) -> Tensor:
        nonlocal calls
        calls += 1
        with seeded(derive(seed, calls), x.device):
            return together(x)

    # This lets checks see the networks inside the model.
    return update_wrapper(averaged, model, assigned=(), updated=())


def straight_through(transform: Transform, backward: Transform = identity) -> Transform:
    """A step that cannot be differentiated, with the gradient of one that can (BPDA).

    References:
        Athalye et al., Obfuscated gradients give a false sense of security <https://arxiv.org/abs/1802.00420>, 2018.

    Args:
        transform: What the defence does to the images; it may leave torch in between.
        backward: A differentiable function like it, with the same shape of output.

    Returns:
        Images -> exactly ``transform`` of them, with the gradient of ``backward``.

    Raises:
        ValueError: If one of the two cannot be called; when called, if they give different shapes.

    Example:
        >>> import torch
        >>> from attacks import PGD, Untargeted
        >>> rounded = straight_through(lambda x: (x * 7).round() / 7)
        >>> model = lambda x: 10 * rounded(x)
        >>> x, goal = torch.tensor([[0.6, 0.5]]), Untargeted(torch.tensor([0]))
        >>> x_adv = PGD()(model, x, goal, eps=0.15)
        >>> bool(goal.margin(model(x_adv)) < 0)
        True
    """
    for each in (transform, backward):
        check_callable(each)

    def passed(x: Tensor) -> Tensor:
        # A copy: functions on arrays often work in place.
        exact, stand_in = transform(x.detach().clone()), backward(x)
        if exact.shape != stand_in.shape:
            raise ValueError(f"expected backward to give shape {tuple(exact.shape)}, got {tuple(stand_in.shape)}")
        # The difference is zero; it carries the gradient.
        return exact.detach() + (stand_in - stand_in.detach())

    return passed
