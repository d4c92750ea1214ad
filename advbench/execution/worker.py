"""The worker process's side: it is set up once, and then runs one unit after another.

It receives only names, numbers and logits, loads models and images itself, and checks that they match the plan.
"""

import os
import threading
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch

from advbench.catalog.plugins import load_plugins
from advbench.config.fields import AS_IT_WAS
from advbench.config.suite import Suite
from advbench.execution.clusters.sent_code import SentCode, unpacked
from advbench.execution.tasks import do
from advbench.execution.unit_results import Done, Job, TaskContext
from advbench.planning.resources import Resources


class Setup(NamedTuple):
    """Everything that a worker needs to know about a run, as plain values."""

    suite: dict[str, Any]
    """The suite in JSON form."""
    run_id: str
    """Id of the run."""
    models: dict[str, str]
    """Label of each model -> its digest when the run was planned."""
    starts: dict[tuple[str, str], tuple[int, ...]]
    """Model and data set -> numbers of the images from which attacks may start."""
    plugins: tuple[str, ...]
    """User modules with models, attacks and data sets."""
    code: SentCode | None = None
    """The user's files for a worker on another machine; None: it is on the same one."""


class Answer(NamedTuple):
    """A worker's answer; failures are text, since exceptions of third-party classes may not survive pickling."""

    done: Done | None
    """Result of the unit; None if it failed."""
    error: str = ""
    """Why it failed."""


def setup_of(context: TaskContext, plugins: Iterable[str], device: str | None = None) -> Setup:
    """Describe a context so that a worker can recreate it.

    Args:
        context: Context of the run.
        plugins: Names of the modules that were loaded.
        device: Device of the worker; None: the suite's device.
    """
    suite = context.suite.model_dump(mode="json") | ({} if device is None else {"device": device})
    return Setup(suite, context.run_id, dict(context.models), dict(context.starts), tuple(plugins))


def context_of(setup: Setup) -> TaskContext:
    """Recreate the context that :func:`setup_of` described.

    Raises:
        UserError: A plugin cannot be loaded.
    """
    suite = Suite.model_validate(setup.suite, context=AS_IT_WAS)
    if setup.code is not None:
        suite = unpacked(setup.code, suite)
    load_plugins(setup.plugins)
    return TaskContext(suite, setup.run_id, Resources(suite), setup.models, setup.starts)


_setup: Setup
_context: TaskContext | None = None


def begin(setup: Setup, run: int) -> None:
    """Prepare the process for a run; called once in each new process.

    Args:
        setup: The run that it will work for.
        run: Id of the run's process; the worker ends when that process does.
    """
    global _setup
    _setup = setup
    os.dup2(2, 1)  # output of libraries must not mix with the output of the run
    torch.set_num_threads(1)
    threading.Thread(target=_end_with, args=(run,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def work(job: Job) -> Answer:
    """Run a unit of work; errors are returned, not raised."""
    global _context
    try:
        _context = _context or context_of(_setup)
        return Answer(do(job, _context))
    except Exception as error:  # the run decides how to handle it
        return Answer(None, f"{type(error).__name__}: {error}")


def examine() -> Answer:
    """Check that all models and images of the run are available, and are those that it was planned with."""
    global _context
    try:
        _context = _context or context_of(_setup)
        for label, digest in _setup.models.items():
            if _context.resources.digest(label) != digest:
                return Answer(None, f"its model {label} is a different one")
        for model, dataset in _setup.starts:
            _context.resources.matched(model, dataset)
    except Exception as error:
        return Answer(None, f"{type(error).__name__}: {error}")
    return Answer(None)
