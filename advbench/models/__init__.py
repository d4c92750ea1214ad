"""Classifiers: the wrapper they all share, and how each kind is loaded."""

from pathlib import Path
from typing import TYPE_CHECKING

from advbench.catalog.registry import resolve
from advbench.catalog.user_models import is_own, model_card, takes_description
from advbench.config.model_description import NOTHING, Description
from advbench.errors import UserError, first_line, reason

if TYPE_CHECKING:
    import torch

    from advbench.models.classifier import Classifier


def load_model(
    name: str,
    *,
    weights: "str | Path | None" = None,
    about: Description = NOTHING,
    device: "str | torch.device" = "cpu",
) -> "Classifier":
    """Load a pretrained classifier by name.

    torch's global random numbers are left as they were.

    Args:
        name: One of `advbench.catalog.MODELS`, such as "efficientnet_lite0" or "vgg16"; or a model of your own, as
            :func:`advbench.catalog.user_models.model_card` takes it. The code of your own file is run.
        weights: A .safetensors, .pt or .pth file to use instead of the published weights.
        about: What you say of a network in an .onnx, .pt2, .pt or .ts file that the file does not.
        device: Where the classifier goes: "cpu", "cuda", "cuda:1", "mps"; or "auto", the best there is.

    Returns:
        The classifier in eval mode with frozen parameters: images (N, 3, H, W) in [0, 1] to logits.

    Raises:
        UserError: Unknown name or device; weights that cannot be obtained, are damaged or do not fit.

    Example:
        >>> model = load_model("vgg61")
        Traceback (most recent call last):
        advbench.errors.UserError: unknown model 'vgg61'
        did you mean vgg16, vgg19, vgg13? `advbench models` lists what there is
    """
    card = model_card(name)
    described = takes_description(name)
    if about != NOTHING and not described:
        hint = "leave out what you say of it; networks in .onnx, .pt2, .pt and .ts files take a description"
        raise UserError(f"model {name} says itself what its input and its classes are", hint=hint)
    import torch

    target = usable_device(device)
    load = resolve(card.loader)
    with torch.random.fork_rng(devices=[]):
        file = None if weights is None else Path(weights)
        classifier: Classifier = load(card, file, about) if described else load(card, file)
    return _moved(classifier, target) if is_own(name) else classifier.to(target)


def _moved(classifier: "Classifier", device: "torch.device") -> "Classifier":
    """A model of the user's own on a device, ready to be asked.

    Raises:
        UserError: It cannot be moved there.
    """
    from advbench.models.trial import in_its_type

    try:
        classifier = classifier.to(device)
    except Exception as error:  # the user's code may raise anything
        raise UserError(f"model {classifier.name} cannot be moved to {device}: {reason(error)}") from error
    return in_its_type(classifier)


def usable_device(name: "str | torch.device") -> "torch.device":
    """The device of that name, where one can compute on it.

    Args:
        name: "cpu", "cuda", "cuda:1", "mps"; or "auto", the best there is.

    Raises:
        UserError: There is no such device here.

    Example:
        >>> usable_device("cpu")
        device(type='cpu')
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # torch asserts that CUDA is built in
        reason = first_line(error)
        raise UserError(
            f"device {str(name)!r} cannot be used here: {reason}", hint="`--device cpu` always works"
        ) from None
