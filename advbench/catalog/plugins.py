"""Custom models, attacks and data sets, under names that you choose. Does not import torch.

A plugin is a Python module with one or more of the tables `MODELS`, `ATTACKS` and `DATASETS`: name -> card, like those
of `advbench.catalog`. It is code and runs with your privileges, so it is named on the command line or in Python, never
in a suite file, which may come from someone else.
"""

import hashlib
import importlib
from collections.abc import Iterable
from pathlib import Path

from advbench.catalog import ATTACKS, DATASETS, MODELS
from advbench.errors import UserError

_LOADED: dict[str, str] = {}


def load_plugins(names: Iterable[str]) -> None:
    """Import plugins and add their cards to the tables; a plugin that is already loaded is skipped.

    Raises:
        UserError: A plugin cannot be imported, has no table, or uses a name that is already taken.

    Example:
        >>> load_plugins(["no_such_plugin"])
        Traceback (most recent call last):
        advbench.errors.UserError: cannot import the plugin 'no_such_plugin': No module named 'no_such_plugin'
        give the name of a module that Python can import, such as my_models
    """
    for name in names:
        if name in _LOADED:
            continue
        try:
            module = importlib.import_module(name)
        except ImportError as error:
            hint = "give the name of a module that Python can import, such as my_models"
            raise UserError(f"cannot import the plugin {name!r}: {error}", hint=hint) from None
        tables = {"MODELS": MODELS, "ATTACKS": ATTACKS, "DATASETS": DATASETS}
        brought = {table: getattr(module, table) for table in tables if hasattr(module, table)}
        if not brought:
            raise UserError(f"the plugin {name!r} adds nothing", hint=f"give it a table {' or '.join(tables)}")
        for table, cards in brought.items():
            tables[table].add(cards)  # type: ignore[attr-defined]
        source = Path(module.__file__ or "")
        _LOADED[name] = hashlib.sha256(source.read_bytes()).hexdigest()[:16] if source.is_file() else ""


def loaded_plugins() -> dict[str, str]:
    """Name of each loaded plugin -> digest of its source."""
    return dict(_LOADED)
