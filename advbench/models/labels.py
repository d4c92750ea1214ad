"""The names of ImageNet's classes."""

import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import ModuleType


@cache
def imagenet_classes() -> tuple[str, ...]:
    """The 1000 class names in torchvision's order (sorted by WordNet id).

    Two of them differ only in case: "Cardigan" (264, a dog) and "cardigan" (474, a garment).

    Example:
        >>> imagenet_classes()[292]
        'tiger'
    """
    return tuple(_torchvision_meta()._IMAGENET_CATEGORIES)


def _torchvision_meta() -> ModuleType:
    # Importing torchvision takes over a second, and this list is all that the embedded models need from it.
    name = "torchvision.models._meta"
    spec = importlib.util.find_spec("torchvision")
    if "torchvision" in sys.modules or spec is None or spec.origin is None:
        return importlib.import_module(name)
    file = Path(spec.origin).parent / "models" / "_meta.py"
    alone = importlib.util.spec_from_file_location("_imagenet_meta", file)
    if alone is None or alone.loader is None:
        return importlib.import_module(name)
    module = importlib.util.module_from_spec(alone)
    alone.loader.exec_module(module)
    return module
