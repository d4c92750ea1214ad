"""Classifiers: their common wrapper, and a loader for each kind."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advbench.catalog.registry import resolve
from advbench.catalog.user_models import described_fields, is_own, model_card, takes_description
from advbench.config.model_description import NOTHING, Description, describe, refuse_unread
from advbench.errors import UserError, first_line, reason

if TYPE_CHECKING:
    import torch

    from advbench.models.classifier import Classifier

_LOG = logging.getLogger(__name__)


def load_model(
    name: str,
    *,
    weights: "str | Path | None" = None,
    about: Description = NOTHING,
    device: "str | torch.device" = "cpu",
    **said: Any,
) -> "Classifier":
    r"""Load a pretrained classifier by name, or one of your own from its file.

    torch's global random state is left unchanged. Assumptions made about a model of your own are listed in the
    attribute `notes` of the classifier, and logged to "advbench.models" at level INFO.

    Args:
        name: One of `advbench.catalog.MODELS`, such as "efficientnet_lite0" or "vgg16"; or a model of your own, as
            :func:`advbench.catalog.user_models.model_card` accepts it. The code of your own file is run.
        weights: A .safetensors, .pt or .pth file to use instead of the published weights.
        about: Description of a model of your own: what its file or function does not state.
        device: Where to put the classifier: "cpu", "cuda", "cuda:1", "mps"; or "auto", the best available.
        **said: Fields of the description as keyword arguments, which override `about`: `num_classes`, `input_size`,
            `mean`, `std`, `classes`, `output`; and, for any model, `gradients_from`. They are the fields of
            :class:`advbench.config.model_description.Description`.

    Returns:
        The classifier in eval mode with frozen parameters: images (N, 3, H, W) in [0, 1] to logits.

    Raises:
        UserError: Unknown name or device; weights that cannot be obtained, are damaged or do not fit; a description
            that is invalid, or is for a model that states all of it itself.

    Example:
        >>> model = load_model("vgg61")
        Traceback (most recent call last):
        advbench.errors.UserError: unknown model 'vgg61'
        did you mean vgg16, vgg19, vgg13? `advbench models` lists all names

        A network of your own, with what its code does not say of it:

        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> nets = Path(folder.name, "nets.py")
        >>> _ = nets.write_text(
        ...     "from torch import nn\n"
        ...     "def net():\n"
        ...     "    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2), nn.Softmax(1))"
        ... )
        >>> model = load_model(f"{nets}:net", mean=[0.5] * 3, std=[0.25] * 3, input_size=32, classes=["cat", "dog"])
        >>> model.num_classes, model.classes, model.notes[0].removeprefix(model.name)
        (2, ('cat', 'dog'), ' returns probabilities, and their logarithms are attacked')
        >>> load_model(f"{nets}:net", num_classes=0)
        Traceback (most recent call last):
        advbench.errors.UserError: num_classes: Input should be greater than 0
        >>> folder.cleanup()
    """
    card = model_card(name)
    about = describe(said).over(about) if said else about
    refuse_unread(name, about)
    import torch

    target = usable_device(device)
    load = resolve(card.loader)
    with torch.random.fork_rng(devices=[]):
        file = None if weights is None else Path(weights)
        classifier: Classifier = load(card, file, about) if takes_description(name) else load(card, file)
    classifier = _moved(classifier, target) if is_own(name) else classifier.to(target)
    if about.gradients_from is not None:
        classifier = _with_twin(classifier, about.gradients_from, about, target)
    classifier.loaded_from = file or name
    for note in classifier.notes:
        _LOG.info(note)
    return classifier


def _with_twin(classifier: "Classifier", name: str, about: Description, device: "torch.device") -> "Classifier":
    """The classifier with the gradients of another model, see :func:`load_beside`.

    Raises:
        UserError: The twin cannot be loaded, or is not for the same task.
    """
    from advbench.models.twins import paired

    return paired(classifier, load_beside(name, about, device))


def load_beside(name: str, about: Description, device: "str | torch.device") -> "Classifier":
    """Load a model that stands beside another one, such as the surrogate that attacks on it are made on.

    Args:
        name: Name of the model. One of the user's own gets the other's description, unless it states all of that
            itself.
        about: Description of the other model.
        device: Where to put the classifier.

    Raises:
        UserError: It cannot be loaded.
    """
    from advbench.models.files.described import SaysItselfError

    mine = [field for field in about.said() if field not in described_fields(name) or field == "output"]
    try:
        return load_model(name, about=about.without(*mine), device=device)
    except SaysItselfError:
        return load_model(name, device=device)


def _moved(classifier: "Classifier", device: "torch.device") -> "Classifier":
    """Move a user's own model to a device, and make sure that it runs and returns logits.

    Raises:
        UserError: It cannot be moved there.
    """
    from advbench.models.readings import understood
    from advbench.models.trial import in_its_type

    try:
        classifier = classifier.to(device)
    except Exception as error:  # the user's code may raise anything
        raise UserError(f"model {classifier.name} cannot be moved to {device}: {reason(error)}") from error
    return understood(in_its_type(classifier))


def usable_device(name: "str | torch.device") -> "torch.device":
    """The device with that name, checked to be usable.

    Args:
        name: "cpu", "cuda", "cuda:1", "mps"; or "auto", the best available.

    Raises:
        UserError: There is no such device on this machine.

    Example:
        >>> usable_device("cpu")
        device(type='cpu')
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        tried = torch.zeros(1, device=name)
        tried.item()  # "meta" creates tensors but computes nothing
        return tried.device
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # torch asserts that CUDA is compiled in
        why = first_line(error).partition(". ")[0]
        raise UserError(
            f"device {str(name)!r} cannot be used here: {why}", hint="`--device cpu` always works"
        ) from None
