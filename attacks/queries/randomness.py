"""The one rule for whether a model's answers are random."""

import random
import sys
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor

from attacks.protocols import Model
from attacks.queries.answers import find_logits

SPREAD = 1e-4
"""Largest difference, as a fraction of the largest value, at which answers for the same images count as equal."""
LOOKS = 3
"""Number of further passes that check whether the first answer is repeated."""
DRAWN = 12
"""Number of further passes for a model that draws random numbers: an ensemble may draw the same member several
times."""
_steady: WeakSet[Any] = WeakSet()


def is_random(model: Model, x: Tensor, *, remember: bool = False) -> bool:
    """Whether a model's answers for the same images differ from pass to pass.

    All passes are over the same batch, so that they are rounded in the same way. A model that draws from the global
    generators of torch, Python or NumPy changes their state, so that one pass is enough to know that it needs more
    checks. Only other models can be remembered: no seed can make these answer differently later.

    Args:
        model: Images in [0, 1] -> logits, probabilities or labels.
        x: Images (N, ...).
        remember: Whether one pass is enough for a model that was steady before in this process and draws nothing.

    Example:
        >>> x = torch.rand(1, 3)
        >>> is_random(lambda x: x, x), is_random(lambda x: x + torch.rand(1), x)
        (False, True)
    """
    with torch.no_grad():
        before = _states(x.device)
        first = _answer(model, x)
        drew = not all(map(_same, before, _states(x.device)))
        if not isinstance(first, Tensor) or (remember and not drew and _is_steady(model)):
            return False
        for _ in range(DRAWN if drew else LOOKS):
            again = _answer(model, x)
            if not isinstance(again, Tensor) or again.shape != first.shape:
                return True
            if spread(torch.stack([first, again])) > SPREAD:
                return True
    if remember and not drew:
        _note_steady(model)
    return False


def spread(answers: Tensor) -> float:
    """Largest difference between the first of several answers and the others, as a share of the largest value.

    Args:
        answers: Answers for the same images (P, ...); non-finite ones count as equal.

    Example:
        >>> spread(torch.tensor([[[2.0, -4.0]], [[1.0, -4.0]]]))
        0.25
    """
    values = answers.detach().double()
    apart, sizes = (each.nan_to_num(nan=0.0, posinf=0.0) for each in ((values - values[0]).abs(), values.abs()))
    return float(apart.max() / sizes.max()) if sizes.numel() and bool(sizes.max() > 0) else 0.0


def _answer(model: Model, x: Tensor) -> Any:
    answer = find_logits(model(x.clone()), len(x))
    return answer.clone() if isinstance(answer, Tensor) else answer  # a model may return the same buffer each time


def _states(device: torch.device) -> list[Any]:
    """States of the random generators that a model is likely to use."""
    found: list[Any] = [torch.default_generator.get_state(), random.getstate()]
    if device.type == "cuda":
        found.append(torch.cuda.get_rng_state(device))
    elif device.type == "mps":
        found.append(torch.mps.get_rng_state())
    if (numpy := sys.modules.get("numpy.random")) is not None:
        state = numpy.get_state(legacy=False)
        key = state["state"].pop("key", None)  # an array, which the text form would truncate
        found += [str(state), None if key is None else key.tobytes()]
    return found


def _same(one: Any, other: Any) -> bool:
    return torch.equal(one, other) if isinstance(one, Tensor) else bool(one == other)


def _is_steady(model: Model) -> bool:
    try:
        return model in _steady
    except TypeError:  # not hashable or no weak references, so it is checked each time
        return False


def _note_steady(model: Model) -> None:
    try:
        _steady.add(model)
    except TypeError:
        return
