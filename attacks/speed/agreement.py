"""Whether a faster form of a network agrees with the network."""

import random
import sys
from typing import Any

import torch
from torch import Tensor

from attacks.protocols import Model
from attacks.queries.answers import ask
from attacks.speed.folding import EXACT, FORMS

TOLERANCE = {"folded": 1e-3, "channels_last": 1e-3, "bfloat16": 0.2}
"""Largest difference of each form's logits from the network's, as a fraction of the largest logit."""
GRADIENT_TOLERANCE = 0.5
"""Largest difference of a float32 form's gradients, as a fraction of their length: rounding alone switches some ReLUs
and maxima, a tenth of the gradient of a deep network with random weights. Half-precision gradients are not checked."""
FEW = 4
"""Number of images on which a form is tested."""


def agree(answers: Tensor, logits: Tensor, form: str) -> bool:
    """Whether answers (N, C) match the network's ``logits`` (N, C) within the tolerance of a form.

    Example:
        >>> agree(torch.tensor([[9.995, 0.0]]), torch.tensor([[10.0, 0.0]]), "folded")
        True
    """
    return bool((answers - logits).abs().amax() <= TOLERANCE[form] * logits.abs().amax())


def stands_in(found: Model, network: Model, images: Tensor, form: str) -> bool:
    """Whether a form can replace its network, as far as a few images can show.

    Both are queried with the images together and with one alone, and for gradients, since a network's code may behave
    differently in each of these cases. A network that draws random numbers has no form.

    Args:
        found: The network in the form.
        network: Images -> logits.
        images: Images (N, ...), of which the first `FEW` are used.
        form: One of :data:`attacks.speed.folding.FORMS`, except the first.

    Example:
        >>> stands_in(lambda x: 2 * x, lambda x: x + x.detach(), torch.rand(2, 3), "folded")
        False
    """
    images = images[:FEW]
    drawn = _drawn(images.device)
    try:
        *logits, gradient = _answers(network, images)
        if _drawn(images.device) != drawn:
            return False
        *others, slope = _answers(found, images)
    except Exception:  # a network's code may do anything when run in another way
        return False
    if not all(agree(*pair, form) for pair in zip(others, logits, strict=True)):
        return False
    exact = FORMS.index(form) <= FORMS.index(EXACT)
    return not exact or bool((slope - gradient).norm() <= GRADIENT_TOLERANCE * gradient.norm())


def _answers(model: Model, images: Tensor) -> tuple[Tensor, ...]:
    """Logits of the images, of the first one alone and of the first two when a gradient follows; and that gradient."""
    with torch.inference_mode(False):
        images = images.clone()  # an inference tensor cannot be part of a graph
        with torch.no_grad():
            together = ask(model, images)
            alone = ask(model, images[:1]) if len(images) > 1 else together
        with torch.enable_grad():
            x = images[:2].clone().requires_grad_()
            logits = ask(model, x)
            value = (logits * torch.linspace(-1, 1, logits.shape[1]).to(logits)).sum()
            gradient = torch.autograd.grad(value, x, allow_unused=True)[0] if value.requires_grad else None
    return together, alone, logits.detach(), torch.zeros_like(x) if gradient is None else gradient


def _drawn(device: torch.device) -> tuple[Any, ...]:
    """The states of all global random generators."""
    states = [random.getstate(), torch.get_rng_state().tolist()]
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device).tolist())
    if (numpy := sys.modules.get("numpy")) is not None:
        states.append(
            [*map(str, numpy.random.get_state())]
        )  # omits the middle of its state words, but not the position in them
    return tuple(states)
