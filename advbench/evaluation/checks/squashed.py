"""Whether a model's outputs are logits, or have been squashed by a softmax, a sigmoid or a tanh, or clipped.

Where a squashing function saturates, its gradient vanishes, and gradient-based attacks fail for that reason alone.
Logits are unbounded, so outputs that stay within bounds on images of any contrast give squashing away.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from attacks.objectives.ranking import ranked_classes
from attacks.protocols import Model
from attacks.queries.answers import are_probabilities, ask

_OTHERS = 8
"""Number of extra images of each kind, in addition to those under check."""
_CONTRAST = 1000.0
"""Factor by which the contrast of strong images is raised, so that anything that can saturate does."""
_SHARES = 0.01
"""Tolerated relative difference between sums of shares: two units in the last place of bfloat16."""
_SPREAD = 0.05
"""Tolerated difference between the sums, relative to the distance between the outputs for two images."""
_UNITS = {"a sigmoid": (0.0, 1.0), "a tanh": (-1.0, 1.0), "percentages": (0.0, 100.0)}
"""Bounds that logits do not have by chance."""
_AT_END = 0.01
"""Distance up to which a value counts as at an end of the interval, relative to its width."""
_NEAR_END = 0.05
"""Distance from an end at which the gradient is already affected, relative to the width."""
_MOST = 0.95
"""Smallest share of the outputs for strong images at an end for outputs to count as bounded."""
_MANY = 0.25
"""Smallest share of the images at which a bound matters."""
_FEWEST = 4
"""Smallest number of distinct outputs from which shares can be judged."""


class _Seen(NamedTuple):
    """Distinct finite outputs (n, C)."""

    checked: Tensor
    """Outputs for the images under check."""
    inside: Tensor
    """Outputs for these images and for others in [0, 1]."""
    strong: Tensor
    """Outputs for images far outside [0, 1]; empty if the model rejects them."""

    @property
    def all(self) -> Tensor:
        """All outputs together (n, C)."""
        return torch.cat([self.inside, self.strong])


def why_no_logits(model: Model, x: Tensor, answers: Tensor) -> str:
    """The evidence that a model's outputs are not logits, as a sentence; empty if there is none.

    Log-probabilities count as logits. Bounded outputs are acceptable as long as they stay far from the bounds, unless
    the bounds are those of a probability or of a tanh.

    Args:
        model: Images -> outputs.
        x: The images under check (N, ...), in [0, 1].
        answers: The model's outputs for them (N, C), finite.

    Example:
        >>> x = torch.rand(8, 5, generator=torch.Generator().manual_seed(0))
        >>> why_no_logits(lambda x: x, x, x)
        ''
        >>> why_no_logits(lambda x: (9 * x - 3).sigmoid(), x, (9 * x - 3).sigmoid())
        'the outputs stay within [0, 1], as those of a sigmoid do'
    """
    with torch.no_grad():
        seen = _look(model, x, answers.detach())
        if not len(seen.checked) or _are_log_probabilities(seen.inside):
            return ""
        for rule in (_shares, _unit_interval, _two_ended, _cut_off):
            for reason in rule(seen):
                return reason
    return ""


def most_passes(count: int) -> int:
    """Most passes that :func:`why_no_logits` takes over some images.

    Example:
        >>> most_passes(8)
        56
    """
    return 3 * min(count, _OTHERS) + min(count, 2 * _OTHERS) + 3 * min(count, _OTHERS)


def _look(model: Model, x: Tensor, answers: Tensor) -> _Seen:
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(x[:_OTHERS].shape, generator=generator).to(x)
    others = torch.cat([noise, 1 - x[:_OTHERS], (x[:_OTHERS] > 0.5).to(x)])
    inside = torch.cat([answers, ask(model, others)])
    try:
        strong = ask(model, (torch.cat([x[: 2 * _OTHERS], others]) - 0.5) * _CONTRAST + 0.5)
    except Exception:  # a model may reject such images in any way; then they say nothing
        strong = answers[:0]
    return _Seen(_distinct(answers), _distinct(inside), _distinct(strong))


def _distinct(answers: Tensor) -> Tensor:
    found: Tensor = torch.unique(answers[answers.isfinite().all(1)].float(), dim=0)
    return found


def _are_log_probabilities(answers: Tensor) -> bool:
    return bool((answers.logsumexp(1).abs() < _SHARES).all())


def _shares(seen: _Seen) -> Iterator[str]:
    """Outputs are nonnegative and have the same sum on all images: a softmax, or percentages, in any precision."""
    if are_probabilities(seen.inside):
        yield "the outputs are probabilities, not logits"
        return
    answers = seen.all
    sums = answers.sum(1)
    total, apart = float(sums.mean()), float(sums.max() - sums.min())
    moved = float((answers - answers.mean(0)).abs().sum(1).max())
    if len(answers) >= _FEWEST and float(answers.min()) >= 0 and apart <= min(_SHARES * total, _SPREAD * moved):
        yield f"the outputs for an image are shares of {total:.3g}, not logits"


def _unit_interval(seen: _Seen) -> Iterator[str]:
    """Outputs stay within the bounds of a sigmoid or a tanh, and reach one of them."""
    low, high = (float(bound) for bound in seen.all.aminmax())
    for name, (least, most) in _UNITS.items() if len(seen.all) >= _FEWEST else ():
        near = _AT_END * (most - least)
        # Nonnegative logits are not unusual, so the upper end of a wide interval must be reached.
        reached = high > most - near or (low < least + near and most == 1)
        if least <= low and high <= most and reached:
            yield f"the outputs stay within [{least:g}, {most:g}], as those of {name} do"
            return


def _two_ended(seen: _Seen) -> Iterator[str]:
    """For strong images all outputs are at one of two bounds, and for the images themselves many come close."""
    if len(seen.strong) < _FEWEST:
        return
    low, high = (float(bound) for bound in seen.all.aminmax())
    near = _AT_END * (high - low)
    at_end = float(((seen.strong < low + near) | (seen.strong > high - near)).float().mean())
    near = _NEAR_END * (high - low)
    first, second = seen.checked.topk(2, dim=1).values.unbind(1)
    close = float(((first > high - near) | (second < low + near)).float().mean())
    if at_end >= _MOST and close >= _MANY:
        yield f"the outputs stay within [{low:.3g}, {high:.3g}] for any image, and {close:.0%} come near the bounds"


def _cut_off(seen: _Seen) -> Iterator[str]:
    """For many images the output of the top class is exactly the largest of all, or that of the second the smallest."""
    answers = seen.checked
    if len(answers) < _FEWEST or torch.unique(answers).numel() < len(answers):  # votes are often equal
        return
    moves = (answers != answers[0]).any(0)  # one class of two may have the logit 0 by construction
    ranked, bounds = ranked_classes(answers, 2), (seen.inside.max(), seen.inside.min())
    for name, classes, bound in zip(("first", "second"), ranked.unbind(1), bounds, strict=True):
        at_bound = answers.gather(1, classes.unsqueeze(1)).squeeze(1) == bound
        share = float((at_bound & moves[classes]).float().mean())
        if share >= _MANY:
            exactly = f"exactly {float(bound):.3g} on {share:.0%} of the images"
            yield f"the outputs are clipped: that of the {name} class is {exactly}"
