"""The judge: the only place that decides whether an image was fooled.

An attack hands over candidate images, and none of its own claims is trusted: predictions come from a fresh forward
pass of the original model, and sizes and limits are measured here.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from advbench.records.record import EPS_ABSOLUTE, EPS_RELATIVE
from attacks.geometry.rows import column
from attacks.goals import Goal
from attacks.norms import NORMS, Norm
from attacks.protocols import Model
from attacks.queries.answers import ask


class Verdicts(NamedTuple):
    """What the judge found, a row for each image."""

    clean_logits: Tensor
    """Logits of the original images (N, C)."""
    adv_logits: Tensor
    """Logits of the candidates (N, C)."""
    valid: Tensor
    """Whether the candidate is finite, in [0, 1] and within eps, bool (N,)."""
    met: Tensor
    """Whether the candidate is valid and meets the goal, bool (N,)."""
    survives_8bit: Tensor
    """Whether it still does, within eps, with each value rounded to the nearest of 256 levels, bool (N,)."""
    met_8bit: Tensor
    """Whether its stored 8-bit version, however it was rounded, is valid and meets the goal, bool (N,)."""
    size_8bit: Tensor
    """Size of the perturbation of that version, in the norm of eps (N,)."""
    sizes: dict[str, Tensor]
    """Name of each norm -> size of the perturbation in it (N,)."""

    @property
    def flipped(self) -> Tensor:
        """Whether the predicted class changed, whatever the goal, bool (N,)."""
        return self.clean_logits.argmax(1) != self.adv_logits.argmax(1)


def judge(
    model: Model, x: Tensor, x_adv: Tensor, goal: Goal, norm: Norm, eps: float | None, x_8bit: Tensor | None = None
) -> Verdicts:
    """Measure candidates.

    Args:
        model: The original model in float32, never the faster form that an attack may have used.
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
    with torch.no_grad():
        clean, adv = ask(model, x), ask(model, x_adv)
        valid = _valid(x, x_adv, norm, eps)
        met = valid & (goal.margin(adv) < 0)
        nearest = torch.where(column(met, x), nearest_levels(x_adv), x)
        survives = met & _valid(x, nearest, norm, eps) & (goal.margin(ask(model, nearest)) < 0)
        kept = nearest if x_8bit is None else x_8bit
        met_8bit = survives if x_8bit is None else _valid(x, kept, norm, eps) & (goal.margin(ask(model, kept)) < 0)
    return Verdicts(
        clean_logits=clean,
        adv_logits=adv,
        valid=valid,
        met=met,
        survives_8bit=survives,
        met_8bit=met_8bit,
        size_8bit=norm.measure(kept - x),
        sizes={name: each().measure(x_adv - x) for name, each in NORMS.items()},
    )


def nearest_levels(x: Tensor) -> Tensor:
    """Images with each value rounded to the nearest of 256 levels, as they are once saved as a PNG.

    Example:
        >>> nearest_levels(torch.tensor([0.0, 0.3, 1.0])) * 255
        tensor([  0.,  76., 255.])
    """
    return (x * 255).round() / 255


def check_candidates(x: Tensor, x_adv: Tensor) -> None:
    """Check that what an attack returned is a batch of candidates for the images ``x``.

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


def _valid(x: Tensor, x_adv: Tensor, norm: Norm, eps: float | None) -> Tensor:
    """Finite, in the box and in the ball. Comparisons with NaN are false, so NaN is not valid."""
    rows = x_adv.reshape(len(x_adv), -1)
    inside = (rows.amin(1) >= 0) & (rows.amax(1) <= 1)
    if eps is None:
        return inside
    return inside & (norm.measure(x_adv - x) <= eps * (1 + EPS_RELATIVE) + EPS_ABSOLUTE)
