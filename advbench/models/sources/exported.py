"""TorchScript archives and exported programs.

Both run code from the file, which is what they are for: name only files that you would run.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from advbench.catalog.cards import ModelCard
from advbench.config.model_description import NOTHING, Description
from advbench.errors import UserError, reason
from advbench.models.classifier import Classifier, switchable
from advbench.models.files.described import described, input_shape, other_inputs, other_type
from advbench.models.sources.user_code import own_file
from advbench.models.trial import InType


def load_script(card: ModelCard, weights: Path | None = None, about: Description = NOTHING) -> Classifier:
    """Load a TorchScript archive.

    Args:
        card: Card whose name is the file.
        weights: Refused, because the archive holds its own.
        about: What the user says of the model.

    Raises:
        UserError: The file is no TorchScript archive, takes other inputs than images, does not say which of several
            outputs holds the logits, or its input size is not known.
    """
    file = own_file(card, weights)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # deprecated in favour of torch.export, and still in use
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            module = torch.jit.load(file, map_location="cpu")  # type: ignore[no-untyped-call]
        except Exception as error:  # hostile or damaged bytes raise nearly anything out of a parser
            raise UserError(
                f"{file} is no TorchScript archive: {reason(error)}",
                hint="weights alone go with the name of their architecture: --model NAME --weights FILE",
            ) from None
        _check_inputs(module, file)
    return described(module, file, card.name, about=about)


def _check_inputs(module: Any, file: Path) -> None:
    if not hasattr(module, "forward"):
        raise UserError(f"{file} has no method forward, so that it cannot be asked", hint="script or trace a network")
    needed = [each for each in module.forward.schema.arguments[1:] if not each.has_default_value()]
    if len(needed) != 1 or str(needed[0].type) != "Tensor":
        raise other_inputs(file, ", ".join(f"{each.name} ({each.type})" for each in needed) or "none")


def load_exported(card: ModelCard, weights: Path | None = None, about: Description = NOTHING) -> Classifier:
    """Load a program that `torch.export.save` wrote.

    Args:
        card: Card whose name is the file.
        weights: Refused, because the program holds its own.
        about: What the user says of the model.

    Raises:
        UserError: The file is not such a program, does not take one batch of images, or does not say which of several
            outputs holds the logits.
    """
    file = own_file(card, weights)
    try:
        with _unlogged():
            program = torch.export.load(file)
    except Exception as error:  # hostile or damaged bytes raise nearly anything out of a parser
        raise UserError(f"{file} is not a program of torch.export: {reason(error)}") from None
    names = program.graph_signature.user_inputs
    inputs = [node.meta["val"] for node in program.graph.nodes if node.op == "placeholder" and node.name in names]
    got = ", ".join(_kind(each) for each in inputs) or "none"
    if len(inputs) != 1 or len(names) != 1 or not isinstance(inputs[0], Tensor):
        raise other_inputs(file, got)
    shape = input_shape(inputs[0].shape, file, got)
    if not inputs[0].is_floating_point():
        raise other_type(file, str(inputs[0].dtype).removeprefix("torch."))
    network = switchable(program.module())
    if inputs[0].dtype != torch.float32:
        network = InType(network, inputs[0].dtype)
    return described(network, file, card.name, shape, about)


@contextmanager
def _unlogged() -> Iterator[None]:
    """Keep torch from logging the traceback of an error of which a sentence is made here."""
    log = logging.getLogger("torch.export")
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before


def _kind(value: Any) -> str:
    return str([*value.shape]) if isinstance(value, Tensor) else type(value).__name__
