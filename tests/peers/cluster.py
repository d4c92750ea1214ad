"""The cost of a cluster per unit, and how far it scales: `python -m tests.peers.cluster`.

Many units of 10 ms each are run by one process, by two, and by a Dask scheduler with two workers on this machine. The
measured sizes and times are extrapolated to a run with 1,000 workers.
"""

import heapq
import json
import os
import pickle
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tests.peers.machine import processor
from tests.peers.report import Report, add_shared, parser_for, say

PLUGIN = "tests.peers.cluster_plugin"
WAYS: dict[str, dict[str, Any]] = {
    "one process": {"workers": 1},
    "two processes": {"workers": 2},
    "a cluster with two workers": {"cluster": "local:2"},
}
IMAGES, CELLS, WORKERS, CLASSES = 50_000, 80, 1_000, 1_000
"""The run extrapolated to: ImageNet's validation set, 20 attacks at 4 eps, 1,000 workers."""

_PAGE = """# What a cluster costs

Made by `python -m tests.peers.cluster{flags}`; the numbers are in `cluster.json`.

{units:,} units of one image and 10 ms each, with everything that a run does: planning, predicting the clean images,
judging, writing one file per unit and, at the end, the table. Planning alone took {planning:.1f} s. Measured on
{processor} with {cores} cores, shared by scheduler, workers and the run itself.

| run by | total seconds | units per second after start-up | ms per unit and process, beyond the 10 ms |
|---|--:|--:|--:|
{lines}

The cluster costs **{extra:.1f} ms** more per unit than the run's own worker processes.

## {workers:,} workers

{images:,} images, 20 attacks at 4 eps, units of {batch} images: {many:,} units, {rows:,} rows.

| | per unit | total |
|---|--:|--:|
| line of `plan.jsonl` | {line:,.0f} bytes | {plan:,.0f} MB |
| message to a worker, with the logits of {batch} clean images | {job:,.0f} bytes | {jobs:,.0f} MB |
| file of rows sent back | {shard:,.0f} bytes | {shards:,.0f} MB |
| lines of `events.jsonl` | {event:,.0f} bytes | {events:,.0f} MB |

As measured above, the run's own process hands out and writes at most {rate:,.0f} units per second. Simulated with that
rate, and with unit times that vary by up to a tenth:

| seconds per unit | ideal total, limited only by the workers, s | simulated total, s | share of workers busy |
|--:|--:|--:|--:|
{simulated}

So the bottleneck is the run's own process, which writes every result: it keeps {workers:,} workers busy if units take
{least:.0f} s or longer; shorter units support fewer workers. The plan aims at 20 s per unit on one core.
"""
_LINE = "| {way} | {seconds:.1f} | {rate:,.0f} | {beyond:.1f} |"
_SIMULATED = "| {each:g} | {ideal:,.0f} | {seconds:,.0f} | {busy:.0%} |"


def main() -> None:
    parser = parser_for("cluster", __doc__)
    parser.add_argument("--units", type=int, default=10_000, metavar="N", help="default: 10,000")
    add_shared(parser, "--page", "--out")
    options = parser.parse_args()
    report = Report(options.out, "cluster", _page)
    if options.page:
        report.rewrite_page()
        return
    os.environ["ADVBENCH_CLUSTER_UNITS"] = str(options.units)
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in (str(Path.cwd()), os.environ.get("PYTHONPATH")) if path)
    flags = f" --units {options.units}" if options.units != parser.get_default("units") else ""
    found = {"flags": flags, "units": options.units, "processor": processor(), "cores": os.cpu_count()} | _measured()
    found |= _thought_of(found)
    report.save(found)


def _page(found: dict[str, Any]) -> str:
    lines = "\n".join(_LINE.format(**row) for row in found["ways"])
    simulated = "\n".join(_SIMULATED.format(**row) for row in found["simulated"])
    return _PAGE.format(**{**found, "lines": lines, "simulated": simulated})


