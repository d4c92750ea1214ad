"""advbench: how easily an image classifier is fooled, in numbers you can trust.

Example:
    >>> import advbench
    >>> advbench.__version__
    '0.1.0'
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from advbench import explain
    from advbench.api import Run, load_run, run
    from advbench.config.suite_files import load_suite
    from advbench.datasets import load_dataset
    from advbench.datasets.dataset import Dataset
    from advbench.models import load_model
    from advbench.models.classifier import Classifier

__version__ = "0.1.0"

__all__ = [
    "Classifier",
    "Dataset",
    "Run",
    "__version__",
    "explain",
    "load_dataset",
    "load_model",
    "load_run",
    "load_suite",
    "run",
]

_HOMES = {
    "Classifier": "advbench.models.classifier",
    "Dataset": "advbench.datasets.dataset",
    "Run": "advbench.api",
    "load_dataset": "advbench.datasets",
    "load_model": "advbench.models",
    "load_run": "advbench.api",
    "load_suite": "advbench.config.suite_files",
    "run": "advbench.api",
}


_PACKAGES = ("explain",)


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import advbench` stays instant."""
    if name not in _HOMES and name not in _PACKAGES:
        raise AttributeError(f"module 'advbench' has no attribute {name!r}")
    import importlib

    if name in _PACKAGES:
        return importlib.import_module(f"advbench.{name}")
    return getattr(importlib.import_module(_HOMES[name]), name)
