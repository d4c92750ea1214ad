"""One match on one victim: every library in turn, several rounds, in one process."""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from advbench.evaluation.judge import judge
from advbench.evaluation.memory import keep_memory
from attacks import Untargeted
from tests.peers.libraries import Call
from tests.peers.match import Match
from tests.peers.victims import Target, Victim

OURS = "advbench"
WARM_UP = 4
"""Number of images in the first call of each library, which also imports it and is not timed."""


def contest(
    match: Match, victim: Victim, target: Target, *, rounds: int, progress: Callable[[str], None]
) -> dict[str, Any]:
    """Time every library and measure what it found.

    Args:
        match: Attacks to compare.
        victim: Victim, for its eps.
        target: The loaded victim.
        rounds: Number of turns of each library.
        progress: Called with a line about every turn.

    Returns:
        A record for `reports/peers/results.json`.
    """
    eps = victim.eps[match.ours.norm.name] * match.eps_factor if match.ours.kind == "budget" else None
    calls = {OURS: _ours(match), **match.peers}
    rows: dict[str, dict[str, list[Any]]] = {}
    failures: dict[str, str] = {}
    for library, call in calls.items():
        try:
            call(target.model, target.x[:WARM_UP], target.y[:WARM_UP], eps)
            rows[library] = {"seconds": [], "wall_seconds": [], "unbroken": [], "median_size": []}
        except Exception as error:
            failures[library] = f"{type(error).__name__}: {error}"
    keep_memory(target.x.device)  # for every library alike, as advbench does before an attack
    for turn in range(rounds):
        for library, row in rows.items():
            torch.manual_seed(turn)
            seconds, wall, x_adv = _timed(calls[library], target, eps)
            progress(f"round {turn + 1} of {rounds}: {library} {seconds:.2f} s")
            for key, value in zip(row, (seconds, wall, *_judged(match, target, x_adv, eps)), strict=True):
                row[key].append(value)
    return {"images": len(target.x), "eps": eps, "rows": rows, "failures": failures}


def _ours(match: Match) -> Call:
    """Our attack, wrapped in the same call as the others."""

    def call(model: Any, x: Tensor, y: Tensor, eps: float | None) -> Tensor:
        return match.ours(model, x, Untargeted(y), eps=eps, seed=torch.initial_seed())

    return call


def _timed(call: Call, target: Target, eps: float | None) -> tuple[float, float, Tensor]:
    """Processor seconds, wall-clock seconds, candidates."""
    wall, processor = time.perf_counter(), time.process_time()
    x_adv = call(target.model, target.x, target.y, eps)
    return time.process_time() - processor, time.perf_counter() - wall, x_adv


def _judged(match: Match, target: Target, x_adv: Tensor, eps: float | None) -> tuple[float, float | None]:
    """Share of images that are not fooled, and the median size of the perturbations, by a fresh forward pass."""
    norm = match.ours.norm
    verdicts = judge(target.model, target.x, x_adv.detach(), Untargeted(target.y), norm, eps)
    size = torch.where(verdicts.met, norm.measure(x_adv.detach() - target.x), torch.inf).median()
    return 1 - verdicts.met.float().mean().item(), size.item() if size.isfinite() else None
