"""The paths that a suite names, and a run whose relative paths are not where it is read. Does not import torch."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from advbench.catalog.user_datasets import HUB
from advbench.catalog.user_models import moved
from advbench.config.data.word import PATHS
from advbench.config.masks import parse_mask
from advbench.config.models.model import ModelSpec
from advbench.config.suite import AttackSpec, DatasetSpec, Suite
from advbench.errors import UserError

_SEVERAL = "{*?["
"""Characters of a path that stands for several files."""


def with_paths(suite: Suite, move: Callable[[Path], Path]) -> Suite:
    """The suite with every path of a file or folder changed.

    Args:
        suite: Suite whose models, data sets, masks and stored perturbations may have paths.
        move: Makes the new path from the old one.

    Example:
        >>> suite = Suite(name="x", models="nets.py:net", datasets="mnist-samples", attacks="pgd")
        >>> with_paths(suite, lambda path: Path("work") / path).models[0].name
        'work/nets.py:net'
    """
    models = tuple(_moved_model(spec, move) for spec in suite.models)
    surrogates = tuple(
        each.model_copy(update={"models": tuple(_moved_model(spec, move) for spec in each.models)})
        for each in suite.surrogates
    )
    datasets = tuple(_moved_data(spec, move) for spec in suite.datasets)
    attacks = tuple(_moved_attack(spec, move) for spec in suite.attacks)
    changed = {"models": models, "surrogates": surrogates, "datasets": datasets, "attacks": attacks}
    return suite.model_copy(update=changed | {"mask": _moved_mask(suite.mask, move)})


@contextmanager
def paths_from_elsewhere(suite: Suite, folder: Path) -> Iterator[None]:
    """Context manager for work on a stored run: an error about a file says where the relative paths of a run start.

    The folder where a run was made is not recorded, since a run may be passed on; but if it is one of those around the
    folder of the run, it is found and named.

    Args:
        suite: Suite of the run.
        folder: Folder of the run.

    Raises:
        UserError: Any that the work raises. If it names a relative path of the suite that does not exist here, its hint
            says so.

    Example:
        >>> suite = Suite(name="x", models="nets.py:net", datasets="mnist-samples", attacks="pgd")
        >>> with paths_from_elsewhere(suite, Path("x")):
        ...     raise UserError("there is no file nets.py with a function 'net'", hint="check the spelling")
        Traceback (most recent call last):
        advbench.errors.UserError: there is no file nets.py with a function 'net'
        run x was made with nets.py, and its relative paths start from the folder where it was made
        change to that folder, and name the run from there; or put what is missing into this one
    """
    try:
        yield
    except UserError as error:
        if not any(_names(error.message, path) for path in _missing(suite)):
            raise
        raise UserError(error.message, hint=missing_paths(suite, folder)) from error


def _names(message: str, path: Path) -> bool:
    """Whether a message names a path, as more than a part of another word."""
    written = "|".join(re.escape(text) for text in {str(path), path.as_posix()})
    return re.search(rf"(?<![\w./\\-])(?:{written})(?![\w-])", message) is not None


def missing_paths(suite: Suite, folder: Path) -> str:
    """Which relative paths of a stored run do not exist here, and what to do about it, as a hint; empty if all do.

    Args:
        suite: Suite of the run.
        folder: Folder of the run.
    """
    if not (missing := _missing(suite)):
        return ""
    names = ", ".join(path.as_posix() for path in missing)
    start = f"run {folder} was made with {names}, and its relative paths start from the folder where it was made\n"
    for around in folder.absolute().parents:
        if all(os.path.lexists(around / path) for path in missing):
            here, there = _seen(around, Path()), _seen(folder, around)
            return f"{start}change to that folder, probably {here}, and name the run from there: {there}"
    return f"{start}change to that folder, and name the run from there; or put what is missing into this one"


def _missing(suite: Suite) -> list[Path]:
    """The relative paths of a suite that should exist and do not, without repeats."""
    found: dict[Path, None] = {}

    def seen(path: Path) -> Path:
        if not path.is_absolute():
            several = any(sign in path.name for sign in _SEVERAL)
            found[path.parent if several else path] = None
        return path

    # the root of downloaded data may be empty, or not there yet
    datasets = tuple(data.model_copy(update={"root": None}) for data in suite.datasets)
    with_paths(suite.model_copy(update={"datasets": datasets}), seen)
    return [path for path in found if not os.path.lexists(path)]


def _seen(path: Path, start: Path) -> Path:
    """A path as seen from a folder, or the absolute one where that is impossible."""
    try:
        return Path(os.path.relpath(path, start))
    except ValueError:  # on another drive
        return path.absolute()


def _moved_mask(mask: str | None, move: Callable[[Path], Path]) -> str | None:
    return mask if mask is None or parse_mask(mask).kind != "picture" else str(move(Path(mask)))


def _moved_data(spec: DatasetSpec, move: Callable[[Path], Path]) -> DatasetSpec:
    paths: dict[str, Any] = {key: move(path) for key in PATHS if (path := getattr(spec, key)) is not None}
    if spec.name.startswith(f"{HUB}."):  # a folder saved by the package datasets
        moved_to = move(Path(spec.name.removeprefix(HUB))).as_posix()
        paths |= {"name": f"{HUB}{moved_to if moved_to.startswith(('.', '/')) else f'./{moved_to}'}"}
    return spec.model_copy(update=paths | {"mask": _moved_mask(spec.mask, move)})


def _moved_model(spec: ModelSpec, move: Callable[[Path], Path]) -> ModelSpec:
    changed = {"name": moved(spec.name, move), "weights": spec.weights and move(spec.weights)}
    changed["gradients_from"] = spec.gradients_from and moved(spec.gradients_from, move)
    return spec.model_copy(update=changed)


def _moved_attack(spec: AttackSpec, move: Callable[[Path], Path]) -> AttackSpec:
    changed: dict[str, Any] = {"mask": _moved_mask(spec.mask, move)}
    if (stored := spec.params.get("perturbation")) is not None:
        changed["params"] = spec.params | {"perturbation": str(move(Path(str(stored))))}
    return spec.model_copy(update=changed)
