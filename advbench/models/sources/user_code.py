"""Models of the user's own: what a function in a Python file returns.

It runs code from the file, which is what it is for: name only files that you would run.
"""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from advbench.catalog.cards import ModelCard
from advbench.catalog.user_models import FACTORY
from advbench.errors import UserError
from advbench.models.classifier import Classifier
from advbench.models.contents import Contents, contents_of, filled
from advbench.models.weights import sha256_of

_WRAP = "return advbench.Classifier(network, num_classes=..., mean=..., std=..., input_size=...)"


def load_factory(card: ModelCard, weights: Path | None = None) -> Classifier:
    """Call a function of the user's that makes a classifier.

    Args:
        card: Card whose name is `file.py:function`.
        weights: Handed to the function, if one is given; but for a file of `advbench train transfer`, whose weights are
            put into what the function returns.

    Returns:
        What the function returns: an `advbench.Classifier`.

    Raises:
        UserError: There is no such file or function, it fails, or it returns something else.
    """
    match = FACTORY.fullmatch(card.name)
    if match is None:
        raise ValueError(f"expected file.py:function, got {card.name!r}")
    file = Path(match["file"])
    if not file.is_file():
        raise UserError(f"there is no file {file} with a function {match['function']!r}", hint="check the spelling")
    digest = sha256_of(file)
    function = _function(file, match["function"])
    trained = _trained_here(weights)
    try:
        model = function() if weights is None or trained else function(weights)
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        raise UserError(f"{card.name} failed: {_told(error)}") from error
    if not isinstance(model, Classifier):
        got = type(model).__name__
        raise UserError(f"{card.name} returned a {got}, not an advbench.Classifier", hint=f"in {file}: {_WRAP}")
    if trained and weights is not None:
        return filled(model, trained, weights, card.name)
    model.name = card.name
    model.weights_sha256 = model.weights_sha256 or digest
    return model


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")


def _trained_here(weights: Path | None) -> Contents | None:
    """The description in a file that holds the network of a user's function with another top."""
    if weights is None or weights.suffix != ".safetensors" or not weights.is_file():
        return None
    contents = contents_of(weights)
    return contents if contents and contents.new_top and FACTORY.fullmatch(contents.model) else None


def _function(file: Path, name: str) -> Callable[..., Any]:
    spec = importlib.util.spec_from_file_location(f"_model_of_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise UserError(f"{file} cannot be imported", hint="its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        raise UserError(f"{file} cannot be imported: {_told(error)}") from error
    found = getattr(module, name, None)
    if not callable(found):
        public = sorted(key for key, value in vars(module).items() if callable(value) and not key.startswith("_"))
        raise UserError(f"{file} has no function {name!r}", hint=f"it has: {', '.join(public) or 'none'}")
    function: Callable[..., Any] = found
    return function


def own_file(card: ModelCard, weights: Path | None) -> Path:
    """The file that a model of the user's own is named by.

    Raises:
        UserError: It cannot be read, or other weights are given beside it.
    """
    if weights is not None:
        raise UserError(f"{card.name} holds its own weights, and --weights {weights} was given", hint="leave it out")
    file = Path(card.name)
    sha256_of(file, what="model file")
    return file
