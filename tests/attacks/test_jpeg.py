"""The differentiable JPEG, beside the files that Pillow writes."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from attacks import jpeg


def smooth_picture(height, width, channels, seed=0):
    generator = torch.Generator().manual_seed(seed)
    rough = torch.rand(1, channels, 5, 6, generator=generator)
    x = torch.nn.functional.interpolate(rough, (height, width), mode="bicubic", align_corners=False)
    noise = 0.05 * torch.randn(1, channels, height, width, generator=generator)
    return ((x + noise).clamp(0.1, 0.9) * 255).round() / 255


def saved(x, quality):
    values = (x[0] * 255).round().byte().permute(1, 2, 0).squeeze(2).numpy()
    file = io.BytesIO()
    Image.fromarray(values).save(file, "JPEG", quality=quality, subsampling=0)
    read = torch.from_numpy(np.array(Image.open(file))).float()
    return (read.unsqueeze(2) if read.ndim == 2 else read).permute(2, 0, 1).unsqueeze(0) / 255


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("quality", [100, 95, 75, 30, 5])
@pytest.mark.parametrize("size", [(32, 48), (29, 43)])
def test_it_is_what_pillow_writes_but_for_rounding(channels, quality, size):
    x = smooth_picture(*size, channels)
    found, wanted = jpeg(x, quality), saved(x, quality)
    apart = (found - wanted).abs() * 255
    assert float(apart.mean()) < 1.0
    # A coefficient halfway between two steps may fall to either side, and moves a whole block.
    assert float(apart.flatten().quantile(0.95)) < 4.0
    if quality < 50:
        assert float((x - wanted).abs().mean()) * 255 > 3 * float(apart.mean())


def test_the_gradient_passes_straight_through():
    x = smooth_picture(16, 24, 3).requires_grad_()
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    (gradient,) = torch.autograd.grad((jpeg(x, 95) * direction).sum(), x)
    assert torch.allclose(gradient, direction, atol=1e-3)


@pytest.mark.parametrize("quality", [0, 101, -5])
def test_a_quality_out_of_range_is_refused(quality):
    with pytest.raises(ValueError, match=f"expected a JPEG quality of 1 to 100, got {quality}"):
        jpeg(torch.zeros(1, 3, 8, 8), quality)


def test_other_images_are_refused():
    with pytest.raises(ValueError, match="1 or 3 channels, got shape"):
        jpeg(torch.zeros(1, 4, 8, 8), 95)


@pytest.mark.parametrize("quality", [1, 10, 50, 75, 95])
def test_ripples_at_edges_are_cut_off_before_colours_are_made_of_them(quality):
    x = torch.rand(1, 3, 33, 37, generator=torch.Generator().manual_seed(1)).round()
    found = jpeg(x, quality)
    apart = (found - saved(x, quality)).abs() * 255
    assert float(apart.mean()) < 0.8
    assert float(apart.max()) < 30
    torch.testing.assert_close(found * 255, (found * 255).round(), atol=1e-4, rtol=0)
