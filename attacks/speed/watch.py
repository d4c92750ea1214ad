"""Detection of changes in anything that determines a network's outputs."""

import logging
from collections import deque
from collections.abc import Collection, Iterator
from itertools import chain, islice
from operator import is_
from types import BuiltinFunctionType, FunctionType, ModuleType, NoneType

import torch
from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook

_ATOMS = (
    *(str, bytes, int, float, complex, NoneType, type, FunctionType, BuiltinFunctionType, ModuleType),
    *(torch.dtype, torch.device, logging.Logger),
)
"""Types that never change, or have no influence."""
_MOST = 100_000
"""Largest number of objects followed."""
_LONGEST = 1_000
"""Length above which lists and dictionaries count as data, whose entries are not followed."""


class Watch:
    """A snapshot of a network; :meth:`changed` tells whether the network still matches it.

    It covers the attributes of all modules and everything reachable from them: submodules, weights, buffers, modes,
    hooks, flags, plain tensors, lists, dictionaries and objects with attributes; a ``forward`` on a module or its
    class; and whether there are global module hooks. Changes that leave no trace there go unnoticed: in a global, a
    closure, an element of a numpy array, a weight written through ``weight.data``.

    Args:
        network: The network, which is kept alive with all its parts.

    Example:
        >>> net = nn.Linear(3, 2)
        >>> watch = Watch(net)
        >>> net.flag = True
        >>> watch.changed(), Watch(net).changed()
        (True, False)
    """

    def __init__(self, network: nn.Module) -> None:
        found = list(reach(network))
        self._tensors = [each for each in found if isinstance(each, Tensor) and each.layout is torch.strided]
        self._counting = [each for each in self._tensors if not each.is_inference()]
        self._classes = list({type(each) for each in found if isinstance(each, nn.Module)})
        # Live views of their contents. Most are empty, which is checked faster for all of them at once.
        views = [_entries(each) for each in found if not isinstance(each, tuple | Tensor)]
        self._full, self._empty = [each for each in views if len(each)], [each for each in views if not len(each)]
        # The objects, not their ids: ids of deleted objects are reused.
        self._before, self._state = self._now(), self._numbers()

    def changed(self) -> bool:
        """Whether anything has changed."""
        now = self._now()
        same = len(now) == len(self._before) and all(map(is_, now, self._before))
        return not same or any(map(len, self._empty)) or self._numbers() != self._state

    def _now(self) -> list[object]:
        return [*chain.from_iterable(self._full), *(kind.forward for kind in self._classes)]

    def _numbers(self) -> list[int]:
        # A tensor's version counts in-place changes; its address changes when other values are put in their place.
        versions = [tensor._version for tensor in self._counting]
        return [has_global_hooks(), *versions, *[tensor.data_ptr() for tensor in self._tensors]]


def has_global_hooks() -> bool:
    """Whether there are hooks on the modules of all networks.

    Example:
        >>> has_global_hooks()
        False
    """
    return bool(_has_any_global_hook())  # type: ignore[no-untyped-call]


def reach(thing: object) -> Iterator[object]:
    """Everything reachable from an object by attributes and entries, itself included: all that could change.

    Example:
        >>> net = nn.Flatten()
        >>> net.shifts = [torch.zeros(2)]
        >>> [each for each in reach(net) if isinstance(each, list)]
        [[tensor([0., 0.])]]
    """
    return islice(_reach(thing), _MOST)


def _reach(thing: object) -> Iterator[object]:
    seen, waiting = set[int](), [thing]
    while waiting:
        each = waiting.pop()
        if isinstance(each, _ATOMS) or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        waiting += _entries(each)


def _entries(thing: object) -> Collection[object]:
    """The values of a container, or of an object's attributes, as a live view."""
    if isinstance(thing, Tensor):
        return ()
    held = thing if isinstance(thing, dict | list | tuple | set | deque) else getattr(thing, "__dict__", None)
    if isinstance(held, dict):
        held = held.values()
    return () if held is None or len(held) > _LONGEST else held
