"""The judge: the only place that decides whether an image was fooled.

An attack hands over candidate images, and none of its claims about them is trusted: predictions come from a fresh
forward pass of the original model, and sizes and limits are measured here.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from advbench.records.record import largest_size
from attacks.goals import Goal, SignedGoal
from attacks.norms import NORMS, Norm
from attacks.protocols import Model
from attacks.queries.answers import ask
from attacks.queries.randomness import is_random

_CACHED = 2**18
"""Number of values that fit into the processor's cache together with what is computed from them."""

DRAWS = 20
"""Number of passes that judge a model with random outputs, see :func:`attacks.queries.randomness.is_random`."""


class Verdicts(NamedTuple):
    """The judge's findings, with a row for each image."""

    clean_logits: Tensor
    """Logits of the original images (N, C)."""
    adv_logits: Tensor
    """Logits of the candidates (N, C)."""
    valid: Tensor
    """Whether the candidate is finite, in [0, 1], within eps, and equal to the image outside a mask, bool (N,)."""
    met: Tensor
    """Whether the candidate is valid and meets the goal, for a random model in at least half its passes, bool (N,)."""
    survives_8bit: Tensor
    """Whether it still does, within eps, with each value rounded to the nearest of 256 levels, bool (N,)."""
    met_8bit: Tensor
    """Whether its stored 8-bit version, however it was rounded, is valid and meets the goal, bool (N,)."""
    size_8bit: Tensor
    """Perturbation size of that version, in the norm of eps (N,)."""
    flipped: Tensor
    """Whether the predicted class changed, or any of the predicted labels, whatever the goal, bool (N,)."""
    judge_draws: Tensor
    """Number of passes that judged each candidate (N,): 1, or :data:`DRAWS` if the model's outputs are random."""
    met_share: Tensor
    """Share of those passes in which the candidate is valid and meets the goal (N,)."""
    sizes: dict[str, Tensor]
    """Name of each norm -> perturbation size in that norm (N,)."""


@torch.no_grad()
def judge(
    model: Model, x: Tensor, x_adv: Tensor, goal: Goal, norm: Norm, eps: float | None, x_8bit: Tensor | None = None
) -> Verdicts:
    """Measure candidates.

    Args:
        model: The original model in float32, never the faster form that an attack may have used. A model that caches
            answers exposes the uncached one as its attribute `anew`.
        x: Clean images (N, ...) in [0, 1].
        x_adv: Candidates, shaped like ``x``.
        goal: What counts as fooled.
        norm: Norm of the perturbations and of ``eps``.
        eps: Largest allowed size; None: no bound.
        x_8bit: The candidates as they are stored in 8 bits; None: those that meet the goal, rounded by
            :func:`nearest_levels`, and the clean images in place of the others.

    Returns:
        The verdicts.

    Raises:
        ValueError: The candidates differ from the images in shape or type, so the attack is broken.

    Example:
        >>> from attacks import Linf, Untargeted
        >>> x, x_adv = torch.tensor([[0.6, 0.4]]), torch.tensor([[0.4, 0.6]])
        >>> verdict = judge(lambda x: x, x, x_adv, Untargeted(torch.tensor([0])), Linf(), eps=0.1)
        >>> bool(verdict.flipped), bool(verdict.met)  # fooled, but further away than allowed
        (True, False)
    """
    check_candidates(x, x_adv)
    clean, (adv, share, draws) = ask(model, x), _answers(model, x_adv, goal)
    size, *sizes = _measure(x, x_adv, norm, *(each() for each in NORMS.values()))
    valid = _within(x_adv, size, eps) & _keeps(norm, x, x_adv)
    met = valid & (share >= 0.5)
    survives, size_8bit = met.clone(), torch.zeros_like(size)
    # most images are not fooled, and those need no further passes
    if len(rows := met.nonzero().squeeze(1)):
        nearest = nearest_levels(x_adv[rows])
        survives[rows], size_8bit[rows] = _stored(model, x[rows], nearest, goal.select(rows), norm, eps)
    met_8bit = survives
    if x_8bit is not None:
        met_8bit, size_8bit = _stored(model, x, x_8bit, goal, norm, eps)
    return Verdicts(
        clean_logits=clean,
        adv_logits=adv,
        valid=valid,
        met=met,
        survives_8bit=survives,
        met_8bit=met_8bit,
        size_8bit=size_8bit,
        flipped=_flipped(goal, clean, adv),
        judge_draws=torch.full_like(met, draws, dtype=torch.int64),
        met_share=share * valid,
        sizes=dict(zip(NORMS, sizes, strict=True)),
    )


