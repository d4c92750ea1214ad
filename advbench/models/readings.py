"""Find out by running a network what it returns: logits, one logit, probabilities or one probability."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from advbench.models.classifier import Classifier
from attacks.queries.answers import are_probabilities, find_logits

_SIDE = 64
"""Side of the images for a network that takes any size, pixels."""
_MANY = 8
"""Number of varied images that are used if two were not conclusive."""
_STRONG = 1000.0
"""Factor by which the contrast of images is raised: outputs of a sigmoid stay in [0, 1], a logit does not."""


class AsLogits(nn.Module):
    """A network whose outputs are converted to logits.

    Args:
        module: Maps images (N, ...) to outputs.
        reading: Key of `READINGS`: what the outputs are.

    Example:
        >>> AsLogits(nn.Identity(), "one logit")(torch.tensor([[2.0], [-1.0]]))
        tensor([[ 0.,  2.],
                [ 0., -1.]])
        >>> AsLogits(nn.Identity(), "probabilities")(torch.tensor([[0.25, 0.75]])).exp()
        tensor([[0.2500, 0.7500]])
        >>> AsLogits(nn.Identity(), "label probabilities")(torch.tensor([[0.5, 0.75]])).exp()
        tensor([[1., 3.]])
    """

    def __init__(self, module: nn.Module, reading: str) -> None:
        super().__init__()
        self.module, self.reading = module, reading
        self.training = module.training

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, ...) to logits (N, C).

        Raises:
            ValueError: The network does not return one row of numbers for each image.
        """
        values = find_logits(self.module(x), len(x))
        if not isinstance(values, Tensor) or values.numel() % max(len(x), 1):
            got = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise ValueError(f"expected {self.reading} of {len(x)} images, got {got}")
        return READINGS[self.reading](values.reshape(len(x), -1))


def _two(z: Tensor) -> Tensor:
    return torch.cat([torch.zeros_like(z), z], dim=1)


def _logarithm(p: Tensor) -> Tensor:
    wide = p if p.dtype == torch.float64 else p.float()
    return wide.clamp_min(torch.finfo(wide.dtype).tiny).log()


def _both(p: Tensor) -> Tensor:
    return torch.cat([_logarithm(1 - p), _logarithm(p)], dim=1)


def _odds(p: Tensor) -> Tensor:
    return _logarithm(p) - _logarithm(1 - p)


READINGS: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType(
    {"one logit": _two, "one probability": _both, "probabilities": _logarithm, "label probabilities": _odds}
)
"""Kind of output, other than logits -> function that converts it to logits."""


SQUASHED = ("one probability", "probabilities", "label probabilities")
"""Keys of `READINGS` whose logarithms are flat where the network is confident."""


def single(answer: Any, count: int) -> bool:
    """Whether an output holds one number per image, as for two classes: (N, 1) or (N,), with several images.

    Args:
        answer: Output of the network.
        count: Number of images N.

    Example:
        >>> single(torch.zeros(3, 1), 3), single(torch.zeros(3), 3), single(torch.zeros(3, 2), 3)
        (True, True, False)
    """
    values = find_logits(answer, count)
    # For one image, (C,) would look the same.
    return isinstance(values, Tensor) and values.is_floating_point() and tuple(values.shape) in ((count, 1), (count,))


def understood(model: Classifier) -> Classifier:
    """Change the classifier to convert its network's outputs to logits, if they are something else.

    Log-probabilities are logits. The network is run on two images, and on more only if these are not conclusive. A
    network that fails on them is left unchanged: its first pass reports the error.

    Args:
        model: A user's own classifier. With one number for each image, it has two classes.

    Example:
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2), nn.Softmax(1))
        >>> model = understood(Classifier(net, num_classes=2, input_size=2, mean=[0.5]))
        >>> model.module.reading, model(torch.zeros(1, 1, 2, 2)).exp().sum().isclose(torch.tensor(1.0))
        ('probabilities', tensor(True))
    """
    channels = max(len(model.mean), len(model.std))
    for count in (channels,) if channels > 1 else (3, 1):  # one value may stand for all channels
        images = varied(count, *model.sides(otherwise=_SIDE)).to(next(model.buffers()).device)
        try:
            reading = _reading(model, images)
        except (Exception, SystemExit):  # noqa: S112 - the user's code may raise anything
            continue
        if reading is not None:
            model.module = AsLogits(model.module, reading)
            model.notes += (f"{model.name} returns {_SAID[reading]}",)
        break
    return model


_SAID = {
    "one logit": "one number z for each image, which is read as the logits 0 and z of two classes",
    "one probability": "one probability p for each image, and the logarithms of 1 - p and p are attacked",
    "probabilities": "probabilities, and their logarithms are attacked",
    "label probabilities": "a probability p for each label, and the logarithms of p / (1 - p) are attacked",
}


def _reading(model: Classifier, images: Tensor) -> str | None:
    with torch.random.fork_rng(devices=[images.device] if images.is_cuda else []), torch.no_grad():
        if model.several:
            return "label probabilities" if _within_one(model, images) else None
        first = model.answer(images[:2].clone())
        if single(first, 2):
            return "one probability" if _within_one(model, images) else "one logit"
        if _are_shares(find_logits(first, 2)) and _are_shares(find_logits(model.answer(images.clone()), len(images))):
            return "probabilities"
    return None


def _are_shares(rows: Any) -> bool:
    batch = isinstance(rows, Tensor) and rows.ndim == 2 and rows.is_floating_point() and rows.shape[1] > 1
    return batch and are_probabilities(rows)


def _within_one(model: Classifier, images: Tensor) -> bool:
    """Whether one number per image stays in [0, 1] on varied images, and with raised contrast if it accepts that."""
    answers = [find_logits(model.answer(images.clone()), len(images)).flatten()]
    try:
        strong = (images - 0.5) * _STRONG + 0.5
        answers.append(find_logits(model.answer(strong), len(images)).flatten())
    except Exception:  # a network may reject such images with any error
        answers = answers[:1]
    low, high = torch.cat(answers).float().aminmax()
    return bool(low >= 0 and high <= 1)


def varied(channels: int, height: int, width: int) -> Tensor:
    """Images that differ in brightness, texture and contrast, always the same ones: (N, C, H, W) in [0, 1].

    Example:
        >>> varied(3, 4, 4).shape
        torch.Size([8, 3, 4, 4])
    """
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(_MANY, channels, height, width, generator=generator)
    spots = torch.rand(_MANY, channels, 4, 4, generator=generator)
    smooth = nn.functional.interpolate(spots, (height, width), mode="bilinear", align_corners=False)
    share = torch.linspace(0, 1, _MANY).reshape(-1, 1, 1, 1)
    return (share * noise + (1 - share) * smooth).clamp(0, 1)
