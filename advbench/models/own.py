"""Models of the user's own: what a function returns, TorchScript archives and exported programs.

All of these run code from the file, which is what they are for: name only files that you would run.
"""

import importlib.util
import sys
import tomllib
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn

from advbench.cards import ModelCard
from advbench.errors import UserError
from advbench.models.classifier import Classifier
from advbench.models.contents import Contents, contents_of, filled
from advbench.models.weights import sha256_of
from advbench.own_models import FACTORY

_WRAP = "return advbench.Classifier(network, num_classes=..., mean=..., std=..., input_size=...)"


class Description(BaseModel):
    """What a file with a network does not say itself: `net.toml` beside `net.onnx`.

    Example:
        >>> Description(input_size=32, mean=[0.5], std=[0.25]).mean
        (0.5,)
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    input_size: Annotated[int, Field(ge=1)] | None = None
    """Height and width in pixels; None: as the file says."""
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    """Subtracted from images in [0, 1], for each channel; one value makes the images grey."""
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    """What is then divided by."""
    classes: tuple[str, ...] | None = None
    """Names in the order of the logits; None: numbers."""


def load_factory(card: ModelCard, weights: Path | None = None) -> Classifier:
    """Call a function of the user's that makes a classifier.

    Args:
        card: Its name is `file.py:function`.
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
    except Exception as error:  # the user's code may raise anything
        raise UserError(f"{card.name} failed: {type(error).__name__}: {error}") from error
    if not isinstance(model, Classifier):
        got = type(model).__name__
        raise UserError(f"{card.name} returned a {got}, not an advbench.Classifier", hint=f"in {file}: {_WRAP}")
    if trained and weights is not None:
        return filled(model, trained, weights, card.name)
    model.name = card.name
    model.weights_sha256 = model.weights_sha256 or digest
    return model


def _trained_here(weights: Path | None) -> Contents | None:
    """What a file says of itself that holds a network of a function of the user's with another top."""
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
    except Exception as error:  # the user's code may raise anything
        raise UserError(f"{file} cannot be imported: {type(error).__name__}: {error}") from error
    found = getattr(module, name, None)
    if not callable(found):
        public = sorted(key for key, value in vars(module).items() if callable(value) and not key.startswith("_"))
        raise UserError(f"{file} has no function {name!r}", hint=f"it has: {', '.join(public) or 'none'}")
    function: Callable[..., Any] = found
    return function


def load_script(card: ModelCard, weights: Path | None = None) -> Classifier:
    """Load a TorchScript archive.

    Args:
        card: Its name is the file.
        weights: Refused: the archive holds its own.

    Raises:
        UserError: The file is no TorchScript archive, or its input size is not known.
    """
    file = own_file(card, weights)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # deprecated in favour of torch.export, and still in use
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            module = torch.jit.load(file, map_location="cpu")  # type: ignore[no-untyped-call]
        except Exception as error:  # hostile or damaged bytes raise nearly anything out of a parser
            why = str(error).strip().splitlines()[0]
            raise UserError(
                f"{file} is no TorchScript archive: {why}",
                hint="weights alone go with the name of their architecture: --model NAME --weights FILE",
            ) from None
    return described(module, file, card.name, None)


def load_exported(card: ModelCard, weights: Path | None = None) -> Classifier:
    """Load a program that `torch.export.save` wrote.

    Args:
        card: Its name is the file.
        weights: Refused: the program holds its own.

    Raises:
        UserError: The file is no such program, or does not take one batch of images.
    """
    file = own_file(card, weights)
    try:
        program = torch.export.load(file)
    except Exception as error:  # hostile or damaged bytes raise nearly anything out of a parser
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"{file} is no program of torch.export: {why}") from None
    inputs = program.graph_signature.user_inputs
    shapes = [node.meta["val"].shape for node in program.graph.nodes if node.name in inputs]
    if len(shapes) != 1 or len(shapes[0]) != 4:
        raise UserError(f"{file} takes other inputs than one batch of images (N, C, H, W): {shapes}")
    sizes = [size if isinstance(size, int) else None for size in shapes[0]]
    return described(in_batches(_Exported(program.module()), sizes[0]), file, card.name, sizes[2])


class _Exported(nn.Module):
    """An exported program, which refuses to be told about training and evaluation."""

    def __init__(self, program: nn.Module) -> None:
        super().__init__()
        self.program = program

    def train(self, mode: bool = True) -> "_Exported":
        """Stay as it was exported."""
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W) to logits."""
        out: Tensor = self.program(x)
        return out


class _InBatches(nn.Module):
    """A network that takes so many images at once and no other number."""

    def __init__(self, module: nn.Module, size: int) -> None:
        super().__init__()
        self.module, self.size = module, size

    def forward(self, x: Tensor) -> Tensor:
        """(N, ...) to (N, ...), the last batch filled up with its first image."""
        missing = -len(x) % self.size
        filled = torch.cat([x, x[:1].expand(missing, *x.shape[1:])]) if missing else x
        return torch.cat([self.module(part) for part in torch.split(filled, self.size)])[: len(x)]


def in_batches(module: nn.Module, size: int | None) -> nn.Module:
    """Make a network of a fixed batch size take any number of images.

    Args:
        module: The network.
        size: How many images it takes; None if any.

    Example:
        >>> in_batches(nn.Flatten(), 4)(torch.zeros(6, 1, 2, 2)).shape
        torch.Size([6, 4])
    """
    return module if size is None else _InBatches(module, size)


def described(module: nn.Module, file: Path, name: str, input_size: int | None) -> Classifier:
    """Wrap a network from a file with what the description beside it says.

    Args:
        module: Normalised images to logits.
        file: Where it came from; its description has the same name and ends in .toml.
        name: Of the classifier.
        input_size: As the file says, if it does.

    Raises:
        UserError: The description cannot be read, the input size is nowhere to be found, or the network fails.
    """
    about = _description(file.with_suffix(".toml"))
    size = about.input_size or input_size
    if size is None:
        raise UserError(
            f"{file} does not say what size of images it takes",
            hint=f"write it into {file.with_suffix('.toml')}: input_size = 224 (and mean, std and classes)",
        )
    try:
        with torch.no_grad():
            logits = module.eval()(torch.zeros(1, max(len(about.mean), len(about.std)), size, size))
        width = int(logits.shape[1])
    except Exception as error:  # a network that does not fit may raise anything
        why = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"{file} fails on an image of {size} x {size} pixels: {why}",
            hint=f"describe its input in {file.with_suffix('.toml')}: input_size, mean, std",
        ) from None
    if about.classes is not None and len(about.classes) != width:
        raise UserError(f"{file} has {width} classes, and its description names {len(about.classes)}")
    return Classifier(
        module,
        num_classes=width,
        mean=about.mean,
        std=about.std,
        classes=about.classes,
        input_size=size,
        name=name,
        weights_sha256=sha256_of(file),
    )


def _description(file: Path) -> Description:
    if not file.is_file():
        return Description()
    try:
        return Description(**tomllib.loads(file.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"description {file} cannot be read: {error}") from None
    except ValidationError as error:
        raise UserError(f"description {file} is wrong: {_first(error.errors())}") from None


def _first(errors: Iterable[Any]) -> str:
    error = next(iter(errors))
    return f"{'.'.join(map(str, error['loc']))}: {error['msg']}"


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
