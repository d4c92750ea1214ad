"""Common corruptions: deterministic by image, stronger with severity, bounded, and refused where they make no sense."""

import re

import pytest
import torch

from attacks import Linf, Untargeted
from attacks.corruptions import COMMON, CORRUPTIONS, EXTRA, SEVERITIES, Corruption
from attacks.corruptions.colours import from_hsv, luminance, to_hsv
from attacks.corruptions.constants import CIFAR, IMAGENET, TINY, VARIANTS, constants_for
from attacks.corruptions.corruption import CHANGES
from attacks.corruptions.draws import Draws
from attacks.corruptions.edges import distances, edges, equalised
from attacks.corruptions.filters import gaussian_blur, motion_blur, zoomed
from attacks.corruptions.noises import poisson
from attacks.corruptions.weather import plasma

DRAWN = {
    *("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise", "glass_blur", "motion_blur", "snow", "frost"),
    *("fog", "elastic_transform", "spatter"),
}
"""Corruptions with something random about them."""
UNEVEN = {"saturate", "spatter", "glass_blur", "snow", "frost", "elastic_transform", "pixelate"}
"""Corruptions whose constants do not all grow with the severity, in the benchmark too; pixelate depends on the grid."""


def never_asked(x):
    raise AssertionError("a corruption must not ask the model")


def scene(side, channels=3, count=1):
    """Smooth colours with sharp edges, the same for every image of the batch."""
    rows, columns = torch.meshgrid(*(torch.linspace(0, 1, side) for _ in range(2)), indexing="ij")
    x = torch.stack([0.2 + 0.5 * rows, 0.7 - 0.5 * columns, 0.5 + 0.3 * torch.sin(12 * rows * columns)])[:channels]
    x[:, side // 3 : side // 2, side // 4 : side // 2] = torch.tensor([0.8, 0.3, 0.1])[:channels, None, None]
    return x.expand(count, -1, -1, -1).clone()


def corrupted(name, x, ids=None, seed=0, **fields):
    ids = torch.arange(len(x)) if ids is None else torch.tensor(ids)
    goal = Untargeted(torch.zeros(len(x), dtype=torch.int64), ids=ids)
    return Corruption(name, **fields)(never_asked, x, goal, seed=seed)


def test_the_nineteen():
    assert len(COMMON) == 15
    assert len(EXTRA) == 4
    assert tuple(CHANGES) == CORRUPTIONS
    for table in (IMAGENET, TINY, CIFAR):
        assert sorted(table) == sorted(CORRUPTIONS)
        assert {len(constants) for constants in table.values()} == {5}


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_picture_is_the_same_whatever_the_batch_and_another_with_another_seed_or_id(name):
    x = scene(32, count=3)
    together = corrupted(name, x, ids=[5, 9, 5], severity=4, seed=2)
    alone = corrupted(name, x[:1], ids=[9], severity=4, seed=2)
    assert torch.equal(together[1], alone[0])
    assert torch.equal(together[0], together[2])
    differ = not torch.equal(together[0], together[1])
    anew = not torch.equal(alone, corrupted(name, x[:1], ids=[9], severity=4, seed=3))
    assert (differ, anew) == (name in DRAWN,) * 2


@pytest.mark.parametrize("side", [32, 64, 130])
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_values_are_levels_within_the_box_and_grow_apart_with_severity(name, side):
    x = scene(side)
    sizes = []
    for severity in SEVERITIES:
        x_adv = corrupted(name, x, severity=severity)
        assert x_adv.shape == x.shape
        assert x_adv.dtype == x.dtype
        assert 0 <= x_adv.min() <= x_adv.max() <= 1
        assert torch.allclose(x_adv * 255, (x_adv * 255).round(), atol=1e-4)
        sizes.append(float((x_adv - x).abs().mean()))
    if name not in UNEVEN:
        assert sizes == sorted(sizes)
    elif side == 130 and name != "saturate":
        assert sizes[-1] > sizes[0]
    assert max(sizes) > 0.002


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_grey_images_and_images_that_are_not_square(name):
    grey = corrupted(name, scene(28, channels=1), severity=5)
    assert grey.shape == (1, 1, 28, 28)
    wide = torch.cat([scene(32), scene(32)], 3)
    assert corrupted(name, wide, severity=5).shape == (1, 3, 32, 64)


def test_images_come_back_in_their_own_precision():
    assert corrupted("fog", scene(32).double()).dtype == torch.float64


def test_constants_go_by_the_shorter_side():
    sides = {28: "cifar", 47: "cifar", 48: "tiny", 127: "tiny", 128: "imagenet", 224: "imagenet"}
    for side, variant in sides.items():
        for severity in SEVERITIES:
            expected = VARIANTS[variant][1]["contrast"][severity - 1]
            assert constants_for("contrast", severity, side) == expected
    asked = corrupted("contrast", scene(32), severity=3, constants="imagenet")
    assert not torch.equal(asked, corrupted("contrast", scene(32), severity=3))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"severity": 6}, "expected severity of Corruption to be one of 1, 2, 3, 4, 5, got 6"),
        ({"severity": 0}, "expected severity of Corruption > 0, got 0"),
        ({"severity": 2.5}, "expected severity of Corruption to be a whole number"),
        ({"constants": "imagenette"}, "expected constants of Corruption to be one of auto, cifar"),
    ],
)
def test_parameters_are_checked(fields, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Corruption("fog", **fields)


def test_an_unknown_corruption_is_refused():
    with pytest.raises(
        ValueError, match=r"expected corruption of Corruption to be one of gaussian_noise, .*got 'smog'"
    ):
        Corruption("smog")


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.rand(1, 3, 27, 40), "expected images of at least 28 x 28 pixels for a corruption, got 27 x 40"),
        (torch.rand(1, 4, 32, 32), "expected images of 1 or 3 channels for a corruption, got 4"),
        (torch.rand(1, 12), "expected images .N, C, H, W. for Corruption"),
    ],
)
def test_images_that_cannot_be_corrupted_are_refused(x, message):
    with pytest.raises(ValueError, match=message):
        corrupted("fog", x)


