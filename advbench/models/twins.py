"""A model that takes its gradients from another, as a deployed quantised network from its float twin."""

import torch

from advbench.errors import UserError
from advbench.models.classifier import Classifier
from advbench.models.trial import try_model
from attacks.queries.derivatives import NoGradientError, differentiate

BORROW = "use those of a twin of the model: --gradients-from MODEL, or gradients_from in a suite and in Python"
"""What to do about a model without gradients, as the end of a sentence."""
_SIDE = 64
"""Side of the image for a network that takes any size, pixels."""


def paired(model: Classifier, twin: Classifier) -> Classifier:
    """Change the classifier to use the gradients of its twin.

    Args:
        model: Classifier whose outputs count.
        twin: Differentiable classifier for the same task.

    Raises:
        UserError: The twin has different classes, or takes images of a different size or colour mode; or it has no
            gradient.

    Example:
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
        >>> step = Classifier(lambda x: net(x).detach().round(), num_classes=3, mean=[0.5], input_size=2)
        >>> model = paired(step, Classifier(net, num_classes=3, mean=[0.5], input_size=2))
        >>> model(torch.zeros(1, 1, 2, 2, requires_grad=True)).requires_grad
        True
    """
    if twin.num_classes != model.num_classes:
        raise _unlike(model, twin, f"{twin.num_classes} classes", f"{model.num_classes}")
    if None not in (twin.input_size, model.input_size) and twin.input_size != model.input_size:
        raise _unlike(model, twin, f"images of {_shown(twin)} pixels", _shown(model))
    device = next(model.buffers()).device
    channels = max(len(model.mean), len(model.std))
    image = torch.full((channels if channels > 1 else _colours(model), *model.sides(otherwise=_SIDE)), 0.5)
    try_model(twin, image)
    x = image.unsqueeze(0).to(device).requires_grad_()
    try:
        with torch.enable_grad():
            differentiate(twin, x, lambda logits: logits.sum(1))
    except NoGradientError:
        raise UserError(
            f"{twin.name} has no gradient that {model.name} could use", hint="name a float network, a torch module"
        ) from None
    model.twin = twin
    told = f"{model.name} is attacked with the gradients of {twin.name}; verdicts are its own"
    model.notes += (told, *(note for note in twin.notes if note not in model.notes))
    return model


def _unlike(model: Classifier, twin: Classifier, has: str, instead: str) -> UserError:
    return UserError(
        f"{twin.name} is not a twin of {model.name}: it has {has}, not {instead}",
        hint="gradients_from names a model for the same task",
    )


def _shown(model: Classifier) -> str:
    return " x ".join(map(str, model.sides(otherwise=0)))


def _colours(model: Classifier) -> int:
    return 1 if getattr(model.preprocess, "mode", "RGB") == "L" else 3
