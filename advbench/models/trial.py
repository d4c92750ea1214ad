"""Run a model once: an error in it, or in its preprocessing, is reported in one sentence."""

from weakref import WeakKeyDictionary

import torch
from PIL import Image
from torch import Tensor, nn

from advbench.errors import UserError, reason
from advbench.models.classifier import Classifier
from advbench.models.preprocess import ResizeAndCrop

_ANSWERED: "WeakKeyDictionary[Classifier, set[torch.Size]]" = WeakKeyDictionary()
"""Image shapes on which a model has been run."""
_SIDE = 64
"""Side of the image for a network that takes any size, pixels."""


def try_model(model: Classifier, image: Tensor) -> None:
    """Run a model on an image, unless it has been run on one of that shape before.

    Args:
        model: Classifier to try.
        image: One image (C, H, W) in [0, 1], or of zeros.

    Raises:
        UserError: The model fails, or its outputs are not logits.

    Example:
        >>> net = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(3, 2)), num_classes=2, input_size=2, name="net")
        >>> try_model(net, torch.zeros(1, 2, 2))
        Traceback (most recent call last):
        advbench.errors.UserError: model net fails on an image of shape (1, 2, 2): mat1 and mat2 shapes cannot be ...
    """
    answered = _ANSWERED.setdefault(model, set())
    if image.shape in answered:
        return
    try:
        _ask(model, image)
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        message = f"model {model.name} fails on an image of shape {tuple(image.shape)}: {reason(error)}"
        raise UserError(message, hint=_hint(model, image)) from error
    answered.add(image.shape)


def input_of(model: Classifier, picture: Image.Image) -> Tensor:
    """The input of a model for a picture.

    Args:
        model: Classifier to try.
        picture: Picture of any size and mode.

    Returns:
        (C, H, W), float32 in [0, 1].

    Raises:
        UserError: The picture is too long and thin; or the user's own preprocessing fails, or returns something else.

    Example:
        >>> input_of(Classifier(nn.Flatten(), num_classes=3), Image.new("RGB", (1, 1))).shape
        torch.Size([3, 1, 1])
    """
    own = not isinstance(model.preprocess, ResizeAndCrop)
    try:
        image = model.preprocess(picture)
    except UserError:
        raise
    except Exception as error:  # the user's code may raise anything, ours may not
        if not own:
            raise
        size = f"{picture.width} x {picture.height} pixels"
        raise UserError(f"preprocess of {model.name} fails on a picture of {size}: {reason(error)}") from error
    if own:
        _check_input(image, f"what preprocess of {model.name} makes of a picture")
    return image


def _check_input(image: object, what: str) -> None:
    if not isinstance(image, Tensor) or image.dtype != torch.float32 or image.ndim != 3 or not image.numel():
        got = f"{image.dtype} {tuple(image.shape)}" if isinstance(image, Tensor) else type(image).__name__
        raise UserError(f"{what} is not an image: expected float32 (C, H, W), got {got}")
    if not (image.min() >= 0 and image.max() <= 1):
        raise UserError(f"{what} has values outside [0, 1]", hint="leave the normalisation to Classifier: mean and std")


def _ask(model: Classifier, image: Tensor) -> None:
    device = next(model.buffers()).device
    drawn_on = [device] if device.type == "cuda" else []
    with torch.no_grad(), torch.random.fork_rng(devices=drawn_on):
        model(image.unsqueeze(0).to(device))


def _hint(model: Classifier, image: Tensor) -> str:
    channels = max(len(model.mean), len(model.std))
    if channels not in (1, len(image)):
        return f"mean and std have {channels} channels, but a picture has 3, or 1 if mean has one entry"
    if model.input_size is None:
        return "if it accepts only one image size, state it: Classifier(..., input_size=...)"
    if other := other_type(model.module):
        return f"its weights are {other}, but images float32: pass network.float(), or convert the images in it"
    return ""


def other_type(network: nn.Module) -> torch.dtype | None:
    """The dtype of a network's weights, if all have the same one and it is not float32.

    Example:
        >>> other_type(nn.Linear(2, 2).half()), other_type(nn.Linear(2, 2))
        (torch.float16, None)
    """
    types = {tensor.dtype for tensor in (*network.parameters(), *network.buffers()) if tensor.is_floating_point()}
    return types.pop() if len(types) == 1 and types != {torch.float32} else None


def in_its_type(model: Classifier) -> Classifier:
    """Change the classifier to pass images in the dtype of its weights, if its network accepts no other.

    Args:
        model: Classifier to try. A network in half or double precision that converts images itself is left unchanged.

    Example:
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).double()
        >>> in_its_type(Classifier(net, num_classes=2, mean=[0.5], input_size=2))(torch.zeros(1, 1, 2, 2)).shape
        torch.Size([1, 2])
    """
    network = model.module
    if (dtype := other_type(network)) is None:
        return model
    channels = max(len(model.mean), len(model.std))
    for count in (channels,) if channels > 1 else (3, 1):  # one value may stand for all channels
        image = torch.zeros(count, *model.sides(otherwise=_SIDE))
        model.module = network
        if _answers(model, image):
            return model
        model.module = InType(network, dtype)
        if _answers(model, image):
            return model
    model.module = network  # its error is reported at its first pass
    return model


def _answers(model: Classifier, image: Tensor) -> bool:
    try:
        _ask(model, image)
    except Exception:  # the user's code may raise anything
        return False
    return True


class InType(nn.Module):
    """A network that gets images in another dtype, and whose outputs are converted back to that of the images.

    Args:
        module: Network with another input dtype.
        dtype: Data type of the images that it takes.

    Example:
        >>> InType(nn.Linear(2, 2).double(), torch.float64)(torch.zeros(1, 2)).dtype
        torch.float32
    """

    def __init__(self, module: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.module, self.dtype = module, dtype
        self.training = module.training

    def forward(self, x: Tensor) -> object:
        """Map images (N, C, H, W) to the network's output."""
        answer = self.module(x.to(self.dtype))
        return answer.to(x.dtype) if isinstance(answer, Tensor) else answer
