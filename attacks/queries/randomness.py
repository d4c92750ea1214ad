"""Whether a model's answers are random: the one rule, for everything that must know."""

import random
import sys
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor

from attacks.protocols import Model
from attacks.queries.answers import find_logits

SPREAD = 1e-4
"""Most by which answers about the same images may differ, as a share of the largest, and still be the same."""
LOOKS = 3
"""Further passes that show whether the first answer is given again."""
DRAWN = 12
"""Further passes of a model that draws random numbers: an ensemble may draw the same member several times."""
_steady: WeakSet[Any] = WeakSet()


def is_random(model: Model, x: Tensor, *, remember: bool = False) -> bool:
    """Whether a model's answers about the same images differ from pass to pass.

    All passes are over the same batch, so that they are rounded alike. A model that draws from the global generators of
    torch, Python or NumPy changes their state, so that one pass is enough to know that it should be looked at longer.
    Only others can be remembered: that those answer differently later is nothing that a seed decides.

    Args:
        model: Images in [0, 1] -> logits, probabilities or labels.
        x: Images (N, ...).
        remember: Whether one pass is enough for a model that did not waver before in this process and draws nothing.

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
        answers: Answers about the same images (P, ...); where they are not finite they count as alike.

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
    """States of the generators that a model is likely to draw from."""
    found: list[Any] = [torch.default_generator.get_state(), random.getstate()]
    if device.type == "cuda":
        found.append(torch.cuda.get_rng_state(device))
    elif device.type == "mps":
        found.append(torch.mps.get_rng_state())
    if (numpy := sys.modules.get("numpy.random")) is not None:
        state = numpy.get_state(legacy=False)
        key = state["state"].pop("key", None)  # an array, which the text would cut short
        found += [str(state), None if key is None else key.tobytes()]
    return found


def _same(one: Any, other: Any) -> bool:
    return torch.equal(one, other) if isinstance(one, Tensor) else bool(one == other)


def _is_steady(model: Model) -> bool:
    try:
        return model in _steady
    except TypeError:  # it has no hash or no weak references, and is looked at each time
        return False


def _note_steady(model: Model) -> None:
    try:
        _steady.add(model)
    except TypeError:
        return