def _measured() -> dict[str, Any]:
    """Run the units in each way, and measure the files that the last run wrote."""
    from advbench.api import run
    from advbench.catalog.plugins import load_plugins
    from advbench.planning import prepare
    from advbench.planning.plan import make_plan

    load_plugins([PLUGIN])
    suite = {"name": "many", "models": "linear", "datasets": "generated", "attacks": "sleep", "eps": {"linf": 0.1}}
    suite |= {"save": "none", "noise": False}
    planning = 0.0

    def planned(*arguments: Any) -> Any:
        nonlocal planning
        start = time.perf_counter()
        plan = make_plan(*arguments)
        planning = time.perf_counter() - start
        return plan

    patches = patch("advbench.planning.cost.batches.LARGEST_BATCH", 1), patch.object(prepare, "make_plan", planned)
    ways, sizes = [], {}
    with tempfile.TemporaryDirectory() as scratch, patches[0], patches[1]:
        for way, given in WAYS.items():
            folder = Path(scratch) / way
            start = time.perf_counter()
            done = run(suite, out=folder, **given)
            seconds = time.perf_counter() - start
            rate = _rate(folder)
            beyond = 1000 * (1 if way == "one process" else 2) / rate - 10
            ways.append({"way": way, "seconds": seconds, "rate": rate, "beyond": beyond})
            say(ways[-1])
            sizes = _sizes(folder, len(done.plan))
    return {"ways": ways, "planning": planning, "extra": ways[2]["beyond"] - ways[1]["beyond"], **sizes}


def _rate(folder: Path) -> float:
    """Units per second, from the first to the last one done, so without starting Python and the workers."""
    events = map(json.loads, (folder / "events.jsonl").read_text(encoding="utf-8").splitlines())
    times = sorted(event["time"] for event in events if event["event"] == "done")
    return (len(times) - 1) / (times[-1] - times[0])


def _sizes(folder: Path, units: int) -> dict[str, float]:
    """Bytes per unit of one image."""
    shards = [path.stat().st_size for path in (folder / "shards").iterdir()]
    return {
        "event": (folder / "events.jsonl").stat().st_size / units,
        "shard_of_one": sum(shards) / len(shards),
    }


def _thought_of(found: dict[str, Any]) -> dict[str, Any]:
    """Extrapolate sizes and times to the run with many workers."""
    import numpy as np

    from advbench.execution.unit_results import Job
    from advbench.records.clean import CleanLogits
    from advbench.records.storage.shards import as_shard
    from advbench.records.unit import Unit
    from tests.peers.scale import made_records

    batch = 100
    numbers = tuple(range(batch))
    ids = tuple(f"{number:016x}" for number in numbers)
    facts: dict[str, Any] = {"model": "resnet50", "dataset": "imagenet", "attack": "apgd", "goal": "untargeted"}
    facts |= {"norm": "linf", "eps": 4 / 255, "unit_id": "0" * 32}
    unit = Unit(task="attack", samples=numbers, sample_ids=ids, params='{"steps": 100}', **facts)
    logits = CleanLogits(numbers, np.zeros((batch, CLASSES), np.float32))
    many = IMAGES * CELLS // batch
    each = {
        "line": len(unit.to_json()) + 1,
        "job": len(pickle.dumps(Job(unit, logits))),
        "shard": len(as_shard(made_records(facts, ids, np.random.default_rng(0)), unit.unit_id)),
        "event": found["event"],
    }
    whole = {name + ("" if name == "line" else "s"): size * many / 1e6 for name, size in each.items()}
    rate = found["ways"][2]["rate"]
    simulated = [_simulated(many, seconds, 1 / rate) for seconds in (1, 5, 20, 60)]
    return {
        **each, "plan": whole.pop("line"), **whole, "batch": batch, "many": many, "rows": IMAGES * CELLS,
        "images": IMAGES, "workers": WORKERS, "rate": rate, "least": WORKERS / rate, "simulated": simulated,
    }  # fmt: skip


def _simulated(units: int, each: float, writing: float) -> dict[str, float]:
    """Simulate a run whose own process hands out and writes one unit after the other.

    Args:
        units: Number of units.
        each: Seconds that a worker needs per unit, on average.
        writing: Seconds that the run's process needs per unit.
    """
    import numpy as np

    lengths = each * np.random.default_rng(0).uniform(0.9, 1.1, units)
    free, run, ends = 0.0, 0.0, [0.0] * WORKERS
    heapq.heapify(ends)
    for length in lengths:
        free = heapq.heappop(ends)  # when this worker has a result to return
        run = max(run, free) + writing
        heapq.heappush(ends, run + length)
    seconds = max(max(ends), run)
    ideal = float(lengths.sum()) / WORKERS
    return {"each": each, "ideal": ideal, "seconds": seconds, "busy": ideal / seconds}


if __name__ == "__main__":
    main()
