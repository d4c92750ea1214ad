"""How a model's answers relate to its inner logits."""

from typing import Any

import torch
from torch import Tensor

from attacks.queries.answers import are_probabilities, find_logits, read_logits

SAME_ORDER = 0.99
"""Fraction of class pairs that must have the same order for values to count as the logits behind an answer."""
EXTREME = 1e3
"""Factor from which logits larger or smaller than the inner ones count as rescaled."""

FLAT = 1e-3
"""Smallest fraction of a class's lead that an answer must keep for its gradient to be as good as the logits'."""


def same_order(inner: Tensor, final: Tensor) -> bool:
    """Whether an answer, (N, C) or the classes (N,), gives the same order of classes as inner logits."""
    if final.numel() == len(inner):
        return bool((inner.argmax(1) == final.flatten().long()).float().mean() >= SAME_ORDER)
    one, other = (values.double().unsqueeze(2) - values.double().unsqueeze(1) for values in (inner, final))
    told = other != 0
    same = (one.sign() == other.sign())[told].float().mean() if bool(told.any()) else torch.tensor(0.0)
    first = (inner.argmax(1) == final.argmax(1)).float().mean()
    return bool(same >= SAME_ORDER) and bool(first >= 1 - 2 * (1 - SAME_ORDER) or final.dtype != inner.dtype)


def kind_of(inner: Tensor, final: Tensor) -> str:
    """What kind of answer it is, if not (nearly) the inner logits; empty otherwise."""
    if not final.is_floating_point() or final.ndim < 2 or bool((final.sort(1).values[:, -2] == final.amin(1)).all()):
        return "labels" if final.shape[-1] > 2 or final.ndim < 2 else ""
    if are_probabilities(final):
        return "probabilities"
    if final.dtype in (torch.float16, torch.bfloat16):
        return "logits of half precision"
    one, other = (values.double() - values.double().mean(1, keepdim=True) for values in (inner, final))
    scale = float(other.norm() / one.norm().clamp_min(1e-30))
    if not 1 / EXTREME < scale < EXTREME:
        return f"logits times {scale:.2g}"
    return "squashed" if bool((_lead(final) < FLAT * _lead(inner)).any()) else ""


def _lead(values: Tensor) -> Tensor:
    """Lead of the top class, as a fraction of the largest of all values (n,)."""
    first = values.double().topk(2, 1).values
    return (first[:, 0] - first[:, 1]) / values.double().abs().amax().clamp_min(1e-300)


def agreeing(answer: Any, outputs: list[Tensor], end: int | None, count: int) -> Tensor:
    """The inner logits, with the model's predicted class at the top."""
    if end is None or end >= len(outputs):
        return read_logits(answer, count)
    inner, final = outputs[end], find_logits(answer, count)
    inner = inner.float() if inner.dtype in (torch.float16, torch.bfloat16) else inner
    named = (
        final.detach().argmax(1) if final.ndim == 2 and final.shape == inner.shape else final.detach().flatten().long()
    )
    known = inner.detach()
    lacking = known.amax(1) - known.gather(1, named.unsqueeze(1)).squeeze(1)
    more = torch.where(lacking > 0, lacking + 1e-3 * (1 + known.abs().amax(1)), torch.zeros_like(lacking))
    return inner + torch.zeros_like(known).scatter_(1, named.unsqueeze(1), more.unsqueeze(1))
