"""Probing a model: traced passes over a few images, and over slightly perturbed ones."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from attacks.protocols import Model
from attacks.queries.answers import find_logits
from attacks.searches.draws import uniform
from attacks.searches.patterns import pattern
from attacks.standins.traced_pass import Pass

REACH = 4 / 255
"""Size of the perturbations, up or down, that test a step's response."""
TRIALS = 4
"""Number of perturbations for each image."""
PROBED = 16
"""Number of random images used in addition to those given, or fewer if images are large; see :data:`VALUES`."""
VALUES, FEWEST = 2**19, 4
"""Largest number of values of the given images, and of the random ones, but at least this many images of each: several
passes are kept with all their activations, which are many times larger than the images."""


class Looked(NamedTuple):
    """A traced pass, and others over slightly perturbed images, with the same random numbers."""

    answer: Any
    """The model's output for them."""
    seen: Pass
    """The pass in which steps without a gradient have one."""
    values: dict[int, Tensor]
    """Layer -> its input, with the model's own graph."""
    moves: list[Tensor]
    """Differences between perturbed images and these (N, ...)."""
    moved: list[dict[int, Tensor]]
    """Layer -> its input for each of the perturbations."""
    graph: bool
    """Whether the last layer's outputs have a graph in the model itself."""
    plain: bool
    """Whether the layers are functions with plain tensors as weights."""
    own: Pass
    """The pass with the gradients of the model, over the given and random images, where the values' graphs start."""
    truly: Pass | None
    """The pass with the gradients of what it computes; None if it has no custom backward pass."""
    ends: list[list[Tensor]]
    """The last layer's outputs for each of the perturbations."""
    idle: bool
    """Whether nothing depends on the results of steps without a gradient, such as those that only log activations."""


def look(model: Model, x: Tensor) -> Looked | None:
    """Probe a model; None if it cannot be traced.

    Args:
        model: Images in [0, 1] -> logits, probabilities, or labels.
        x: Images (N, ...) as returned by :func:`with_drawn`.

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
    unbridged, true_answer = _watched(model, x.clone().requires_grad_(), bridged=False, plain=plain)
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
        truly, _ = _watched(model, x.clone().requires_grad_(), bridged=True, plain=plain, honest=True)
    idle = bool(seen.leaks) and _idle(model, x, [(seen, answer), (unbridged, true_answer)], plain=plain)
    return Looked(answer, seen, values, moves, moved, graph, plain, unbridged, truly, ends, idle)


def _idle(model: Model, x: Tensor, passes: list[tuple[Pass, Any]], *, plain: bool) -> bool:
    """Whether layers and output get the same values as in all of these passes if steps without a gradient give others.

    That something with a gradient remains is not enough: a detached value may also be added to it, or come back as an
    array or a number, or be changed in place, which changes the original only in a pass without bridges.
    """
    changed = _values(*_watched(model, x.clone().requires_grad_(), bridged=True, plain=plain, shaken=True), len(x))
    before = [_values(seen, answer, len(x)) for seen, answer in passes]
    return all(len(each) == len(changed) and all(map(_same, each, changed)) for each in before)


def _values(seen: Pass, answer: Any, count: int) -> list[Any]:
    # Of the values since the last layer, others than its own may be those of a step without a gradient themselves.
    return [*seen.inputs, *seen.outputs[:1], find_logits(answer, count)]


def _same(one: Any, two: Any) -> bool:
    both = isinstance(one, Tensor) and isinstance(two, Tensor)
    return both and one.dtype == two.dtype and torch.equal(one, two)


def _watched(
    model: Model, x: Tensor, *, bridged: bool, plain: bool, honest: bool = False, shaken: bool = False
) -> tuple[Pass, Any]:
    """A pass with its own random numbers, and the output, or None if the model fails."""
    seen = Pass(x, bridged=bridged, plain=plain, honest=honest, shaken=shaken)
    torch.manual_seed(0)
    try:
        with torch.enable_grad(), seen:
            return seen, model(x.clone())
    except Exception:  # if the error is the model's own, the attack itself will raise it
        return seen, None


def _fresh(seen: Pass, like: Pass) -> dict[int, Tensor]:
    return {number: seen.inputs[number] for number in like.fresh if number < len(seen.inputs)}


def with_drawn(x: Tensor) -> Tensor:
    """The images (N, ...) and some random ones, or the first few of each if images are large.

    Example:
        >>> with_drawn(torch.rand(2, 3)).shape, with_drawn(torch.rand(20, 3, 224, 224)).shape
        (torch.Size([18, 3]), torch.Size([8, 3, 224, 224]))
    """
    most = max(FEWEST, VALUES // max(1, x[0].numel()))
    ids = torch.arange(min(PROBED, most), device=x.device)
    drawn = x[ids % len(x)]
    return torch.cat([x[:most], *(pattern(0, ids[i : i + 1], i, drawn[i : i + 1]) for i in range(len(ids)))])
