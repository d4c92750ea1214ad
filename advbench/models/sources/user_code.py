"""Models of the user's own: what a function in a Python file returns.

It runs code from the file, which is what it is for: name only files that you would run.
"""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from advbench.catalog.cards import ModelCard
from advbench.catalog.user_models import FACTORY
from advbench.config.model_description import NOTHING, Description
from advbench.errors import UserError
from advbench.models.bare import bare
from advbench.models.classifier import Classifier
from advbench.models.files.contents import Contents, contents_of, filled
from advbench.models.files.described import refuse_description, with_classes
from advbench.models.files.weights import sha256_of

_RETURN = "return a torch module, a function from images to logits, or an advbench.Classifier"


def load_factory(card: ModelCard, weights: Path | None = None, about: Description = NOTHING) -> Classifier:
    """Call a function of the user's that makes a classifier.

    Args:
        card: Card whose name is `file.py:function`.
        weights: Handed to the function, if one is given; but for a file of `advbench train transfer`, whose weights are
            put into what the function returns.
        about: What the user says of the model. Of an `advbench.Classifier` only the names of its classes may be said,
            since it states all the rest.

    Returns:
        What the function returns, if that is an `advbench.Classifier`; or a classifier made of the network or other
        callable that it returns, or that stands in the file under that name, as :func:`advbench.models.bare.bare` does.

    Raises:
        UserError: There is no such file or function, it fails, it returns something else, or a network whose answers
            cannot be understood.
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
        made = (
            function
            if isinstance(function, nn.Module)
            else function(*([] if weights is None or trained else [weights]))
        )
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        hint = _arguments(error, weights=weights is not None and trained is None)
        raise UserError(f"{card.name} failed: {_told(error)}", hint=hint) from error
    model = _classifier(made, card.name, about, digest)
    if trained and weights is not None:
        return filled(model, trained, weights, card.name)
    model.name = card.name
    model.weights_sha256 = model.weights_sha256 or digest
    return model


def _classifier(made: Any, name: str, about: Description, digest: str) -> Classifier:
    if isinstance(made, Classifier):
        refuse_description(about.without("classes"), f"{name} returns an advbench.Classifier, which")
        return with_classes(made, about)
    if isinstance(made, type) or not callable(made):
        got = f"the class {made.__name__}" if isinstance(made, type) else type(made).__name__
        raise UserError(f"{name} returned {got}, not a network or another function of images", hint=_RETURN)
    return bare(made, name, about, digest)


def _arguments(error: BaseException, *, weights: bool) -> str:
    """What to do if a function takes other arguments than it is given."""
    if not isinstance(error, TypeError) or "positional argument" not in str(error):
        return ""
    given = "with the path of the weights file alone" if weights else "without arguments"
    return f"it is called {given}; {_RETURN}"


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