def test_an_eps_is_refused():
    goal = Untargeted(torch.tensor([0]))
    with pytest.raises(ValueError, match="expected no eps for a corruption, whose strength is its severity"):
        Corruption("fog", norm=Linf())(never_asked, scene(32), goal, eps=0.1)


def test_photons_have_the_mean_and_the_variance_of_poisson():
    share = Draws(0, 0).uniform(40_000)
    for level, photons in ((255, 3.0), (128, 60.0), (255, 500.0)):
        counts = poisson(torch.full((40_000,), level), photons, share)
        mean = photons * level / 255
        assert float(counts.mean()) == pytest.approx(mean, rel=0.02)
        assert float(counts.var()) == pytest.approx(mean, rel=0.03)


def test_colours_survive_the_way_to_hue_and_back():
    x = torch.rand(20, 20, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x[0] = 0.5
    x[1] = 0
    assert torch.allclose(from_hsv(to_hsv(x)), x, atol=1e-12)
    assert torch.allclose(luminance(x[0]), torch.full((20,), 0.5).double())


def test_blurs_keep_an_even_image():
    x = torch.full((30, 40, 3), 0.3, dtype=torch.float64)
    for blurred in (gaussian_blur(x, 2.0), gaussian_blur(x, (0.0, 1.5)), motion_blur(x, 10, 3, 30.0), zoomed(x, 1.2)):
        assert torch.allclose(blurred, torch.full_like(blurred, 0.3))


def test_fog_is_noise_from_black_to_white():
    heights = plasma(64, 2.0, Draws(0, 0))
    assert (heights.min(), heights.max()) == (0, 1)
    assert 0.2 < heights.mean() < 0.8


def test_edges_of_a_square_and_distances_to_them():
    grey = torch.zeros(40, 40, dtype=torch.float64)
    grey[10:30, 10:30] = 200
    found = edges(grey)
    assert 60 <= int(found.sum()) <= 160
    assert not found[15:25, 15:25].any()
    away = distances(found, 5)
    assert away[found].eq(0).all()
    assert away[20, 20] == 5
    levels = equalised(grey)
    assert sorted(levels.unique().tolist()) == [0, 255]
