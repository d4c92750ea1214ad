"""Makes the slow first imports of a command faster."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def first_imports() -> Iterator[None]:
    """A context without garbage collection, whose objects are never searched for garbage afterwards.

    Importing torch makes several hundred thousand objects that stay. To look through them for garbage, again and again
    while they are made and for the rest of the command, takes a tenth of the time of a short one. Where torch is there
    already nothing is changed: whoever imported it has objects of their own, and perhaps garbage.

    Example:
        >>> import torch
        >>> with first_imports():
        ...     gc.isenabled()
        True
    """
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
