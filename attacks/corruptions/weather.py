"""Snow, frost, fog and drops on the lens. Images are (H, W, 3), float64 in [0, 1], with 256 levels."""

import torch
from torch import Tensor

from attacks.corruptions import filters
from attacks.corruptions.colours import luminance
from attacks.corruptions.constants import Constants
from attacks.corruptions.draws import Draws
from attacks.corruptions.edges import distances, edges, equalised, relief

WATER, MUD = (175, 238, 238), (63, 42, 20)
"""Colours of drops, 0 to 255."""
ICE = (1.3, 1.1, 0.9)
"""Exponents that give frost its colour: thin ice is blue, thick ice white."""
SPARSE, DIRECTIONS = 2.0, 6
"""Standard deviations beyond which a needle of ice grows from a pixel, and directions in which needles grow."""
LEVELS, FINE, COARSE = (0.35, 0.8), 0.09, 0.08
"""Range of the mean brightness of frost, and the standard deviations of its needles and its patches, similar to those
of the benchmark's photographs."""


def snow(x: Tensor, constants: Constants, draws: Draws) -> Tensor:
    """Falling flakes over a whitened scene.

    Args:
        x: Image (H, W, 3).
        constants: Mean, standard deviation, zoom and threshold of the flakes; radius and standard deviation of their
            trail; fraction of the scene's own colours.
        draws: Random numbers of the image.
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
    """Patches of fog; constants are their strength, and how fast their finer details fade."""
    strength, decay = constants
    height, width = x.shape[:2]
    brightest = x.max()
    patches = plasma(1 << (max(height, width) - 1).bit_length(), decay, draws)[:height, :width]
    return (x + strength * patches.unsqueeze(2)) * brightest / (brightest + strength)


def frost(x: Tensor, constants: Constants, draws: Draws) -> Tensor:
    """Ice crystals on a window; constants are the weights of the scene and of the ice.

    The benchmark overlays one of six photographs. This generates ice instead: needles that grow from random pixels, on
    fractal noise, as bright and as rough as in those photographs.
    """
    scene, ice = constants
    height, width = x.shape[:2]
    side = 1 << (max(height, width) - 1).bit_length()
    length = max(3, side // 16)
    needles = torch.zeros(height, width, dtype=torch.float64)
    for _ in range(DIRECTIONS):
        seeds = (draws.normal(height, width) > SPARSE).double()
        grown = filters.motion_blur(seeds, length, length / 2, float(draws.between(0, 360)))
        needles = torch.maximum(needles, grown)
    patches = plasma(side, 2.0, draws)[:height, :width]
    level = draws.between(*LEVELS)
    texture = (level + FINE * _standard(needles).clamp(-1, 3) + COARSE * _standard(patches)).clamp(0, 1)
    return scene * x + ice * texture.unsqueeze(2) ** x.new_tensor(ICE)


def spatter(x: Tensor, constants: Constants, draws: Draws) -> Tensor:
    """Drops of water, or of mud.

    Args:
        x: Image (H, W, 3).
        constants: Mean and standard deviation of noise, standard deviation of the blur that turns it into drops, the
            threshold for a drop, its strength (for mud: standard deviation of another blur), and 1 for mud.
        draws: Random numbers of the image.
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
    """Amount of water colour added to each pixel (H, W), at most 1: most at the rims, which catch the light."""
    rims = equalised(filters.box_blur(distances(edges(liquid), 20)).floor())
    light = liquid * filters.box_blur(relief(rims)).round()
    return light / light.max().clamp(min=1)


def plasma(side: int, decay: float, draws: Draws) -> Tensor:
    """Fractal noise by midpoint displacement (diamond and square), on a torus.

    Args:
        side: Height and width, a power of two.
        decay: Factor by which displacements shrink when the distance halves.
        draws: Random numbers of the image.

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
    """Values shifted and scaled to span 0 to 1."""
    low, high = values.min(), values.max()
    return (values - low) / (high - low).clamp(min=1e-12)


def _standard(values: Tensor) -> Tensor:
    """Values shifted and scaled to mean 0 and standard deviation 1."""
    return (values - values.mean()) / values.std().clamp(min=1e-12)
