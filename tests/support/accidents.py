"""Runs in processes of their own, to which something happens; forked from a process that has imported everything.

Every process can be killed for real; what it left behind is then looked at by the test.
"""

import io
import multiprocessing
import os
import resource
import signal
from multiprocessing.process import BaseProcess
from pathlib import Path

from waiting import ended, until

HERE = Path(__file__).parent
SUITE = {
    "name": "small",
    "models": "tiny",
    "datasets": "smooth",
    "attacks": [{"name": "pgd", "params": {"steps": 3}}, {"name": "fmn", "params": {"steps": 4}, "norms": ["l2"]}],
    "eps": {"linf": [0.01, 0.1], "l2": 0.5},
}
ONLY_LINF = SUITE | {"eps": {"linf": [0.01, 0.1]}}
"""For attacks that are run in Linf alone: budgets in a norm that no attack is run in are refused."""
TOML = """
name = "small"
models = "{model}"
datasets = "smooth"
attacks = [{{ name = "pgd", params = {{ steps = 3 }} }}, {{ name = "fmn", params = {{ steps = 4 }}, norms = ["l2"] }}]
eps = {{ linf = [0.01, 0.1], l2 = 0.5 }}
"""
POINTS = ("before_write", "mid_write", "before_replace", "after_replace")
"""Where a process can be killed while it writes a file."""


def _context():
    folders = [str(HERE), str(HERE.parent), str(HERE.parents[1])]
    os.environ["PYTHONPATH"] = os.pathsep.join([*folders, os.environ.get("PYTHONPATH", "")])
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["advbench.execution.runner", "advbench.evaluation.checks.model", "fake_plugin", "advbench.cli.main"]
    )
    return context


def start(function, *arguments) -> BaseProcess:
    """A process that does something."""
    process = _context().Process(target=function, args=arguments, daemon=True)
    process.start()
    return process


def finish(function, *arguments) -> int:
    """Its exit code; a negative one is the number of the signal that killed it."""
    process = start(function, *arguments)
    return ended(process)


def quietly() -> None:
    """What such a process does at first: no output, units of a few images, an ear for Ctrl-C, and the plugin."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background is born deaf to it
    from advbench.catalog import plugins
    from advbench.planning.cost import batches

    batches.LARGEST_BATCH = 4
    plugins.load_plugins(["fake_plugin"])


def plain(out: Path, cluster: str | None = None) -> None:
    """Run the suite, alone or on a cluster."""
    quietly()
    from advbench.api import run

    run(SUITE, out=out, cluster=cluster)


def killed(out: Path, point: str, number: int, name: str = "") -> None:
    """Run the suite, and be killed at a point of the so-manieth file that is written (of those with that name)."""
    quietly()
    left = number
    opened, replaced = Path.open, Path.replace

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    class Dying(io.FileIO):
        def write(self, content):
            super().write(content[: len(content) // 2])
            os.fsync(self.fileno())
            die()

    def count(path: Path) -> bool:
        nonlocal left
        left -= name in path.name
        return left == 0

    def open_(self, mode="r", *rest, **options):
        if mode == "xb" and point in ("before_write", "mid_write") and count(self):
            if point == "before_write":
                die()
            return Dying(self, "xb")
        return opened(self, mode, *rest, **options)

    def replace(self, target):
        hit = point in ("before_replace", "after_replace") and count(self)
        if hit and point == "before_replace":
            die()
        replaced(self, target)
        if hit:
            die()

    Path.open, Path.replace = open_, replace
    from advbench.api import run

    run(SUITE, out=out)


def cramped(out: Path, most: int) -> None:
    """Run the suite where no file may be larger than so many bytes."""
    quietly()
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    _run_to_an_exit_code(out)


def crowded(out: Path, name: str) -> None:
    """Run the suite where the disk is full as soon as a file with that name is written."""
    quietly()
    opened = Path.open

    def open_(self, mode="r", *rest, **options):
        full = mode == "xb" and name in self.name
        if full:
            self.symlink_to("/dev/full")
        return opened(self, "wb" if full else mode, *rest, **options)

    Path.open = open_
    _run_to_an_exit_code(out)


def _run_to_an_exit_code(out: Path) -> None:
    from advbench.api import run

    try:
        run(SUITE, out=out)
    except Exception as error:
        raise SystemExit(getattr(error, "exit_code", 99)) from None


def command(arguments: list[str]) -> None:
    """Run a command."""
    quietly()
    from advbench.cli.main import main

    main(arguments)


def slow_suite(folder: Path) -> Path:
    """A suite whose every unit takes a while."""
    path = folder / "slow.toml"
    path.write_text(TOML.format(model="sleepy"))
    return path


def wait_for(folder: Path, process: BaseProcess) -> None:
    """Wait until a run has saved something."""
    until(lambda: folder.exists() and any(folder.iterdir()), "the run saves something", process)


DECIDED = {
    "name": "decided",
    "models": "tiny",
    "datasets": "smooth",
    "attacks": [{"name": "fgsm"}, {"name": "pgd", "params": {"steps": 3}}],
    "eps": {"linf": [0.0002, 0.0005]},
    "noise": False,
    "stop": "decided",
    "gates": {"min_robust_accuracy": 0.35, "alpha": 0.5},
}
"""A suite that stops when it is decided, before it has seen all of the ten images; two at a time."""


def in_steps_of_two() -> None:
    """Let looks come after every second image."""
    from advbench.planning.units import looks

    looks.STEP, looks.FEWEST = 2, 1


def killed_after(out: Path, units: int) -> None:
    """Run that suite, and be killed when so many units are saved."""
    quietly()
    in_steps_of_two()
    from advbench.api import run
    from advbench.records.run_folder import RunFolder

    logged, left = RunFolder.log, units

    def log(folder, event, **details):
        nonlocal left
        logged(folder, event, **details)
        left -= event == "done"
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

    RunFolder.log = log
    run(DECIDED, out=out)
