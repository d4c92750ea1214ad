"""Trust flags for a data set itself: pictures resized twice, duplicates, and pictures that the model was trained on."""

from collections import Counter, defaultdict
from collections.abc import Container, Hashable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from advbench.catalog import DATASETS, MODELS
from advbench.datasets.images.ids import content_of
from advbench.models.classifier import Classifier
from advbench.models.preprocess import ResizeAndCrop
from advbench.records.flag import Finding, Flag

LOOKED_AT = 16
"""Number of pictures whose sizes and details are examined."""
MANY = 0.01
"""Smallest share of duplicates that counts as changing the numbers."""
DETAIL = 1.5
"""Smallest loss from halving a picture (root mean square, in grey levels) at which it counts as having fine details."""
_CONTRAST = 10.0


class Shown(NamedTuple):
    """A data set as it is measured on a model."""

    ids: Sequence[str]
    """Ids of the images that are used (N), derived from their content."""
    labels: Sequence[Hashable] | None = None
    """True classes of these images (N), or the labels of each."""
    pictures: Sequence[Image.Image] = ()
    """Some of the pictures at their original size, of which the first `LOOKED_AT` are examined."""
    trained_on: Container[str] = ()
    """Ids of images that the model is known to have been trained on."""
    train_split: bool = False
    """Whether it is the training split of a data set that the model was made for."""


def check_set(model: Classifier, shown: Shown, *, dataset: str) -> list[Flag]:
    """Look for pictures of a data set that would distort the numbers. The model is not run.

    Args:
        model: Classifier whose preprocessing the pictures go through.
        shown: The images, and what is known about them.
        dataset: Name of the data set, for the flags.

    Returns:
        Flags D4 to D6.

    Example:
        >>> from torch import nn
        >>> net = Classifier(nn.Flatten(), num_classes=4, name="net")
        >>> [flag.message for flag in check_set(net, Shown(ids=["ab", "cd", "ab-2"]), dataset="toy")]
        ['1 of 3 images are duplicates (33.3%)']
    """
    found = [*_resized(model, shown.pictures[:LOOKED_AT]), *_repeated(shown), *_learnt(shown)]
    return [Flag(model=model.name, dataset=dataset, **each._asdict()) for each in found]


def is_train_split(data: str, model: str, split: str | None) -> bool:
    """Whether a catalogue model was trained on this split of a catalogue data set.

    Example:
        >>> is_train_split("cifar10", "cifar10_resnet_robust", "train"), is_train_split("cifar10", "vgg16", "train")
        (True, False)
    """
    if split is None or not split.startswith("train") or data not in DATASETS or model not in MODELS:
        return False
    return bool(DATASETS[data].data) and DATASETS[data].data == MODELS[model].data


def _resized(model: Classifier, pictures: Sequence[Image.Image]) -> Iterator[Finding]:
    """D4: pictures had been enlarged before resizing, or already had the model's size before they are cropped."""
    resize = model.preprocess
    if not pictures or not isinstance(resize, ResizeAndCrop) or model.input_size is None:
        return
    height, width = model.sides(otherwise=0)
    sizes = {picture.size for picture in pictures}
    if sizes == {(width, height)}:
        if resize.resize is not None and resize.resize != resize.size:
            yield Finding(
                "D4", "F", f"the pictures have the model's size, {width} x {height}, and are resized and cropped again",
                "use the original pictures, or a preprocess that leaves them unchanged: ResizeAndCrop(size=...)",
            )  # fmt: skip
        return
    lost = [detail for picture in pictures if (detail := lost_by_halving(picture)) is not None]
    if len(lost) >= 4 and float(np.median(lost)) < DETAIL:
        shape = " x ".join(map(str, Counter(picture.size for picture in pictures).most_common(1)[0][0]))
        yield Finding(
            "D4", "F",
            f"pictures of {shape} pixels have no details finer than half of that ({np.median(lost):.2g} grey levels), "
            f"and are resized again to {width} x {height}",
            "were they enlarged before? Use them at their original size", float(np.median(lost)),
        )  # fmt: skip


def lost_by_halving(picture: Image.Image) -> float | None:
    """Measure what a picture loses when it is halved in size and enlarged again.

    Args:
        picture: Picture of any mode.

    Returns:
        Root mean square of the difference, in grey levels from 0 to 255; None for a picture that is flat or tiny.

    Example:
        >>> lost_by_halving(Image.new("L", (64, 64), 128)) is None
        True
    """
    grey = picture.convert("L")
    if min(grey.size) < 16 or float(np.asarray(grey, np.float32).std()) < _CONTRAST:
        return None
    half = grey.resize((grey.width // 2, grey.height // 2), Image.Resampling.LANCZOS)
    again = half.resize(grey.size, Image.Resampling.BICUBIC)
    inner = (slice(4, -4), slice(4, -4))  # borders are extrapolated
    apart = np.asarray(grey, np.float32)[inner] - np.asarray(again, np.float32)[inner]
    return float(np.sqrt((apart**2).mean()))


def _repeated(shown: Shown) -> Iterator[Finding]:
    """D5: images occur more than once, perhaps with different labels."""
    times = Counter(map(content_of, shown.ids))
    more = sum(times.values()) - len(times)
    if not more:
        return
    labels: dict[str, set[Hashable]] = defaultdict(set)
    for name, label in zip(shown.ids, shown.labels or (), strict=False):
        labels[content_of(name)].add(label)
    contradictory = sum(len(each) > 1 for each in labels.values())
    share = more / len(shown.ids)
    also = f", {contradictory} of them with different labels" if contradictory else ""
    yield Finding(
        "D5", "F" if share >= MANY or contradictory else "I",
        f"{more} of {len(shown.ids)} images are duplicates ({share:.1%}){also}",
        "leave the duplicates out: each counts as if it were another image", share,
    )  # fmt: skip


def _learnt(shown: Shown) -> Iterator[Finding]:
    """D6: images are among those that the model was trained on."""
    if shown.train_split:
        yield Finding("D6", "F", "the images are of the training split", "measure on images it has not seen", 1.0)
        return
    known = sum(content_of(name) in shown.trained_on for name in shown.ids)
    if known:
        share = known / len(shown.ids)
        yield Finding(
            "D6", "F", f"the model was trained on {known} of the {len(shown.ids)} images ({share:.1%})",
            "measure on images it has not seen", share,
        )  # fmt: skip
