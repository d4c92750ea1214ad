"""Custom backward passes of a model: autograd functions and hooks on gradients, which may falsify them."""

from collections import OrderedDict, deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any
from weakref import ReferenceType, ref

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction
from torch.utils.hooks import RemovableHandle
from torch.utils.weak import WeakIdKeyDictionary

from attacks.standins.bridges import OWN

_RECENT = 64
"""Number of recent values searched for the input of a function that passes it through unchanged."""

_NODE = vars(torch._C.TensorBase)["grad_fn"].__get__
"""Torch's accessor for the graph node of a value."""


class Backwards:
    """Notices functions with a custom backward pass, and undoes them in honest mode.

    Such a function computes its result with torch's functions, which a mode sees and whose derivatives torch knows.

    Args:
        honest: Whether values from such functions are replaced by the same values with those derivatives.

    Example:
        >>> Backwards().found
        []
    """

    found: list[str]
    """Names of the functions, and "register_hook" for a hook."""

    def __init__(self, *, honest: bool = False) -> None:
        self.found, self._honest = [], honest
        self._known = WeakIdKeyDictionary()
        self._recent: deque[ReferenceType[Tensor]] = deque(maxlen=_RECENT)
        self._within = False

    def hooked(self, func: Callable[..., Any]) -> RemovableHandle | None:
        """A handle for a suppressed hook on a gradient; None for other calls, and if hooks are allowed."""
        if func is not Tensor.register_hook:
            return None
        self.found.append("register_hook")
        return RemovableHandle(OrderedDict()) if self._honest else None

    def watching(self) -> AbstractContextManager[None]:
        """The context of a call: inside a function with a custom backward pass torch would keep no graph."""
        self._within = self._honest and not torch.is_grad_enabled()
        return torch.enable_grad() if self._within else nullcontext()

    def remember(self, result: Any, given: tuple[Any, ...]) -> None:
        """Record the origin of a value, before a function with a custom backward pass claims it."""
        value = given[0] if result is None and given else result  # y[mask] = 0
        if not self._honest or not isinstance(value, Tensor) or not value.requires_grad:
            return
        self._recent.append(ref(value))
        if self._within:
            with torch.enable_grad():
                self._known[value] = value.clone()

    def replaced(self, func: Callable[..., Any], given: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments of a call, with those from such functions replaced in honest mode."""
        if func == _NODE:  # code that requests the node of a value wants to register a hook on it
            return given
        return tuple(self._replaced(each) for each in given)

    def _replaced(self, value: Any) -> Any:
        if isinstance(value, list | tuple) and any(isinstance(each, Tensor) for each in value):
            return type(value)(self._replaced(each) for each in value) if type(value) in (list, tuple) else value
        node: Any = value.grad_fn if isinstance(value, Tensor) else None
        if not isinstance(node, BackwardCFunction):
            return value
        function = getattr(node, "_forward_cls", type(node))
        if function in OWN:
            return value
        self.found.append(function.__name__)
        if not self._honest:
            return value
        if value in self._known:
            known: Tensor = self._known[value]
            if torch.equal(known.detach(), value.detach()):
                return known
        return self._source(node, value)

    def _source(self, node: Any, value: Tensor) -> Tensor:
        """The input of a function that passes it through unchanged."""
        for before, _ in node.next_functions:
            leaf = getattr(before, "variable", None)
            options: list[Tensor | None] = [leaf] if leaf is not None else [each() for each in self._recent]
            for each in options:
                if each is None or not (each.grad_fn is before or each is leaf) or each.shape != value.shape:
                    continue
                if torch.equal(each.detach(), value.detach()):
                    return each
        return value
