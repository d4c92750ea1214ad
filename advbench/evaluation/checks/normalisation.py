"""D2: a model is right more often, or more confident, with another common normalisation of its images.

There are two rules. The first counts images, and needs ten that are wrong. The second looks at the cross-entropy of the
true classes, so it also finds networks that are right about most images however they are normalised. It compares at the
best temperature for each normalisation, since a higher contrast alone makes every network more confident. A network
whose cross-entropy hardly depends on the normalisation triggers neither: its numbers hardly depend on it either.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from math import comb
from types import MappingProxyType

import torch
from torch import Tensor

from advbench.records.flag import Finding
from attacks.protocols import Model
from attacks.queries.answers import ask

LEAST_GAIN = 0.1
"""Smallest gain of accuracy under another normalisation that counts."""
LEVEL = 0.001
"""Significance level of a difference."""
LEAST_LOSS = 0.1
"""Smallest gain of mean cross-entropy under another normalisation that counts, in nats."""
LEAST_PART = 1 / 3
"""Smallest gain that counts, as a share of the cross-entropy."""
Norm = tuple[tuple[float, ...], tuple[float, ...]]
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
FIRST = 16
"""Number of images on which the normalisation is chosen that is then tried on all of them."""
_BATCH = 32
_TEMPERATURES = tuple(10 ** (step / 20) for step in range(-30, 31))
_ADVICE = "was normalisation forgotten, applied twice, or wrong? Classifier(..., mean=..., std=...) applies it"


def most_passes(count: int) -> int:
    """Most passes over some images: one for each alternative normalisation, and fewer for the second rule.

    Example:
        >>> most_passes(64) == (len(USUAL) + 3) * (64 + FIRST) + 64
        True
    """
    return (len(USUAL) + len(_TWICE)) * (count + min(count, FIRST)) + count


def normalised_otherwise(model: Model, x: Tensor, labels: Tensor, logits: Tensor, norm: Norm) -> Iterator[Finding]:
    """Look for a common normalisation that suits a model better.

    Args:
        model: Images in [0, 1] -> logits.
        x: Images (N, C, H, W).
        labels: True classes (N,).
        logits: The model's logits for the images (N, classes).
        norm: Mean and std with which the model normalises.

    Yields:
        D2, at most once.
    """
    found = list(_more_are_right(model, x, labels, logits.argmax(1) == labels, norm))
    yield from found or _surer(model, x, labels, logits, norm)


def asked(model: Model, x: Tensor) -> Tensor:
    """Logits of images, computed a few images at a time."""
    return torch.cat([ask(model, part) for part in torch.split(x, _BATCH)])


def at_least(successes: int, count: int, chance: float) -> float:
    """Probability of at least this many successes (one-sided binomial test).

    Args:
        successes: Number of successes.
        count: Number of trials.
        chance: Probability of each success, 0 to 1.

    Example:
        >>> round(at_least(8, 10, 0.5), 4)
        0.0547
    """
    return sum(comb(count, k) * chance**k * (1 - chance) ** (count - k) for k in range(successes, count + 1))


def _more_are_right(model: Model, x: Tensor, labels: Tensor, right: Tensor, norm: Norm) -> Iterator[Finding]:
    """The model is right much more often."""
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
            _ADVICE, most,
        )  # fmt: skip


def _surer(model: Model, x: Tensor, labels: Tensor, logits: Tensor, norm: Norm) -> Iterator[Finding]:
    """The model is much more confident of the true classes, and right no less often."""
    if not 0 <= int(labels.min()) <= int(labels.max()) < logits.shape[1]:  # D1 says so
        return
    own, count = _losses(logits, labels), len(x)
    if float(own.mean()) < LEAST_LOSS:  # no normalisation can gain as much
        return
    few = slice(None, None, -(-count // FIRST))
    ways = _ways(norm, x.shape[1])
    gains = {what: _gain(model, change(x[few]), labels[few], logits[few]) for what, change in ways.items()}
    best = max(gains, key=lambda what: gains[what])
    other = _answers(model, ways[best](x)) if gains[best] > 0 else None
    if other is None or not bool(other.isfinite().all()):
        return
    losses = _losses(other, labels)
    better, gain = int((losses < own).sum()), float((own - losses).mean())
    before, after = (float((each.argmax(1) == labels).float().mean()) for each in (logits, other))
    least = max(LEAST_LOSS, LEAST_PART * float(own.mean()))
    if gain >= least and after >= before and at_least(better, count, 0.5) < LEVEL:
        yield Finding(
            "D2", "F",
            f"with {best} the true class is more likely on {better} of {count} images (cross-entropy "
            f"{losses.mean():.2g} instead of {own.mean():.2g}), and accuracy is {after:.1%} instead of {before:.1%}",
            _ADVICE, after,
        )  # fmt: skip


def _gain(model: Model, x: Tensor, labels: Tensor, logits: Tensor) -> float:
    """Reduction of the mean cross-entropy; below 0 if the model rejects the images."""
    other = _answers(model, x)
    if other is None or not bool(other.isfinite().all()):
        return -1.0
    return float((_losses(logits, labels) - _losses(other, labels)).mean())


def _losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of each image (N,), at the temperature that is best for all of them together."""
    tried = [torch.nn.functional.cross_entropy(logits / each, labels, reduction="none") for each in _TEMPERATURES]
    return min(tried, key=lambda losses: float(losses.mean()))


def _ways(norm: Norm, channels: int) -> dict[str, Callable[[Tensor], Tensor]]:
    """Transforms of the model's input that make its network see images normalised in other ways."""
    found: dict[str, Callable[[Tensor], Tensor]] = {}
    for what, usual in USUAL.items():
        new = _of_channels(usual, channels)
        if new != norm:
            found[what] = partial(_renormalised, old=norm, new=new)
    for what in _TWICE:
        old = _of_channels(USUAL[what], channels)
        found[f"{what} undone once"] = partial(_renormalised, old=old, new=((0.0,), (1.0,)))
    return found


def _of_channels(usual: Norm, channels: int) -> Norm:
    """A common normalisation for a number of channels; that of RGB is averaged for other numbers."""
    mean, std = usual
    return usual if len(mean) in (1, channels) else ((sum(mean) / len(mean),), (sum(std) / len(std),))


def _renormalised(x: Tensor, *, old: Norm, new: Norm) -> Tensor:
    """Images for which the normalisation ``old`` gives what ``new`` gives for ``x``."""
    (mean, std), (other_mean, other_std) = (
        (torch.tensor(values, device=x.device).view(1, -1, 1, 1).to(x.dtype) for values in each) for each in (old, new)
    )
    return (x - other_mean) / other_std * std + mean


def _right(model: Model, x: Tensor, labels: Tensor) -> Tensor | None:
    """Which images the model gets right (N,); None if it rejects them."""
    if not len(x):
        return torch.zeros(0, dtype=torch.bool, device=x.device)
    answers = _answers(model, x)
    return None if answers is None else answers.argmax(1) == labels


def _answers(model: Model, x: Tensor) -> Tensor | None:
    """Logits of images; None if the model rejects them."""
    try:
        return asked(model, x)
    except Exception:  # a model may reject values outside [0, 1]
        return None
