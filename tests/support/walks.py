"""The walks through the code that CONTRIBUTING.md shows, and what really happens when their commands run."""

import ast
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
_WALK = re.compile(r"^### `advbench (\w+) .*?(?=^#|\Z)", re.MULTILINE | re.DOTALL)
_HOP = re.compile(r"^\d+\. `([\w/]+\.py): ([\w.]+)`", re.MULTILINE)


class Hop(NamedTuple):
    """One function that a command goes through."""

    file: str
    """Below the root of the repository, such as "advbench/evaluation/judge.py"."""
    function: str
    """Its name; of a method with its class, such as "PGD.__call__"."""

    @property
    def package(self) -> str:
        """Package of the harness or folder of the library in which it lies."""
        return self.file.split("/")[1]


def walks_in(text: str) -> dict[str, list[Hop]]:
    """Command -> its hops, in the order in which a text lists them."""
    return {found[1]: [Hop(*hop) for hop in _HOP.findall(found[0])] for found in _WALK.finditer(text)}


def functions_of(source: str) -> set[str]:
    """The functions that a module defines, methods with their class."""
    tree = ast.parse(source)
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    methods = {f"{one.name}.{node.name}" for one in classes for node in one.body if isinstance(node, ast.FunctionDef)}
    return methods | {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def lacking(hops: list[Hop]) -> list[Hop]:
    """Hops whose file or function does not exist."""
    return [
        hop
        for hop in hops
        if not (ROOT / hop.file).is_file()
        or hop.function not in functions_of((ROOT / hop.file).read_text(encoding="utf-8"))
    ]


class Trace:
    """What is called while a command runs."""

    def __init__(self) -> None:
        self.first: dict[Hop, int] = {}
        """Function -> how many others had been called when it was called first."""
        self.callbacks: list[str] = []
        """Functions of ``advbench.analysis`` that something in ``advbench.execution`` led to."""

    def __call__(self, frame, event: str, _: object) -> None:
        """Note one call; for :func:`sys.setprofile`."""
        path, code = frame.f_code.co_filename, frame.f_code
        if event != "call" or not code.co_flags & inspect.CO_OPTIMIZED:  # else it is the body of a module or a class
            return
        if not path.startswith((f"{ROOT}/advbench/", f"{ROOT}/attacks/")):
            return
        hop = Hop(path[len(f"{ROOT}/") :], code.co_qualname)
        self.first.setdefault(hop, len(self.first))
        if hop.file.startswith("advbench/analysis/") and _within(frame, f"{ROOT}/advbench/execution/"):
            self.callbacks.append(": ".join(hop))

    def in_order(self, hops: list[Hop]) -> list[Hop]:
        """Those of some hops that were called, in the order in which they were called first."""
        return sorted((hop for hop in hops if hop in self.first), key=self.first.__getitem__)


def _within(frame, folder: str) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith(folder):
            return True
        frame = frame.f_back
    return False


@contextmanager
def traced() -> Iterator[Trace]:
    """Trace what is called inside the context, in this thread."""
    trace, before = Trace(), sys.getprofile()
    sys.setprofile(trace)
    try:
        yield trace
    finally:
        sys.setprofile(before)


def trace_of(action: Callable[[], object]) -> Trace:
    """What is called while something is done."""
    with traced() as trace:
        action()
    return trace
