"""Predictions, correctness and losses for the checks, for single-label and multi-label models alike."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from attacks.goals import AnyLabelFlips, Goal, Untargeted

Thresholds = tuple[float, ...] | float
"""The logit above which each label applies."""


def predictions(model: Any, logits: Tensor) -> Tensor:
    """Predictions of a model: classes (..., N), or which labels apply, bool (..., N, C).

    Args:
        model: Model under check; a multi-label model has `thresholds`.
        logits: Its logits (..., N, C).

    Example:
        >>> predictions(None, torch.tensor([[0.0, 1.0]]))
        tensor([1])
    """
    thresholds = getattr(model, "thresholds", None)
    if thresholds is None:
        return logits.argmax(-1)
    return logits > torch.as_tensor(thresholds, dtype=logits.dtype, device=logits.device)


def correct(model: Any, logits: Tensor, truth: Tensor) -> Tensor:
    """Where the model is right; with several labels, about all of them: bool (..., N).

    Args:
        model: Model under check.
        logits: Its logits (..., N, C).
        truth: Classes (N,), or which labels apply, bool (N, C).

    Example:
        >>> correct(None, torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([1, 1]))
        tensor([ True, False])
    """
    same = predictions(model, logits) == truth
    return same if truth.ndim == 1 else same.all(-1)


def mistake(model: Any, truth: Tensor) -> Goal:
    """The goal that the model is wrong: another class, or any wrong label.

    Args:
        model: Model under check.
        truth: Classes (N,), or which labels apply, bool (N, C).

    Example:
        >>> mistake(None, torch.tensor([1])).margin(torch.tensor([[0.0, 3.0]]))
        tensor([3.])
    """
    if truth.ndim == 1:
        return Untargeted(truth)
    return AnyLabelFlips(truth, thresholds=getattr(model, "thresholds", None) or 0.0)


def cross_entropy(model: Any, logits: Tensor, truth: Tensor) -> Tensor:
    """Cross-entropy of each image (N,); with several labels, the sum of the binary cross-entropies.

    Args:
        model: Model under check.
        logits: Its logits (N, C).
        truth: Classes (N,), or which labels apply, bool (N, C).

    Example:
        >>> cross_entropy(None, torch.zeros(1, 2), torch.tensor([0])).exp()
        tensor([2.])
    """
    if truth.ndim == 1:
        return functional.cross_entropy(logits, truth, reduction="none")
    above = logits - torch.as_tensor(
        getattr(model, "thresholds", None) or 0.0, dtype=logits.dtype, device=logits.device
    )
    return functional.binary_cross_entropy_with_logits(above, truth.to(above), reduction="none").sum(1)
