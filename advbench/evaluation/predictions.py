"""Predictions of a model for an image, as a record stores them: its top classes, or the labels that apply."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from attacks.objectives.ranking import ranked_classes


class Ranking(NamedTuple):
    """The top classes of an image, best first; empty if the model's output does not rank them."""

    classes: tuple[int, ...]
    """Indices of the classes."""
    confidences: tuple[float, ...]
    """Softmax probabilities of the classes."""

    @property
    def answer(self) -> int | None:
        """The first class; None if there is none."""
        return self.classes[0] if self.classes else None

    def first(self, k: int) -> "Ranking":
        """The ranking cut down to the first k classes."""
        return Ranking(self.classes[:k], self.confidences[:k])

    def columns(self, when: str) -> dict[str, Any]:
        """Columns of a record that hold the top classes; empty if there are none.

        Args:
            when: Prefix of the columns, "clean" or "adv".

        Example:
            >>> Ranking((3, 1), (0.7, 0.2)).columns("clean")
            {'clean_class': 3, 'clean_confidence': 0.7, 'clean_topk': (3, 1)}
        """
        if not self.classes:
            return {}
        found = {"class": self.classes[0], "confidence": self.confidences[0], "topk": self.classes}
        return {f"{when}_{name}": value for name, value in found.items()}


class LabelsOn(NamedTuple):
    """The labels that a multi-label model predicts; None if its output is not finite."""

    labels: tuple[int, ...] | None
    """Indices of the labels, ascending."""

    @property
    def answer(self) -> tuple[int, ...] | None:
        """The labels."""
        return self.labels

    def columns(self, when: str) -> dict[str, Any]:
        """Column of a record that holds the labels.

        Args:
            when: Prefix of the column, "clean" or "adv".

        Example:
            >>> LabelsOn((1, 3)).columns("adv")
            {'adv_labels': (1, 3)}
        """
        return {f"{when}_labels": self.labels}


Prediction = Ranking | LabelsOn
"""Prediction of a model for one image, as a record stores it."""


def predicted(logits: Tensor, k: int, thresholds: Sequence[float] | None) -> Sequence[Prediction]:
    """Predictions of a model for each image, as a record stores them.

    Args:
        logits: Logits (N, C).
        k: Number of top classes to keep.
        thresholds: The logit above which each label applies; None: each image has one class.

    Example:
        >>> import torch
        >>> predicted(torch.tensor([[2.0, -1.0, 0.5]]), 5, thresholds=[0.0, 0.0, 1.0])
        [LabelsOn(labels=(0,))]
    """
    if thresholds is None:
        return rank(logits, k)
    on = logits > torch.as_tensor(thresholds, dtype=logits.dtype, device=logits.device)
    known = logits.isfinite().all(1).tolist()
    rows = [tuple(place for place, each in enumerate(row) if each) for row in on.tolist()]
    return [LabelsOn(row if sure else None) for row, sure in zip(rows, known, strict=True)]


def rank(logits: Tensor, k: int) -> list[Ranking]:
    """The top k classes of each image, or all of them if there are fewer.

    Equal logits are ranked as by :func:`attacks.objectives.ranking.ranked_classes`. An image whose logits hold NaN or
    infinity has no top class, whatever argmax returns.

    Example:
        >>> import torch
        >>> rank(torch.tensor([[0.0, 1000.0, -1000.0]]), k=2)
        [Ranking(classes=(1, 0), confidences=(1.0, 0.0))]
    """
    # Ranked by logits: a saturated softmax ties classes that the logits still order.
    best = ranked_classes(logits, k)
    shares = logits.softmax(1).gather(1, best)
    ranked = zip(best.tolist(), shares.tolist(), shares.isfinite().all(1).tolist(), strict=True)
    return [Ranking(tuple(classes), tuple(sure)) if known else Ranking((), ()) for classes, sure, known in ranked]
