"""What a file with a network does not say itself: `net.toml` beside `net.onnx`."""

import tomllib
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from advbench.errors import UserError
from advbench.models.preprocess import Size, checked_size


def _checked(size: Any) -> Size:
    return checked_size("input_size", size)


_Values = Annotated[tuple[float, ...], Field(min_length=1)]


class Description(BaseModel):
    """What a file with a network does not say itself.

    Example:
        >>> Description(input_size=32, mean=[0.5], std=[0.25]).mean
        (0.5,)
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    input_size: Annotated[Any, AfterValidator(_checked)] = None
    """In pixels: the side of a square, or [height, width]; None: as the file says."""
    mean: _Values | None = None
    """Subtracted from images in [0, 1], for each channel; one value makes the images grey. None: nothing is."""
    std: _Values | None = None
    """What is then divided by; None: nothing is."""
    classes: tuple[str, ...] | None = None
    """Names in the order of the logits; None: numbers."""
    output: str | int | None = None
    """Which of several outputs holds the logits: its name, or its place from 0 where they have none."""

    @property
    def channels(self) -> int | None:
        """Of the images; None: as the file says."""
        given = [len(values) for values in (self.mean, self.std) if values]
        return max(given) if given else None


def read_description(file: Path) -> Description:
    """The description in a file; one that says nothing, if there is no file.

    Raises:
        UserError: It cannot be read, or says what no description says.
    """
    if not file.is_file():
        return Description()
    try:
        return Description(**tomllib.loads(file.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"description {file} cannot be read: {error}") from None
    except ValidationError as error:
        raise UserError(f"description {file} is wrong: {_first(error)}") from None


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg'].removeprefix('Value error, ')}"
