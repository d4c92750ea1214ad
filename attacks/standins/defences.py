"""Making models attackable whose gradient a defence masks: by averaging, and by substitute gradients."""

from collections.abc import Callable
from functools import update_wrapper

from torch import Tensor

from attacks.protocols import Model
from attacks.queries.modes import check_callable
from attacks.queries.plain import whole_number
from attacks.searches.draws import derive, seeded
from attacks.standins.ensemble import Average, ensemble

Transform = Callable[[Tensor], Tensor]
"""Images (N, ...) -> transformed model inputs."""


def identity(x: Tensor) -> Tensor:
    """The images themselves.

    Example:
        >>> import torch
        >>> identity(torch.tensor([0.5]))
        tensor([0.5000])
    """
    return x


def expectation(model: Model, samples: int, seed: int = 0, average: Average = "logits") -> Model:
    """Average several passes of a randomised model (EOT).

    One pass of a model that draws random numbers says little about it: its gradient is mostly noise, and a candidate
    that fools it once need not do so again. Every call draws fresh numbers, so that an attack cannot fit one set of
    draws. The model's draws for an image depend on its batch, and so does the result: only the attack's own draws are
    tied to the image.

    References:
        Athalye et al., Synthesizing robust adversarial examples <https://arxiv.org/abs/1707.07397>, 2018.

    Args:
        model: Images in [0, 1] -> logits, with torch's global generator behind its randomness.
        samples: Number of passes per call.
        seed: The seed of the passes. A new wrapper with the same seed repeats them; torch's generator is left
            unchanged.
        average: The quantity to average, as in :func:`attacks.ensemble`. The mean of probabilities shows how often a
            candidate will be classified correctly; the mean of logits is dominated by the most confident passes.

    Returns:
        A model whose gradient is that of the mean.

    Raises:
        ValueError: If ``samples`` is not a whole number of at least 1, the model cannot be called, or the average is
            unknown.

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
    """Give a non-differentiable step the gradient of a differentiable one (BPDA).

    References:
        Athalye et al., Obfuscated gradients give a false sense of security <https://arxiv.org/abs/1802.00420>, 2018.

    Args:
        transform: The defence's transformation of the images, which may leave torch in between.
        backward: A similar differentiable function, with the same output shape.

    Returns:
        Images -> exactly their ``transform``, with the gradient of ``backward``.

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
        # A copy, since functions on arrays often work in place.
        exact, stand_in = transform(x.detach().clone()), backward(x)
        if exact.shape != stand_in.shape:
            raise ValueError(f"expected backward to give shape {tuple(exact.shape)}, got {tuple(stand_in.shape)}")
        # The difference is zero; it carries the gradient.
        return exact.detach() + (stand_in - stand_in.detach())

    return passed
