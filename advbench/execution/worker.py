"""A process that runs the units it receives on standard input: `python -m advbench.execution.worker`.

It receives nothing but names and numbers, loads models and images itself, and checks that they are those of the plan.
"""

import os
import sys
from pathlib import Path
from typing import Any

import torch

from advbench.catalog.plugins import load_plugins
from advbench.config.fields import AS_IT_WAS
from advbench.config.suite import Suite
from advbench.execution.messages import Message, receive, send
from advbench.execution.tasks import TaskContext, do
from advbench.planning.resources import Resources
from advbench.records.run_folder import RunFolder
from advbench.records.unit import Unit


def main() -> None:
    """Run units until no more arrive."""
    torch.set_num_threads(1)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get between the answers
    context, setup = None, None
    while True:
        try:
            asked = receive(sys.stdin.buffer)
        except EOFError:
            return
        try:
            if context is None or setup != asked.header["setup"]:
                setup = asked.header["setup"]
                context = context_of(setup)
            done = do(Unit.from_json(asked.header["unit"]), context)
            answer = Message({"error": "", "unknown": done.unknown}, done.content, done.adversarials or b"")
        except Exception as error:  # it is for the run to say what is to be done about it
            answer = Message({"error": f"{type(error).__name__}: {error}"})
        try:
            send(answers, answer)
        except OSError:
            return  # the run is gone


def context_of(setup: dict[str, Any]) -> TaskContext:
    """The context that :func:`setup_of` described."""
    load_plugins(setup["plugins"])
    suite = Suite.model_validate(setup["suite"], context=AS_IT_WAS)
    clean = [Unit.from_json(line) for line in setup["clean"]]
    by_pair = {(unit.model, unit.dataset): unit for unit in clean}
    return TaskContext(
        suite, RunFolder(Path(setup["folder"])), setup["run_id"], by_pair, Resources(suite), setup["models"]
    )


def setup_of(context: TaskContext, plugins: list[str]) -> dict[str, Any]:
    """All that a worker needs to know, as JSON."""
    return {
        "suite": context.suite.model_dump(mode="json"),
        "folder": str(context.folder.path),
        "run_id": context.run_id,
        "clean": [unit.to_json() for unit in context.clean.values()],
        "models": context.models,
        "plugins": plugins,
    }


if __name__ == "__main__":
    main()
