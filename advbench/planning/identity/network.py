"""The program of a network, beside its weights: the code that it runs and its settings, as one digest."""

import hashlib
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from enum import Enum
from functools import cache, partial, singledispatch
from pathlib import Path
from types import BuiltinFunctionType, EllipsisType, FunctionType, MethodType, ModuleType, NoneType
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

_VALUES = (
    *(NoneType, bool, int, float, complex, str, bytes, EllipsisType, Enum, Path, np.generic),
    *(torch.dtype, torch.device, torch.memory_format, torch.layout),
)
"""Types whose values are identified by their `repr`."""


def program_digest(network: nn.Module) -> str | None:
    """Digest of the code that a network runs and of its settings, which its weights do not determine.

    In it are the source files of the classes of all its modules, of their bases, and of the functions and objects that
    they hold; hooks, flags and other attributes; the graph of TorchScript, and the code that :mod:`torch.fx` made. What
    that code imports from elsewhere is not.

    Args:
        network: Network to be identified.

    Returns:
        The digest; None where not all of that can be told, such as the source of a class that was typed in.

    Example:
        >>> one, other = nn.Dropout(0.25), nn.Dropout(0.5)
        >>> program_digest(one) == program_digest(other)
        False
    """
    digest = hashlib.sha256()
    try:
        for word in _told(network, {}):
            digest.update(f"{word}\n".encode())
    except Exception:  # objects of other people's classes may do anything when they are looked into
        return None
    return digest.hexdigest()[:32]


def _told(value: Any, met: dict[int, tuple[int, Any]]) -> Iterator[str]:
    """Everything that identifies a value, in words; a value met before is named by its number."""
    if isinstance(value, _VALUES):
        yield repr(value)
    elif id(value) in met:
        yield f"the same as {met[id(value)][0]}"
    else:
        met[id(value)] = len(met), value  # kept, lest its id is given to another
        yield type(value).__qualname__
        for part in _parts(value):
            yield from _told(part, met)


@singledispatch
def _parts(value: Any) -> Iterable[Any]:
    """What a value consists of."""
    return type(value), vars(value)


@_parts.register
def _(value: list | tuple | deque) -> Iterable[Any]:  # type: ignore[type-arg]
    return type(value), len(value), *value


@_parts.register
def _(value: set | frozenset) -> Iterable[Any]:  # type: ignore[type-arg]
    return sorted(map(repr, value))


@_parts.register
def _(value: dict) -> Iterable[Any]:  # type: ignore[type-arg]
    return [part for pair in value.items() for part in pair]


@_parts.register
def _(value: Tensor) -> Iterable[Any]:
    raw = value.detach().cpu().reshape(-1).contiguous().view(torch.uint8)
    return value.dtype, tuple(value.shape), hashlib.sha256(raw.numpy().tobytes()).hexdigest()


@_parts.register
def _(value: np.ndarray) -> Iterable[Any]:
    return str(value.dtype), value.shape, hashlib.sha256(value.tobytes()).hexdigest()


@_parts.register
def _(value: nn.Module) -> Iterable[Any]:
    # The weights have a digest of their own.
    return type(value), {name: held for name, held in vars(value).items() if name != "_parameters"}


@_parts.register
def _(value: fx.GraphModule) -> Iterable[Any]:
    return value.code, value.training, value._modules, value._buffers, value._forward_hooks, value._forward_pre_hooks


@_parts.register
def _(value: torch.jit.ScriptModule) -> Iterable[Any]:
    return str(value.inlined_graph), value.training


@_parts.register
def _(value: type) -> Iterable[Any]:
    return [(each.__module__, each.__qualname__, _source(each)) for each in value.__mro__]


@_parts.register
def _(value: FunctionType) -> Iterable[Any]:
    cells = [cell.cell_contents for cell in value.__closure__ or ()]
    source = _digest_of(Path(value.__code__.co_filename))
    return value.__module__, value.__qualname__, source, value.__defaults__, value.__kwdefaults__, cells


@_parts.register
def _(value: MethodType) -> Iterable[Any]:
    return value.__func__, value.__self__


@_parts.register
def _(value: BuiltinFunctionType) -> Iterable[Any]:
    return str(value.__module__), value.__qualname__


@_parts.register
def _(value: ModuleType) -> Iterable[Any]:
    return (value.__name__,)


@_parts.register
def _(value: partial) -> Iterable[Any]:  # type: ignore[type-arg]
    return value.func, value.args, value.keywords


def _source(kind: type) -> str:
    """Digest of the file that defines a class.

    Raises:
        OSError: There is none.
    """
    files = (Path(held.__code__.co_filename) for held in vars(kind).values() if isinstance(held, FunctionType))
    if (file := next((each for each in files if each.is_file()), None)) is not None:
        return _digest_of(file)
    if kind.__module__ in sys.builtin_module_names:
        return ""
    return _digest_of(Path(sys.modules[kind.__module__].__file__ or ""))


def _digest_of(file: Path) -> str:
    found = file.stat()
    return _digest_of_version(file, found.st_mtime_ns, found.st_size)


@cache
def _digest_of_version(file: Path, changed: int, size: int) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
