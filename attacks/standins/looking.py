"""A first look at a model: passes over a few images, and over the same ones moved a little, watched throughout."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from attacks.protocols import Model
from attacks.searches.draws import uniform
from attacks.searches.patterns import pattern
from attacks.standins.passing import Pass

REACH = 4 / 255
"""How far images are moved, up or down, to see what a step makes of that."""
TRIALS = 4
"""Number of such moves for each image."""
PROBED = 16
"""Number of drawn images that a model is shown beside those given."""


class Looked(NamedTuple):
    """A watched pass, and others over images moved a little, with the same random numbers."""

    x: Tensor
    """The images and drawn ones (N, ...), behind the graphs of the values."""
    answer: Any
    """The model's answer about them."""
    seen: Pass
    """The pass in which steps without a gradient have one."""
    values: dict[int, Tensor]
    """Layer -> its input, with the graph that the model itself gives it."""
    moves: list[Tensor]
    """Differences between moved images and these (N, ...)."""
    moved: list[dict[int, Tensor]]
    """Layer -> its input after each of the moves."""
    graph: bool
    """Whether the model itself gives the last layer's answers a graph."""
    plain: bool
    """Whether the layers are functions of plain tensors."""
    own: tuple[Tensor, Pass]
    """The images and the pass with the gradients of the model."""
    truly: tuple[Tensor, Pass] | None
    """The same with those of what it computes; None where it brings no backward pass along."""
    ends: list[list[Tensor]]
    """The answers of the last layer about each of the moves."""


def look(model: Model, x: Tensor) -> Looked | None:
    """Watch a model; None where it cannot be watched.

    Args:
        model: Images in [0, 1] -> logits, probabilities, or labels.
        x: Images (N, ...) as :func:`with_drawn` gives them.

    Example:
        >>> looked = look(torch.nn.Linear(3, 2), torch.rand(4, 3))
        >>> len(looked.seen.inputs), looked.graph
        (1, True)
    """
    plain = False
    seen, answer = _watched(model, x.clone().requires_grad_(), bridged=True, plain=plain)
    if answer is not None and not seen.inputs:
        plain = True
        seen, answer = _watched(model, x.clone().requires_grad_(), bridged=True, plain=plain)
    if answer is None:
        return None
    own = x.clone().requires_grad_()
    unbridged, _ = _watched(model, own, bridged=False, plain=plain)
    values = _fresh(unbridged, seen) or _fresh(seen, seen)
    graph = all(value.requires_grad for value in unbridged.outputs[:1])
    ids = torch.arange(len(x), device=x.device)
    moves, moved = [], []
    ends = []
    for trial in range(TRIALS if seen.fresh else 0):
        up = uniform(1, ids, trial, tuple(x.shape[1:])).to(x) < 0.5
        after = (x + REACH * (1 - 2 * up.to(x))).clamp(0, 1)
        moves.append(after - x)
        # A model may do without some of its layers where no gradient is wanted, such as those of a twin.
        there = _watched(model, after.requires_grad_(), bridged=False, plain=plain)[0]
        moved.append({number: value.detach() for number, value in _fresh(there, seen).items()})
        ends.append([value.detach() for value in there.outputs[:1]])
    truly = None
    if seen.backwards.found:
        again = x.clone().requires_grad_()
        truly = again, _watched(model, again, bridged=True, plain=plain, honest=True)[0]
    return Looked(own, answer, seen, values, moves, moved, graph, plain, (own, unbridged), truly, ends)


def _watched(model: Model, x: Tensor, *, bridged: bool, plain: bool, honest: bool = False) -> tuple[Pass, Any]:
    """A pass with random numbers of its own, and the answer; None where the model fails."""
    seen = Pass(x, bridged=bridged, plain=plain, honest=honest)
    torch.manual_seed(0)
    try:
        with torch.enable_grad(), seen:
            return seen, model(x.clone())
    except Exception:  # the attack itself will meet the error, if it is the model's own
        return seen, None


def _fresh(seen: Pass, like: Pass) -> dict[int, Tensor]:
    return {number: seen.inputs[number] for number in like.fresh if number < len(seen.inputs)}


def with_drawn(x: Tensor) -> Tensor:
    """The images (N, ...) and some drawn ones.

    Example:
        >>> with_drawn(torch.rand(2, 3)).shape
        torch.Size([18, 3])
    """
    ids = torch.arange(PROBED, device=x.device)
    drawn = x[ids % len(x)]
    return torch.cat([x, *(pattern(0, ids[i : i + 1], i, drawn[i : i + 1]) for i in range(PROBED))])
