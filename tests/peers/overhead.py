"""Cost of the harness compared with bare calls of the same attacks: `python -m tests.peers.overhead`.

In one process, on one thread, every unit of a suite is run twice in turn: by the harness, and as a bare call of its
attack on the same images, already in memory. The harness is also charged with everything that a run does besides its
units: planning, predicting the clean images, checking the models, saving, and reading the run back.
"""

import json
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

from tests.peers.machine import processor
from tests.peers.report import Report, add_shared, parser_for, say

_PAGE = """# The cost of the harness

Made by `python -m tests.peers.overhead{flags}`; the numbers are in `overhead.json`.

The suite `{suite}` with {images} images of each data set: {units} attack units, {rows:,} results. Each unit was run
twice in turn in one process on one thread: by the harness, and as the bare call `attack(model, x, goal, eps=...,
seed=...)` on images already in memory. The harness is also charged with everything else that a run does: planning,
predicting the clean images, the trust checks, judging, saving with a flush to disk after every file, and reading the
run back. Starting Python and importing torch and pandas count for neither. Measured on {processor}.

| | processor time, s | wall-clock time, s |
|---|--:|--:|
| the bare attacks | {bare[0]:.1f} | {bare[1]:.1f} |
| the run, including the same attacks | {harness[0]:.1f} | {harness[1]:.1f} |
| of this, planning | {planning[0]:.1f} | {planning[1]:.1f} |
| of this, judging the candidates as they are and in 8 bits | {judging[0]:.1f} | {judging[1]:.1f} |
| **overhead** | **{overhead[0]:.1%}** | {overhead[1]:.1%} |

That is {each:.0f} ms of processor time per unit. Without judging, which a bare call leaves to the caller, the overhead
is {without:.1%}.
"""


def main() -> None:
    parser = parser_for("overhead", __doc__)
    parser.add_argument("--suite", default="ci", help="a suite of the package; default: ci")
    parser.add_argument("--images", type=int, metavar="N", help="images of each data set; default: from the suite")
    add_shared(parser, "--page", "--out")
    options = parser.parse_args()
    report = Report(options.out, "overhead", _page)
    if options.page:
        report.rewrite_page()
        return
    found = measure(options.suite, options.images, say)
    found["flags"] = f" --images {options.images}" if options.images else ""
    report.save(found)


def _page(found: dict[str, Any]) -> str:
    return _PAGE.format(**found)


class Clock:
    """Processor and wall-clock seconds spent inside its contexts."""

    def __init__(self) -> None:
        self.spent = [0.0, 0.0]

    def __enter__(self) -> "Clock":
        self._start = time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        for i, now in enumerate((time.process_time(), time.perf_counter())):
            self.spent[i] += now - self._start[i]


def measure(name: str, images: int | None, progress: Callable[[str], None]) -> dict[str, Any]:
    """Run a suite, and call each of its attacks bare as well.

    Args:
        name: Name of a suite in the package.
        images: Number of images of each data set; None: from the suite.
        progress: Called with a line about every unit.

    Returns:
        A record for `reports/peers/overhead.json`.
    """
    import pandas  # noqa: F401 (imported before the clock starts, as torch is)

    from advbench.api import run as run_suite
    from advbench.config.suite_files import load_suite
    from advbench.evaluation import evaluate
    from advbench.execution import runner
    from advbench.execution.tasks import do
    from advbench.planning import prepare
    from advbench.planning.plan import make_plan

    suite = load_suite(name)
    suite = suite.model_copy(update={"images": images or suite.images})
    whole, bare, beside, planning, judging, units = Clock(), Clock(), Clock(), Clock(), Clock(), 0

    def timed(clock: Clock, call: Callable[..., Any]) -> Callable[..., Any]:
        def answer(*arguments: Any) -> Any:
            with clock:
                return call(*arguments)

        return answer

    def both(job: Any, context: Any) -> Any:
        nonlocal units
        unit = job.unit
        if unit.task != "attack":
            return do(job, context)
        units += 1
        with beside:
            call = _bare(unit, context)
        done = do(job, context) if units % 2 else None
        with bare:
            call()
        done = done or do(job, context)
        progress(f"{units}: {unit.attack} on {unit.model}")
        return done

    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        for owner, name_, new in (
            (runner, "do", both),
            (prepare, "make_plan", timed(planning, make_plan)),
            (evaluate, "judge", timed(judging, evaluate.judge)),
            (evaluate.Remembered, "learn", timed(judging, evaluate.Remembered.learn)),
        ):
            stack.enter_context(patch.object(owner, name_, new))
        with whole:
            run = run_suite(suite, out=folder, workers=1)
        rows = len(run.frame)
    harness = [sum_ - one - other for sum_, one, other in zip(whole.spent, bare.spent, beside.spent, strict=True)]
    return {
        "suite": name,
        "images": suite.images,
        "units": units,
        "rows": rows,
        "processor": processor(),
        "bare": bare.spent,
        "harness": harness,
        "planning": planning.spent,
        "judging": judging.spent,
        "without": (harness[0] - judging.spent[0]) / bare.spent[0] - 1,
        "overhead": [with_ / without - 1 for with_, without in zip(harness, bare.spent, strict=True)],
        "each": 1000 * (harness[0] - bare.spent[0]) / units,
    }


def _bare(unit: Any, context: Any) -> Callable[[], Any]:
    """The attack of a unit as a bare library call, on images in memory."""
    import torch

    from advbench.config.goals import parse_goal
    from advbench.datasets.images.ids import content_ids
    from advbench.evaluation.attack_factory import make_attack
    from advbench.evaluation.goals import goal_maker

    model, x = context.resources.judged(unit.model, unit.dataset), context.resources.images(unit).x
    asked = context.resources.fast(unit.model, unit.dataset, unit.form, x)
    y = torch.tensor([sample.label for sample in context.resources.samples(unit)])
    with torch.no_grad():
        goal = goal_maker(parse_goal(unit.goal), model)(model(x), content_ids(x), y)
    attack = make_attack(unit.attack, unit.norm, json.loads(unit.params))
    return lambda: attack(asked, x, goal, eps=unit.eps, seed=unit.seed)


if __name__ == "__main__":
    main()
