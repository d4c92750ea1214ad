"""Whether a model's answers are logits, or logits squashed: by a softmax, a sigmoid, a tanh, or cut off at a bound.

Where a squashing function saturates its gradient vanishes, and attacks that follow the gradient fail for that reason
alone. A logit has no bound, so answers that keep to one, about images of any contrast, tell.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from attacks.objectives.ranking import ranked_classes
from attacks.protocols import Model
from attacks.queries.answers import are_probabilities, ask

_OTHERS = 8
"""Images of each kind that are looked at beside those that are checked."""
_CONTRAST = 1000.0
"""How many times as strong the strong images are: whatever can saturate does."""
_SHARES = 0.01
"""By how much the sums of shares may differ, in parts of the sum: two units in the last place of bfloat16."""
_SPREAD = 0.05
"""The same, in parts of the distance between two images' answers."""
_UNITS = {"a sigmoid": (0.0, 1.0), "a tanh": (-1.0, 1.0), "percentages": (0.0, 100.0)}
"""Bounds that no logits have by accident."""
_AT_END = 0.01
"""What counts as being at an end of an interval, in parts of its width."""
_NEAR_END = 0.05
"""What counts as being so near to it that the gradient suffers."""
_MOST = 0.95
"""Share of the answers about strong images that are at an end where answers are bounded."""
_MANY = 0.25
"""Share of the images that makes a bound matter."""
_FEWEST = 4
"""Different answers from which a share of them says anything."""


class _Seen(NamedTuple):
    """Answers without those that are not finite, and without repetitions (n, C)."""

    checked: Tensor
    """About the images that are checked."""
    inside: Tensor
    """About these and others in [0, 1]."""
    strong: Tensor
    """About images far outside of [0, 1]; none if the model does not take them."""

    @property
    def all(self) -> Tensor:
        """Everything (n, C)."""
        return torch.cat([self.inside, self.strong])


def why_no_logits(model: Model, x: Tensor, answers: Tensor) -> str:
    """What shows that a model's answers are no logits; empty where nothing does.

    Log-probabilities are logits. That answers are bounded is no fault as long as they stay far from the bounds, unless
    these are those of a probability or of a tanh.

    Args:
        model: Images -> answers.
        x: The images that are checked (N, ...), in [0, 1].
        answers: About these (N, C), finite.

    Example:
        >>> x = torch.rand(8, 5, generator=torch.Generator().manual_seed(0))
        >>> why_no_logits(lambda x: x, x, x)
        ''
        >>> why_no_logits(lambda x: (9 * x - 3).sigmoid(), x, (9 * x - 3).sigmoid())
        'the answers keep to [0, 1], as those of a sigmoid do'
    """
    with torch.no_grad():
        seen = _look(model, x, answers.detach())
        if not len(seen.checked) or _are_log_probabilities(seen.inside):
            return ""
        for rule in (_shares, _unit_interval, _two_ended, _cut_off):
            for reason in rule(seen):
                return reason
    return ""


def _look(model: Model, x: Tensor, answers: Tensor) -> _Seen:
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(x[:_OTHERS].shape, generator=generator).to(x)
    others = torch.cat([noise, 1 - x[:_OTHERS], (x[:_OTHERS] > 0.5).to(x)])
    inside = torch.cat([answers, ask(model, others)])
    try:
        strong = ask(model, (torch.cat([x[: 2 * _OTHERS], others]) - 0.5) * _CONTRAST + 0.5)
    except Exception:  # a model may refuse such images in any way; then they tell nothing
        strong = answers[:0]
    return _Seen(_distinct(answers), _distinct(inside), _distinct(strong))


def _distinct(answers: Tensor) -> Tensor:
    found: Tensor = torch.unique(answers[answers.isfinite().all(1)].float(), dim=0)
    return found


def _are_log_probabilities(answers: Tensor) -> bool:
    return bool((answers.logsumexp(1).abs() < _SHARES).all())


def _shares(seen: _Seen) -> Iterator[str]:
    """Nonnegative, with one sum for all images: a softmax, or percentages, in whatever precision."""
    if are_probabilities(seen.inside):
        yield "the answers are probabilities, not logits"
        return
    answers = seen.all
    sums = answers.sum(1)
    total, apart = float(sums.mean()), float(sums.max() - sums.min())
    moved = float((answers - answers.mean(0)).abs().sum(1).max())
    if len(answers) >= _FEWEST and float(answers.min()) >= 0 and apart <= min(_SHARES * total, _SPREAD * moved):
        yield f"the answers about an image are shares of {total:.3g}, not logits"


def _unit_interval(seen: _Seen) -> Iterator[str]:
    """Within the bounds of a sigmoid or a tanh, and up to one of them."""
    low, high = (float(bound) for bound in seen.all.aminmax())
    for name, (least, most) in _UNITS.items() if len(seen.all) >= _FEWEST else ():
        near = _AT_END * (most - least)
        # Nothing is unusual about nonnegative logits, so of an interval that wide the upper end must be seen.
        reached = high > most - near or (low < least + near and most == 1)
        if least <= low and high <= most and reached:
            yield f"the answers keep to [{least:g}, {most:g}], as those of {name} do"
            return


def _two_ended(seen: _Seen) -> Iterator[str]:
    """About strong images all answers are at one of two bounds, and many about the images themselves are near."""
    if len(seen.strong) < _FEWEST:
        return
    low, high = (float(bound) for bound in seen.all.aminmax())
    near = _AT_END * (high - low)
    at_end = float(((seen.strong < low + near) | (seen.strong > high - near)).float().mean())
    near = _NEAR_END * (high - low)
    first, second = seen.checked.topk(2, dim=1).values.unbind(1)
    close = float(((first > high - near) | (second < low + near)).float().mean())
    if at_end >= _MOST and close >= _MANY:
        yield f"the answers keep to [{low:.3g}, {high:.3g}] whatever the image, and {close:.0%} come near the bounds"


def _cut_off(seen: _Seen) -> Iterator[str]:
    """On many images the first class, or the second, has exactly the largest, or the smallest, of all answers."""
    answers = seen.checked
    if len(answers) < _FEWEST or torch.unique(answers).numel() < len(answers):  # votes are equal by themselves
        return
    moves = (answers != answers[0]).any(0)  # one class of two may have the logit 0 by construction
    ranked, bounds = ranked_classes(answers, 2), (seen.inside.max(), seen.inside.min())
    for name, classes, bound in zip(("first", "second"), ranked.unbind(1), bounds, strict=True):
        at_bound = answers.gather(1, classes.unsqueeze(1)).squeeze(1) == bound
        share = float((at_bound & moves[classes]).float().mean())
        if share >= _MANY:
            exactly = f"exactly {float(bound):.3g} on {share:.0%} of the images"
            yield f"the answers are cut off: that of the {name} class is {exactly}"
