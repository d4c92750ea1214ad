"""Resizing and cropping with a gradient, beside Pillow."""

import numpy as np
import pytest
import torch
from PIL import Image

from advbench.models.preprocess import ResizeAndCrop

BILINEAR, BICUBIC = Image.Resampling.BILINEAR, Image.Resampling.BICUBIC


def picture(width, height, seed=0):
    rough = np.random.default_rng(seed).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    return Image.fromarray(rough).resize((width, height), BICUBIC)


def pixels(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).unsqueeze(0).float() / 255


@pytest.mark.parametrize("interpolation", [BILINEAR, BICUBIC])
@pytest.mark.parametrize(("width", "height"), [(80, 61), (61, 90), (300, 40), (24, 24), (20, 33)])
@pytest.mark.parametrize(("size", "resize"), [(24, 29), (24, None), ((20, 28), None), (17, 24)])
def test_it_is_what_pillow_makes_but_for_rounding(interpolation, width, height, size, resize):
    steps = ResizeAndCrop(size=size, resize=resize, interpolation=interpolation)
    image = picture(width, height)
    found, wanted = steps.differentiable(pixels(image))[0], steps(image)
    assert found.shape == wanted.shape
    apart = (found - wanted).abs() * 255
    assert float(apart.mean()) < 0.6
    assert float(apart.max()) < 4


def test_a_picture_of_that_size_stays_as_it_is():
    image = picture(24, 24)
    assert torch.equal(ResizeAndCrop(size=24).differentiable(pixels(image))[0], ResizeAndCrop(size=24)(image))
    assert torch.equal(ResizeAndCrop().differentiable(pixels(image)), pixels(image))


def test_every_pixel_inside_the_crop_has_a_gradient():
    x = (pixels(picture(60, 48)) * 0.5 + 0.25).requires_grad_()
    (gradient,) = torch.autograd.grad(ResizeAndCrop(size=24, resize=24).differentiable(x).sum(), x)
    assert (gradient[..., 8:-8] != 0).all()
    assert (gradient[..., :3] == 0).all()


def test_an_interpolation_without_a_gradient_is_refused():
    steps = ResizeAndCrop(size=8, interpolation=Image.Resampling.LANCZOS)
    with pytest.raises(ValueError, match="expected bilinear or bicubic interpolation, got lanczos"):
        steps.differentiable(torch.zeros(1, 3, 9, 9))
