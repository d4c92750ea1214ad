"""Everything that touches Foolbox: its import, its isolation, one run of one of its attacks on float32 images."""

import importlib
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from attacks.foolbox.model import FoolboxModel, cleared, compared
from attacks.foolbox.row import Row
from attacks.geometry.rows import column, flat
from attacks.goals import Goal

_AT_ONCE = 16
"""Number of images of the pool that "dataset" evaluates together."""

CARRIED = {1: "mnist", 3: "imagenet"}
"""Number of channels -> Foolbox's name for its 20 sample images of that kind."""


def load() -> Any:
    """The package foolbox, imported on first use.

    Raises:
        ModuleNotFoundError: If it is not installed.

    Example:
        >>> load().__version__
        '3.3.4'
    """
    # Foolbox's zoo, which is not used here, imports GitPython, which cannot be imported without git.
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Please import `gaussian_filter`", DeprecationWarning)
        try:
            return importlib.import_module("foolbox")
        except ModuleNotFoundError as error:
            if error.name != "foolbox":
                raise
            raise ModuleNotFoundError('attacks.foolbox needs Foolbox: pip install "foolbox==3.3.4"') from None


@contextmanager
def apart(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the generators of torch and numpy, restore them afterwards, and silence Foolbox's messages and warnings.

    Args:
        seed: The seed for both; any integer.
        device: The device of the images.
    """
    import numpy as np

    before = np.random.get_state()  # noqa: NPY002  Foolbox draws from this generator
    # Without a handler, Foolbox's first message would cause all later log messages of the program to be printed.
    listener = logging.NullHandler()
    logging.root.addHandler(listener)
    accelerators = [] if device.type == "cpu" else [device]
    with (
        torch.random.fork_rng(accelerators, device_type=accelerators[0].type if accelerators else "cuda"),
        warnings.catch_warnings(),
        torch.inference_mode(False),
        torch.enable_grad(),
    ):
        warnings.filterwarnings("ignore", module="foolbox|eagerpy")
        warnings.filterwarnings("ignore", "torch.meshgrid")
        # Not torch.manual_seed, which would seed all devices.
        torch.default_generator.manual_seed(seed % 2**64)
        for accelerator in accelerators:
            torch.get_device_module(accelerator).manual_seed(seed % 2**64)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        try:
            yield
        finally:
            np.random.set_state(before)  # noqa: NPY002
            logging.root.removeHandler(listener)


def answer(
    row: Row, parameters: Mapping[str, object], door: FoolboxModel, x: Tensor, options: Mapping[str, object]
) -> Tensor:
    """Run one of Foolbox's attacks on images.

    Args:
        row: The attack's row.
        parameters: The parameters of its class.
        door: The model as seen by Foolbox.
        x: Images (n, ...), float32, in [0, 1].
        options: Options of the run: ``epsilon``, ``starting_points``.

    Returns:
        Images (n, ...), unchecked; the originals replace black ones that mean "found nothing".
    """
    from eagerpy.astensor import astensor

    attack = getattr(load().attacks, row.attack)(**parameters)
    # Some attacks only accept EagerPy tensors.
    wrapped = {key: astensor(value) if isinstance(value, Tensor) else value for key, value in options.items()}
    x_adv: Tensor = attack.run(door, astensor(x), _criterion(door.goal), **wrapped).raw
    if row.black:
        x_adv = torch.where(column(flat(x_adv).amax(1), x) == 0, x, x_adv)
    return x_adv


def choose(door: FoolboxModel, x: Tensor, feed: Tensor | None) -> Tensor:
    """Run Foolbox's DatasetAttack on one image (1, ...): the first fed image, in random order, that fools.

    Foolbox uses at most as many fed images as its batch has, so the batch consists of that number of copies of the
    image.
    """
    from eagerpy.astensor import astensor

    pool = _samples(x) if feed is None else feed.to(x)
    order = torch.randperm(len(pool)).to(x.device)
    for start in range(0, len(order), _AT_ONCE):
        batch = torch.cat([x, pool[order[start : start + _AT_ONCE]]])
        many = door.repeated(len(batch))
        attack = load().attacks.DatasetAttack()
        attack.feed(many, astensor(batch))
        found: Tensor = attack.run(many, astensor(x.expand_as(batch)), _criterion(many.goal)).raw[:1]
        if bool((found != x).any()):
            return found
    return x


def _samples(x: Tensor) -> Tensor:
    """The images that come with Foolbox, resized to the size of ``x`` (1, C, H, W)."""
    images, _ = load().samples(
        None, CARRIED[x.shape[1]], batchsize=20, data_format="channels_first", bounds=FoolboxModel.bounds
    )
    pool = torch.from_numpy(images).to(x)
    return torch.nn.functional.interpolate(pool, x.shape[2:], mode="bilinear", antialias=True).clamp(0, 1)


def _criterion(goal: Goal) -> Any:
    """The goal in Foolbox's terms."""
    from foolbox.criteria import Criterion, Misclassification, TargetedMisclassification

    class Cleared(Criterion):
        """Any other goal; attacks that compare classes themselves reject it."""

        def __repr__(self) -> str:
            return type(goal).__name__

        def __call__(self, perturbed: Any, outputs: Any) -> Any:
            return type(outputs)(cleared(goal, outputs.raw))

    labels, targets = compared(goal)
    if labels is not None:
        return Misclassification(labels)
    return Cleared() if targets is None else TargetedMisclassification(targets)
