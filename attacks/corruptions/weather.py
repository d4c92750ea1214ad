"""Snow, frost, fog and drops on the lens. Images are (H, W, 3), float64 in [0, 1], of 256 levels."""

import torch
from torch import Tensor

from attacks.corruptions import filters
from attacks.corruptions.colours import luminance
from attacks.corruptions.constants import Constants
from attacks.corruptions.draws import Draws
from attacks.corruptions.edges import distances, edges, equalised, relief

WATER, MUD = (175, 238, 238), (63, 42, 20)
"""Colours of drops, 0 to 255."""
ICE = (0.80, 0.90, 1.0)
"""Colour of frost."""


def snow(x: Tensor, constants: Constants, draws: Draws) -> Tensor:
    """Flakes that fall, on a scene that is whiter.

    Args:
        x: Image.
        constants: Mean, deviation, zoom and threshold of the flakes; radius and deviation of their trail; share of the
            scene's own colours.
        draws: Random numbers.
    """
    mean, deviation, zoom, threshold, radius, sigma, own = constants
    height, width = x.shape[:2]
    flakes = filters.zoomed(mean + deviation * draws.normal(height, width), zoom)
    flakes = torch.where(flakes < threshold, 0.0, flakes).clamp(0, 1)
    flakes = filters.motion_blur(flakes, int(radius), sigma, float(draws.between(-135, -45)))
    flakes = ((flakes * 255).round() / 255)[:height, :width]
    whiter = torch.maximum(x, (luminance(x) * 1.5 + 0.5).unsqueeze(2))
    return own * x + (1 - own) * whiter + (flakes + flakes.rot90(2)).unsqueeze(2)


def fog(x: Tensor, constants: Constants, draws: Draws) -> Tensor:
    """Patches of fog; constants are their strength, and how fast their finer parts fade."""
    strength, decay = constants
    height, width = x.shape[:2]
    brightest = x.max()
    patches = plasma(1 << (max(height, width) - 1).bit_length(), decay, draws)[:height, :width]
    return (x + strength * patches.unsqueeze(2)) * brightest / (brightest + strength)


def frost(x: Tensor, constants: Constants, draws: Draws) -> Tensor:
    """Crystals on a window; constants are the shares of the scene and of the ice.

    The benchmark lays one of six photographs over the scene. This draws needles of ice in their place: ridges of fractal
    noise, drawn out in two directions, denser towards one side.
    """
    scene, ice = constants
    height, width = x.shape[:2]
    side = 1 << (max(height, width) - 1).bit_length()
    angle = draws.between(-90, 90)
    layers = []
    for turn in (0.0, 60.0, -60.0):
        ridges = (1 - (2 * plasma(side, 1.5, draws) - 1).abs()) ** 3
        length = max(4, side // 16)
        layers.append(filters.motion_blur(ridges, length, length / 2, float(angle) + turn))
    needles = _stretched(torch.stack(layers).amax(0)[:height, :width])
    cover = _stretched(plasma(side, 3.0, draws)[:height, :width])
    texture = (0.25 + 0.45 * cover + 0.55 * needles * (0.4 + 0.6 * cover)).clamp(0, 1)
    white = texture.unsqueeze(2) ** 2
    return scene * x + ice * texture.unsqueeze(2) * (white + (1 - white) * x.new_tensor(ICE))


def spatter(x: Tensor, constants: Constants, draws: Draws) -> Tensor:
    """Drops of water, or of mud.

    Args:
        x: Image.
        constants: Mean and deviation of noise, deviation of the blur that makes drops of it, the threshold from which
            there is a drop, its strength (of mud: deviation of another blur), and 1 for mud.
        draws: Random numbers.
    """
    mean, deviation, sigma, threshold, strength, mud = constants
    noise = mean + deviation * draws.normal(*x.shape[:2])
    liquid = filters.gaussian_blur(noise, sigma)
    liquid = torch.where(liquid < threshold, 0.0, liquid)
    if mud:
        cover = filters.gaussian_blur((liquid > threshold).double(), strength)
        cover = torch.where(cover < 0.8, 0.0, cover).unsqueeze(2)
        return x * (1 - cover) + cover * x.new_tensor(MUD) / 255
    drops = _drops((liquid * 255).floor().remainder(256))
    return x + strength * drops.unsqueeze(2) * x.new_tensor(WATER) / 255


def _drops(liquid: Tensor) -> Tensor:
    """How much of its colour water adds to each pixel (H, W), at most 1: most at the rims that catch the light."""
    rims = equalised(filters.box_blur(distances(edges(liquid), 20)).floor())
    light = liquid * filters.box_blur(relief(rims)).round()
    return light / light.max().clamp(min=1)


def plasma(side: int, decay: float, draws: Draws) -> Tensor:
    """Fractal noise by midpoint displacement (diamond and square), on a torus.

    Args:
        side: Height and width, a power of two.
        decay: How many times smaller the displacements are at half the distance.
        draws: Random numbers.

    Returns:
        Heights (side, side) from 0 to 1.
    """
    heights, step, wobble = torch.zeros(side, side, dtype=torch.float64), side, 100.0

    def displaced(total: Tensor) -> Tensor:
        return total / 4 + wobble * draws.between(-wobble, wobble, *total.shape)

    while step >= 2:
        half = step // 2
        corners = heights[::step, ::step]
        pairs = corners + corners.roll(-1, 0)
        heights[half::step, half::step] = displaced(pairs + pairs.roll(-1, 1))
        middles = heights[half::step, half::step]
        heights[::step, half::step] = displaced(middles + middles.roll(1, 0) + corners + corners.roll(-1, 1))
        heights[half::step, ::step] = displaced(middles + middles.roll(1, 1) + corners + corners.roll(-1, 0))
        step, wobble = half, wobble / decay
    return _stretched(heights)


def _stretched(values: Tensor) -> Tensor:
    """Values moved and scaled to reach from 0 to 1."""
    low, high = values.min(), values.max()
    return (values - low) / (high - low).clamp(min=1e-12)
