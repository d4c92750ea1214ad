"""Corruptions beside the package imagecorruptions-imaug, which is given the same random numbers."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from attacks import Untargeted
from attacks.corruptions import CORRUPTIONS, SEVERITIES, Corruption
from attacks.corruptions.blurs import _moved
from attacks.corruptions.draws import Draws
from attacks.corruptions.noises import poisson

peer = pytest.importorskip(
    "imagecorruptions.corruptions", reason="imagecorruptions-imaug 1.1.5 is not installed: advbench[corruptions-peer]"
)
SEED, ID = 5, 11
LEFT_OUT = "frost"
"""The package lays photographs of frost over the image; ours is drawn."""


class SameNumbers:
    """Stands in for numpy.random: hands out the numbers that our corruption draws, in the same order."""

    def __init__(self):
        self._draws = Draws(SEED, ID)

    def normal(self, loc=0.0, scale=1.0, size=()):
        return loc + scale * self._draws.normal(*size).numpy()

    def uniform(self, low=0.0, high=1.0, size=()):
        return self._draws.between(low, high, *size).numpy()

    def random(self, size):
        return self._draws.uniform(*size).numpy()

    def poisson(self, mean):
        photons = mean.max()
        levels = np.round(255 * mean / photons).astype(int)
        return poisson(torch.from_numpy(levels), float(photons), self._draws.uniform(*mean.shape)).numpy()

    def integers(self, most):
        return 0

    def default_rng(self, seed=None):
        return self


def shuffled(height, width, x, constants, seed=None):
    """The pixels that the package would move, with our random numbers: its own generator is compiled."""
    reach, times = constants[1:]
    sources = _moved(height, width, reach, Draws(SEED, ID).uniform(times, height - 2 * reach, width - 2 * reach, 2))
    return x.reshape(height * width, 3)[sources.numpy()].reshape(x.shape)


def picture(height, width):
    """Smooth, colourful and with sharp edges; one pixel is white."""
    rows, columns = np.mgrid[0:height, 0:width] / max(height, width)
    x = np.stack([rows, columns, 0.5 + 0.5 * np.sin(20 * rows * columns)], 2)
    x[height // 3 : height // 2, width // 4 : width // 2] = (0.9, 0.2, 0.1)
    x[0, 0] = 1
    return (x * 255).round().astype(np.uint8)


@pytest.mark.parametrize("size", [(64, 64), (48, 80)], ids=["square", "wide"])
@pytest.mark.parametrize("name", [name for name in CORRUPTIONS if name != LEFT_OUT])
def test_same_picture_as_the_package(name, size, monkeypatch):
    same = SimpleNamespace(**{key: getattr(np, key) for key in dir(np) if key != "random"})
    x = picture(*size)
    image = torch.from_numpy(x).permute(2, 0, 1).unsqueeze(0) / 255
    monkeypatch.setattr(peer, "_shuffle_pixels_njit_glass_blur", shuffled)
    for severity in SEVERITIES:
        same.random = SameNumbers()
        with monkeypatch.context() as patch:
            patch.setattr(peer, "np", same)
            patch.setattr(np.random, "default_rng", same.random.default_rng)
            theirs = np.uint8(getattr(peer, name)(peer.Image.fromarray(x), severity))
        ours = Corruption(name, severity=severity, constants="imagenet")(
            lambda x: x.mean((2, 3)), image, Untargeted(torch.tensor([0]), ids=torch.tensor([ID])), seed=SEED
        )
        apart = (ours[0].permute(1, 2, 0) * 255).round().numpy() - theirs
        assert abs(apart).mean() <= 1, (severity, abs(apart).mean())


def test_the_same_swaps_as_the_package_without_its_compiler(monkeypatch):
    x = picture(28, 30)
    shares = Draws(SEED, ID).uniform(3, 24, 26, 2)
    numbers = iter(((shares * 4).floor() - 2).int().reshape(-1, 2).numpy())
    same = SimpleNamespace(seed=lambda seed: None, randint=lambda low, high, size: next(numbers))
    monkeypatch.setattr(peer, "np", SimpleNamespace(random=same))
    plain = peer._shuffle_pixels_njit_glass_blur.py_func
    theirs = plain(28, 30, x.copy(), (1, 2, 3))
    sources = _moved(28, 30, 2, shares)
    np.testing.assert_array_equal(x.reshape(-1, 3)[sources.numpy()].reshape(x.shape), theirs)
