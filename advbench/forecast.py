"""What a run would do and cost, without doing it."""

import time
from collections import Counter
from typing import TYPE_CHECKING

import torch

from advbench.cost import Footprint
from advbench.plan import Plan, make_plan
from advbench.report.terminal import print_table
from advbench.report.words import describe_norm
from advbench.suite import Suite
from advbench.units import Unit
from advbench.workbench import Workbench
from attacks.derivatives import has_gradient

if TYPE_CHECKING:
    from rich.console import Console

PROCESS_BYTES = 600 * 2**20
"""What a worker needs before it has loaded a model."""


def forecast(suite: Suite, workers: int, out: "Console") -> None:
    """Print the units of a suite, their passes, and the time and memory they would take.

    Args:
        suite: What would be run.
        workers: Processes.
        out: Where to print.

    Raises:
        UserError: As :func:`advbench.plan.make_plan`.
    """
    bench = Workbench(suite)
    plan = make_plan(suite, bench)
    speed = {pair: _seconds_per_pass(bench, pair, plan) for pair in plan.footprints}
    for model, data in plan.footprints:
        rows: dict[tuple[str, ...], list[Unit]] = {}
        for unit in plan.units:
            bound = describe_norm(unit.norm, unit.eps) if unit.norm else ""
            if (unit.model, unit.dataset) == (model, data):
                rows.setdefault((unit.attack or unit.task, unit.goal, bound), []).append(unit)
        columns = ["attack", "goal", "norm", "units", "images", "passes", "time"]
        print_table(out, f"{model} on {data}", columns, [(*key, *_sums(units, speed)) for key, units in rows.items()])
        out.print()
    seconds = sum(_seconds(unit, speed) for unit in plan.units)
    largest = max((_bytes(unit, plan.footprints) for unit in plan.units), default=0)
    tasks = Counter(unit.task for unit in plan.units)
    out.print(
        f"{len(plan.units)} units ({tasks['attack']} of attacks), at most "
        f"{sum(unit.passes * len(unit.samples) for unit in plan.units):,.0f} passes "
        f"(a backward pass counts as two forward passes)\n"
        f"time: at most {_clock(seconds / workers)} with --workers {workers}; "
        f"memory: about {(PROCESS_BYTES + largest) * workers / 2**30:.1f} GiB\n"
        "An image that is fooled leaves its attack early, so that most runs take less."
    )


def _sums(units: list[Unit], speed: dict[tuple[str, str], float]) -> tuple[str, ...]:
    images = sum(len(unit.samples) for unit in units)
    passes = sum(unit.passes * len(unit.samples) for unit in units)
    return str(len(units)), str(images), f"{passes:,.0f}", _clock(sum(_seconds(unit, speed) for unit in units))


def _seconds(unit: Unit, speed: dict[tuple[str, str], float]) -> float:
    return unit.passes * len(unit.samples) * speed[unit.model, unit.dataset]


def _bytes(unit: Unit, footprints: dict[tuple[str, str], Footprint]) -> int:
    size = footprints[unit.model, unit.dataset]
    return size.weights + size.kept * len(unit.samples)


def _seconds_per_pass(bench: Workbench, pair: tuple[str, str], plan: Plan) -> float:
    """Of one image, timed: a third of a forward and a backward pass; of a model without gradients, a forward pass."""
    unit = next(each for each in plan.units if (each.model, each.dataset) == pair and each.task == "clean")
    x, model = bench.images(_first(unit, 8)).x, bench.model(pair[0])
    x.requires_grad_(has_gradient(model, x))
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        answer = model(x).sum()
        passes = 1
        if answer.requires_grad:
            torch.autograd.grad(answer, x)
            passes = 3
        best = min(best, (time.perf_counter() - start) / passes)
    return best / len(x)


def _first(unit: Unit, count: int) -> Unit:
    from dataclasses import replace

    return replace(unit, samples=unit.samples[:count], sample_ids=unit.sample_ids[:count])


def _clock(seconds: float) -> str:
    """A duration as people say it."""
    if seconds < 1:
        return "< 1 s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
