"""Whether a faster form of a network says what the network says."""

import random
import sys
from typing import Any

import torch
from torch import Tensor

from attacks.protocols import Model
from attacks.queries.answers import ask
from attacks.speed.folding import EXACT, FORMS

TOLERANCE = {"folded": 1e-3, "channels_last": 1e-3, "bfloat16": 0.2}
"""By how much the logits of each form may differ from the network's, as a share of the largest."""
GRADIENT_TOLERANCE = 0.5
"""By how much gradients of a form of float32 may differ, as a share of their length: rounding alone switches some ReLUs
and maxima, a tenth of the gradient of a deep network with random weights. Those of half precision may be anything."""
FEW = 4
"""Images on which a form is tried."""


def agree(answers: Tensor, logits: Tensor, form: str) -> bool:
    """Whether answers (N, C) are the network's ``logits`` (N, C), as nearly as those of a form can be.

    Example:
        >>> agree(torch.tensor([[9.995, 0.0]]), torch.tensor([[10.0, 0.0]]), "folded")
        True
    """
    return bool((answers - logits).abs().amax() <= TOLERANCE[form] * logits.abs().amax())


def stands_in(found: Model, network: Model, images: Tensor, form: str) -> bool:
    """Whether a form can stand in for its network, as far as a few images can tell.

    Both are asked about the images together and about one alone, and for gradients, since the code of a network may do
    something else in each of these cases. A network that draws random numbers on its way has no form.

    Args:
        found: The network in the form.
        network: Images -> logits.
        images: (N, ...), of which the first `FEW` are used.
        form: One of :data:`attacks.speed.folding.FORMS`, but not the first.

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
    except Exception:  # the code of a network may do anything when it is run in another way
        return False
    if not all(agree(*pair, form) for pair in zip(others, logits, strict=True)):
        return False
    exact = FORMS.index(form) <= FORMS.index(EXACT)
    return not exact or bool((slope - gradient).norm() <= GRADIENT_TOLERANCE * gradient.norm())


def _answers(model: Model, images: Tensor) -> tuple[Tensor, ...]:
    """Logits of the images, of the first alone and of the first two when a gradient follows; and that gradient."""
    with torch.inference_mode(False):
        images = images.clone()  # one made in inference mode can take no part in a graph
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
    """The states of all generators of random numbers that anybody shares."""
    states = [random.getstate(), torch.get_rng_state().tolist()]
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device).tolist())
    if (numpy := sys.modules.get("numpy")) is not None:
        states.append(
            [*map(str, numpy.random.get_state())]
        )  # of its words the middle is left out, not its place in them
    return tuple(states)