def _flipped(goal: Goal, clean: Tensor, adv: Tensor) -> Tensor:
    """Where two answers (N, C) name different classes, or different labels where there are several, bool (N,)."""
    if isinstance(goal, SignedGoal):
        return ((goal.above(clean) > 0) != (goal.above(adv) > 0)).any(1)
    return clean.argmax(1) != adv.argmax(1)


def _answers(model: Model, x_adv: Tensor, goal: Goal) -> tuple[Tensor, Tensor, int]:
    """Logits (N, C) of a pass that agrees with the verdict, share of passes meeting the goal (N,), number of passes."""
    adv, anew = ask(model, x_adv), getattr(model, "anew", model)
    if not len(adv) or not is_random(anew, x_adv[:1], remember=True):
        return adv, (goal.margin(adv) < 0).float(), 1
    answers = torch.stack([adv, *(ask(anew, x_adv) for _ in range(DRAWS - 1))])
    met = torch.stack([goal.margin(each) < 0 for each in answers])
    share = met.float().mean(0)
    shown = (met == (share >= 0.5)).int().argmax(0)
    return answers[shown, torch.arange(len(adv), device=adv.device)], share, DRAWS


def nearest_levels(x: Tensor) -> Tensor:
    """Round each value to the nearest of 256 levels, as saving the image as a PNG does.

    Example:
        >>> nearest_levels(torch.tensor([0.0, 0.3, 1.0])) * 255
        tensor([  0.,  76., 255.])
    """
    return (x * 255).round_().div_(255)


def check_candidates(x: Tensor, x_adv: Tensor) -> None:
    """Check that an attack returned a batch of candidates for the images ``x``.

    Raises:
        ValueError: It is not a tensor, or differs in shape, type or device.

    Example:
        >>> check_candidates(torch.zeros(2, 4), torch.zeros(1, 4))
        Traceback (most recent call last):
        ValueError: expected candidates torch.float32 (2, 4) on cpu from the attack, got torch.float32 (1, 4) on cpu
    """
    got = _describe(x_adv) if isinstance(x_adv, Tensor) else type(x_adv).__name__
    if got != _describe(x):
        raise ValueError(f"expected candidates {_describe(x)} from the attack, got {got}")


def _describe(x: Tensor) -> str:
    return f"{x.dtype} {tuple(x.shape)} on {x.device}"


def _stored(model: Model, x: Tensor, kept: Tensor, goal: Goal, norm: Norm, eps: float | None) -> tuple[Tensor, Tensor]:
    """Whether images as stored are valid and meet the goal, bool (N,), and the sizes of their perturbations (N,)."""
    (size,) = _measure(x, kept, norm)
    # outside a mask a file holds the image as closely as 8 bits allow
    keeps = _keeps(norm, x, kept) | _keeps(norm, nearest_levels(x), kept)
    return keeps & _within(kept, size, eps) & (goal.margin(ask(model, kept)) < 0), size


def _keeps(norm: Norm, x: Tensor, x_adv: Tensor) -> Tensor:
    """Whether candidates equal the images wherever the norm allows no change, bool (N,)."""
    if not norm.confines:
        return torch.ones(len(x), dtype=torch.bool, device=x.device)
    return (norm.confine(x, x_adv) == x_adv).flatten(1).all(1)


def _within(x_adv: Tensor, size: Tensor, eps: float | None) -> Tensor:
    """Finite, in the box and in the ball, bool (N,). Comparisons with NaN are false, so NaN is not valid."""
    rows = x_adv.reshape(len(x_adv), -1)
    inside = (rows.amin(1) >= 0) & (rows.amax(1) <= 1)
    return inside if eps is None else inside & (size <= largest_size(eps))


def _measure(x: Tensor, x_adv: Tensor, *norms: Norm) -> list[Tensor]:
    """The sizes of the perturbations in each norm (N,)."""
    # a few images at a time, so that the intermediate results of a norm stay in the processor's cache
    few = len(x) if x.is_cuda else max(1, _CACHED // max(1, x[0].numel()))
    deltas = (after - before for before, after in zip(torch.split(x, few), torch.split(x_adv, few), strict=True))
    return [
        torch.cat(sizes) for sizes in zip(*([norm.measure(delta) for norm in norms] for delta in deltas), strict=True)
    ]
