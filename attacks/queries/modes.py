"""Networks left in training mode, whose outputs depend on the batch and which every pass changes."""

import functools
from collections.abc import Iterator
from types import MethodType

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.parametrizations import _SpectralNorm

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
_WRAPPED = ("wrapped", "__wrapped__")
_SEVERAL = "members"


def check_callable(model: object) -> None:
    """Check that a model can be called.

    Raises:
        ValueError: ``expected ..., got ...``, such as for a state dict loaded without its network.

    Example:
        >>> check_callable({"weight": 0})
        Traceback (most recent call last):
        ValueError: expected a model, images -> logits, got dict
    """
    if not callable(model):
        raise ValueError(f"expected a model, images -> logits, got {type(model).__name__}")


def check_mode(model: object) -> None:
    """Check that no layer that normalises by its batch or updates statistics in every pass is in training mode.

    Such layers are batch norms, other norms with running statistics, and spectral norms. Active dropout is allowed: it
    may be meant as a defence. Networks are found inside wrappers too, see :func:`parts`.

    Args:
        model: Images -> logits.

    Raises:
        ValueError: ``expected ..., got ...``, naming the first such layer; or if the model cannot be called.

    Example:
        >>> net = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(12))
        >>> check_mode(net.eval())
        >>> check_mode(net.train())
        Traceback (most recent call last):
        ValueError: expected batch norms in eval mode, got 1 in training mode: call eval()
    """
    check_callable(model)
    for name, part in parts(model):
        if part.training and learns(part):
            what = "batch norms" if isinstance(part, _BatchNorm) else "layers with running statistics"
            raise ValueError(
                f"expected {what} in eval mode, got {name or type(part).__name__} in training mode: call eval()"
            )


def learns(part: nn.Module) -> bool:
    """Whether a layer itself, in training mode, normalises by its batch or changes in every pass.

    Example:
        >>> learns(nn.BatchNorm2d(3)), learns(nn.InstanceNorm2d(3)), learns(nn.Dropout())
        (True, False, False)
    """
    if isinstance(part, _BatchNorm | _SpectralNorm):
        return True
    # Frozen layers have statistics but never change them.
    tracks = any(getattr(part, name, None) is not None for name in _STATISTICS)
    return tracks and not type(part).__name__.startswith("Frozen")


def parts(model: object) -> Iterator[tuple[str, nn.Module]]:
    """The layers of the networks in a model, as far as they are visible, with their names.

    Networks are found in the attributes of an object, in :func:`functools.partial`, in bound methods, behind the
    ``__wrapped__`` of a function, and behind the attribute ``wrapped`` of a wrapper or ``members`` of an ensemble, as
    in this library. A function that captures a network (``lambda x: net(x)``) does not reveal it.

    Args:
        model: Images -> logits.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 2))
        >>> [name for name, _ in parts(functools.partial(net.forward))], list(parts(lambda x: net(x)))
        (['', '0'], [])
    """
    seen, queue = set[int](), [model]
    while queue:
        found = queue.pop(0)
        if id(found) in seen:
            continue
        seen.add(id(found))
        for name, part in found.named_modules() if isinstance(found, nn.Module) else ():
            yield name, part
            queue += _held(part)
        queue += _held(found)


def _held(model: object) -> Iterator[object]:
    """The parts of a model that is not a network, or of a layer."""
    if isinstance(model, functools.partial):
        yield from (model.func, *model.args, *model.keywords.values())
    elif isinstance(model, MethodType):
        yield model.__self__
    # Not by getattr alone: a proxy for a remote object has every attribute.
    yield from (getattr(model, name) for name in _WRAPPED if hasattr(type(model), name))
    for name, value in getattr(model, "__dict__", {}).items():
        if name in _WRAPPED or isinstance(value, nn.Module):
            yield value
        elif name == _SEVERAL and isinstance(value, tuple):
            yield from value
