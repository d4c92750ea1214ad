"""Trust flags of a model on a data set: labels, normalisation and channels that ruin every number without an error.

A forgotten normalisation is the most frequent mistake in evaluations, and none of those below raises an exception:
accuracy is lower than it should be, and robustness is measured of a network that nobody would use.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from math import comb, sqrt
from types import MappingProxyType

import torch
from torch import Tensor

from advbench.evaluation.checks.model import Finding
from advbench.models.classifier import Classifier
from advbench.records.flag import Flag
from attacks.protocols import Model
from attacks.queries.answers import ask

LOOKED_AT = 64
"""Number of images that are looked at."""
LEAST_GAIN = 0.1
"""Smallest gain of accuracy under another normalisation that counts."""
LEVEL = 0.001
"""Level at which a difference is significant."""
CLOSE_TO_CHANCE = 0.2
"""Accuracy above chance that must be ruled out, with 99 % confidence, before labels are said not to fit."""

_Norm = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and std of each channel, or one for all."""
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_CIFAR = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
USUAL: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]] = MappingProxyType(
    {
        "no normalisation": ((0.0,), (1.0,)),
        "ImageNet's mean and std": _IMAGENET,
        "mean 0.5 and std 0.5, which is [-1, 1]": ((0.5,), (0.5,)),
        "values from 0 to 255": ((0.0,), (1 / 255,)),
        "CIFAR-10's mean and std": _CIFAR,
        "MNIST's mean and std": ((0.1307,), (0.3081,)),
    }
)
"""Normalisations that networks are usually trained with: mean and std of each channel, or one for all."""
_TWICE = ("ImageNet's mean and std", "mean 0.5 and std 0.5, which is [-1, 1]", "CIFAR-10's mean and std")
_BATCH = 32


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

    It takes two passes over the images, and more over those that the model gets wrong, if they are ten or more.

    Args:
        model: Images -> logits. A :class:`Classifier` tells how it normalises; of others their input is taken as it is.
        x: Some images (N, C, H, W) in [0, 1], of which the first `LOOKED_AT` are looked at.
        labels: True classes (N,).
        dataset: Name of the images' data set, for the flags.
        name: Name of the model, for the flags; None: its attribute `name`.
        seed: Seed for a model that draws random numbers; the global generator is left as it was.
        within: What the model wraps, which tells how it normalises if it is a :class:`Classifier`; None: the model.

    Returns:
        Flags D1 to D3.

    Example:
        >>> x, labels = torch.eye(8).repeat(8, 1).reshape(64, 1, 2, 4), torch.arange(8).repeat(8)
        >>> [flag.id for flag in check_data(lambda x: x.flatten(1), x, (labels + 1) % 8, dataset="toy", name="net")]
        ['D1']
    """
    called = name or str(getattr(model, "name", type(model).__name__))
    x, labels = x[:LOOKED_AT], labels[:LOOKED_AT].to(x.device)
    asked = model if within is None else within
    norm = (asked.mean, asked.std) if isinstance(asked, Classifier) else USUAL["no normalisation"]
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        return [Flag(model=called, dataset=dataset, **found._asdict()) for found in _findings(model, x, labels, norm)]


def most_passes(count: int) -> int:
    """Most passes that :func:`check_data` takes over some images: two, and one for each other normalisation.

    Example:
        >>> most_passes(64) == (2 + len(USUAL) + 3) * 64
        True
    """
    return (2 + len(USUAL) + len(_TWICE)) * min(count, LOOKED_AT)


def _findings(model: Model, x: Tensor, labels: Tensor, norm: _Norm) -> Iterator[Finding]:
    if not len(x):
        return
    logits = _ask(model, x)
    if not bool(logits.isfinite().all()):  # M5 says so
        return
    yield from _labels(logits.argmax(1), labels)
    if x.ndim == 4:
        yield from _normalisation(model, x, labels, logits.argmax(1) == labels, norm)
        yield from _channels(model, x, labels, logits)


def _ask(model: Model, x: Tensor) -> Tensor:
    return torch.cat([ask(model, part) for part in torch.split(x, _BATCH)])


def _labels(answers: Tensor, labels: Tensor) -> Iterator[Finding]:
    """D1: the model is right no more often than answers would be that have nothing to do with the labels."""
    count, correct = len(labels), int((answers == labels).sum())
    said, true = Counter(answers.tolist()), Counter(labels.tolist())
    chance = sum(said[each] * true[each] for each in true) / count**2
    likely = at_least(correct, count, chance)
    if likely > LEVEL and _upper(correct, count) < chance + CLOSE_TO_CHANCE < 1:
        message = f"{correct} of {count} images are right, no more than by chance ({chance:.1%}, p = {likely:.2g})"
        yield Finding("D1", "E", message, _better_order(answers, labels), correct / count)


def _better_order(answers: Tensor, labels: Tensor) -> str:
    """What to do about labels that do not fit."""
    count = len(labels)
    for step, what in ((1, "less"), (-1, "more")):
        if 2 * int((answers == labels - step).sum()) > count:
            return f"the model's answers are the labels with 1 {what}: count both from 0"
    modes = [Counter(answers[labels == each].tolist()).most_common(1)[0][1] for each in set(labels.tolist())]
    if count >= 4 * len(modes) and 3 * sum(modes) > 2 * count:
        return "the same class gets the same answer, but another one: the classes stand in another order; map them"
    return "look at them with `advbench datasets DATA --model M --out sheet.png`: are they of these classes?"


def at_least(successes: int, count: int, chance: float) -> float:
    """Probability of at least this number of successes (one-sided binomial test).

    Args:
        successes: Number of successes.
        count: Number of trials.
        chance: Probability of each success, 0 to 1.

    Example:
        >>> round(at_least(8, 10, 0.5), 4)
        0.0547
    """
    return sum(comb(count, k) * chance**k * (1 - chance) ** (count - k) for k in range(successes, count + 1))


def _upper(successes: int, count: int, z: float = 2.576) -> float:
    """Upper end of the 99 % interval of Wilson."""
    share = successes / count
    half = z * sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return float((share + z * z / (2 * count) + half) / (1 + z * z / count))


def _normalisation(model: Model, x: Tensor, labels: Tensor, right: Tensor, norm: _Norm) -> Iterator[Finding]:
    """D2: the model is right much more often if its images are normalised in another usual way."""
    count, wrong = len(x), ~right
    if at_least(int(wrong.sum()), int(wrong.sum()), 0.5) > LEVEL:  # too few are wrong for a gain to be significant
        return
    best, most = "", 0.0
    for what, change in _ways(norm, x.shape[1]).items():
        mended = _right(model, change(x[wrong]), labels[wrong])
        if mended is None or at_least(int(mended.sum()), int(mended.sum()), 0.5) > LEVEL:
            continue
        kept = _right(model, change(x[right]), labels[right])
        if kept is None:
            continue
        won, lost = int(mended.sum()), int((~kept).sum())
        share = float(right.float().mean()) + (won - lost) / count
        if won - lost >= LEAST_GAIN * count and at_least(won, won + lost, 0.5) < LEVEL and share > most:
            best, most = what, share
    if best:
        own = float(right.float().mean())
        yield Finding(
            "D2", "F", f"accuracy is {own:.1%} as it is, and {most:.1%} with {best} ({count} images)",
            "is the normalisation forgotten, done twice, or another one? Classifier(..., mean=..., std=...) does it",
            most,
        )  # fmt: skip


def _ways(norm: _Norm, channels: int) -> dict[str, Callable[[Tensor], Tensor]]:
    """What to give the model in place of images, so that its network sees them normalised in other ways."""
    found: dict[str, Callable[[Tensor], Tensor]] = {}
    for what, usual in USUAL.items():
        new = _of_channels(usual, channels)
        if new != norm:
            found[what] = partial(_renormalised, old=norm, new=new)
    for what in _TWICE:
        old = _of_channels(USUAL[what], channels)
        found[f"{what} undone once"] = partial(_renormalised, old=old, new=((0.0,), (1.0,)))
    return found


def _of_channels(usual: _Norm, channels: int) -> _Norm:
    """A usual normalisation for images of some channels; that of colours is averaged for all others."""
    mean, std = usual
    return usual if len(mean) in (1, channels) else ((sum(mean) / len(mean),), (sum(std) / len(std),))


def _renormalised(x: Tensor, *, old: _Norm, new: _Norm) -> Tensor:
    """Images that the normalisation ``old`` turns into those normalised by ``new``."""
    (mean, std), (other_mean, other_std) = (
        (torch.tensor(values, device=x.device).view(1, -1, 1, 1).to(x.dtype) for values in each) for each in (old, new)
    )
    return (x - other_mean) / other_std * std + mean


def _right(model: Model, x: Tensor, labels: Tensor) -> Tensor | None:
    """Which images the model gets right (N,); None if it refuses them."""
    if not len(x):
        return torch.zeros(0, dtype=torch.bool, device=x.device)
    try:
        return _ask(model, x).argmax(1) == labels
    except Exception:  # a model may refuse values outside [0, 1]
        return None


def _channels(model: Model, x: Tensor, labels: Tensor, logits: Tensor) -> Iterator[Finding]:
    """D3: the model is surer of the true classes if red and blue are swapped."""
    if x.shape[1] != 3 or bool((x[:, 0] == x[:, 2]).all()):
        return
    try:
        swapped = _ask(model, x.flip(1))
    except Exception:
        return
    before, after = (each.log_softmax(1).gather(1, labels.unsqueeze(1)).squeeze(1) for each in (logits, swapped))
    better, differ = int((after > before).sum()), int((after != before).sum())
    own, other = (float((each.argmax(1) == labels).float().mean()) for each in (logits, swapped))
    if other >= own and at_least(better, differ, 0.5) < LEVEL and 3 * better > 2 * differ:
        yield Finding(
            "D3", "F",
            f"with red and blue swapped the true class is surer on {better} of {differ} images, and accuracy is "
            f"{other:.1%} in place of {own:.1%}",
            "was the network trained on BGR, or were the images saved so? Swap the channels where the model begins",
            other,
        )  # fmt: skip
