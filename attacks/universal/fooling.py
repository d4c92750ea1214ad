"""Fooling rates of one perturbation, by both definitions in use, and the classes predicted."""

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, Self

import torch
from torch import Tensor

from attacks.goals import Goal, Untargeted, met
from attacks.protocols import Model
from attacks.queries.gradients import forward
from attacks.universal.clean import logits_of

MakeGoal = Callable[..., Goal]
"""Clean logits (N, C) and, by keyword, ids (N,) -> the goal for these images."""
Loader = Iterable[Tensor | Sequence[Tensor]]
"""Iterable of batches of images (N, ...) in [0, 1], with or without labels (N,); can be iterated repeatedly."""
Apply = Callable[[Tensor], Tensor]
"""Images (N, ...) -> perturbed images."""


def untargeted(logits: Tensor, ids: Tensor) -> Untargeted:
    """The goal that the clean image's top class is no longer at the top.

    Example:
        >>> untargeted(torch.tensor([[0.0, 2.0]]), ids=torch.tensor([5])).labels
        tensor([1])
    """
    return Untargeted(logits.detach().argmax(1), ids=ids)


class FoolingCounts(NamedTuple):
    """Counts of images.

    Example:
        >>> one = FoolingCounts(images=1, changed=1, classes=((3, 1),))
        >>> two = FoolingCounts(images=2, changed=1, classes=((7, 2),)) + one
        >>> two.images, two.changed / two.images, two.classes
        (3, 0.6666666666666666, ((7, 2), (3, 1)))
    """

    images: int = 0
    """Total number of images."""
    changed: int = 0
    """Number of images whose top class differs from the clean image's: the usual fooling rate."""
    met: int = 0
    """Number of images that meet the goal, without the pointless ones."""
    labelled: int = 0
    """Number of images whose true class is known."""
    right: int = 0
    """Number of labelled images that are classified correctly when clean."""
    wrong: int = 0
    """Number of labelled images that are misclassified when perturbed: the other fooling rate."""
    pointless: int = 0
    """Number of images that already have the class that the goal wants, so that it says nothing about them."""
    classes: tuple[tuple[int, int], ...] = ()
    """Classes predicted for perturbed images, each with its number of images, most frequent first."""

    def __add__(self, other: object) -> Self:
        """The sums of the counts of both."""
        if not isinstance(other, FoolingCounts):
            return NotImplemented
        classes = Counter(dict(self.classes)) + Counter(dict(other.classes))
        sums = {name: getattr(self, name) + getattr(other, name) for name in self._fields if name != "classes"}
        return self._replace(**sums, classes=_ranked(classes))


def fooled(model: Model, loader: Loader, apply: Apply, goal: MakeGoal = untargeted) -> FoolingCounts:
    """Count the images that a perturbation fools, without storing them.

    Args:
        model: Images in [0, 1] -> logits.
        loader: Batches of images, or of images and labels.
        apply: Function applied to the images, such as :meth:`attacks.Perturbation.apply`.
        goal: Function that makes the goal of a batch from its clean logits.

    Raises:
        ValueError: As attacks do for invalid images, goals and logits.

    Example:
        >>> x = torch.tensor([[0.9, 0.3], [0.6, 0.5], [0.2, 0.8]])
        >>> found = fooled(lambda x: x, [x], lambda x: x - torch.tensor([0.2, 0.0]))
        >>> found.images, found.changed, found.classes
        (3, 1, ((1, 2), (0, 1)))
    """
    total = FoolingCounts()
    for batch in loader:
        x, y = unpacked(batch)
        total += _fooled(model, x, y, apply, goal)
    return total


def unpacked(batch: Tensor | Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
    """The images, and the labels if there are any, in a batch from a loader.

    Example:
        >>> unpacked([torch.zeros(1, 2), torch.tensor([3])])[1]
        tensor([3])
    """
    if isinstance(batch, Tensor):
        return batch.detach(), None
    return batch[0].detach(), batch[1] if len(batch) > 1 else None


def batches_of(loader: Loader, epoch: int = 0, batch: int = 0) -> Iterator[tuple[int, int, Tensor]]:
    """Yield the batches of a loader endlessly.

    Args:
        loader: Batches of images, or of images and labels; its method ``set_epoch``, if any, gets the number of each
            pass.
        epoch: Number of the first pass.
        batch: Number of the first batch in that pass.

    Yields:
        Number of the pass, number of the batch in it, and its images.

    Raises:
        ValueError: If a pass gives no batches.

    Example:
        >>> x = torch.zeros(2, 1)
        >>> [(epoch, batch) for (epoch, batch, _), _ in zip(batches_of([x, x]), range(3))]
        [(0, 0), (0, 1), (1, 0)]
    """
    for number in itertools.count(epoch):
        if (told := getattr(loader, "set_epoch", None)) is not None:
            told(number)
        place = -1
        for place, given in enumerate(loader):
            if number > epoch or place >= batch:
                yield number, place, unpacked(given)[0]
        if place < 0:
            raise ValueError(f"expected a loader that gives batches in every pass, got none in pass {number + 1}")


def _fooled(model: Model, x: Tensor, y: Tensor | None, apply: Apply, goal: MakeGoal) -> FoolingCounts:
    ids = torch.arange(len(x), device=x.device)
    clean = logits_of(model, x)
    wanted = goal(clean, ids=ids)
    wanted.check(clean.shape[1])
    logits = forward(model, apply(x), wanted)
    before, after = clean.argmax(1), logits.argmax(1)
    aside = wanted.granted(before)
    return FoolingCounts(
        images=len(x),
        changed=int((before != after).sum()),
        met=int((met(wanted, logits) & ~aside).sum()),
        labelled=0 if y is None else len(y),
        right=0 if y is None else int((before == y).sum()),
        wrong=0 if y is None else int((after != y).sum()),
        pointless=int(aside.sum()),
        classes=_ranked(Counter(after.tolist())),
    )


def _ranked(counts: "Counter[int]") -> tuple[tuple[int, int], ...]:
    return tuple(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))
