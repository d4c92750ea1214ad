"""The user code that a run sends to the workers of a cluster, which may lack it. Does not import torch."""

import hashlib
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from advbench.catalog.user_models import FACTORY, moved
from advbench.config.folders import cache_folder
from advbench.config.models.model import ModelSpec
from advbench.config.suite import Suite
from advbench.records.storage.atomic import write_atomic


class SentCode(NamedTuple):
    """Python files that are sent with a run.

    Files that they import are not sent: those have to be on the worker.
    """

    plugins: dict[str, bytes]
    """Name of each plugin that is a single file -> its source."""
    models: dict[str, bytes]
    """File of each model `file.py:function`, as the suite names it -> its source."""


def sent_code(suite: Suite, plugins: Iterable[str]) -> SentCode:
    """The files to send for a suite.

    Args:
        suite: Suite, whose models of the form `file.py:function` are sent.
        plugins: Names of plugins that have been imported. A package is not sent: it has to be installed.

    Example:
        >>> from advbench.config.suite_files import load_suite
        >>> sent_code(load_suite("smoke"), [])
        SentCode(plugins={}, models={})
    """
    files = {name: Path(sys.modules[name].__file__ or "") for name in plugins}
    single = {name: file for name, file in files.items() if file.suffix == ".py" and file.stem != "__init__"}
    return SentCode(
        plugins={name: file.read_bytes() for name, file in single.items()},
        models={file: Path(file).read_bytes() for file in _model_files(suite)},
    )


def unpacked(code: SentCode, suite: Suite) -> Suite:
    """Write the received files where Python finds them, below the user's cache.

    Args:
        code: The files. A plugin among them takes precedence over an installed one.
        suite: The suite that they belong to.

    Returns:
        The suite, with the new paths of its models' files.
    """
    if code.plugins:
        folder = _folder(*code.plugins.values())
        for name, source in code.plugins.items():
            _write(folder.joinpath(*name.split(".")).with_suffix(".py"), source)
        sys.path.insert(0, str(folder))
    places = {Path(name): _folder(source) / Path(name).name for name, source in code.models.items()}
    for name, source in code.models.items():
        _write(places[Path(name)], source)
    models = tuple(_at(spec, places) for spec in suite.models)
    surrogates = tuple(
        each.model_copy(update={"models": tuple(_at(spec, places) for spec in each.models)})
        for each in suite.surrogates
    )
    return suite.model_copy(update={"models": models, "surrogates": surrogates})


def _at(spec: ModelSpec, places: dict[Path, Path]) -> ModelSpec:
    names = {field: getattr(spec, field) for field in ("name", "gradients_from")}
    changed = {
        field: moved(name, lambda path: places.get(path, path))
        for field, name in names.items()
        if name is not None and FACTORY.fullmatch(name)
    }
    return spec.model_copy(update=changed)


def _model_files(suite: Suite) -> list[str]:
    names = [name for spec in suite.every_model for name in (spec.name, spec.gradients_from) if name is not None]
    return [match["file"] for name in names if (match := FACTORY.fullmatch(name))]


def _folder(*sources: bytes) -> Path:
    """A folder for files with exactly this content, so that versions of a file never mix."""
    return cache_folder() / "code" / hashlib.sha256(b"\0".join(sources)).hexdigest()[:32]


def _write(path: Path, content: bytes) -> None:
    if not path.is_file() or path.read_bytes() != content:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, content)
