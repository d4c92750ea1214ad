"""One pass of a model, traced function by function: torch hands every call of its functions to a mode."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils.weak import WeakIdKeyDictionary

from attacks.standins.backwards import Backwards
from attacks.standins.bridges import Front, stepped, through

_LAYERS = {
    *(functional.conv1d, functional.conv2d, functional.conv3d, functional.conv_transpose2d, functional.linear),
    *(functional.bilinear, torch.matmul, torch.mm, torch.bmm, torch.addmm, torch.einsum),
    *(Tensor.matmul, Tensor.__matmul__, Tensor.mm, Tensor.bmm, Tensor.addmm),
}
_ROUNDING = ("round", "floor", "ceil", "trunc", "fix", "detach")
_COMPARING = ("gt", "ge", "lt", "le", "greater", "less", "__gt__", "__ge__", "__lt__", "__le__")
_SIGNS = ("sign", "sgn")
_LEAVING = ("numpy", "__array__", "tolist", "__dlpack__")
_WHOLE = ("byte", "char", "short", "int", "long", "bool")
_READING = (
    *("float", "double", "half", "to", "type", "type_as", "mul", "div", "add", "sub", "true_divide", "matmul"),
    *("__mul__", "__rmul__", "__truediv__", "__add__", "__radd__", "__sub__", "__rsub__"),
)
_CHOOSING = ("where", "masked_fill")


class Pass(TorchFunctionMode):
    """Traces one pass of a model, and bridges steps that mask its gradient.

    Everything is undone when the context ends; the model, its modules and their hooks are not touched.

    Args:
        x: The images (N, ...) of the query.
        fronts: Number of each layer whose input is the defence's output -> its bridge.
        bridged: Whether steps without a gradient (rounding, signs, comparisons, detached tensors) get one, and parts
            that disable gradients keep one.
        honest: Whether functions with a custom backward pass are differentiated by what they compute instead, and hooks
            on gradients are suppressed; only if ``bridged``.
        plain: Whether layers may use plain tensors, in a function without parameters.
        shaken: Whether steps without a gradient after the first layer give other results, which shows whether anything
            depends on them.

    Example:
        >>> x = torch.tensor([[0.3]], requires_grad=True)
        >>> with Pass(x, bridged=True), torch.no_grad():
        ...     y = x.round()
        >>> torch.autograd.grad(y.sum(), x)
        (tensor([[1.]]),)
    """

    x: Tensor
    """The images of the pass (N, ...)."""
    inputs: list[Tensor]
    """The input of each layer with parameters."""
    fresh: list[int]
    """Numbers of the layers whose input comes from no other layer, as far as can be traced."""
    outputs: list[Tensor]
    """All values with one row per image since the last layer, (N, C) each, including the layer's own."""
    backwards: Backwards
    """Functions with a custom backward pass, and hooks on gradients."""
    leaks: list[tuple[str, int]]
    """Non-differentiable functions applied to values that depend on the images: name, and number of layers before."""

    def __init__(
        self,
        x: Tensor,
        fronts: Mapping[int, Front] | None = None,
        *,
        bridged: bool = False,
        plain: bool = False,
        honest: bool = False,
        shaken: bool = False,
    ) -> None:
        super().__init__()
        self.x, self._fronts, self._bridged, self._plain, self._shaken = x, fronts or {}, bridged, plain, shaken
        self.backwards = Backwards(honest=bridged and honest)
        self._deep, self._weights, self._shadows = (WeakIdKeyDictionary() for _ in range(3))
        self.inputs, self.fresh, self.outputs, self.leaks = [], [], [], []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Torch's entry point of a mode: one call of one of its functions."""
        kwargs = kwargs or {}
        if func is torch._C._set_grad_enabled:
            return None if self._bridged and args == (False,) else func(*args)
        if (hooked := self.backwards.hooked(func)) is not None:
            return hooked
        args = self.backwards.replaced(func, args)
        lifted = self._bridged and torch.is_inference_mode_enabled()
        with torch.inference_mode(False) if lifted else nullcontext():
            if lifted:
                args = tuple(a.clone() if isinstance(a, Tensor) and a.is_inference() else a for a in args)
            is_layer = func in _LAYERS and self._has_weights((*args, *kwargs.values()))
            if is_layer and args:
                args = (self._enter(args[0]), *args[1:])
            with self.backwards.watching():
                result = self._call(func, args, kwargs)
                self.backwards.remember(result, args)
        self._follow(result, (*args, *kwargs.values()), is_layer=is_layer)
        return result

    def _has_weights(self, given: tuple[Any, ...]) -> bool:
        if self._plain:
            return True
        return any(
            isinstance(each, nn.Parameter) or each in self._weights for each in given if isinstance(each, Tensor)
        )

    def _enter(self, value: Any) -> Any:
        """The input of a layer, bridged if it has a front."""
        if not isinstance(value, Tensor):
            return value
        number = len(self.inputs)
        self.inputs.append(value)
        if value not in self._deep:
            self.fresh.append(number)
        front = self._fronts.get(number)
        return value if front is None or len(value) != len(self.x) else front(value, self.x)

    def _follow(self, result: Any, given: tuple[Any, ...], *, is_layer: bool) -> None:
        """Record where a result comes from."""
        if not isinstance(result, Tensor):
            return
        tensors = [each for each in given if isinstance(each, Tensor)]
        for each in given:
            tensors += [part for part in each if isinstance(part, Tensor)] if isinstance(each, list | tuple) else []
        if is_layer or any(each in self._deep for each in tensors):
            self._deep[result] = True
        elif tensors and all(isinstance(each, nn.Parameter) or each in self._weights for each in tensors):
            self._weights[result] = True
        if is_layer:
            self.outputs = []
        if result.ndim == 2 and len(result) == len(self.x) and result.is_floating_point() and result in self._deep:
            self.outputs.append(result)

    def _call(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        name = (resolve_name(func) or "").removesuffix(".__get__").rpartition(".")[2]
        first = args[0] if args and isinstance(args[0], Tensor) else None
        if first is None or not self._carries(args, kwargs):
            return func(*args, **kwargs)
        if name in _LEAVING:
            return func(first.detach(), *args[1:], **kwargs)
        if not self._is_leak(name, args):
            return func(*args, **kwargs)
        if name not in _READING:
            self.leaks.append((name.strip("_"), len(self.inputs)))
        result = self._bridge(name, func, args, kwargs) if self._bridged else func(*args, **kwargs)
        if self._shaken and (self.inputs or self._plain) and name not in (*_READING, *_CHOOSING):
            return _other(result, in_place=result is first)
        return result

    def _carries(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Whether a call takes values that have, or had, a gradient with respect to the images."""
        given = [each for each in (*args, *kwargs.values()) if isinstance(each, Tensor)]
        return any(
            (each.requires_grad and not isinstance(each, nn.Parameter)) or each in self._shadows for each in given
        )

    def _is_leak(self, name: str, args: tuple[Any, ...]) -> bool:
        bare = name.removesuffix("_") if not name.startswith("__") else name
        if bare in _ROUNDING or bare in _SIGNS or name in _COMPARING or name in _WHOLE or name == "data":
            return True
        return (name in _READING or bare in _CHOOSING) and any(
            isinstance(each, Tensor) and each in self._shadows for each in args
        )

    def _bridge(self, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Give a step without a gradient one."""
        first: Tensor = args[0]
        bare = name.removesuffix("_") if not name.startswith("__") else name
        if bare in (*_ROUNDING, *_SIGNS) and bare != name:  # in place
            before = first.clone()
            result = func(*args, **kwargs)
            lent = before if bare in _ROUNDING else 2 * stepped(before > 0, before)
            return result.add_(lent - lent.detach())
        if bare in _ROUNDING or name == "data":
            return through(func(*args, **kwargs), first)
        if bare in _SIGNS:
            return through(func(*args, **kwargs), 2 * stepped(first > 0, first))
        if name in _COMPARING:
            return self._compared(name, func, args, kwargs)
        if name in _WHOLE:
            result = func(*args, **kwargs)
            self._shadows[result] = self._shadows[first] if first in self._shadows else through(result, first)
            return result
        if bare in _CHOOSING:
            return self._chosen(bare, func, args, kwargs)
        lent_args = tuple(
            self._shadows[each] if isinstance(each, Tensor) and each in self._shadows else each for each in args
        )
        result = func(*lent_args, **kwargs)
        if isinstance(result, Tensor) and not result.is_floating_point():  # from one integer type to another
            plain = func(*args, **kwargs)
            self._shadows[plain] = lent_args[0]
            return plain
        return result

    def _compared(self, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        """A comparison: code that reads its result as a number gets a gradient."""
        result: Tensor = func(*args, **kwargs)
        distance = args[0] - args[1] if len(args) > 1 else args[0] - kwargs["other"]
        below = name.strip("_") in ("lt", "le", "less")
        self._shadows[result] = stepped(result, -distance if below else distance)
        return result

    def _chosen(self, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        """A selection that depends on the images: the gradient goes straight to the values selected from."""
        result: Tensor = func(*args, **kwargs)
        options = args[1:3] if name == "where" else args[:1]
        if name == "where" and args[0].is_floating_point():  # x.where(condition, other)
            options = (args[0], *args[2:3])
        moving = [each for each in options if isinstance(each, Tensor) and each.requires_grad]
        if len(moving) != 1 or moving[0].shape != result.shape:
            return result
        return through(result, moving[0])


def _other(result: Tensor, *, in_place: bool) -> Tensor:
    """Values that differ everywhere from a result; written into it if that is what the step does."""
    with torch.no_grad():
        other = ~result if result.dtype == torch.bool else -result - 1
        return result.copy_(other) if in_place else other
