"""The largest eps at which it can be proved, for one picture, that nothing meets the goal."""

from dataclasses import replace
from typing import NamedTuple

from torch import Tensor

from advbench import proofs
from advbench.records.record import Record
from attacks import Goal, Model, Norm

ROUNDS = 6
"""Number of bisection steps for the largest eps."""
DOUBLINGS = 6
"""Largest number of times that a proved eps is doubled."""
DOMAINS, SECONDS = 200, 10.0
"""Limits for each proof."""


class Reach(NamedTuple):
    """Reach of a proof."""

    eps: float = 0.0
    """Largest eps that was proved; 0 if none was."""
    method: str = "none"
    """Method of the proof at that eps."""
    seconds: float = 0.0
    """Total time of all proofs, seconds."""
    reason: str = ""
    """Why nothing can be proved; empty if a proof was tried."""


def reach_of(model: Model, x: Tensor, goal: Goal, norm: Norm, *, start: float, found: float | None) -> Reach:
    """Find the largest eps that can be proved, by bisection.

    Args:
        model: Classifier under test.
        x: One image (1, C, H, W) in [0, 1].
        goal: What counts as fooled.
        norm: Norm of the perturbations.
        start: First eps to try.
        found: Size of a perturbation that meets the goal, above which nothing can be proved; None if none is known.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from attacks import Linf, Untargeted
        >>> model = nn.Sequential(nn.Linear(2, 2, bias=False)).eval()
        >>> _ = nn.init.eye_(model[0].weight)
        >>> x = torch.tensor([[0.7, 0.3]])
        >>> round(reach_of(model, x, Untargeted(torch.tensor([0])), Linf(), start=0.1, found=None).eps, 2)
        0.2
    """
    whole = norm.name == "l0"
    most = float(norm.measure(x.new_ones(x.shape)).max())
    proved, above = Reach(), most if found is None else min(found, most)
    eps = min(start, above)
    for step in range(DOUBLINGS + ROUNDS):
        eps = float(int(eps)) if whole else eps
        if not proved.eps < eps < above and not (step == 0 and 0 < eps <= most):
            break
        tried = _tried(model, x, goal, norm, eps)
        seconds = proved.seconds + tried.seconds
        if tried.reason:
            return tried
        proved, above = (tried, above) if tried.eps else (proved, eps)
        proved = proved._replace(seconds=seconds)
        doubled = tried.eps and step < DOUBLINGS and 2 * eps < above
        eps = 2 * eps if doubled else (proved.eps + above) / 2
    return proved


def _tried(model: Model, x: Tensor, goal: Goal, norm: Norm, eps: float) -> Reach:
    try:
        proof = proofs.prove(model, x, goal, norm=norm, eps=eps, domains=DOMAINS, seconds=SECONDS)
    except ValueError as error:
        return Reach(reason=f"cannot be proved: {error}")
    return Reach(eps if bool(proof.proved[0]) else 0.0, proof.method[0], float(proof.seconds[0]), proof.reason)


def with_reach(record: Record, reach: Reach) -> Record:
    """Add the proof at the record's eps to a record; without an eps, only the time."""
    if record.eps is None:
        return replace(record, proof_seconds=reach.seconds)
    method = reach.method if reach.eps >= record.eps else "none"
    return replace(record, proved=reach.eps >= record.eps, proof_method=method, proof_seconds=reach.seconds)
