"""A torch network converted from an ONNX file, for the gradients that onnxruntime does not provide."""

import importlib
import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from io import StringIO
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from advbench.errors import reason
from advbench.models.answers import parts_of
from advbench.models.sources.onnx_graph import rounding, without_copies

TOLERANCE = 1e-4
"""Maximum difference from onnxruntime's outputs, in logits; relative to the largest logit if that exceeds 1."""
CONVERTERS = ("onnx2torch", "onnx2pytorch")
"""The conversion packages, in the order in which they are tried."""

Examples = list[tuple[Tensor, tuple[Tensor, ...]]]
"""Batches of images as the file takes them, with onnxruntime's outputs."""


class Twin(NamedTuple):
    """The result of converting an ONNX file."""

    network: nn.Module | None
    """The network, whose outputs match onnxruntime's; None if there is none."""
    told: str
    """Package that converted it; or the reason why there is no network, worded to follow "because"."""


def twin_of(model: Any | None, examples: Examples) -> Twin:
    """Convert an ONNX file to a torch network with the same outputs as onnxruntime.

    Args:
        model: `onnx.ModelProto`; None if the package onnx is not installed or cannot read the file.
        examples: Batches on which to compare the outputs.
    """
    if model is None:
        return Twin(None, f"the package onnx, needed to convert the file, is missing: {_INSTALL}")
    if found := rounding(model):
        return Twin(None, f"it rounds ({found}), which blocks the gradient")
    reasons: dict[str, str] = {}
    for name, convert in _converters():
        for graph in {id(each): each for each in (model, without_copies(model))}.values():
            network, why = _converted(convert, graph, examples)
            if not why:
                return Twin(network, name)
            reasons.setdefault(name, why)
    if not reasons:
        return Twin(None, f"no package that can convert it is installed: {_INSTALL}")
    return Twin(None, "; ".join(f"{name}: {why}" for name, why in reasons.items()))


def _converted(convert: Callable[[Any], nn.Module], graph: Any, examples: Examples) -> tuple[nn.Module | None, str]:
    """The network converted from a graph, and the reason to reject it; empty if there is none."""
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            network = convert(graph).eval().requires_grad_(False)
            return network, _disagreement(network, examples)
    except Exception as error:  # a converter may raise anything
        return None, reason(error)


_INSTALL = 'pip install "advbench[onnx]"'


def _converters() -> Iterator[tuple[str, Callable[[Any], nn.Module]]]:
    """Name of each installed package, with its function that converts an `onnx.ModelProto`."""
    for name in CONVERTERS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                package: Any = importlib.import_module(name)
            except ImportError:
                continue
        yield name, package.convert if name == "onnx2torch" else package.ConvertModel


def _disagreement(network: nn.Module, examples: Examples) -> str:
    """How the outputs of a network differ from the expected ones; empty if they agree.

    A network without gradients is rejected, too.
    """
    for images, expected in examples:
        x = images.detach().clone().requires_grad_()
        with torch.enable_grad():
            answers = tuple(parts_of(network(x)).values())
        if len(answers) != len(expected):
            return f"it returns {len(answers)} outputs instead of {len(expected)}"
        for answer, right in zip(answers, expected, strict=True):
            if not right.is_floating_point():
                continue
            if answer.shape != right.shape:
                return f"its output has shape {tuple(answer.shape)} instead of {tuple(right.shape)}"
            apart = float((answer.detach() - right).abs().max())
            if not apart <= TOLERANCE * max(1.0, float(right.abs().max())):
                return f"its outputs differ from onnxruntime's by up to {apart:.2g}"
        if not any(isinstance(answer, Tensor) and answer.requires_grad for answer in answers):
            return "its outputs have no gradient"
    return ""
