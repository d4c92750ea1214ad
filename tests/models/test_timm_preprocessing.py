"""Pictures for timm's networks are cut as timm's own transform for evaluation cuts them, whatever the configuration."""

import contextlib
from typing import Any

import numpy as np
import pytest
import timm
import torch
from pairwise import each_once
from PIL import Image
from timm.data import create_transform, resolve_data_config
from torch import nn

from advbench.errors import UserError
from advbench.models.classifier import Classifier
from advbench.models.sources.timm import TimmTransform

SIZES = [(97, 61), (375, 500), (350, 700), (224, 224), (1300, 90)]
"""Width and height of pictures: smaller and larger than the networks' input, upright, square, a panorama."""


def distinct(*fields: str) -> dict[tuple[Any, ...], str]:
    """Every distinct combination of fields among timm's pretrained configurations, and the first name that has it."""
    found: dict[tuple[Any, ...], str] = {}
    for name in timm.list_pretrained():
        config = resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
        filled = config["mean"] if config["crop_mode"] == "border" else ()
        found.setdefault((*(config[field] for field in fields), filled), name)
    return found


def picture(width: int, height: int) -> Image.Image:
    """Noise over a slope: resampling, cropping and padding all leave their traces in it."""
    generator = np.random.default_rng(width * 10_000 + height)
    slope = np.linspace(0, 128, width)[None, :, None] + np.linspace(0, 64, height)[:, None, None]
    return Image.fromarray((slope + generator.integers(0, 60, (height, width, 3))).astype(np.uint8))


GEOMETRIES = distinct("crop_mode", "input_size", "crop_pct", "interpolation")


def test_all_ways_of_cutting_are_tried() -> None:
    assert {key[0] for key in GEOMETRIES} == {"center", "squash", "border"}
    assert any(height != width for _, (_, height, width), *_ in GEOMETRIES)


def wrapped(config: Any) -> Classifier:
    ours = TimmTransform(config)
    return Classifier(
        nn.Flatten(), num_classes=3, mean=ours.mean, std=ours.std, input_size=ours.size, preprocess=ours
    )  # fmt: skip


@each_once("name, size", list(GEOMETRIES.values()), SIZES)
def test_pixels_are_those_of_timm(name: str, size: tuple[int, int]) -> None:
    config = timm.get_pretrained_cfg(name)
    resolved = resolve_data_config(pretrained_cfg=config.to_dict())
    model, theirs = wrapped(config), create_transform(**resolved, is_training=False, normalize=False)
    x = model.preprocess(picture(*size))
    assert x.shape[1:] == model.sides(otherwise=1) == resolved["input_size"][1:]
    assert torch.equal(x, theirs(picture(*size)).float() / 255)


@pytest.mark.parametrize("name", distinct("mean", "std").values())
def test_what_the_network_gets_is_what_timm_would_give_it(name: str) -> None:
    config = timm.get_pretrained_cfg(name)
    model = wrapped(config)
    theirs = create_transform(**resolve_data_config(pretrained_cfg=config.to_dict()), is_training=False)
    given: list[torch.Tensor] = []
    model.module.register_forward_pre_hook(lambda _, arguments: given.extend(arguments))
    shown = picture(90, 120)
    with contextlib.suppress(ValueError):  # the flattened image is no answer of three classes
        model(model.preprocess(shown).unsqueeze(0))
    torch.testing.assert_close(given[0][0], theirs(shown), atol=2e-6, rtol=2e-6)


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
def test_a_thread_of_a_picture_is_cut_or_refused(mode: str) -> None:
    name = next(name for key, name in GEOMETRIES.items() if key[0] == mode)
    transform, thread = TimmTransform(timm.get_pretrained_cfg(name)), Image.new("RGB", (1, 60_000))
    if mode == "squash":
        assert transform(thread).shape[1:] == transform.size
        return
    with pytest.raises(UserError, match="too long and thin"):
        transform(thread)


def test_pictures_without_colours_and_with_transparency() -> None:
    transform = TimmTransform(timm.get_pretrained_cfg("resnet18.a1_in1k"))
    for mode in ("L", "RGBA", "P"):
        assert transform(picture(300, 200).convert(mode)).shape == (3, 224, 224)
