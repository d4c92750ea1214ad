"""A classifier of photographs as stored in their files."""

import io
from collections.abc import Callable

import torch
from PIL import Image
from torch import Tensor

from advbench.models.classifier import Classifier
from advbench.pictures.files import as_picture
from advbench.pictures.original.photograph import Photograph, encoded, known_preprocessing
from attacks import jpeg
from attacks.standins.twin import lend

_LUMA = (0.299, 0.587, 0.114)
"""Weights of the colours in a grey picture, as in Pillow."""
_MIRROR, _FLIP = 3, 2
"""Axes of images (N, C, H, W)."""


class AtOwnSize:
    """A classifier that takes a photograph at its original size, in the orientation of its file.

    Every answer is about the file itself: pixels are rounded to 8 bits, saved if the format is lossy, and resized and
    cropped by Pillow, as for anybody who opens the file. The gradient is that of the same steps without rounding;
    `exact_form` also answers without rounding.

    Args:
        model: Classifier of preprocessed inputs.
        photograph: The photograph, with the file's orientation and format.
        on_pass: Called at each forward pass.

    Raises:
        UserError: The model's preprocessing has no gradient.
    """

    name: str
    """Name of the classifier."""

    def __init__(self, model: Classifier, photograph: Photograph, on_pass: Callable[[], None] = lambda: None) -> None:
        self.name = model.name
        self._model, self._photograph, self._on_pass = model, photograph, on_pass
        self._steps = known_preprocessing(model)

    def __call__(self, x: Tensor, /) -> Tensor:
        """Logits of photographs (N, C, H, W) in [0, 1]."""
        self._on_pass()
        return self._model(lend(lambda: self._read(x), lambda: self._differentiable(x), x))  # type: ignore[no-any-return]

    @property
    def exact_form(self) -> Callable[[Tensor], Tensor]:
        """Form of the classifier without any rounding."""
        return self._unrounded

    def _unrounded(self, x: Tensor, /) -> Tensor:
        self._on_pass()
        return self._model(self._differentiable(x))  # type: ignore[no-any-return]

    def _read(self, x: Tensor) -> Tensor:
        """Model inputs from the files of photographs."""
        return torch.stack([self._model.preprocess(self._opened(pixels)) for pixels in x.detach()]).to(x)

    def _opened(self, pixels: Tensor) -> Image.Image:
        """The picture in the file of a photograph, as displayed."""
        picture, saved = as_picture(pixels), self._photograph.saved
        if saved.quality is not None:
            with Image.open(io.BytesIO(encoded(picture, saved))) as opened:
                opened.load()
                picture = opened
        return self._photograph.turned(picture).convert(self._steps.mode)

    def _differentiable(self, x: Tensor) -> Tensor:
        quality = self._photograph.saved.quality
        turned = turned_upright(x if quality is None else jpeg(x, quality), self._photograph.stored.orientation)
        return self._steps.differentiable(_of_mode(turned, self._steps.mode))


def turned_upright(x: Tensor, orientation: int) -> Tensor:
    """Turn images (N, C, H, W) from the orientation of a file to that in which they are displayed.

    Example:
        >>> turned_upright(torch.tensor([[[[1, 2], [3, 4]]]]), 6)
        tensor([[[[3, 1],
                  [4, 2]]]])
    """
    if orientation >= 5:
        x = x.transpose(_FLIP, _MIRROR)
    flips = {2: [_MIRROR], 3: [_FLIP, _MIRROR], 4: [_FLIP], 6: [_MIRROR], 7: [_FLIP, _MIRROR], 8: [_FLIP]}
    return x.flip(flips[orientation]) if orientation in flips else x


def _of_mode(x: Tensor, mode: str) -> Tensor:
    """Images (N, C, H, W), grey or RGB, converted to the channels of a mode."""
    if mode == "RGB":
        return x.expand(-1, 3, -1, -1)
    if x.shape[1] == 1:
        return x
    return (x * torch.tensor(_LUMA, dtype=x.dtype, device=x.device).view(1, 3, 1, 1)).sum(1, keepdim=True)
