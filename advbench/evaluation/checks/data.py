"""Trust flags for a model on a data set: labels, normalisation and channels that silently ruin every number.

A forgotten normalisation is the most frequent mistake in evaluations, and none of the mistakes below raises an
exception: accuracy is lower than it should be, and the robustness is that of a network that nobody would use.
"""

from collections import Counter
from collections.abc import Iterator

import torch
from torch import Tensor

from advbench.evaluation.checks import normalisation
from advbench.evaluation.checks.normalisation import LEVEL, USUAL, Norm, asked, at_least, normalised_otherwise
from advbench.evaluation.checks.truth import predictions
from advbench.intervals import wilson
from advbench.models.classifier import Classifier
from advbench.records.flag import Finding, Flag
from attacks.protocols import Model
from attacks.searches.draws import seeded

LOOKED_AT = 64
"""Number of images that are examined."""
_SHUFFLES, _FEWEST = 999, 10
"""Number of random orders in which labels are compared, and smallest number of images for this to mean anything."""
CLOSE_TO_CHANCE = 0.2
"""Accuracy above chance that must be ruled out, with 99 % confidence, before labels are reported as wrong."""


def check_data(
    model: Model,
    x: Tensor,
    labels: Tensor,
    *,
    dataset: str,
    name: str | None = None,
    seed: int = 0,
    within: object = None,
) -> list[Flag]:
    """Look for labels, a normalisation and an order of channels that the model was not trained with.

    This takes two passes over the images, and more if the model is wrong about ten or more, or unsure of the others.

    Args:
        model: Images -> logits. A :class:`Classifier` says how it normalises; others are assumed not to normalise.
        x: Some images (N, C, H, W) in [0, 1], of which the first `LOOKED_AT` are examined.
        labels: True classes (N,), or which labels apply, bool (N, C).
        dataset: Name of the images' data set, for the flags.
        name: Name of the model, for the flags; None: its attribute `name`.
        seed: Seed for a model that draws random numbers; the state of the global generators is restored.
        within: The model inside the wrapper; if it is a :class:`Classifier`, it says how it normalises. None: `model`.

    Returns:
        Flags D1 to D3; with several labels per image, only D1.

    Example:
        >>> x, labels = torch.eye(8).repeat(8, 1).reshape(64, 1, 2, 4), torch.arange(8).repeat(8)
        >>> [flag.id for flag in check_data(lambda x: x.flatten(1), x, (labels + 1) % 8, dataset="toy", name="net")]
        ['D1']
    """
    called = name or str(getattr(model, "name", type(model).__name__))
    x, labels = x[:LOOKED_AT], labels[:LOOKED_AT].to(x.device)
    stated = model if within is None else within
    norm = (stated.mean, stated.std) if isinstance(stated, Classifier) else USUAL["no normalisation"]
    with seeded(seed, x.device), torch.no_grad():
        return [Flag(model=called, dataset=dataset, **found._asdict()) for found in _findings(model, x, labels, norm)]


def most_passes(count: int) -> int:
    """Most passes that :func:`check_data` takes over some images: two, and those for other normalisations.

    Example:
        >>> most_passes(64) > 11 * 64
        True
    """
    count = min(count, LOOKED_AT)
    return 2 * count + normalisation.most_passes(count)


def _findings(model: Model, x: Tensor, labels: Tensor, norm: Norm) -> Iterator[Finding]:
    if not len(x):
        return
    logits = asked(model, x)
    if not bool(logits.isfinite().all()):  # M5 reports this
        return
    if labels.ndim == 2:  # the other rules compare classes and their confidences
        yield from _of_other_images(predictions(model, logits), labels)
        return
    yield from _labels(logits.argmax(1), labels)
    if x.ndim == 4:
        yield from normalised_otherwise(model, x, labels, logits, norm)
        yield from _channels(model, x, labels, logits)


def _labels(answers: Tensor, labels: Tensor) -> Iterator[Finding]:
    """D1: the model is right no more often than predictions unrelated to the labels would be."""
    count, correct = len(labels), int((answers == labels).sum())
    said, true = Counter(answers.tolist()), Counter(labels.tolist())
    chance = sum(said[each] * true[each] for each in true) / count**2
    likely = at_least(correct, count, chance)
    if likely > LEVEL and wilson(correct, count, level=0.99).high < chance + CLOSE_TO_CHANCE < 1:
        message = f"{correct} of {count} images are right, no more than by chance ({chance:.1%}, p = {likely:.2g})"
        yield Finding("D1", "E", message, _better_order(answers, labels), correct / count)


def _of_other_images(answers: Tensor, labels: Tensor) -> Iterator[Finding]:
    """D1 for several labels: the predictions fit the labels no better than they fit those of other images."""
    generator = torch.Generator().manual_seed(0)
    agreed = float((answers == labels).float().mean())
    drawn = [torch.randperm(len(labels), generator=generator).to(labels.device) for _ in range(_SHUFFLES)]
    others = [float((answers == labels[order]).float().mean()) for order in drawn]
    likely = (1 + sum(other >= agreed for other in others)) / (1 + _SHUFFLES)
    chance = sum(others) / len(others)
    close = agreed - chance < CLOSE_TO_CHANCE * (1 - chance)
    if likely > LEVEL and close and len(labels) >= _FEWEST:
        message = (
            f"{agreed:.1%} of the labels of {len(labels)} images agree with the model, and {chance:.1%} of those of "
            f"other images"
        )
        yield Finding("D1", "E", message, "do they belong to these images, in the order of the model's labels?", agreed)


def _better_order(answers: Tensor, labels: Tensor) -> str:
    """Advice for labels that do not fit."""
    count = len(labels)
    for step, what in ((1, "less"), (-1, "more")):
        if 2 * int((answers == labels - step).sum()) > count:
            return f"the model's classes are the labels with 1 {what}: count both from 0"
    modes = [Counter(answers[labels == each].tolist()).most_common(1)[0][1] for each in set(labels.tolist())]
    if count >= 4 * len(modes) and 3 * sum(modes) > 2 * count:
        return "each class is consistently predicted as another: the classes are in a different order; map them"
    return "look at them with `advbench datasets DATA --model M --out sheet.png`: are the classes right?"


def _channels(model: Model, x: Tensor, labels: Tensor, logits: Tensor) -> Iterator[Finding]:
    """D3: the model is more confident of the true classes if red and blue are swapped."""
    if x.shape[1] != 3 or bool((x[:, 0] == x[:, 2]).all()):
        return
    try:
        swapped = asked(model, x.flip(1))
    except Exception:
        return
    before, after = (each.log_softmax(1).gather(1, labels.unsqueeze(1)).squeeze(1) for each in (logits, swapped))
    better, differ = int((after > before).sum()), int((after != before).sum())
    own, other = (float((each.argmax(1) == labels).float().mean()) for each in (logits, swapped))
    if other >= own and at_least(better, differ, 0.5) < LEVEL and 3 * better > 2 * differ:
        yield Finding(
            "D3", "F",
            f"with red and blue swapped the true class is more likely on {better} of {differ} images, and accuracy is "
            f"{other:.1%} instead of {own:.1%}",
            "was the network trained on BGR, or were the images saved as BGR? Swap the channels at the model's input",
            other,
        )  # fmt: skip
