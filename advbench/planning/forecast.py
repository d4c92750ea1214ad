"""Forecast of the work and the cost of a run, for dry runs."""

import json
import time
from collections import Counter
from dataclasses import replace
from typing import NamedTuple

import torch

from advbench.config.budgets import describe_norm
from advbench.config.suite import Suite
from advbench.planning.plan import Plan, make_plan
from advbench.planning.resources import Resources
from advbench.planning.workers import PROCESS_BYTES, Wanted, Workers, choose_workers, largest_bytes
from advbench.records.manifest import describe_misfits
from advbench.records.pace import describe_duration
from advbench.records.unit import Unit
from advbench.sanitize import count_of
from attacks.queries.derivatives import has_gradient


class ForecastTable(NamedTuple):
    """Forecast for one model on one data set."""

    title: str
    """Labels of model and data set."""
    rows: tuple[tuple[str, ...], ...]
    """Rows of the table, one for each attack, with the columns of `HEADINGS`."""


HEADINGS = ("attack", "goal", "norm", "units", "images", "passes", "time")
"""Columns of a :class:`ForecastTable`."""


class Forecast(NamedTuple):
    """Forecast of the work and the cost of a suite."""

    tables: tuple[ForecastTable, ...]
    """Tables, one for each model on each of its data sets."""
    total: str
    """Totals of units, passes, time and memory, in words."""
    not_run: tuple[str, ...] = ()
    """Sentences on the pairs of a model and a data set that do not fit together."""


def forecast(suite: Suite, workers: Wanted) -> Forecast:
    """Plan a suite and estimate its units, their passes, and the time and memory they would take.

    Args:
        suite: Suite to be run.
        workers: Number of worker processes, or "auto".

    Raises:
        UserError: As :func:`advbench.planning.plan.make_plan`.
    """
    resources = Resources(suite)
    plan = make_plan(suite, resources)
    speed = {pair: _seconds_per_pass(resources, pair, plan) for pair in plan.footprints}
    tables = []
    for model, data in plan.footprints:
        rows: dict[tuple[str, ...], list[Unit]] = {}
        for unit in plan.units:
            bound = describe_norm(unit.norm, unit.eps) if unit.norm else ""
            if (unit.model, unit.dataset) == (model, data):
                rows.setdefault((unit.name, unit.goal, bound), []).append(unit)
        texts = tuple((*key, *_sums(units, speed)) for key, units in rows.items())
        tables.append(ForecastTable(f"{model} on {data}", texts))
    total = _total(plan, speed, choose_workers(plan, suite.device, workers))
    return Forecast(tuple(tables), total, tuple(describe_misfits(plan.misfits)))


def _total(plan: Plan, speed: dict[tuple[str, str], float], workers: Workers) -> str:
    seconds = sum(_seconds(unit, speed) for unit in plan.units)
    tasks = Counter(unit.task for unit in plan.units)
    return (
        f"{count_of(len(plan.units), 'unit')} ({tasks['attack']} of attacks), at most "
        f"{sum(map(_passes, plan.units)):,.0f} passes "
        f"(a backward pass counts as two forward passes)\n"
        f"time: at most {describe_duration(seconds / workers.number)}; memory: about "
        f"{(PROCESS_BYTES + largest_bytes(plan)) * workers.number / 2**30:.1f} GiB\n"
        f"workers: {workers.number} ({workers.why})\n"
        "Images leave an attack as soon as they are fooled, so most runs take less."
    )


def _sums(units: list[Unit], speed: dict[tuple[str, str], float]) -> tuple[str, ...]:
    images = sum(len(unit.samples) for unit in units)
    passes = sum(map(_passes, units))
    return (
        str(len(units)),
        str(images),
        f"{passes:,.0f}",
        describe_duration(sum(_seconds(unit, speed) for unit in units)),
    )


def _passes(unit: Unit) -> float:
    """Most passes of a unit; a proof has none, since its domains are bounded by other means."""
    return 0.0 if unit.task == "prove" else unit.passes * len(unit.samples)


def _seconds(unit: Unit, speed: dict[tuple[str, str], float]) -> float:
    """Most seconds of a unit; of a proof those that it is allowed, for what a domain takes is not known before."""
    if unit.task == "prove":
        return len(unit.samples) * float(json.loads(unit.params)["seconds"])
    return _passes(unit) * speed[unit.model, unit.dataset]


def _seconds_per_pass(resources: Resources, pair: tuple[str, str], plan: Plan) -> float:
    """Seconds per pass on one image: a third of a forward and a backward pass, or one gradient-free forward pass."""
    unit = plan.clean()[pair][0]
    few = replace(unit, samples=unit.samples[:8], sample_ids=unit.sample_ids[:8])
    x, model = resources.images(few).x, resources.judged(*pair)
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
