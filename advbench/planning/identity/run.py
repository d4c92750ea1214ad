"""The identity of a run besides its suite: code, libraries and weights."""

import hashlib
import importlib.metadata
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from advbench.catalog.plugins import loaded_plugins
from advbench.config.fields import Strict
from advbench.config.suite import HARMLESS, Suite
from advbench.models.classifier import Classifier
from advbench.planning.identity.code import code_digest

LIBRARIES = ("torch", "torchvision", "foolbox", "numpy", "pillow")
"""Packages whose version may affect results."""


@cache
def library_versions() -> dict[str, str]:
    """Versions of `LIBRARIES`."""
    return {name: importlib.metadata.version(name) for name in LIBRARIES}


def surroundings(device: str) -> dict[str, Any]:
    """Return the part of the identity that is the same for all units of a run.

    Args:
        device: Device on which the run computes.
    """
    plugins = loaded_plugins()
    return {"code": code_digest(), "libraries": library_versions(), "device": device} | (
        {"plugins": plugins} if plugins else {}
    )


def model_digest(model: Classifier) -> str:
    """Digest of the weights, normalisation and number of classes of a classifier and its twin, whatever their source.

    Example:
        >>> from torch import nn
        >>> model = Classifier(nn.Flatten(), num_classes=4)
        >>> model_digest(model) == model_digest(Classifier(nn.Flatten(), num_classes=4, mean=0.5))
        False
    """
    digest = hashlib.sha256(repr((model.mean, model.std, model.num_classes)).encode())
    if model.thresholds is not None:
        digest.update(repr(model.thresholds).encode())
    if model.twin is not None:
        digest.update(repr((model.twin.mean, model.twin.std)).encode())
    for name, value in sorted(model.state_dict().items()):
        for text, content in _entry(value):
            digest.update(f"{name} {text}\n".encode())
            digest.update(content)
    return digest.hexdigest()[:32]


def _entry(value: Any) -> Iterator[tuple[str, bytes]]:
    """Yield the contents of a state dict entry, as a description and bytes."""
    if isinstance(value, tuple | list):  # a quantised layer keeps weight and bias together
        for each in value:
            yield from _entry(each)
    elif not isinstance(value, Tensor):
        yield repr(value), b""
    else:
        text = f"{value.dtype} {tuple(value.shape)}"
        if value.is_quantized:
            text, value = f"{text} {_scales(value)}", value.int_repr()
        # As bytes: numpy does not support all of torch's types.
        plain = value.detach().cpu().contiguous().flatten()
        yield text, plain.view(torch.uint8).numpy().tobytes()


def _scales(tensor: Tensor) -> str:
    if tensor.qscheme() in (torch.per_tensor_affine, torch.per_tensor_symmetric):
        return f"{tensor.q_scale()} {tensor.q_zero_point()}"
    return f"{tensor.q_per_channel_scales().tolist()} {tensor.q_per_channel_zero_points().tolist()}"


def suite_identity(suite: Suite) -> dict[str, Any]:
    """The fields of a suite that decide results.

    Example:
        >>> suite = Suite(name="x", models="vgg16", datasets="mnist-samples", attacks="pgd", time_limit=1)
        >>> "time_limit" in suite_identity(suite), "seed" in suite_identity(suite)
        (False, True)
    """
    found: dict[str, Any] = _without_harmless(suite)
    return found


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Differences between two identities, one line each: key, old value, new value.

    Example:
        >>> differences({"suite": {"seed": 0, "eps": [1]}}, {"suite": {"seed": 1, "eps": [1]}})
        ['suite.seed: 0 -> 1']
        >>> many = ["first", "second", "third", "fourth", "fifth", "sixth"]
        >>> print(*differences({"attacks": many}, {"attacks": [*many, "last"]}))
        attacks: ...', 'fifth', 'sixth'] -> ...', 'fifth', 'sixth', 'last']
    """
    return list(_differences("", old, new))


def _differences(key: str, old: Any, new: Any) -> Iterator[str]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in sorted({*old, *new}):
            yield from _differences(f"{key}.{name}" if key else str(name), old.get(name), new.get(name))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for i, pair in enumerate(zip(old, new, strict=True)):
            yield from _differences(f"{key}[{i}]", *pair)
    elif old != new:
        before, after = _text(old), _text(new)
        same = next((i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), 0)
        start = max(0, same - 20) if same > 40 else 0  # the common beginning is uninformative
        yield f"{key}: {_short(before, start)} -> {_short(after, start)}"


def _text(value: Any) -> str:
    return "nothing" if value is None else str(value)


def _short(text: str, start: int) -> str:
    """Sixty characters of a text from some place on, with dots where there are more."""
    shown = f"...{text[start:]}" if start else text
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def _without_harmless(value: Any) -> Any:
    if isinstance(value, Strict):
        fields = type(value).model_fields
        return {name: _without_harmless(getattr(value, name)) for name in fields if name not in HARMLESS[type(value)]}
    if isinstance(value, tuple):
        return [_without_harmless(each) for each in value]
    if isinstance(value, dict):
        return {name: _without_harmless(each) for name, each in value.items()}
    return str(value) if isinstance(value, Path) else value
